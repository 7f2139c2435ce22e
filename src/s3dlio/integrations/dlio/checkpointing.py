"""PyTorch checkpoints of DLIO, streamed through s3dlio in both directions.

Strategy: `torch.save` writes to, and `torch.load` reads from, anything with the methods of a file. Saving
goes into a `MultipartUploadWriter`, piece by piece as PyTorch hands out the memory of its tensors. Loading
reads ranges of the object: PyTorch asks for each tensor's bytes in one call and gives the memory they
belong in, which is filled one bounded range at a time. So neither direction holds a second copy of the
model.
"""

from __future__ import annotations

import io
from typing import Any

import s3dlio
from s3dlio.integrations.dlio.counters import Operation

# Large enough to be split over several connections, small enough that the one copy in flight stays small.
RANGE_BYTES = 64 << 20
# The zip directory and the pickle of a checkpoint are read in pieces of a few bytes that lie close together.
SMALL_RANGE_BYTES = 1 << 20


class ObjectFile(io.RawIOBase):
    """A read-only, seekable file over an object that holds at most one range of it in memory.

    PyTorch reads a few bytes at the start and the end, then the tensors one after the other. So a small range
    answers a jump, a large one a read that goes on where the last range ended.

    Args:
        uri: the object.

    Attributes:
        bytes: how many bytes were read from the store.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._size: int = s3dlio.stat(uri)["size"]
        self._position = 0
        self._range = memoryview(b"")
        self._range_start = -1
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; only the end of the object leaves it short, since PyTorch takes no less."""
        target = memoryview(buffer)[: max(0, self._size - self._position)]
        filled = 0
        while filled < len(target):
            inside = self._position - self._range_start
            if not 0 <= inside < len(self._range):
                self._fetch(len(target) - filled)
                continue
            length = min(len(self._range) - inside, len(target) - filled)
            target[filled : filled + length] = self._range[inside : inside + length]
            filled += length
            self._position += length
        return filled

    def _fetch(self, wanted: int) -> None:
        """Hold a range that covers the position."""
        start, length = self._position, RANGE_BYTES
        if self._size <= RANGE_BYTES:
            start = 0
        elif self._position != self._range_start + len(self._range):
            length = min(max(wanted, SMALL_RANGE_BYTES), RANGE_BYTES)
        # Dropped first, so that its block can take the next range.
        self._range = memoryview(b"")
        self._range = s3dlio.get_range(self._uri, start, length)
        self._range_start = start
        self.bytes += len(self._range)
        if start + len(self._range) <= self._position:
            raise s3dlio.IntegrityError(
                f"{self._uri}: it ends before byte {self._position} of {self._size}: was it replaced meanwhile?",
                uri=self._uri,
            )


def stream_checkpoints(mechanism: Any, storage: Any) -> None:
    """Make a checkpointing mechanism of DLIO save and load objects, each recorded with its bytes.

    Args:
        mechanism: a PyTorchCheckpointing, changed in place.
        storage: the DataStorage whose root is the checkpoint folder.
    """
    import torch

    def save_state(suffix: str, state: Any, fsync: bool = False) -> None:
        if fsync:
            s3dlio.configure(file_sync=True)
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        with Operation("checkpoint_write", uri) as operation:
            with s3dlio.MultipartUploadWriter.from_uri(uri) as target:
                torch.save(state, target)
            operation.bytes = target.tell()

    def load_state(suffix: str, state: Any) -> None:  # noqa: ARG001 - DLIO passes the state it saved
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        with Operation("checkpoint_read", uri) as operation:
            source = ObjectFile(uri)
            loaded = torch.load(source)
            operation.bytes = source.bytes
        if not loaded:
            raise s3dlio.IntegrityError(f"{uri}: the checkpoint holds no state", uri=uri)

    mechanism.save_state = save_state
    mechanism.load_state = load_state
