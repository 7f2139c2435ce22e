# SPDX-License-Identifier: Apache-2.0
"""What one MPI rank finds out for all.

Strategy: rank 0 does the work and broadcasts its outcome, the error included, so that all ranks go on or all raise,
and none is left waiting for another. This is right only where every rank comes by: of DLIO's listings those of
`DLIOBenchmark.initialize` and `DLIOBenchmark._checkpoint`, and no others. So for the length of these two methods the
benchmark's storage is exchanged for one that lists once for all.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from s3dlio.errors import S3dlioError

T = TypeVar("T")

# Names in one message: MPI counts the bytes of a message in 31 bits, and a data set may have 50 million files.
_NAMES_IN_MESSAGE = 1_000_000


def from_rank_zero(communicator: Any, work: Callable[[], T]) -> T:
    """What `work` returns on rank 0, on every rank. All ranks have to call this.

    Raises:
        Exception: what it raised on rank 0, on every rank.
    """
    if communicator.size == 1:
        return work()
    result: Any = None
    error: Exception | None = None
    if communicator.rank == 0:
        try:
            result = work()
        except Exception as raised:
            error = raised
    sent, in_pieces = communicator.bcast((_portable(error), isinstance(result, list)), root=0)
    if sent is not None:
        raise error or sent
    if not in_pieces:
        return communicator.bcast(result, root=0)  # type: ignore[no-any-return]
    return _pieces_from_rank_zero(communicator, result or [])  # type: ignore[return-value]


def _pieces_from_rank_zero(communicator: Any, names: list[Any]) -> list[Any]:
    count = communicator.bcast(len(names), root=0)
    received: list[Any] = []
    for start in range(0, count, _NAMES_IN_MESSAGE):
        received += communicator.bcast(names[start : start + _NAMES_IN_MESSAGE], root=0)
    return received


def _portable(error: Exception | None) -> Exception | None:
    """The error, or one with the same message if it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return S3dlioError(f"{type(error).__name__}: {error}")
    return error


class _SharedListing:
    """A storage of DLIO whose questions about folders are asked by rank 0, for all ranks."""

    def __init__(self, storage: Any, communicator: Any) -> None:
        self._storage = storage
        self._communicator = communicator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def walk_node(self, id: str, use_pattern: bool = False) -> list[str]:
        return from_rank_zero(self._communicator, lambda: self._storage.walk_node(id, use_pattern))

    def get_node(self, id: str = "") -> Any:
        return from_rank_zero(self._communicator, lambda: self._storage.get_node(id))


@contextmanager
def one_listing_for_all(benchmark: Any) -> Iterator[None]:
    """For the length of the block, the folders of a benchmark are listed by rank 0 and no other.

    Args:
        benchmark: a DLIOBenchmark. One whose storage is not ours stays as it is.
    """
    from s3dlio.dlio.run.storage import S3dlioStorage

    storage = benchmark.storage
    if not isinstance(storage, S3dlioStorage):
        yield
        return
    benchmark.storage = _SharedListing(storage, benchmark.comm)
    try:
        yield
    finally:
        benchmark.storage = storage
