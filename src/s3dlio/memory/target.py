# SPDX-License-Identifier: Apache-2.0
"""Targets: memory that a read fills, and how much of it the read has filled.

A block of the buffer pool still holds the bytes of another object. So a read never hands out a block. A `Target` owns
the memory and counts the bytes that this read has received, and only its `result` gives out that memory. A target that
is not full has no result. A batched read is itself a target, because an additional Python object for each small object
would cost 2 % of the instructions. Other reads have a `Buffer`.

The bytes of a result are those of one answer, or of several answers for one version of the object:

- An answer fills a target from front to back. An answer that starts with the first byte calls `begin`, which drops the
  bytes of a failed try.
- An answer continues another one only if both name the same version (`continues`).
- `Parts` is the target of a read that is split. Its parts follow each other without a gap, are filled independently,
  and must all be of one version.
"""

from __future__ import annotations

from s3dlio.errors import IntegrityError
from s3dlio.memory.buffers import lease


class Target:
    """Memory for consecutive bytes of an object, filled from front to back.

    Attributes:
        size: how many bytes the target takes.
        filled: how many bytes this read has received.
    """

    __slots__ = ()  # subclasses have slots for the names below
    _memory: memoryview
    size: int
    filled: int

    def room(self, most: int | None = None) -> memoryview:
        """The memory for at most `most` of the next bytes. The caller then adds what it has received to `filled`."""
        return self._memory[self.filled : None if most is None else self.filled + most]

    def take(self, data: memoryview) -> None:
        """Copy the next bytes.

        Raises:
            ValueError: there is no room for them.
        """
        after = self.filled + len(data)
        self._memory[self.filled : after] = data
        self.filled = after  # type: ignore[misc]

    def received(self, start: int = 0) -> memoryview:
        """The bytes that have been received, from index `start` on."""
        return self._memory[start : self.filled]

    def result(self) -> memoryview:
        """All bytes of this target.

        Raises:
            IntegrityError: some bytes are missing.
        """
        if self.filled != self.size:
            raise IntegrityError(f"a read received only {self.filled} of {self.size} bytes; read the object again")
        return self._memory


class Buffer(Target):
    """A target that knows which version of the object its bytes belong to.

    Attributes:
        version: names the version; "" if the answer named none.
    """

    __slots__ = ("_memory", "filled", "size", "version")

    def __init__(self, memory: memoryview, filled: int = 0) -> None:
        """
        Args:
            memory: a lease, or a slice of one.
            filled: how many bytes at its beginning this read has already received.
        """
        self._memory = memory
        self.size = len(memory)
        self.filled = filled
        self.version = ""

    def begin(self, version: str) -> None:
        """Drop all bytes, because an answer that starts with the first byte is about to fill this target.

        Args:
            version: names the version of the object in that answer; "" if the answer names none.
        """
        self.filled = 0
        self.version = version

    def continues(self, version: str) -> bool:
        """Whether the bytes of an answer may follow the bytes received so far: only if the version is the same."""
        return self.filled > 0 and version != "" and version == self.version


class Parts:
    """The target of a read in several parts, which are received at the same time."""

    def __init__(self, size: int) -> None:
        """Lease the memory for `size` bytes."""
        self.size = size
        self._memory = lease(size)
        self._parts: list[Buffer] = []
        self._next = 0

    def part(self, size: int) -> Buffer:
        """The target of the next part, which begins where the part before ends. It may be shorter at the end."""
        part = Buffer(self._memory[self._next : self._next + size])
        self._parts.append(part)
        self._next += part.size
        return part

    def result(self) -> memoryview:
        """All bytes of all parts.

        Raises:
            IntegrityError: some bytes are missing, or the parts are not of one version.
        """
        filled = sum(part.filled for part in self._parts)
        if filled != self.size:
            raise IntegrityError(f"a read received only {filled} of {self.size} bytes; read the object again")
        versions = {part.version for part in self._parts}
        if len(self._parts) > 1 and (len(versions) > 1 or "" in versions):
            raise IntegrityError("the parts of a read are not of one known version; read the object again")
        return self._memory
