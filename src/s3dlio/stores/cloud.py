# SPDX-License-Identifier: Apache-2.0
"""What all object stores share: how an object is read in parts and resumed, and written in parts.

A protocol's store derives from `CloudStore` and says only what its requests look like and what their answers mean.

Reading. There is no HEAD. The first request asks for the first part; its answer tells the size of the whole object and
its version. The memory for the whole is taken then, and the other parts are fetched side by side straight into
their places, each on the condition that the version is still the same. If it is not, the object was replaced
meanwhile: it is read again from the start. A part that is cut off is continued from where it stopped, on the same
condition. So the bytes that a read returns are those of one answer, or of several answers of one version
(`memory.target`):

- An answer is accepted for the bytes that it names: all of them without a Content-Range, whatever was asked for;
  otherwise those of its Content-Range, whatever its status, and they have to be the very range that was asked for.
- What belongs to a failed try (its bytes, their checksum, the size, the version) is dropped by the next answer that
  does not continue it. An answer that carries no object (503, for one) neither adds to them nor drops them.
- A version is named by a strong validator. Without one an object is read by one request, begun again if it is cut off.
  A caller who has been given pieces of it already gets an error instead.
- A version has one size. An answer that names the version of an earlier one and another size (the rest of the object,
  sent as if it were the whole) is an error.
- What an answer does not say is asked for: the size where a HEAD has no length, the object itself where a 416 does not
  show that it ends before the range.

Writing. Up to a threshold an object is one request. Beyond it, it goes in equal parts, side by side, from the caller's
memory, which must not change meanwhile (a writer copies what it is given); the store makes them one object in the end,
or is told to forget them. A part that fails is sent again alone.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

from s3dlio import settings as settings_module
from s3dlio.errors import IntegrityError, InvalidURIError, S3dlioError
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.buffers import lease
from s3dlio.memory.checksums import Expected
from s3dlio.memory.target import Buffer, Parts
from s3dlio.objects.batched import Begun
from s3dlio.objects.batched_get import Read
from s3dlio.objects.request import Request, StoreService, send
from s3dlio.runtime.group import Gather
from s3dlio.runtime.operation import Operation, Stopped
from s3dlio.settings import MIB
from s3dlio.stores.base import ObjectWriter, Store
from s3dlio.stores.dates import UnreadableDateError, date_of
from s3dlio.types import ObjectInfo
from s3dlio.uri import URI

T = TypeVar("T")
AnyService = TypeVar("AnyService", bound=StoreService)

# Given the size of the whole object and the length of the answer, names the target for the answer's body.
Place = Callable[[int, int], Buffer]

_CONTENT_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] +([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_UNSATISFIED_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss] +\*/([0-9]{1,19})")
_STRONG_ETAG = re.compile(r'"[!#-~]+"')
_BARE_ETAG = re.compile(r"[!#-+.-~-]+")  # which some servers send: no quotation mark, no comma
_WITH_OBJECT = frozenset({200, 206})  # answers whose body is the object's, or a part of it
_PARTS_KEPT = 4  # full parts that a writer collects before it sends them together
_LARGEST_PART = 4 << 30
_TIMES_REPLACED = 20  # an object replaced more often while it is read is an error


class Replaced(Exception):
    """The object is no longer the version whose first part was read."""


class _SizeKnown(Exception):
    """The head of an answer has told how large the object is, and its body is of no use."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class Part(NamedTuple):
    """What an answer to a read tells.

    Attributes:
        target: holds the bytes asked for, as many as there are.
        size: bytes of the whole object.
        version: what a later request names to get the same version; "" if nothing does.
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


class CloudStore(Store, Generic[AnyService]):
    """An object store."""

    blocking = False
    service_class: ClassVar[type[Any]]  # made with the settings that describe it
    most_parts: ClassVar[int]
    version_gone: ClassVar[frozenset[int]] = frozenset({412})  # answers to a request for a version that is no more

    def __init__(self) -> None:
        self._service: AnyService | None = None

    def service(self) -> AnyService:
        """The service as the settings of the moment describe it.

        Raises:
            ConfigurationError: they do not.
        """
        settings = settings_module.current()
        service = self._service
        if service is None or service.settings is not settings:
            service = self._service = self.service_class(settings)
        return service

    # What a protocol says...

    @abc.abstractmethod
    def read_request(self, uri: URI, version: str | None) -> Request:
        """A request for the object, and for that version of it alone if one is given; without a range."""

    @abc.abstractmethod
    def path_of(self, uri: URI) -> str:
        """The path of the object in its container, percent-encoded."""

    def version_of(self, head: ResponseHead) -> str:
        """What names the version of the object that an answer carries: where two answers name the same, their bytes
        belong together. "" if nothing does.

        It is the ETag if that is one strong validator (RFC 9110, section 8.8.1) of visible ASCII characters: any other
        cannot be sent back. A weak one may stand for other bytes, and never matches an If-Match (section 13.1.1).
        """
        etag = head.headers.get("etag", "")
        if _STRONG_ETAG.fullmatch(etag):
            return etag
        return etag if _BARE_ETAG.fullmatch(etag) and not etag.startswith(("W/", "w/")) else ""

    @abc.abstractmethod
    def refusal(self, response: Response, uri: str) -> S3dlioError:
        """The error for an answer that is none of the expected ones."""

    @abc.abstractmethod
    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        """The checksum of the whole object to compare with, if the answer to a read, or to a range of it, has one."""

    @abc.abstractmethod
    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        """Write the object in one request, checked."""

    @abc.abstractmethod
    async def begin_parts(self, uri: URI) -> Any:
        """Begin an object of parts; returns what names the upload."""

    def parts_at_a_time(self, upload: Any) -> int:  # noqa: ARG002
        """How many parts of an upload may be sent side by side; with 1 they are sent in order."""
        return settings_module.current().parts_in_flight

    @abc.abstractmethod
    async def put_part(self, uri: URI, upload: Any, number: int, data: list[memoryview]) -> Any:
        """Write one part, checked, counted from 1; returns what `finish_parts` needs of it."""

    @abc.abstractmethod
    async def finish_parts(self, uri: URI, upload: Any, parts: list[Any], size: int) -> None:
        """Make the parts, in order, one object of `size` bytes."""

    @abc.abstractmethod
    async def drop_parts(self, uri: URI, upload: Any) -> None:
        """Forget an upload."""

    # Reading...

    # These two only make the coroutine: one around it would cost a get of a small object 1 % more instructions. They
    # look at no setting, for the settings of a call are known only while its coroutine runs.

    def get(self, uri: URI) -> Operation[memoryview]:
        return self._consistent(lambda: self._read(uri, 0, None, _get_part()))

    def get_range(self, uri: URI, offset: int, length: int | None) -> Operation[memoryview]:
        if length == 0:
            return self._no_bytes(uri, offset)
        stop = None if length is None else offset + length
        return self._consistent(lambda: self._read(uri, offset, stop, _get_part()))

    async def get_one_of_many(self, uri: URI, begun: Begun | None = None) -> memoryview:
        try:
            part = await self._fetch(uri, 0, None, None, None, begun)
        except Replaced:
            return await self._consistent(lambda: self._read(uri, 0, None, None))
        return lease(0) if part is None else part.data

    def read_one_of_many(
        self,
        uri: URI,
        item: T,
        deliver: Callable[[T, memoryview], None],
        otherwise: Callable[[T, Begun | None], Operation[None]],
    ) -> Read | Operation[None]:
        # Without a key, `otherwise` meets the error, where it can be told.
        return Read(self, uri, item, deliver, otherwise) if uri.key else otherwise(item, None)

    async def _no_bytes(self, uri: URI, offset: int) -> memoryview:
        """None of the bytes of an object, which has to exist."""
        return (await self.get_range(uri, offset, 1))[:0]

    async def chunks(
        self, uri: URI, size: int, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        wanted = None if length is None else offset + length
        first_stop = offset + size if wanted is None else min(offset + size, wanted)
        first = await self._consistent(lambda: self._fetch(uri, offset, first_stop, None, None))
        if first is None:
            return
        data = first.data
        stop = first.size if wanted is None else min(wanted, first.size)
        if offset + len(data) < stop and not first.version:
            data = await self._consistent(lambda: self._read(uri, offset, wanted, None))
            stop = offset + len(data)
        # What came by one request has been checked as a whole already.
        whole = offset == 0 and stop == first.size and len(data) < stop
        expected = self._to_check(first) if whole else None
        if expected is not None:
            expected.update(data)
        for start in range(0, min(len(data), stop - offset), size):
            yield data[start : min(start + size, stop - offset)]
        for start in range(offset + len(data), stop, size):
            try:
                part = await self._fetch(uri, start, min(stop, start + size), first.version, None)
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
                    self.compare(uri, expected)
            yield data

    def _to_check(self, first: Part) -> Expected | None:
        return self.whole_checksum(first.head) if settings_module.current().verify_get else None

    def compare(self, uri: URI, expected: Expected) -> None:
        """Raise IntegrityError if what was received does not have the checksum that the server sent."""
        if not expected.is_met():
            raise self.mismatch(uri.text, expected)

    def mismatch(self, uri: str, expected: Expected) -> IntegrityError:
        """The error for bytes that do not have the checksum that the server sent."""
        return IntegrityError(
            f"{uri}: the bytes received do not have the {expected.name} that the server sent with them; read it again,"
            " and check the network and the server's disks",
            uri=uri,
        )

    async def _consistent(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        for _ in range(_TIMES_REPLACED):
            try:
                return await read()
            except Replaced as error:
                replaced = error
        raise IntegrityError(f"{replaced}: it was replaced again each of {_TIMES_REPLACED} times it was read")

    async def _read(self, uri: URI, start: int, stop: int | None, part: int | None) -> memoryview:
        """Bytes [start, stop) of the object, or up to its end, in parts of `part` bytes, or by one request."""
        wanted: Parts | None = None

        def place(size: int, length: int) -> Buffer:
            nonlocal wanted
            end = size if stop is None else min(stop, size)
            if length > end - start:
                raise self.ignored_range(uri, start, length)
            wanted = None
            if length == end - start:
                return Buffer(lease(length))
            wanted = Parts(end - start)
            return wanted.part(length)

        first_stop = stop if part is None else start + part if stop is None else min(stop, start + part)
        first = await self._fetch(uri, start, first_stop, None, place)
        if first is None:
            return lease(0)
        if wanted is None:
            return first.data
        if not first.version:
            # Nothing to hold the parts together by: all in one request.
            whole = await self._fetch(uri, start, stop, None, place)
            if whole is None:
                raise self._replaced(uri)
            return whole.data
        assert part is not None
        offsets = range(first.target.size, wanted.size, part)
        parts = [(start + offset, wanted.part(part)) for offset in offsets]
        limit = settings_module.current().parts_in_flight
        await Gather((self._fetch_part(uri, at, target, first) for at, target in parts), limit)
        result = wanted.result()
        if start == 0 and len(result) == first.size and (expected := self._to_check(first)) is not None:
            expected.update(result)
            self.compare(uri, expected)
        return result

    async def _fetch_part(self, uri: URI, start: int, target: Buffer, first: Part) -> None:
        """Fill one part of an object, of the version of the first."""

        def place(size: int, length: int) -> Buffer:
            if size != first.size or length != target.size:
                raise self._replaced(uri)
            return target

        if await self._fetch(uri, start, start + target.size, first.version, place) is None:
            raise self._replaced(uri)

    async def _fetch(
        self,
        uri: URI,
        start: int,
        stop: int | None,
        version: str | None,
        place: Place | None,
        begun: Begun | None = None,
    ) -> Part | None:
        """One range of the object, continued where it is cut off.

        Args:
            start, stop: the range; with start 0 and stop None the whole object, without a Range field.
            version: the version it must be, or None for the one that is there.
            place: given the size of the whole object and the length of this answer, names the target for it.
            begun: what has been done already of a request for the whole object.

        Returns:
            The part: the range, or the whole object where the server sends that instead of the range of its
            beginning. None if the object ends before `start`.

        Raises:
            Replaced: the object is not, or no longer, that version.
        """
        self.require_key(uri)
        read = _RangeRead(self, uri, start, stop, version, place)
        request = read.asking(version, start, stop)
        if begun is not None:
            if begun.failure is not None:
                raise begun.failure
            read.adopt(begun.target)
            request.credential = begun.credential
        response = await send(self.service(), request, begun)
        if response.head.status != 416 or (not start and stop is None):
            part = read.result(response)
            if part is None or not part.size:
                await self.check_empty(uri, response.head)
            return part
        if version is not None or read.has_begun:
            raise self._replaced(uri)
        size = self.unsatisfied_size(response)
        if size is not None and size <= start:
            if not size:
                await self.check_empty(uri, None)
            return None
        return await self._fetch_although_refused(uri, start, stop, place)

    async def _fetch_although_refused(self, uri: URI, start: int, stop: int | None, place: Place | None) -> Part | None:
        """A range that the server has refused without showing that the object ends before it."""
        if start:
            size = (await self.facts(uri))["size"]
            if size <= start:
                return None
            raise IntegrityError(
                f"{uri.text}: the server says that the bytes from {start} on do not exist, and that the object has"
                f" {size}; check that it knows ranges",
                uri=uri.text,
            )
        whole = await self._fetch(uri, 0, None, None, None)
        assert whole is not None  # which is for ranges
        if place is None or not whole.size:
            return whole if whole.size else None
        data = whole.data[:stop]
        target = place(whole.size, len(data))
        target.begin(whole.version)
        target.take(data)
        return whole._replace(target=target)

    async def check_empty(self, uri: URI, head: ResponseHead | None) -> None:
        """Raise ObjectNotFoundError if what a read has found to be empty is a folder.

        Args:
            uri: what was read.
            head: of the answer; None if that does not tell.
        """

    def unsatisfied_size(self, response: Response) -> int | None:
        """The size of the object as an answer of 416 tells it (RFC 9110, section 15.5.17); None if it does not."""
        match = _UNSATISFIED_RANGE.fullmatch(response.head.headers.get("content-range", ""))
        return int(match[1]) if match is not None else None

    async def size_of(self, uri: URI, response: Response) -> int:
        """The size of the object that an answer to a HEAD is about, asked for where that answer does not tell it.

        Servers leave out the length of what they would send in chunks, and Ceph that of an empty object.

        Raises:
            IntegrityError: the object was replaced meanwhile.
        """
        head = response.head
        if head.length is not None and "transfer-encoding" not in head.headers:
            return head.length
        return await self.size_by_range(uri, self.version_of(head))

    async def size_by_range(self, uri: URI, version: str) -> int:
        """The size of the object as the answer to a request for its first byte tells it.

        Args:
            uri: the object.
            version: the version that is asked about; "" for any.

        Raises:
            IntegrityError: the object is another version.
        """

        def place(size: int, length: int) -> Buffer:
            if length > 1:
                raise _SizeKnown(size)
            return Buffer(lease(length))

        try:
            part = await self._consistent(lambda: self._fetch(uri, 0, 1, None, place))
        except _SizeKnown as known:
            return known.size
        if part is None:
            return 0
        if version and part.version and part.version != version:
            raise IntegrityError(f"{uri.text} was replaced while it was looked at; ask again", uri=uri.text)
        return part.size

    def ignored_range(self, uri: URI, start: int, length: int) -> IntegrityError:
        """The error for an answer with other bytes than were asked for."""
        return IntegrityError(
            f"{uri.text}: asked for a range from byte {start} on, the server sent another one, of {length} bytes;"
            " it may not know ranges",
            uri=uri.text,
        )

    def _replaced(self, uri: URI) -> Replaced:
        return Replaced(f"{uri.text} was replaced while it was read")

    # Writing...

    async def put(self, uri: URI, data: memoryview) -> None:
        self.require_key(uri)
        if len(data) <= settings_module.current().multipart_threshold_mb * MIB:
            await self.put_whole(uri, [data])
            return
        size = part_size(len(data), self.most_parts)
        upload = await self.begin_parts(uri)
        try:
            parts: list[Any] = [None] * -(-len(data) // size)

            async def put(index: int) -> None:
                parts[index] = await self.put_part(uri, upload, index + 1, [data[index * size : (index + 1) * size]])

            await Gather(map(put, range(len(parts))), self.parts_at_a_time(upload))
            await self.finish_parts(uri, upload, parts, len(data))
        except BaseException:
            await self.drop_parts(uri, upload)
            raise

    def writer(self, uri: URI, size: int | None = None) -> CloudWriter:
        self.require_key(uri)
        return CloudWriter(self, uri, size)

    def require_key(self, uri: URI) -> None:
        """Raise InvalidURIError for the URI of a bucket where an object is needed."""
        if not uri.key:
            raise InvalidURIError(
                f"{uri.text} names a {'container' if uri.scheme == 'az' else 'bucket'}, not an object: add its key",
                uri=uri.text,
            )

    async def mkdir(self, uri: URI) -> None:
        """Nothing: an object store has no folders."""


class _RangeRead:
    """One range of an object on its way: what is asked for, and how much of it has come."""

    def __init__(
        self, store: CloudStore[Any], uri: URI, start: int, stop: int | None, version: str | None, place: Place | None
    ) -> None:
        self._store = store
        self._uri = uri
        self._start = start
        self._stop = stop
        self._wanted = version
        self._place = place
        self._verify = settings_module.current().verify_get
        self._adopted: Buffer | None = None
        # What has come, until an answer begins the range anew...
        self._target: Buffer | None = None
        self._size = 0  # of the whole object
        self._expected: Expected | None = None  # the checksum that the server sent, if this range is the whole object
        self._is_object = False  # whether the answer that comes carries the object, and not an error's text
        self._known: tuple[str, int] | None = None  # the last version that was named, and its size

    # Asking...

    def adopt(self, target: Buffer | None) -> None:
        """Take over what a plain read has received after the head that comes next."""
        self._adopted = target

    @property
    def has_begun(self) -> bool:
        """Whether some of the range has come."""
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
        """The request after an answer that was cut off: for what is left, or for all again; None for the same one.

        This object does not hold its request, which holds this object: as garbage the two would keep their buffer.
        """
        if head.status not in _WITH_OBJECT:
            return None  # what has come of the object is as good as before
        target = self._target
        if target is not None and target.continues(target.version):
            rest = self.asking(target.version, self._start + target.filled, self._start + target.size)
            rest.done, rest.left = target.filled, target.size - target.filled
            return rest
        self._target = None
        return self.asking(self._wanted, self._start, self._stop)

    # Receiving...

    def _receive(self, head: ResponseHead) -> Buffer | None:
        """The target for the body of an answer; None for one that is not the object's, or does not tell its length."""
        self._is_object = head.status in _WITH_OBJECT
        if not self._is_object:
            return None
        if head.body is not BodyKind.LENGTH:
            if not self._continues(head):
                self._target = None
            return None
        assert head.length is not None
        return self._target_for(head, head.length)

    def _target_for(self, head: ResponseHead, length: int) -> Buffer:
        """The target for a body of so many bytes: the rest of the range after what has come of it, or all of it."""
        version = self._store.version_of(head)
        if self._wanted is not None and version != self._wanted:
            raise self._replaced()
        begins, size = self._range_of(head, length)
        if version:
            if self._known is not None and self._known[0] == version and self._known[1] != size:
                raise IntegrityError(
                    f"{self._uri.text}: the server says of one version ({version}) that it has {self._known[1]} bytes,"
                    f" and then {size}; read it again, and check what stands between here and the server",
                    uri=self._uri.text,
                )
            self._known = version, size
        target = self._target
        if target is not None and target.filled and self._continues(head):
            if size != self._size or length != target.size - target.filled:
                raise self._replaced()
            return target
        self._target = None
        ends_before = size <= self._start and self._start > 0
        if "content-range" in head.headers:
            is_asked = begins == self._start and begins + length == min(self._stop or size, size)
        else:
            is_asked = not self._start
        if not (is_asked or ends_before):
            raise self._store.ignored_range(self._uri, self._start, length)
        self._size = size
        self._expected = self._store.whole_checksum(head) if self._verify and length == size else None
        if self._adopted is not None and self._adopted.size == length:
            target = self._adopted
        elif self._place is None or ends_before:
            target = Buffer(lease(length))
        else:
            target = self._place(size, length)
        target.begin(version)
        self._target = target
        return target

    def _continues(self, head: ResponseHead) -> bool:
        """Whether the body of an answer follows what has come of the range.

        Raises:
            Replaced: it does, but it is of another version.
        """
        target = self._target
        if target is None or not target.filled:
            return False
        named = _named_range(head)
        if named is None or named[0] != self._start + target.filled:
            return False
        if not target.continues(self._store.version_of(head)):
            raise self._replaced()
        return True

    def _range_of(self, head: ResponseHead, length: int) -> tuple[int, int]:
        """Where a body of so many bytes begins in the object, and the size of the object."""
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
        """Add what has just come to the checksum, while it is in the cache."""
        if self._expected is not None and self._is_object:
            self._expected.update(piece)

    # What has come of it...

    def result(self, response: Response) -> Part | None:
        """What the last answer makes of it all: the part, or None if the object ends before it."""
        head = response.head
        if head.status in _WITH_OBJECT:
            if head.body is not BodyKind.LENGTH:
                self._take_unsized(response)
            assert self._target is not None
            if self._size <= self._start and self._start:
                return None
            if self._expected is not None:
                self._store.compare(self._uri, self._expected)
            return Part(self._target, self._size, self._target.version, head)
        if head.status in self._store.version_gone and (self._wanted is not None or self.has_begun):
            raise self._replaced()
        raise self._store.refusal(response, self._uri.text)

    def _take_unsized(self, response: Response) -> None:
        """Take the body of an answer that did not tell its length in advance."""
        if response.head.body is not BodyKind.CHUNKED:
            raise IntegrityError(
                f"{self._uri.text}: the answer tells neither its length nor its end, so it may be cut short",
                uri=self._uri.text,
            )
        try:
            target = self._target_for(response.head, len(response.body))
        except (MemoryError, OverflowError):
            raise S3dlioError(
                f"{self._uri.text}: the object is said to have more bytes than there is memory for"
                f" ({response.head.headers.get('content-range', '')!r:.80})",
                uri=self._uri.text,
                endpoint=response.address.url,
            ) from None
        target.take(response.body)
        self._take_note(response.body)

    def _replaced(self) -> Replaced:
        return self._store._replaced(self._uri)


