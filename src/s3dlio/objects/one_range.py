# SPDX-License-Identifier: Apache-2.0
"""Fetch one range of an object, or the whole object: resumed where an answer is cut off, and checked.

The bytes of a result are those of one answer, or of several answers of one version (`memory.target`). These rules
ensure that:

- An answer is accepted for the bytes that it names: without a Content-Range those are all bytes of the object, whatever
  was asked for; with one they are the bytes of that range, whatever the status. They must be the range that was asked
  for.
- The next answer that does not continue a failed try drops everything that belongs to that try: its bytes, their
  checksum, the size and the version. An answer that carries no object (a 503, for example) neither adds nor drops
  anything.
- Only a strong validator names a version. An object without one is fetched by a single request, which starts over if it
  is cut off.
- A version has one size. An answer that names the version of an earlier answer but another size (the rest of the object
  sent as if it were the whole) is an error.
- What an answer does not tell is asked for: if a 416 does not prove that the object ends before the range, the object
  itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol

from s3dlio.errors import IntegrityError, S3dlioError, add_endpoint
from s3dlio.http.address import Address
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import Expected
from s3dlio.memory.target import Buffer
from s3dlio.objects.request import Begun, Request, Service, send
from s3dlio.settings import Settings
from s3dlio.uri import URI

TargetFor = Callable[[int, int], Buffer]
"""Called with the size of the whole object and the length of an answer's body; returns the target for that body."""

