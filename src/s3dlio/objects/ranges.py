# SPDX-License-Identifier: Apache-2.0
"""Read an object, or a range of it: in parts, resumed where an answer is cut off, and verified.

No HEAD is sent. The first request asks for the first part, and its answer tells the size and the version of the whole
object. The memory for the whole is leased then, and the other parts are fetched side by side into it, each on the
condition that the version is still the same. If the version has changed, the object was replaced meanwhile (`Replaced`)
and is read again from the start. A part that is cut off is continued from where it stopped, on the same condition.

The bytes that a read returns are therefore those of one answer, or of several answers of one version
(`memory.target`). These rules ensure that:

- An answer is accepted for the bytes that it names: without a Content-Range those are all bytes of the object, whatever
  was asked for; with one they are the bytes of that range, whatever the status. They must be the range that was asked
  for.
- The next answer that does not continue a failed try drops everything that belongs to that try: its bytes, their
  checksum, the size and the version. An answer that carries no object (a 503, for example) neither adds nor drops
  anything.
- Only a strong validator names a version. An object without one is read by a single request, which starts over if it is
  cut off. If the caller has already received pieces of the object, the read fails instead.
- A version has one size. An answer that names the version of an earlier answer but another size (the rest of the object
  sent as if it were the whole) is an error.
- What an answer does not tell is asked for: the size if the answer to a HEAD has no length, and the object itself if a
  416 does not prove that the object ends before the range.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from s3dlio.errors import IntegrityError, S3dlioError
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import Expected
from s3dlio.memory.target import Buffer, Parts
from s3dlio.objects.request import Begun, Request, Service, send
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation
from s3dlio.settings import MIB, Settings
from s3dlio.uri import URI

T = TypeVar("T")

TargetFor = Callable[[int, int], Buffer]
"""Called with the size of the whole object and the length of an answer's body; returns the target for that body."""