def _named_range(head: ResponseHead) -> tuple[int, int, int] | None:
    """The first and the last byte that an answer says it carries, and the size of the object; None where it does not
    say that as it should. An answer with several ranges names none of them in its head (RFC 9110, section 15.3.7).
    """
    match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    if match is None or head.headers.get("content-type", "").lower().startswith("multipart/byteranges"):
        return None
    first, last, size = map(int, match.groups())
    at_end = first == last + 1 == size  # the empty range after the last byte, which Azurite sends in place of a 416
    return (first, last, size) if first <= last < size or at_end else None


def dated(facts: dict[str, Any], text: str | None, response: Response) -> ObjectInfo:
    """Facts about an object with the date of its last change, which is None if the answer does not tell it.

    Args:
        facts: the others.
        text: the date as the service sent it.
        response: the answer that tells them.

    Raises:
        UnreadableDateError: the answer has a date that cannot be read.
    """
    moment = date_of(text)
    known = cast("ObjectInfo", {**facts, "last_modified": moment})
    if text and moment is None:
        error = UnreadableDateError(
            f"{response.address.url} sent the date {text!r:.60} of the object's last change, which cannot be read",
            endpoint=response.address.url,
        )
        error.facts = known
        raise error
    return known


def facts_of(
    response: Response,
    size: int,
    prefix: str,
    *,
    checksums: dict[str, str],
    storage_class: str | None,
    version: str | None,
) -> ObjectInfo:
    """The facts about an object of a size that the answer to a HEAD gives; user metadata stands in fields with this
    prefix.
    """
    headers = response.head.headers
    facts = {
        "size": size,
        "last_modified": None,
        "etag": headers.get("etag", "").strip('"') or None,
        "content_type": headers.get("content-type"),
        "metadata": {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)},
        "checksums": checksums,
        "storage_class": storage_class,
        "version": version,
    }
    return dated(facts, headers.get("last-modified"), response)