_CONTENT_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] +([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_UNSATISFIED_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] +\*/([0-9]{1,19})")
_WITH_OBJECT = frozenset({200, 206})  # statuses of answers whose body is the object or a part of it


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
        """Raise ObjectNotFoundError if an object that turned out to be empty is a folder (see `CloudStore`)."""

    async def size_now(self, uri: URI) -> int:
        """Ask the service for the size of the object."""


class Replaced(Exception):
    """The object is no longer the version whose first part was read."""

    def __init__(self, uri: URI) -> None:
        super().__init__(f"{uri.text} was replaced while it was read")
        self.uri = uri.text


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


async def fetch(
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
    request = read.request_for(version, start, stop)
    if begun is not None:
        read.adopt(begun.target)
        request.credential = begun.credential
    response = await send(store.service(), request, begun)
    if response.head.status != 416 or (not start and stop is None):
        try:
            part = read.result(response)
        except S3dlioError as error:
            add_endpoint(error, response.address.url)
            raise
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
    return await _fetch_although_refused(store, uri, start, stop, target_for, response.address)


async def _fetch_although_refused(
    store: RangeStore, uri: URI, start: int, stop: int | None, target_for: TargetFor | None, refused_by: Address
) -> Part | None:
    """Fetch a range that the server refused with 416 without proof that the object ends before the range."""
    if start:
        size = await store.size_now(uri)
        if size <= start:
            return None
        raise IntegrityError(
            f"{uri.text} at {refused_by.url}: the server refused the range from byte {start} on, although the object"
            f" has {size} bytes; check that the server supports range requests",
            uri=uri.text,
            endpoint=refused_by.url,
        )
    whole = await fetch(store, uri, 0, None)
    assert whole is not None  # None is the result for ranges only
    if target_for is None or not whole.size:
        return whole if whole.size else None
    data = whole.data[:stop]
    target = target_for(whole.size, len(data))
    target.begin(whole.version)
    target.take(data)
    return whole._replace(target=target)


class _RangeRead:
    """One range of an object while it is fetched: what is asked for, and how much of it has arrived.

    An exchange calls `_receive` with the head of each answer, and `_update_checksum` with each piece of its body.
    `send` calls `_resume` after an answer that was cut off, and `fetch` calls `result` with the last answer.

    `_target` is None, or holds the bytes of answers of one version that follow each other from the beginning of the
    range. `_size` and `_expected` belong to these bytes.
    """

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
        self._named: tuple[str, int] | None = None  # the last version that an answer named, and its size

    # Asking...

    def adopt(self, target: Buffer | None) -> None:
        """Use the target that a batched read has filled after the head that comes next."""
        self._adopted = target

    @property
    def has_begun(self) -> bool:
        """Whether some of the range has arrived."""
        return self._target is not None and self._target.filled > 0

    def request_for(self, version: str | None, start: int, stop: int | None) -> Request:
        """The request for a range of one version, or of any; without a Range field if that is the whole object."""
        request = self._store.read_request(self._uri, version)
        if start or stop is not None:
            request.add("Range", f"bytes={start}-{'' if stop is None else stop - 1}")
        request.receive, request.resume = self._receive, self._resume
        if self._verify:
            request.observe = self._update_checksum
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
            rest = self.request_for(target.version, self._start + target.filled, self._start + target.size)
            rest.done, rest.left = target.filled, target.size - target.filled
            return rest
        self._target = None
        return self.request_for(self._wanted, self._start, self._stop)

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
        if target is not None and self._continues(head):
            if size != self._size or length != target.size - target.filled:
                raise Replaced(self._uri)
            return target
        # This answer starts the range over, so nothing of the tries before may remain.
        self._target = None
        ends_before = self._start > 0 and size <= self._start  # the object, before the range
        if not ends_before:
            if "content-range" in head.headers:
                is_wanted = begins == self._start and begins + length == min(self._stop or size, size)
            else:
                is_wanted = not self._start  # a server without ranges sends the whole object
            if not is_wanted:
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
        if self._named is not None and self._named[0] == version and self._named[1] != size:
            raise IntegrityError(
                f"{self._uri.text}: the server gave one version ({version}) two sizes, {self._named[1]} and {size}"
                " bytes; read the object again, and check the proxies on the way to the server",
                uri=self._uri.text,
            )
        self._named = version, size

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
                f"{self._uri.text}: the server sent a partial answer without a valid Content-Range; check that the"
                " server supports range requests",
                uri=self._uri.text,
            )
        first, last, size = named
        if length != last + 1 - first:
            raise IntegrityError(
                f"{self._uri.text}: the answer has {length} bytes, but its Content-Range names {last + 1 - first};"
                " read the object again, and check the proxies on the way to the server",
                uri=self._uri.text,
            )
        return first, size

    def _update_checksum(self, piece: memoryview) -> None:
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
            if self._start > 0 and self._size <= self._start:
                return None
            if self._expected is not None:
                compare(self._uri, self._expected)
            return Part(self._target, self._size, self._target.version, head)
        if head.status in self._store.version_gone and (self._wanted is not None or self.has_begun):
            raise Replaced(self._uri)
        raise self._store.refusal(response, self._uri.text)

    def _take_unsized(self, response: Response) -> None:
        """Take the body of an answer that did not announce its length."""
        if response.head.body is not BodyKind.CHUNKED:
            raise IntegrityError(
                f"{self._uri.text}: the answer has no length and ends with the connection, so it may be cut short;"
                " check the server, and the proxies on the way to it",
                uri=self._uri.text,
            )
        try:
            target = self._prepare_target(response.head, len(response.body))
        except (MemoryError, OverflowError):
            raise S3dlioError(
                f"{self._uri.text}: no memory for an object of the size that the answer states"
                f" ({response.head.headers.get('content-range', '')!r:.80})",
                uri=self._uri.text,
            ) from None
        target.take(response.body)
        self._update_checksum(response.body)


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


def compare(uri: URI, expected: Expected) -> None:
    """Raise IntegrityError if the bytes that arrived do not have the checksum that the server sent."""
    if not expected.is_met():
        raise mismatch(uri.text, expected)


def mismatch(uri: str, expected: Expected) -> IntegrityError:
    """The error for bytes that do not have the checksum that the server sent."""
    return IntegrityError(
        f"{uri}: the bytes received do not have the {expected.name} that the server sent with them; read the"
        " object again, and check the network and the server's disks",
        uri=uri,
    )


def ignored_range(uri: URI, start: int, length: int) -> IntegrityError:
    """The error for an answer with other bytes than were asked for."""
    return IntegrityError(
        f"{uri.text}: the server sent {length} bytes of another range than the one asked for, from byte {start} on;"
        " check that the server supports range requests",
        uri=uri.text,
    )
