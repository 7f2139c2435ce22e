"""What all object stores share: how an object is read in parts and resumed, and written in parts.

A protocol's store derives from `CloudStore` and says only what its requests look like and what their answers mean.

Reading. There is no HEAD. The first request asks for the first part; its answer tells the size of the whole object and
its version. The buffer for the whole is taken then, and the other parts are fetched side by side straight into
their places, each on the condition that the version is still the same. If it is not, the object was replaced
meanwhile: it is read again from the start. A part that is cut off goes on from where it stopped, on the same
condition. So what is returned is always one version, whole.

Writing. Up to a threshold an object is one request. Beyond it, it goes in equal parts, side by side, from the caller's
memory, which must not change meanwhile (a writer copies what it is given); the store makes them one object in the end,
or is told to forget them. A part that fails is sent again alone.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import datetime, timezone
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from s3dlio import settings as settings_module
from s3dlio.buffers import lease
from s3dlio.checksums import Expected
from s3dlio.errors import IntegrityError, InvalidURIError, S3dlioError
from s3dlio.http.client import Request, StoreService, send
from s3dlio.http.exchange import Response
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.http.plain import Begun
from s3dlio.http.read import Read
from s3dlio.operations import Gather, Operation, Stopped
from s3dlio.settings import MIB
from s3dlio.stores.base import ObjectInfo, ObjectWriter, Store
from s3dlio.stores.dates import date_of
from s3dlio.uri import URI

T = TypeVar("T")
AnyService = TypeVar("AnyService", bound=StoreService)

# Given the size of the whole object and the length of the answer, names the buffer for the answer's body.
Place = Callable[[int, int], memoryview]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")
_PARTS_KEPT = 4  # full parts that a writer collects before it sends them together
_LARGEST_PART = 4 << 30
_TIMES_REPLACED = 20  # an object replaced more often while it is read is an error


class Replaced(Exception):
    """The object is no longer the version whose first part was read."""


class Part(NamedTuple):
    """What an answer to a read tells.

    Attributes:
        data: the bytes asked for, as many as there are.
        size: bytes of the whole object.
        version: what a later request names to get the same version.
        head: the answer's head.
    """

    data: memoryview
    size: int
    version: str
    head: ResponseHead


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

    @abc.abstractmethod
    def version_of(self, head: ResponseHead) -> str:
        """What names the version of the object that an answer carries; "" if nothing does."""

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

    async def get(self, uri: URI) -> memoryview:
        part = int(settings_module.current().get_part_mb * MIB)
        return await self._consistent(lambda: self._read(uri, 0, None, part))

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

    async def get_range(self, uri: URI, offset: int, length: int | None) -> memoryview:
        if length == 0:
            length = 1  # so that a missing object is noticed; the byte is not handed out
            return (await self.get_range(uri, offset, length))[:0]
        part = int(settings_module.current().get_part_mb * MIB)
        stop = None if length is None else offset + length
        return await self._consistent(lambda: self._read(uri, offset, stop, part))

    async def chunks(self, uri: URI, size: int) -> AsyncGenerator[memoryview, None]:
        first = await self._consistent(lambda: self._fetch(uri, 0, size, None, None))
        if first is None:
            return
        # A single chunk has been checked as a whole body already.
        expected = self._to_check(first) if len(first.data) < first.size else None
        if expected is not None:
            expected.update(first.data)
        yield first.data
        for start in range(len(first.data), first.size, size):
            try:
                part = await self._fetch(uri, start, min(first.size, start + size), first.version, None)
            except Replaced:
                part = None
            if part is None or len(part.data) != min(first.size, start + size) - start:
                raise IntegrityError(
                    f"{uri.text} was replaced while it was copied, after {start} of {first.size} bytes; copy it again",
                    uri=uri.text,
                )
            if expected is not None:
                expected.update(part.data)
                if start + size >= first.size:
                    self.compare(uri, expected)
            yield part.data

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
        """Bytes [start, stop) of the object, or up to its end, in parts of `part` bytes, or at once."""
        if part is None and start == 0 and stop is None:
            first_stop = None
        else:
            assert part is not None
            first_stop = start + part if stop is None else min(stop, start + part)
        whole: memoryview | None = None

        def place(size: int, length: int) -> memoryview:
            nonlocal whole
            end = size if stop is None else min(stop, size)
            whole = lease(end - start)
            return whole[:length]

        first = await self._fetch(uri, start, first_stop, None, place)
        if first is None:
            return lease(0)
        assert whole is not None
        done = len(first.data)
        if done < len(whole) and not first.version:
            # Nothing to hold the parts together by: all in one request.
            again = await self._fetch(uri, start, stop, None, place)
            if again is None:
                raise Replaced(f"{uri.text} was replaced by a shorter object while it was read")
        elif done < len(whole):
            assert part is not None
            target = whole

            async def fetch(offset: int) -> None:
                end = min(offset + part, len(target))
                got = await self._fetch(
                    uri, start + offset, start + end, first.version, lambda _, length: target[offset : offset + length]
                )
                if got is None or len(got.data) != end - offset:
                    raise Replaced(f"{uri.text} was replaced by a shorter object while it was read")

            limit = settings_module.current().parts_in_flight
            await Gather((fetch(offset) for offset in range(done, len(whole), part)), limit)
            if start == 0 and len(whole) == first.size and (expected := self._to_check(first)) is not None:
                expected.update(whole)
                self.compare(uri, expected)
        return whole

    async def _fetch(
        self,
        uri: URI,
        start: int,
        stop: int | None,
        version: str | None,
        place: Place | None,
        begun: Begun | None = None,
    ) -> Part | None:
        """One range of the object, resumed where it is cut off.

        Args:
            start, stop: the range; with start 0 and stop None the whole object, without a Range field.
            version: the version it must be, or None for the one that is there.
            place: given the size of the whole object and the length of this answer, names the buffer for it.
            begun: what has been done already of a request for the whole object.

        Returns:
            The part; None if the object ends before `start`.

        Raises:
            Replaced: the object is not, or no longer, that version.
        """
        self.require_key(uri)
        if begun is None:
            read = _RangeRead(self, uri, start, stop, version, place)
            return read.result(await send(self.service(), read.request(version, start, stop)))
        if begun.failure is not None:
            raise begun.failure
        target = begun.target
        read = _RangeRead(
            self, uri, start, stop, version, lambda _, length: target if 0 < length == len(target) else lease(length)
        )
        request = read.request(None, 0, None)
        request.credential = begun.credential
        return read.result(await send(self.service(), request, begun))

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
        self._version = version
        self._place = place
        self._data: memoryview | None = None
        self._done = 0  # bytes that had come when the last answer was cut off
        self._size = 0  # of the whole object
        self._verify = settings_module.current().verify_get
        self._expected: Expected | None = None  # the checksum that the server sent, if this range is the whole object
        self._is_object = False  # whether what comes is part of the object, and not an error's text

    def request(self, version: str | None, start: int, stop: int | None) -> Request:
        """The request for a range; without a Range field if that is the whole object."""
        request = self._store.read_request(self._uri, version)
        if start or stop is not None:
            request.add("Range", f"bytes={start}-{'' if stop is None else stop - 1}")
        request.receive, request.resume = self._receive, self._resume
        if self._verify:
            request.observe = self._take_note
        return request

    def _receive(self, head: ResponseHead) -> memoryview | None:
        """The buffer for the body of an answer."""
        self._is_object = head.status in (200, 206)
        if not self._is_object or head.length is None:
            return None
        begins, size = self._range_of(head)
        if self._done and begins == self._start + self._done and size == self._size and self._data is not None:
            return self._data[self._done :]
        return self._begin(head, begins, size, head.length)

    def _resume(self, head: ResponseHead, received: int) -> Request | None:
        """The request for what is left after an answer was cut off; None to begin again."""
        version = self._store.version_of(head)
        if head.status not in (200, 206) or self._data is None or not version:
            self._done = 0  # nothing to hold the rest to
            return None
        self._version = version
        self._done += received
        rest = self.request(version, self._start + self._done, self._start + len(self._data))
        rest.done, rest.left = self._done, len(self._data) - self._done
        return rest

    def result(self, response: Response) -> Part | None:
        """What the last answer makes of it all: the part, or None if the object ends before it."""
        head = response.head
        if head.status in (200, 206):
            if self._data is None:
                self._take_unsized(response)
            assert self._data is not None
            version = self._store.version_of(head)
            if self._version is not None and version != self._version:
                raise self._replaced()
            if self._expected is not None:
                self._store.compare(self._uri, self._expected)
            return Part(self._data, self._size, version, head)
        if head.status in self._store.version_gone and self._version is not None:
            raise self._replaced()
        if head.status == 416:
            match = _UNSATISFIED_RANGE.fullmatch(head.headers.get("content-range", ""))
            if self._version is not None or (match is not None and int(match[1]) > self._start):
                raise self._replaced()
            return None
        raise self._store.refusal(response, self._uri.text)

    def _begin(self, head: ResponseHead, begins: int, size: int, length: int) -> memoryview:
        if begins != self._start:
            raise IntegrityError(
                f"{self._uri.text}: asked for bytes from {self._start + self._done} on, the server sent those from"
                f" {begins}; it may not know ranges",
                uri=self._uri.text,
            )
        self._done = 0
        self._size = size
        self._expected = self._store.whole_checksum(head) if self._verify and length == size else None
        self._data = self._place(size, length) if self._place is not None else lease(length)
        return self._data

    def _take_unsized(self, response: Response) -> None:
        """Take the body of an answer that did not tell its length in advance."""
        if response.head.body is not BodyKind.CHUNKED:
            raise IntegrityError(
                f"{self._uri.text}: the answer tells neither its length nor its end, so it may be cut short",
                uri=self._uri.text,
            )
        begins, size = self._range_of(response.head)
        length = len(response.body)
        self._begin(response.head, begins, length if response.head.status == 200 else size, length)[:] = response.body
        self._is_object = True
        self._take_note(response.body)

    def _take_note(self, piece: memoryview) -> None:
        """Add what has just come to the checksum, while it is in the cache."""
        if self._expected is not None and self._is_object:
            self._expected.update(piece)

    def _range_of(self, head: ResponseHead) -> tuple[int, int]:
        """Where the body begins in the object, and the size of the object."""
        if head.status == 200:
            return 0, head.length or 0
        match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        if match is None:
            raise IntegrityError(
                f"{self._uri.text}: a partial answer without a proper Content-Range", uri=self._uri.text
            )
        begins, last, size = map(int, match.groups())
        if head.length not in (None, last + 1 - begins):
            raise IntegrityError(
                f"{self._uri.text}: the answer's Content-Length is {head.length}, and its Content-Range"
                f" {match[0]!r} says otherwise",
                uri=self._uri.text,
            )
        return begins, size

    def _replaced(self) -> Replaced:
        return Replaced(f"{self._uri.text} was replaced while it was read")


def modified_at(text: str | None, response: Response) -> datetime:
    """When an object was written, as the answer to a request for its facts tells; the epoch if it does not.

    Raises:
        S3dlioError: the answer has a date that cannot be read.
    """
    moment = date_of(text) if text else datetime.fromtimestamp(0, timezone.utc)
    if moment is None:
        raise S3dlioError(
            f"{response.address.url} sent the date {text!r:.60} of the object's last change, which cannot be read",
            endpoint=response.address.url,
        )
    return moment


def facts_of(
    response: Response, prefix: str, *, checksums: dict[str, str], storage_class: str | None, version: str | None
) -> ObjectInfo:
    """The facts about an object that the answer to a HEAD gives; user metadata stands in fields with this prefix."""
    headers = response.head.headers
    return {
        "size": response.head.length or 0,
        "last_modified": modified_at(headers.get("last-modified"), response),
        "etag": headers.get("etag", "").strip('"') or None,
        "content_type": headers.get("content-type"),
        "metadata": {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)},
        "checksums": checksums,
        "storage_class": storage_class,
        "version": version,
    }


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


def part_size(total: int, most_parts: int) -> int:
    """Bytes of each part of an object whose size is known: what the settings give, or whole MiB more if need be."""
    least = -(-total // most_parts)
    return max(_first_part_size(), -(-least // MIB) * MIB)


def _first_part_size() -> int:
    """The size that the settings give, in whole 256 KiB: GCS takes nothing else of an object that is not yet whole."""
    return int(settings_module.current().put_part_mb * 4) << 18
