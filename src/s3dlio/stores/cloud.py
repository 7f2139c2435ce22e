# SPDX-License-Identifier: Apache-2.0
"""The base class of object stores. A protocol completes it with its requests and the meaning of its answers.

`objects.ranges` reads an object with these methods, in parts and resumed; `objects.upload` writes one in parts; and
`objects.batched_get` reads many.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar, Generic, TypeVar, cast

from s3dlio.errors import InvalidURIError, S3dlioError, UnreadableDateError
from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.memory.checksums import Expected
from s3dlio.objects import one_range, ranges, upload
from s3dlio.objects.batched import ReadDone
from s3dlio.objects.batched_get import BatchedRead, read_one
from s3dlio.objects.request import Request
from s3dlio.objects.upload import CloudWriter
from s3dlio.runtime.operation import Operation
from s3dlio.settings import Settings
from s3dlio.stores.base import Store
from s3dlio.stores.dates import date_of
from s3dlio.stores.refusals import error_at
from s3dlio.stores.sending import CloudService
from s3dlio.types import ObjectInfo
from s3dlio.uri import URI

AnyService = TypeVar("AnyService", bound=CloudService)

_STRONG_ETAG = re.compile(r'"[!#-~]+"')
_BARE_ETAG = re.compile(r"[!#-+.-~-]+")  # without quotation marks, as some servers send it, and without a comma


class CloudStore(Store, Generic[AnyService]):
    """An object store.

    Attributes:
        service_class: the class of the service; it is made with the settings.
        most_parts: the most parts that an object may be written in.
        version_gone: statuses by which the service refuses a request for a version that no longer exists.
    """

    blocking = False
    service_class: ClassVar[type[Any]]
    most_parts: ClassVar[int]
    version_gone: ClassVar[frozenset[int]] = frozenset({412})

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self.settings: Settings = settings()
        self._service: AnyService | None = None

    def service(self) -> AnyService:
        """The service that the settings describe, made at the first call.

        Raises:
            ConfigurationError: the settings do not describe a service.
        """
        service = self._service
        if service is None:
            service = self._service = self.service_class(self.settings)
        return service

    # What a protocol provides...

    @abc.abstractmethod
    def read_request(self, uri: URI, version: str | None) -> Request:
        """A request for the whole object, or, if a version is given, for that version of the object only."""

    @abc.abstractmethod
    def path_of(self, uri: URI) -> str:
        """The path of the object in its container, percent-encoded."""

    def version_of(self, head: ResponseHead) -> str:
        """The version of the object that an answer carries; "" if the answer names none.

        Bytes of two answers with the same version belong together. The version is the ETag if that is one strong
        validator (RFC 9110, section 8.8.1) of visible ASCII characters; any other cannot be sent back. A weak ETag may
        stand for other bytes, and never matches an If-Match (section 13.1.1).
        """
        etag = head.headers.get("etag", "")
        if _STRONG_ETAG.fullmatch(etag):
            return etag
        return etag if _BARE_ETAG.fullmatch(etag) and not etag.startswith(("W/", "w/")) else ""

    def refusal(self, response: Response, uri: str) -> S3dlioError:
        """The error for an answer with an unexpected status."""
        return self.service().refusal(response, uri)

    @abc.abstractmethod
    def whole_checksum(self, head: ResponseHead) -> Expected | None:
        """The checksum of the whole object, if the answer to a read, or to a read of a range, carries one."""

    @abc.abstractmethod
    async def put_whole(self, uri: URI, data: list[memoryview]) -> None:
        """Write the object in one request, and check what was stored."""

    @abc.abstractmethod
    async def begin_parts(self, uri: URI) -> Any:
        """Begin an object of parts; returns a handle that names this upload."""

    def parts_at_a_time(self, upload: Any) -> int:  # noqa: ARG002
        """How many parts of an upload may be sent side by side; with 1 they are sent in order."""
        return self.settings.parts_in_flight

    @abc.abstractmethod
    async def put_part(self, uri: URI, upload: Any, number: int, data: list[memoryview]) -> Any:
        """Write one part, counted from 1, and check what was stored; returns what `finish_parts` needs of it."""

    @abc.abstractmethod
    async def finish_parts(self, uri: URI, upload: Any, parts: list[Any], size: int) -> None:
        """Join the parts, in order, to one object of `size` bytes."""

    @abc.abstractmethod
    async def drop_parts(self, uri: URI, upload: Any) -> None:
        """Throw away an upload."""

    async def check_empty(self, uri: URI, head: ResponseHead | None) -> None:
        """Raise ObjectNotFoundError if an object that turned out to be empty is a folder.

        Args:
            uri: the object.
            head: of the answer; None if that answer does not show whether the object is a folder.
        """

    def unsatisfied_size(self, response: Response) -> int | None:
        """The size of the object, if an answer with status 416 tells it."""
        return one_range.unsatisfied_size(response.head)

    # Reading...

    def get(self, uri: URI) -> Operation[memoryview]:
        return ranges.read(self, uri)

    def get_range(self, uri: URI, offset: int, length: int | None) -> Operation[memoryview]:
        return ranges.read(self, uri, offset, length)

    def chunks(
        self, uri: URI, size: int, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        return ranges.chunks(self, uri, size, offset, length)

    def batched_get(self, uri: URI, done: ReadDone, item: Any) -> BatchedRead | Operation[None]:
        if not uri.key:
            return read_one(self, uri, done, item)  # reports that the key is missing
        return BatchedRead(self, uri, done, item)

    async def size_of(self, uri: URI, response: Response) -> int:
        """The size of the object that an answer to a HEAD describes. If the answer does not tell it, ask for it.

        Servers leave out the length of an answer that they would send in chunks; Ceph leaves out that of an empty
        object.

        Raises:
            IntegrityError: the object was replaced meanwhile.
        """
        head = response.head
        if head.length is not None and "transfer-encoding" not in head.headers:
            return head.length
        return await ranges.size_by_range(self, uri, self.version_of(head))

    async def size_now(self, uri: URI) -> int:
        """Ask the service for the size of the object."""
        return (await self.facts(uri))["size"]

    # Writing...

    def put(self, uri: URI, data: memoryview) -> Operation[None]:
        return upload.put(self, uri, data)

    def writer(self, uri: URI, size: int | None = None) -> CloudWriter:
        self.require_key(uri)
        return CloudWriter(self, uri, size)

    def require_key(self, uri: URI) -> None:
        """Raise InvalidURIError if the URI names a bucket instead of an object."""
        if not uri.key:
            raise InvalidURIError(
                f"{uri.text} names a {'container' if uri.scheme == 'az' else 'bucket'}, not an object; add its key",
                uri=uri.text,
            )

    async def mkdir(self, uri: URI) -> None:
        """Do nothing: an object store has no folders."""


# Facts about objects...


def dated(uri: URI, facts: dict[str, Any], text: str | None, response: Response) -> ObjectInfo:
    """Add the date of the last change, as the service sent it, to the facts about an object; None if it sent none.

    Raises:
        UnreadableDateError: the answer has a date that cannot be read.
    """
    moment = date_of(text)
    known = cast("ObjectInfo", {**facts, "last_modified": moment})
    if text and moment is None:
        why = f"the date {text!r:.60} of the object's last change cannot be read"
        hint = "check that the endpoint is the right kind of service"
        error = error_at(UnreadableDateError, uri.text, response.address, why, hint)
        error.facts = known
        raise error
    return known


def facts_of(
    uri: URI,
    response: Response,
    size: int,
    prefix: str,
    *,
    checksums: dict[str, str],
    storage_class: str | None,
    version: str | None,
) -> ObjectInfo:
    """The facts about an object that the answer to a HEAD tells. Fields with user metadata begin with `prefix`.

    Raises:
        UnreadableDateError: the answer has a date that cannot be read.
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
    return dated(uri, facts, headers.get("last-modified"), response)
