# SPDX-License-Identifier: Apache-2.0
"""Read an object, or a range of it: in parts if it is large, or in chunks.

No HEAD is sent. The first request asks for the first part, and its answer tells the size and the version of the whole
object. The memory for the whole is leased then, and the other parts are fetched side by side into it, each on the
condition that the version is still the same. If the version has changed, the object was replaced meanwhile (`Replaced`)
and is read again from the start. If no version is named, one request has to fetch everything.

Chunks are returned one after the other. Once the caller has one of them, the object cannot be read again from the
start: if the object is replaced then, the read fails.

`one_range` fetches each part, and has the rules by which answers are accepted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from s3dlio.errors import IntegrityError
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import Expected
from s3dlio.memory.target import Buffer, Parts
from s3dlio.objects.one_range import Part, RangeStore, Replaced, compare, fetch, ignored_range
from s3dlio.objects.request import Begun
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation
from s3dlio.settings import MIB
from s3dlio.uri import URI

T = TypeVar("T")

_TIMES_REPLACED = 20  # a read fails if the object is replaced during each of this many tries


# Whole reads...


# This function only makes the coroutine: an additional coroutine costs a `get` of a small object 1 % more instructions.
def read(store: RangeStore, uri: URI, offset: int = 0, length: int | None = None) -> Operation[memoryview]:
    """Read the object, or a range of it, in parts if it is large.

    A length of None stands for all bytes that follow. The result is shorter if the object ends before.
    """
    if length == 0:
        return _no_bytes(store, uri, offset)
    stop = None if length is None else offset + length
    return _consistent(lambda: _read(store, uri, offset, stop))


async def read_unsplit(store: RangeStore, uri: URI, begun: Begun | None = None) -> memoryview:
    """Read the whole object by one request, which a batched read may have begun."""
    try:
        part = await fetch(store, uri, 0, None, begun=begun)
    except Replaced:
        return await _consistent(lambda: _read(store, uri, 0, None, split=False))
    return lease(0) if part is None else part.data


async def _no_bytes(store: RangeStore, uri: URI, offset: int) -> memoryview:
    """Return no bytes, after checking that the object exists."""
    return (await read(store, uri, offset, 1))[:0]


async def _consistent(read: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Call `read` again each time that the object was replaced meanwhile.

    Raises:
        IntegrityError: the object was replaced in each of `_TIMES_REPLACED` attempts.
    """
    for _ in range(_TIMES_REPLACED):
        try:
            return await read()
        except Replaced as error:
            replaced, uri = str(error), error.uri  # not the error: its traceback would be a cycle that keeps the target
    raise IntegrityError(
        f"{replaced}, in each of {_TIMES_REPLACED} attempts; read it again when its writers have finished",
        uri=uri,
    )


async def _read(store: RangeStore, uri: URI, start: int, stop: int | None, *, split: bool = True) -> memoryview:
    """Bytes [start, stop) of the object, or those up to its end; unless `split`, in one request.

    Raises:
        Replaced: the object was replaced between two parts.
    """
    parts: Parts | None = None  # the memory for the whole range, if the answer to the first request is a part of it

    def target_for(size: int, length: int) -> Buffer:
        nonlocal parts
        end = size if stop is None else min(stop, size)
        if length > end - start:
            raise ignored_range(uri, start, length)
        parts = None
        if length == end - start:
            return Buffer(lease(length))
        parts = Parts(end - start)
        return parts.part(length)

    settings = store.settings
    part_size = int(settings.get_part_mb * MIB)
    first = await fetch(store, uri, start, _end(start, part_size, stop) if split else stop, target_for=target_for)
    if first is None:
        return lease(0)
    if parts is None:
        return first.data
    if not first.version:
        # Nothing shows that two answers belong together, so one request has to fetch all of it.
        whole = await fetch(store, uri, start, stop, target_for=target_for)
        if whole is None:
            raise Replaced(uri)
        return whole.data
    offsets = range(first.target.size, parts.size, part_size)
    others = [(start + offset, parts.part(part_size)) for offset in offsets]
    await Gather((_fetch_part(store, uri, at, target, first) for at, target in others), settings.parts_in_flight)
    result = parts.result()
    if start == 0 and len(result) == first.size and (expected := _to_check(store, first)) is not None:
        expected.update(result)
        compare(uri, expected)
    return result


