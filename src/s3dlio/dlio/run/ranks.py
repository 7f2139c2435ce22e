# SPDX-License-Identifier: Apache-2.0
"""Work that rank 0 does for all MPI ranks, such as listing the data set.

Strategy: rank 0 does the work and broadcasts the outcome, which may be an error. So all ranks continue or all raise,
and no rank waits for another for ever. This is correct only in code that every rank runs. Of DLIO's listings these are
the ones in `DLIOBenchmark.initialize` and `DLIOBenchmark._checkpoint`, and no others. So while one of these two methods
runs, the benchmark's storage is replaced by one that lists once for all ranks.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from s3dlio.errors import S3dlioError

T = TypeVar("T")

# Names in one message. MPI counts the bytes of a message in 31 bits, and a data set may have 50 million files.
_NAMES_IN_MESSAGE = 1_000_000


def from_rank_zero(communicator: Any, work: Callable[[], T]) -> T:
    """Call `work` on rank 0, and return its result on every rank. All ranks have to call this.

    Raises:
        Exception: on every rank, the error that `work` raised on rank 0.
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
    """The error, or another with the same message if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return S3dlioError(f"{type(error).__name__}: {error}")
    return error


class _SharedListing:
    """A storage of DLIO in which rank 0 answers the questions about folders, for all ranks."""

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
    """Within the block, rank 0 alone lists the folders of a DLIOBenchmark, if the benchmark uses s3dlio."""
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