class CloudWriter(ObjectWriter):
    """Writes an object in pieces. Small ones go in one request, others in parts, several at a time.

    Parts are equal but the last where the size is known, which some services insist on. Otherwise they grow.

    A part is copied into a pooled buffer before its checksum is computed and it is sent: another thread or process may
    refill the caller's memory at any time, and a service refuses bytes that do not have the checksum sent with them.
    The copy costs 0.09 ms of CPU time per MiB, a third of what sending takes otherwise. The whole parts of a large
    write are copied when their turn comes, so that a copy of all of it never exists. Only data that is said to be
    constant is sent from where it is.
    """

    def __init__(self, store: CloudStore[Any], uri: URI, size: int | None = None) -> None:
        """
        Args:
            store: the store.
            uri: the object.
            size: bytes that it will have, if known.
        """
        self._store = store
        self._uri = uri
        self._expected = 0 if size is None else size
        self._equal = 0 if size is None else part_size(size, store.most_parts)
        self._upload: Any = None
        self._parts: list[Any] = []
        self._full: list[memoryview] = []  # parts that wait to be sent
        self._buffer: memoryview | None = None
        self._filled = 0
        self._size = 0

    async def write(self, data: memoryview, *, constant: bool = False) -> None:
        try:
            await self._write(data, constant)
        except Stopped:  # here, for the time to undo what was begun is that of the operation that is stopped
            await self.abort()
            raise

    async def close(self) -> None:
        try:
            await self._close()
        except Stopped:
            await self.abort()
            raise

    async def abort(self) -> None:
        self._full, self._buffer, self._filled = [], None, 0
        if self._upload is not None:
            upload, self._upload = self._upload, None
            await self._store.drop_parts(self._uri, upload)

    async def _write(self, data: memoryview, constant: bool) -> None:
        self._size += len(data)
        ready: list[memoryview] = []  # whole parts, in the caller's memory
        while len(data):
            size = self._next_part_size(len(self._full) + len(ready))
            if not self._filled and len(data) >= size:
                ready.append(data[:size])
                data = data[size:]
                continue
            if self._buffer is None:
                self._buffer = lease(size)
            count = min(len(self._buffer) - self._filled, len(data))
            self._buffer[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == len(self._buffer):
                self._full.append(self._buffer)  # before the first that is ready: a buffer is filled up at once
                self._buffer, self._filled = None, 0
        if ready or len(self._full) >= min(_PARTS_KEPT, settings_module.current().parts_in_flight):
            parts, self._full = [*self._full, *ready], []
            await self._send(parts, 0 if constant else len(ready))

    async def _close(self) -> None:
        parts, self._full = self._full, []
        if self._filled:
            assert self._buffer is not None
            parts.append(self._buffer[: self._filled])
            self._buffer, self._filled = None, 0
        if self._upload is None and self._size <= settings_module.current().multipart_threshold_mb * MIB:
            await self._store.put_whole(self._uri, parts)
            return
        await self._send(parts)
        await self._store.finish_parts(self._uri, self._upload, self._parts, self._size)
        self._upload = None

    async def _send(self, parts: list[memoryview], to_copy: int = 0) -> None:
        """Send parts side by side; the last `to_copy` of them are copied first."""
        if self._upload is None:
            self._upload = await self._store.begin_parts(self._uri)
        first = len(self._parts)
        self._parts += [None] * len(parts)

        async def put(index: int) -> None:
            part = parts[index] if index < len(parts) - to_copy else _copied(parts[index])
            self._parts[first + index] = await self._store.put_part(self._uri, self._upload, first + index + 1, [part])

        await Gather(map(put, range(len(parts))), self._store.parts_at_a_time(self._upload))

    def _next_part_size(self, waiting: int) -> int:
        """Parts of an object of known size are equal. Others double in size each tenth of the most there may be, so
        that terabytes fit; so do those that come beyond the size.
        """
        number = len(self._parts) + waiting
        if number * self._equal < self._expected:
            return self._equal
        growing = min(_LARGEST_PART, _first_part_size() << (number * 10 // self._store.most_parts))
        return max(growing, self._equal)


def _copied(data: memoryview) -> memoryview:
    """A copy in pooled memory."""
    copy = lease(len(data))
    copy[:] = data
    return copy


def _get_part() -> int:
    """Bytes of a part of an object that is read, as the settings give it."""
    return int(settings_module.current().get_part_mb * MIB)


def part_size(total: int, most_parts: int) -> int:
    """Bytes of each part of an object whose size is known: what the settings give, or whole MiB more if need be."""
    least = -(-total // most_parts)
    return max(_first_part_size(), -(-least // MIB) * MIB)


def _first_part_size() -> int:
    """The size that the settings give, in whole 256 KiB: GCS takes nothing else of an object that is not yet whole."""
    return int(settings_module.current().put_part_mb * 4) << 18