def _end(start: int, most: int, stop: int | None) -> int:
    """Where a part of at most `most` bytes ends in a range that ends at `stop`, or with the object."""
    return start + most if stop is None else min(stop, start + most)


async def _fetch_part(store: RangeStore, uri: URI, start: int, target: Buffer, first: Part) -> None:
    """Fill one part of an object, from the version of its first part."""

    def target_for(size: int, length: int) -> Buffer:
        if size != first.size or length != target.size:
            raise Replaced(uri)
        return target

    if await fetch(store, uri, start, start + target.size, first.version, target_for) is None:
        raise Replaced(uri)


# Chunks...


async def chunks(
    store: RangeStore, uri: URI, size: int, offset: int = 0, length: int | None = None
) -> AsyncGenerator[memoryview, None]:
    """Read the object, or a range of it, in chunks that all belong to one version of the object.

    A chunk has at most `size` bytes, and is valid until the next one is requested. A length of None stands for all
    bytes that follow.

    Raises:
        IntegrityError: the object was replaced after some of its chunks had been returned.
    """
    wanted = None if length is None else offset + length
    first = await _consistent(lambda: fetch(store, uri, offset, _end(offset, size, wanted)))
    if first is None:
        return
    data = first.data
    stop = first.size if wanted is None else min(wanted, first.size)
    if offset + len(data) < stop and not first.version:
        # Nothing shows that two answers belong together, so one request has to fetch all of it.
        data = await _consistent(lambda: _read(store, uri, offset, wanted, split=False))
        stop = offset + len(data)
    # The chunks of a whole object are verified together; `fetch` has verified an object that came in one answer.
    is_whole = offset == 0 and stop == first.size and len(data) < stop
    expected = _to_check(store, first) if is_whole else None
    if expected is not None:
        expected.update(data)
    for start in range(0, min(len(data), stop - offset), size):
        yield data[start : min(start + size, stop - offset)]
    for start in range(offset + len(data), stop, size):
        piece = await _fetch_piece(store, uri, start, _end(start, size, stop), first)
        if piece is None:
            raise IntegrityError(
                f"{uri.text} was replaced while it was read, after {start - offset} of {stop - offset} bytes;"
                " read the object again",
                uri=uri.text,
            )
        if expected is not None:
            expected.update(piece)
            if start + size >= stop:
                compare(uri, expected)
        yield piece


async def _fetch_piece(store: RangeStore, uri: URI, start: int, stop: int, first: Part) -> memoryview | None:
    """Fetch a range from the version of the first part; None if the object has been replaced."""
    try:
        piece = await fetch(store, uri, start, stop, first.version)
    except Replaced:
        return None
    return piece.data if piece is not None and piece.size == first.size else None


# Sizes...


class _SizeKnown(Exception):
    """The head of an answer has told the size of the object; its body is not needed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


async def size_by_range(store: RangeStore, uri: URI, version: str) -> int:
    """The size of the object in a version, "" for any, as the answer to a request for its first byte tells it.

    Raises:
        IntegrityError: the object is another version.
    """

    def target_for(size: int, length: int) -> Buffer:
        if length > 1:
            raise _SizeKnown(size)
        return Buffer(lease(length))

    try:
        part = await _consistent(lambda: fetch(store, uri, 0, 1, target_for=target_for))
    except _SizeKnown as known:
        return known.size
    if part is None:
        return 0
    if version and part.version and part.version != version:
        raise IntegrityError(f"{uri.text} was replaced between two requests for its size; try again", uri=uri.text)
    return part.size


def _to_check(store: RangeStore, first: Part) -> Expected | None:
    """The checksum that the parts of an object have to meet together; None to check nothing."""
    return store.whole_checksum(first.head) if store.settings.verify_get else None
