"""What all object stores share: how an object is read in parts and resumed, and written in parts.

A protocol's store derives from `CloudStore` and says only what its requests look like and what their answers mean.

Reading. There is no HEAD. The first request asks for the first part; its answer tells the size of the whole object and
its version. The buffer for the whole is taken then, and the other parts are fetched side by side straight into
their places, each on the condition that the version is still the same. If it is not, the object was replaced
meanwhile: it is read again from the start. A part that is cut off goes on from where it stopped, on the same
condition. So what is returned is always one version, whole.

Writing. Up to a threshold an object is one request. Beyond it, it goes in parts, side by side, from the caller's
memory; the store makes them one object in the end, or is told to forget them. A part that fails is sent again alone.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, ClassVar, NamedTuple, TypeVar

from s3dlio import settings as settings_module
from s3dlio.buffers import lease
from s3dlio.errors import IntegrityError, InvalidURIError, S3dlioError
from s3dlio.http.client import Request, Service, send
from s3dlio.http.exchange import Response
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.operations import Gather
from s3dlio.settings import MIB
from s3dlio.stores.base import ObjectWriter, Store
from s3dlio.uri import URI

T = TypeVar("T")

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


class CloudStore(Store):
    """An object store."""

    blocking = False
    most_parts: ClassVar[int]

    # What a protocol says...

    @abc.abstractmethod
    def service(self) -> Service:
        """The service as the settings of the moment describe it.

        Raises:
            ConfigurationError: they do not.
        """

    @abc.abstractmethod
    def read_request(self, uri: URI, version: str | None) -> Request:
        """A request for the object, and for that version of it alone if one is given; without a range."""

    @abc.abstractmethod
    def version_of(self, head: ResponseHead) -> str:
        """What names the version of the object that an answer carries; "" if nothing does."""

    @abc.abstractmethod
    def refusal(self, response: Response, uri: str) -> S3dlioError:
        """The error for an answer that is none of the expected ones."""

    @abc.abstractmethod
    def check_body(self, uri: URI, response: Response) -> None:
        """Compare the body of a whole object with the checksum its answer carries, if it carries one.

        Raises:
            IntegrityError: they differ.
        """

    @abc.abstractmethod
    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        """Write the object in one request, checked."""

    @abc.abstractmethod
    async def begin_parts(self, uri: URI) -> Any:
        """Begin an object of parts; returns what names the upload."""

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

    async def get_one_of_many(self, uri: URI) -> memoryview:
        return await self._consistent(lambda: self._read(uri, 0, None, None))

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
        yield first.data
        for start in range(len(first.data), first.size, size):
            try:
                part = await self._fetch(uri, start, min(first.size, start + size), first.version, None)
            except Replaced:
                part = None
            if part is None:
                raise IntegrityError(
                    f"{uri.text} was replaced while it was copied, after {start} of {first.size} bytes; copy it again",
                    uri=uri.text,
                )
            yield part.data

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
        return whole

    async def _fetch(
        self,
        uri: URI,
        start: int,
        stop: int | None,
        version: str | None,
        place: Callable[[int, int], memoryview] | None,
    ) -> Part | None:
        """One range of the object, resumed where it is cut off.

        Args:
            start, stop: the range; with start 0 and stop None the whole object, without a Range field.
            version: the version it must be, or None for the one that is there.
            place: given the size of the whole object and the length of this answer, names the buffer for it.

        Returns:
            The part; None if the object ends before `start`.

        Raises:
            Replaced: the object is not, or no longer, that version.
        """
        self.require_key(uri)
        request = self.read_request(uri, version)
        plain_headers = request.headers
        if start or stop is not None:
            last = "" if stop is None else stop - 1
            request.headers = [*plain_headers, ("Range", f"bytes={start}-{last}")]
        state = _Fetch(uri, start, stop, version)

        def receive(head: ResponseHead) -> memoryview | None:
            return state.target_for(head, place) if head.status in (200, 206) else None

        def resume(head: ResponseHead, received: int) -> bool:
            if head.status not in (200, 206) or state.data is None:
                return False
            seen = self.version_of(head)
            state.done += received
            if not seen:  # nothing to hold the rest to: from the start again
                state.done = 0
                return False
            again = self.read_request(uri, seen)
            state.version = seen
            request.headers = [*again.headers, ("Range", f"bytes={start + state.done}-{state.end - 1}")]
            return True

        request.receive, request.resume = receive, resume
        response = await send(self.service(), request)
        head = response.head
        if head.status in (200, 206):
            if state.data is None:
                state.take_unsized(response, place)
            assert state.data is not None
            seen = self.version_of(head)
            if state.version is not None and seen != state.version:
                raise Replaced(f"{uri.text} was replaced while it was read")
            if head.status == 200 or len(state.data) == state.size:
                self.check_body(uri, Response(state.first_head, state.data, response.address))
            return Part(state.data, state.size, seen, head)
        if head.status == 412 and state.version is not None:
            raise Replaced(f"{uri.text} was replaced while it was read")
        if head.status == 416:
            match = _UNSATISFIED_RANGE.fullmatch(head.headers.get("content-range", ""))
            if version is not None or (match is not None and int(match[1]) > start):
                raise Replaced(f"{uri.text} was replaced while it was read")
            return None
        raise self.refusal(response, uri.text)

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

            await Gather(map(put, range(len(parts))), settings_module.current().parts_in_flight)
            await self.finish_parts(uri, upload, parts, len(data))
        except BaseException:
            await self.drop_parts(uri, upload)
            raise

    def writer(self, uri: URI) -> CloudWriter:
        self.require_key(uri)
        return CloudWriter(self, uri)

    def require_key(self, uri: URI) -> None:
        """Raise InvalidURIError for the URI of a bucket where an object is needed."""
        if not uri.key:
            raise InvalidURIError(
                f"{uri.text} names a {'container' if uri.scheme == 'az' else 'bucket'}, not an object: add its key",
                uri=uri.text,
            )

    async def mkdir(self, uri: URI) -> None:
        """Nothing: an object store has no folders."""


class _Fetch:
    """How far a range has come."""

    def __init__(self, uri: URI, start: int, stop: int | None, version: str | None) -> None:
        self.uri = uri
        self.start = start
        self.stop = stop
        self.version = version
        self.data: memoryview | None = None
        self.done = 0
        self.size = 0
        self.end = 0
        self.first_head: ResponseHead

    def target_for(self, head: ResponseHead, place: Callable[[int, int], memoryview] | None) -> memoryview | None:
        """The buffer for the body of an answer.

        Raises:
            Replaced: the answer is about an object of another size than the first part's.
        """
        begins, size = self._range_of(head)
        length = head.length
        if length is None:
            return None
        if self.done and begins == self.start + self.done and size == self.size and self.data is not None:
            return self.data[self.done :]
        if begins != self.start:
            raise IntegrityError(
                f"{self.uri.text}: asked for bytes from {self.start + self.done}, the server sent those from {begins}",
                uri=self.uri.text,
            )
        self.done = 0
        self.size = size
        self.end = begins + length
        self.first_head = head
        self.data = place(size, length) if place is not None else lease(length)
        return self.data

    def take_unsized(self, response: Response, place: Callable[[int, int], memoryview] | None) -> None:
        """Take the body of an answer that did not tell its length in advance.

        Raises:
            IntegrityError: nor does it tell its end.
        """
        if response.head.body is not BodyKind.CHUNKED:
            raise IntegrityError(
                f"{self.uri.text}: the answer tells neither its length nor its end, so it may be cut short",
                uri=self.uri.text,
            )
        begins, size = self._range_of(response.head)
        if response.head.status == 200:
            size = len(response.body)
        if begins != self.start:
            raise IntegrityError(f"{self.uri.text}: the server sent other bytes than asked for", uri=self.uri.text)
        self.size = size
        self.end = begins + len(response.body)
        self.first_head = response.head
        self.data = response.body
        if place is not None:
            self.data = place(size, len(response.body))
            self.data[:] = response.body

    def _range_of(self, head: ResponseHead) -> tuple[int, int]:
        """Where the body begins in the object, and the size of the object."""
        if head.status == 200:
            return 0, head.length or 0
        match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        if match is None:
            raise IntegrityError(f"{self.uri.text}: a partial answer without a proper Content-Range", uri=self.uri.text)
        return int(match[1]), int(match[3])


class CloudWriter(ObjectWriter):
    """Writes an object whose length is not known. Small ones go in one request, others in parts that grow.

    Parts are filled in pooled buffers, and sent several at a time once there are enough; whole parts of a large write
    are sent from the caller's memory before it returns.
    """

    def __init__(self, store: CloudStore, uri: URI) -> None:
        self._store = store
        self._uri = uri
        self._upload: Any = None
        self._parts: list[Any] = []
        self._full: list[memoryview] = []  # parts that wait to be sent
        self._buffer: memoryview | None = None
        self._filled = 0
        self._size = 0

    async def write(self, data: memoryview) -> None:
        self._size += len(data)
        ready: list[memoryview] = []
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
                (ready or self._full).append(self._buffer)
                self._buffer, self._filled = None, 0
        if ready or len(self._full) >= min(_PARTS_KEPT, settings_module.current().parts_in_flight):
            parts, self._full = [*self._full, *ready], []
            await self._send(parts)

    async def close(self) -> None:
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

    async def abort(self) -> None:
        self._full, self._buffer, self._filled = [], None, 0
        if self._upload is not None:
            upload, self._upload = self._upload, None
            await self._store.drop_parts(self._uri, upload)

    async def _send(self, parts: list[memoryview]) -> None:
        if self._upload is None:
            self._upload = await self._store.begin_parts(self._uri)
        first = len(self._parts)
        self._parts += [None] * len(parts)

        async def put(index: int) -> None:
            self._parts[first + index] = await self._store.put_part(
                self._uri, self._upload, first + index + 1, [parts[index]]
            )

        await Gather(map(put, range(len(parts))), settings_module.current().parts_in_flight)

    def _next_part_size(self, waiting: int) -> int:
        """Parts double in size each tenth of the most there may be, so that terabytes fit without knowing."""
        number = len(self._parts) + waiting
        base = int(settings_module.current().put_part_mb * MIB)
        return min(_LARGEST_PART, base << (number * 10 // self._store.most_parts))


def part_size(total: int, most_parts: int) -> int:
    """Bytes of each part of an object whose size is known."""
    size = int(settings_module.current().put_part_mb * MIB)
    while -(-total // size) > most_parts:
        size *= 2
    return size
