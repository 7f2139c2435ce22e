# SPDX-License-Identifier: Apache-2.0
"""The bytes of a read on their way into memory: which of them this read has received.

A block of the buffer pool still holds the bytes of another object. So a read never hands out a block: a `Target` owns
the memory, counts the bytes that this read has filled, and its `result` is the only way to that memory. A target with
a gap has no result. A read of a batch is itself a target, since another Python object for each small object would cost
2 % of the instructions; other reads have a `Buffer`.

The bytes of a result are those of one answer, or of several answers of one version of the object:

- An answer fills a target front to back. Whatever begins the object anew calls `begin`, which drops the bytes of the
  failed try before it.
- An answer continues another one only if both name the same version (`continues`).
- `Parts` is the target of a read that is split. Its parts follow each other without a gap, each is filled by itself,
  and all of them must be of one version.
"""

from __future__ import annotations

from s3dlio.errors import IntegrityError
from s3dlio.memory.buffers import lease


class Target:
    """Memory for bytes that follow each other in an object. It is filled front to back.

    Attributes:
        size: bytes that belong here.
        filled: bytes that this read has received.
    """

    __slots__ = ()  # those of a class that is a target, which mypy cannot know
    _memory: memoryview
    size: int
    filled: int

    def room(self, most: int | None = None) -> memoryview:
        """The memory to receive into next. Who has received into it adds the number of bytes to `filled`.

        Args:
            most: bytes at most; None for all that is left.
        """
        return self._memory[self.filled : None if most is None else self.filled + most]

    def take(self, data: memoryview) -> None:
        """Copy the next bytes.

        Raises:
            ValueError: there is no room for so many.
        """
        after = self.filled + len(data)
        self._memory[self.filled : after] = data
        self.filled = after  # type: ignore[misc]

    def received(self, start: int = 0) -> memoryview:
        """The bytes that have come, from one of them on."""
        return self._memory[start : self.filled]

    def result(self) -> memoryview:
        """All bytes of this target.

        Raises:
            IntegrityError: some have not come.
        """
        if self.filled != self.size:
            raise IntegrityError(f"{self.filled} of {self.size} bytes of a read have come: read the object again")
        return self._memory


class Buffer(Target):
    """A target, and the version of the object that its bytes belong to.

    Attributes:
        version: names it; "" if nothing does.
    """

    __slots__ = ("_memory", "filled", "size", "version")

    def __init__(self, memory: memoryview, filled: int = 0) -> None:
        """
        Args:
            memory: a lease, or a slice of one.
            filled: bytes at its beginning that this read has received already.
        """
        self._memory = memory
        self.size = len(memory)
        self.filled = filled
        self.version = ""

    def begin(self, version: str) -> None:
        """Drop what has come: an answer with the first byte is about to fill this target.

        Args:
            version: names the version of the object in that answer; "" if nothing does.
        """
        self.filled = 0
        self.version = version

    def continues(self, version: str) -> bool:
        """Whether an answer of a version may follow the bytes that have come."""
        return self.filled > 0 and version != "" and version == self.version


class Parts:
    """Memory for bytes that are read in several parts, side by side."""

    def __init__(self, size: int) -> None:
        """Lease the memory for `size` bytes."""
        self.size = size
        self._memory = lease(size)
        self._parts: list[Buffer] = []
        self._next = 0

    def part(self, size: int) -> Buffer:
        """The target of the next part, which follows the last one; at most what is left of the whole."""
        part = Buffer(self._memory[self._next : self._next + size])
        self._parts.append(part)
        self._next += part.size
        return part

    def result(self) -> memoryview:
        """All bytes, once every part has come.

        Raises:
            IntegrityError: some have not come, or the parts are not of one version.
        """
        filled = sum(part.filled for part in self._parts)
        if filled != self.size:
            raise IntegrityError(f"{filled} of {self.size} bytes of a read have come: read the object again")
        versions = {part.version for part in self._parts}
        if len(self._parts) > 1 and (len(versions) > 1 or "" in versions):
            raise IntegrityError("the parts of a read are of several versions, or of none: read the object again")
        return self._memory