_CONTENT_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] +([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_UNSATISFIED_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] +\*/([0-9]{1,19})")
_WITH_OBJECT = frozenset({200, 206})  # statuses of answers whose body is the object or a part of it
_TIMES_REPLACED = 20  # reading fails if the object is replaced this many times in a row


class RangeStore(Protocol):
    """What a read needs from the store that holds the object.

    Attributes:
        settings: those of this call.
        version_gone: statuses by which the service refuses a request for a version that no longer exists.
    """

    settings: Settings
    version_gone: ClassVar[frozenset[int]]

    def service(self) -> Service:
        """Where requests go."""

    def require_key(self, uri: URI) -> None:
        """Raise InvalidURIError if the URI names a bucket instead of an object."""

    def read_request(self, uri: URI, version: str | None) -> Request:
        """A request for the whole object, or, if a version is given, for that version of the object only."""

    def version_of(self, head: ResponseHead) -> str:
        """The version of the object that an answer carries; "" if the answer does not name one."""

    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        """The checksum of the whole object, if the answer carries one."""

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        """The error for an answer with an unexpected status."""

    def unsatisfied_size(self, response: Response) -> int | None:
        """The size of the object, if an answer with status 416 tells it."""

    async def check_empty(self, uri: URI, head: ResponseHead | None) -> None:
        """Raise ObjectNotFoundError if an object that turned out to be empty is a folder.

        Args:
            uri: the object.
            head: of the answer; None if that answer does not show whether the object is a folder.
        """

    async def size_now(self, uri: URI) -> int:
        """Ask the service for the size of the object."""


class Replaced(Exception):
    """The object is no longer the version whose first part was read."""

    def __init__(self, uri: URI) -> None:
        super().__init__(f"{uri.text} was replaced while it was read")


class _SizeKnown(Exception):
    """The head of an answer has told the size of the object; its body is not needed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class Part(NamedTuple):
    """The result of a request for a range of an object.

    Attributes:
        target: holds the bytes of the range, fewer if the object ends before.
        size: bytes of the whole object.
        version: requests that name it get the same version of the object; "" if the answer named none.
        head: the answer's head.
    """

    target: Buffer
    size: int
    version: str
    head: ResponseHead

    @property
    def data(self) -> memoryview:
        """The bytes."""
        return self.target.result()


# Whole reads...


# This function only makes the coroutine: an additional coroutine costs a `get` of a small object 1 % more instructions.
def read(store: RangeStore, uri: URI, offset: int = 0, length: int | None = None) -> Operation[memoryview]:
    """Read the object, or a range of it, in parts if it is large.

    Args:
        store: holds the object.
        uri: the object.
        offset: first byte.
        length: bytes of the range; None for all that follow. The result is shorter if the object ends before.
    """
    if length == 0:
        return _no_bytes(store, uri, offset)
    stop = None if length is None else offset + length
    return _consistent(lambda: _read(store, uri, offset, stop))


async def read_unsplit(store: RangeStore, uri: URI, begun: Begun | None = None) -> memoryview:
    """Read the whole object by one request.

    Args:
        store: holds the object.
        uri: the object.
        begun: what a batched read has already done for this object; None to start from nothing.
    """
    try:
        part = await _fetch(store, uri, 0, None, begun=begun)
    except Replaced:
        return await _consistent(lambda: _read(store, uri, 0, None, split=False))
    return lease(0) if part is None else part.data


async def _no_bytes(store: RangeStore, uri: URI, offset: int) -> memoryview:
    """Return no bytes, after checking that the object exists."""
    return (await read(store, uri, offset, 1))[:0]


async def _consistent(read: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Read again each time that the object was replaced meanwhile.

    Raises:
        IntegrityError: it was replaced during each of many tries.
    """
    for _ in range(_TIMES_REPLACED):
        try:
            return await read()
        except Replaced as error:
            replaced = error
    raise IntegrityError(f"{replaced}: it was replaced again each of {_TIMES_REPLACED} times it was read")


async def _read(store: RangeStore, uri: URI, start: int, stop: int | None, *, split: bool = True) -> memoryview:
    """Bytes [start, stop) of the object, or those up to its end.

    Args:
        store, uri: the object.
        start, stop: the range; stop None for everything from `start` on.
        split: read a large range in parts; otherwise in one request.

    Raises:
        Replaced: the object was replaced between two parts.
    """
    parts: Parts | None = None

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
    first_stop = stop if not split else start + part_size if stop is None else min(stop, start + part_size)
    first = await _fetch(store, uri, start, first_stop, target_for=target_for)
    if first is None:
        return lease(0)
    if parts is None:
        return first.data
    if not first.version:
        # Nothing shows that two answers belong together, so one request has to fetch all of it.
        whole = await _fetch(store, uri, start, stop, target_for=target_for)
        if whole is None:
            raise Replaced(uri)
        return whole.data
    offsets = range(first.target.size, parts.size, part_size)
    others = [(start + offset, parts.part(part_size)) for offset in offsets]
    await Gather((_fetch_part(store, uri, at, target, first) for at, target in others), settings.parts_in_flight)
    result = parts.result()
    if start == 0 and len(result) == first.size and (expected := _to_check(store, first)) is not None:
        expected.update(result)
        _compare(uri, expected)
    return result


async def _fetch_part(store: RangeStore, uri: URI, start: int, target: Buffer, first: Part) -> None:
    """Fill one part of an object, from the version of its first part."""

    def target_for(size: int, length: int) -> Buffer:
        if size != first.size or length != target.size:
            raise Replaced(uri)
        return target

    if await _fetch(store, uri, start, start + target.size, first.version, target_for) is None:
        raise Replaced(uri)


# Pieces...


async def chunks(
    store: RangeStore, uri: URI, size: int, offset: int = 0, length: int | None = None
) -> AsyncGenerator[memoryview, None]:
    """The object, or a range of it, in pieces of at most `size` bytes, all of one version of the object.

    A piece is valid until the next one is asked for.

    Raises:
        IntegrityError: the object was replaced after pieces of it had been handed out.
    """
    wanted = None if length is None else offset + length
    first_stop = offset + size if wanted is None else min(offset + size, wanted)
    first = await _consistent(lambda: _fetch(store, uri, offset, first_stop))
    if first is None:
        return
    data = first.data
    stop = first.size if wanted is None else min(wanted, first.size)
    if offset + len(data) < stop and not first.version:
        data = await _consistent(lambda: _read(store, uri, offset, wanted, split=False))
        stop = offset + len(data)
    # An object that came in one answer has been verified already.
    in_pieces = offset == 0 and stop == first.size and len(data) < stop
    expected = _to_check(store, first) if in_pieces else None
    if expected is not None:
        expected.update(data)
    for start in range(0, min(len(data), stop - offset), size):
        yield data[start : min(start + size, stop - offset)]
    for start in range(offset + len(data), stop, size):
        try:
            part = await _fetch(store, uri, start, min(stop, start + size), first.version)
        except Replaced:
            part = None
        if part is None or part.size != first.size:
            raise IntegrityError(
                f"{uri.text} was replaced while it was copied, after {start - offset} of {stop - offset} bytes;"
                " copy it again",
                uri=uri.text,
            )
        data = part.data
        if expected is not None:
            expected.update(data)
            if start + size >= stop:
                _compare(uri, expected)
        yield data


async def size_by_range(store: RangeStore, uri: URI, version: str) -> int:
    """The size of the object, as the answer to a request for its first byte tells it.

    Args:
        store, uri: the object.
        version: the version whose size is wanted; "" for any.

    Raises:
        IntegrityError: the object is another version.
    """

    def target_for(size: int, length: int) -> Buffer:
        if length > 1:
            raise _SizeKnown(size)
        return Buffer(lease(length))

    try:
        part = await _consistent(lambda: _fetch(store, uri, 0, 1, target_for=target_for))
    except _SizeKnown as known:
        return known.size
    if part is None:
        return 0
    if version and part.version and part.version != version:
        raise IntegrityError(f"{uri.text} was replaced while it was looked at; ask again", uri=uri.text)
    return part.size


# One range...


async def _fetch(
    store: RangeStore,
    uri: URI,
    start: int,
    stop: int | None,
    version: str | None = None,
    target_for: TargetFor | None = None,
    begun: Begun | None = None,
) -> Part | None:
    """Fetch one range of the object, and continue it where an answer is cut off.

    Args:
        store, uri: the object.
        start, stop: the range; with start 0 and stop None the whole object, without a Range field.
        version: the version that the object must have; None for any.
        target_for: chooses the target for the bytes; None for a new one.
        begun: what a batched read has already done of a request for the whole object.

    Returns:
        The range, or the whole object if the server sends that instead of the range at its beginning. None if the
        object ends before `start`.

    Raises:
        Replaced: the object is not that version, or was replaced before the range was complete.
    """
    store.require_key(uri)
    read = _RangeRead(store, uri, start, stop, version, target_for)
    request = read.asking(version, start, stop)
    if begun is not None:
        read.adopt(begun.target)
        request.credential = begun.credential
    response = await send(store.service(), request, begun)
    if response.head.status != 416 or (not start and stop is None):
        part = read.result(response)
        if part is None or not part.size:
            await store.check_empty(uri, response.head)
        return part
    if version is not None or read.has_begun:
        raise Replaced(uri)
    size = store.unsatisfied_size(response)
    if size is not None and size <= start:
        if not size:
            await store.check_empty(uri, None)
        return None
    return await _fetch_although_refused(store, uri, start, stop, target_for)


async def _fetch_although_refused(
    store: RangeStore, uri: URI, start: int, stop: int | None, target_for: TargetFor | None
) -> Part | None:
    """Fetch a range that the server refused with 416 without proof that the object ends before the range."""
    if start:
        size = await store.size_now(uri)
        if size <= start:
            return None
        raise IntegrityError(
            f"{uri.text}: the server says that the bytes from {start} on do not exist, and that the object has"
            f" {size}; check that it knows ranges",
            uri=uri.text,
        )
    whole = await _fetch(store, uri, 0, None)
    assert whole is not None  # None is the result for ranges only
    if target_for is None or not whole.size:
        return whole if whole.size else None
    data = whole.data[:stop]
    target = target_for(whole.size, len(data))
    target.begin(whole.version)
    target.take(data)
    return whole._replace(target=target)


class _RangeRead:
    """One range of an object while it is fetched: what is asked for, and how much of it has arrived."""

    def __init__(
        self,
        store: RangeStore,
        uri: URI,
        start: int,
        stop: int | None,
        version: str | None,
        target_for: TargetFor | None,
    ) -> None:
        self._store = store
        self._uri = uri
        self._start = start
        self._stop = stop
        self._wanted = version
        self._target_for = target_for
        self._verify = store.settings.verify_get
        self._adopted: Buffer | None = None
        # What has arrived, until an answer starts the range over...
        self._target: Buffer | None = None
        self._size = 0  # of the whole object
        self._expected: Expected | None = None  # the checksum that the server sent, if this range is the whole object
        self._is_object = False  # whether the body that arrives is the object's, not an error document
        self._known: tuple[str, int] | None = None  # the last version that was named, and its size

    # Asking...

    def adopt(self, target: Buffer | None) -> None:
        """Use the target that a batched read has filled after the head that comes next."""
        self._adopted = target

    @property
    def has_begun(self) -> bool:
        """Whether some of the range has arrived."""
        return self._target is not None and self._target.filled > 0

    def asking(self, version: str | None, start: int, stop: int | None) -> Request:
        """The request for a range of one version, or of any; without a Range field if that is the whole object."""
        request = self._store.read_request(self._uri, version)
        if start or stop is not None:
            request.add("Range", f"bytes={start}-{'' if stop is None else stop - 1}")
        request.receive, request.resume = self._receive, self._resume
        if self._verify:
            request.observe = self._take_note
        return request

    def _resume(self, head: ResponseHead) -> Request | None:
        """The request after an answer that was cut off: for the rest, or for the whole range; None for the same one.

        This object holds no reference to its request, because the request holds one to this object: the cycle would
        keep the buffer alive until the garbage collector runs.
        """
        if head.status not in _WITH_OBJECT:
            return None  # the bytes that arrived before are still good
        target = self._target
        if target is not None and target.continues(target.version):
            rest = self.asking(target.version, self._start + target.filled, self._start + target.size)
            rest.done, rest.left = target.filled, target.size - target.filled
            return rest
        self._target = None
        return self.asking(self._wanted, self._start, self._stop)

    # Receiving...

    def _receive(self, head: ResponseHead) -> Buffer | None:
        """The target for an answer's body; None for a body that is not the object's or has no announced length."""
        self._is_object = head.status in _WITH_OBJECT
        if not self._is_object:
            return None
        if head.body is not BodyKind.LENGTH:
            if not self._continues(head):
                self._target = None
            return None
        assert head.length is not None
        return self._prepare_target(head, head.length)

    def _prepare_target(self, head: ResponseHead, length: int) -> Buffer:
        """The target for a body of `length` bytes: the rest of the range, or all of it."""
        version = self._store.version_of(head)
        if self._wanted is not None and version != self._wanted:
            raise Replaced(self._uri)
        begins, size = self._range_of(head, length)
        if version:
            self._check_size(version, size)
        target = self._target
        if target is not None and target.filled and self._continues(head):
            if size != self._size or length != target.size - target.filled:
                raise Replaced(self._uri)
            return target
        self._target = None
        ends_before = size <= self._start and self._start > 0
        if "content-range" in head.headers:
            is_asked = begins == self._start and begins + length == min(self._stop or size, size)
        else:
            is_asked = not self._start
        if not (is_asked or ends_before):
            raise ignored_range(self._uri, self._start, length)
        self._size = size
        self._expected = self._store.whole_checksum(head) if self._verify and length == size else None
        if self._adopted is not None and self._adopted.size == length:
            target = self._adopted
        elif self._target_for is None or ends_before:
            target = Buffer(lease(length))
        else:
            target = self._target_for(size, length)
        target.begin(version)
        self._target = target
        return target

    def _check_size(self, version: str, size: int) -> None:
        """Raise IntegrityError if an earlier answer gave this version another size."""
        if self._known is not None and self._known[0] == version and self._known[1] != size:
            raise IntegrityError(
                f"{self._uri.text}: the server says of one version ({version}) that it has {self._known[1]} bytes,"
                f" and then {size}; read it again, and check what stands between here and the server",
                uri=self._uri.text,
            )
        self._known = version, size

    def _continues(self, head: ResponseHead) -> bool:
        """Whether an answer's body follows the bytes of the range that have arrived.

        Raises:
            Replaced: the body follows them, but belongs to another version.
        """
        target = self._target
        if target is None or not target.filled:
            return False
        named = _named_range(head)
        if named is None or named[0] != self._start + target.filled:
            return False
        if not target.continues(self._store.version_of(head)):
            raise Replaced(self._uri)
        return True

    def _range_of(self, head: ResponseHead, length: int) -> tuple[int, int]:
        """Where a body of `length` bytes begins in the object, and the size of the object."""
        if head.status == 200 and "content-range" not in head.headers:
            return 0, length
        named = _named_range(head)
        if named is None:
            raise IntegrityError(
                f"{self._uri.text}: a partial answer without a proper Content-Range", uri=self._uri.text
            )
        first, last, size = named
        if length != last + 1 - first:
            raise IntegrityError(
                f"{self._uri.text}: the answer has {length} bytes, and its Content-Range says {last + 1 - first}",
                uri=self._uri.text,
            )
        return first, size

    def _take_note(self, piece: memoryview) -> None:
        """Add bytes that have just arrived to the checksum, while they are in the processor's cache."""
        if self._expected is not None and self._is_object:
            self._expected.update(piece)

    # The result...

    def result(self, response: Response) -> Part | None:
        """The range, once its last answer has arrived; None if the object ends before it."""
        head = response.head
        if head.status in _WITH_OBJECT:
            if head.body is not BodyKind.LENGTH:
                self._take_unsized(response)
            assert self._target is not None
            if self._size <= self._start and self._start:
                return None
            if self._expected is not None:
                _compare(self._uri, self._expected)
            return Part(self._target, self._size, self._target.version, head)
        if head.status in self._store.version_gone and (self._wanted is not None or self.has_begun):
            raise Replaced(self._uri)
        raise self._store.refusal(response, self._uri.text)

    def _take_unsized(self, response: Response) -> None:
        """Take the body of an answer that did not announce its length."""
        if response.head.body is not BodyKind.CHUNKED:
            raise IntegrityError(
                f"{self._uri.text}: the answer tells neither its length nor its end, so it may be cut short",
                uri=self._uri.text,
            )
        try:
            target = self._prepare_target(response.head, len(response.body))
        except (MemoryError, OverflowError):
            raise S3dlioError(
                f"{self._uri.text}: the object is said to have more bytes than there is memory for"
                f" ({response.head.headers.get('content-range', '')!r:.80})",
                uri=self._uri.text,
                endpoint=response.address.url,
            ) from None
        target.take(response.body)
        self._take_note(response.body)


# What answers tell...


def _named_range(head: ResponseHead) -> tuple[int, int, int] | None:
    """The first and the last byte that an answer says it carries, and the size of the object; None if the answer has no
    valid Content-Range. An answer with several ranges names none of them in its head (RFC 9110, section 15.3.7).
    """
    match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    if match is None or head.headers.get("content-type", "").lower().startswith("multipart/byteranges"):
        return None
    first, last, size = map(int, match.groups())
    at_end = first == last + 1 == size  # the empty range after the last byte, which Azurite sends instead of a 416
    return (first, last, size) if first <= last < size or at_end else None


def unsatisfied_size(head: ResponseHead) -> int | None:
    """The size of the object as an answer with status 416 tells it (RFC 9110, section 15.5.17); None if it does not."""
    match = _UNSATISFIED_RANGE.fullmatch(head.headers.get("content-range", ""))
    return int(match[1]) if match is not None else None


def _to_check(store: RangeStore, first: Part) -> Expected | None:
    return store.whole_checksum(first.head) if store.settings.verify_get else None


def _compare(uri: URI, expected: Expected) -> None:
    """Raise IntegrityError if the bytes that arrived do not have the checksum that the server sent."""
    if not expected.is_met():
        raise mismatch(uri.text, expected)


def mismatch(uri: str, expected: Expected) -> IntegrityError:
    """The error for bytes that do not have the checksum that the server sent."""
    return IntegrityError(
        f"{uri}: the bytes received do not have the {expected.name} that the server sent with them; read it again,"
        " and check the network and the server's disks",
        uri=uri,
    )


def ignored_range(uri: URI, start: int, length: int) -> IntegrityError:
    """The error for an answer with other bytes than were asked for."""
    return IntegrityError(
        f"{uri.text}: asked for a range from byte {start} on, the server sent another one, of {length} bytes;"
        " it may not know ranges",
        uri=uri.text,
    )
