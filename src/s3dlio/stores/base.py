# SPDX-License-Identifier: Apache-2.0
"""The interface behind which every protocol stands.

A store knows its protocol's verbs and nothing of the verbs above it: no batches, no trees, no patterns. Each method
that does I/O is a coroutine, so that one implementation serves a plain call, a batch and an async twin; what drives
it is `operations`. A store that sets `blocking` does its I/O in the thread that runs the coroutine and suspends
only in `operations.pause`; the others suspend while the network works.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, ClassVar, Protocol

from s3dlio.errors import InvalidURIError, UnreadableDateError
from s3dlio.types import ObjectInfo, SizedName
from s3dlio.uri import URI

if TYPE_CHECKING:
    from s3dlio.objects.batched import BatchedRequest, ReadDone, WriteDone
    from s3dlio.runtime.operation import Operation
    from s3dlio.settings import Settings


class ObjectWriter(Protocol):
    """Writes an object in pieces. The object becomes visible, whole, when `close` returns."""

    async def write(self, data: memoryview, *, constant: bool = False) -> None:
        """Append bytes. They are written or copied before this returns.

        Args:
            data: the bytes.
            constant: they do not change before this returns, so they may be sent without a copy.
        """

    async def close(self) -> None:
        """Make the whole object visible."""

    async def abort(self) -> None:
        """Throw away what was written. Allowed at any time, also after a failed `close`."""


class Store(abc.ABC):
    """One protocol. URIs come parsed and are of this store's scheme."""

    blocking: ClassVar[bool]

    def __init__(self, settings: Callable[[], Settings]) -> None:
        """Args: settings: returns the settings in force."""
        self._settings_in_force = settings

    def is_current(self) -> bool:
        """Whether a new call may use this store. If not, the settings have changed, and a new store has to be made."""
        return True

    @abc.abstractmethod
    async def get(self, uri: URI) -> memoryview:
        """The whole object."""

    def batched_get(self, uri: URI, done: ReadDone) -> BatchedRequest | Operation[None]:
        """Work for a `Gather` that reads a whole object as one of many: by one request, since splitting gains nothing.

        Args:
            uri: the object.
            done: called with the object's bytes, or with the error, which it may raise to end the batch.
        """
        return read_into(self, uri, done)

    @abc.abstractmethod
    async def get_range(self, uri: URI, offset: int, length: int | None) -> memoryview:
        """Bytes from `offset` on, `length` of them or all; fewer where the object ends before."""

    @abc.abstractmethod
    def chunks(
        self, uri: URI, size: int, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        """The object, or a range of it, in pieces of at most `size` bytes, all of one version of it.

        A piece is valid until the next.

        Args:
            uri: the object.
            size: bytes, 1 or more.
            offset: where the range begins.
            length: bytes of the range, 1 or more; None for all that follow. Fewer come where the object ends before.

        Raises:
            IntegrityError: the object was replaced after pieces of it had been handed out.
        """

    @abc.abstractmethod
    async def put(self, uri: URI, data: memoryview) -> None:
        """Write the object; readers see the old one or the new one, whole."""

    async def _put_and_report(self, uri: URI, data: memoryview, done: WriteDone) -> None:
        try:
            await self.put(uri, data)
        except Exception as error:
            done(error)
        else:
            done(None)

    def batched_put(self, uri: URI, data: memoryview, done: WriteDone) -> BatchedRequest | Operation[None]:
        """Work for a `Gather` that writes an object as one of many.

        Args:
            uri: the object.
            data: its bytes; not copied, so they must not change meanwhile.
            done: called with None when the object is written, or with the error, which it may raise to end the batch.
        """
        return self._put_and_report(uri, data, done)

    @abc.abstractmethod
    def writer(self, uri: URI, size: int | None = None) -> ObjectWriter:
        """A writer for the object. Does no I/O before its first call.

        Args:
            uri: the object.
            size: bytes that it will have; None if that is not known. More or fewer may come.
        """

    async def copy(self, source: URI, target: URI, size: int) -> bool:  # noqa: ARG002
        """Let the store itself copy an object, with its metadata, to another place of the same store.

        Args:
            source: the object.
            target: the object to write; readers see the old one or the new one, whole.
            size: bytes of the source, as they were when it was last looked at.

        Returns:
            False if the store cannot do that; nothing has happened then.
        """
        return False

    def presign(self, uri: URI, method: str, expires: int) -> str:  # noqa: ARG002
        """A URL with which anyone can make one request for an object, for so many seconds.

        Raises:
            InvalidURIError: the store has no such URLs.
        """
        raise InvalidURIError(f"{uri.text} cannot be presigned: nobody serves {uri.scheme}:// by a URL", uri=uri.text)

    async def make_bucket(self, uri: URI) -> None:
        """Make a bucket, or container. One that is ours already is fine."""
        raise InvalidURIError(f"{uri.text} cannot be made: {uri.scheme}:// has no buckets", uri=uri.text)

    async def remove_bucket(self, uri: URI) -> None:
        """Remove a bucket, or container; some services do so with everything that is in it."""
        raise InvalidURIError(f"{uri.text} cannot be removed: {uri.scheme}:// has no buckets", uri=uri.text)

    async def buckets(self) -> list[str]:
        """The names of our buckets, or containers."""
        raise InvalidURIError("the buckets of this store cannot be listed")

    @abc.abstractmethod
    async def stat(self, uri: URI) -> ObjectInfo:
        """Facts about the object."""

    async def facts(self, uri: URI) -> ObjectInfo:
        """What `stat` tells, with None for a date that cannot be read."""
        try:
            return await self.stat(uri)
        except UnreadableDateError as error:
            known: ObjectInfo = error.facts
            return known

    @abc.abstractmethod
    async def exists(self, uri: URI) -> bool:
        """Whether there is such an object. False only where the store says so."""

    @abc.abstractmethod
    async def is_prefix(self, uri: URI) -> bool:
        """Whether there is such a folder: anything whose key begins with this one and a "/"."""

    @abc.abstractmethod
    async def mkdir(self, uri: URI) -> None:
        """Make a folder where the store has folders."""

    @abc.abstractmethod
    async def delete(self, uri: URI) -> None:
        """Remove the object; none there is fine."""

    @abc.abstractmethod
    async def delete_prefix(self, uri: URI) -> None:
        """Remove everything below the folder, and nothing beside it."""

    @abc.abstractmethod
    def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        """The names below the folder, relative to it, page by page in the store's own order.

        Not recursive: its children, folders with a final "/". Nothing there gives no page.
        """

    @abc.abstractmethod
    def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        """The names that `pages` lists, each with its size in bytes; child folders have size 0."""


async def read_into(store: Store, uri: URI, done: ReadDone) -> None:
    """Read a whole object, in parts if it is large, and hand the bytes or the error to `done`."""
    try:
        data = await store.get(uri)
    except Exception as error:
        done(error)
    else:
        done(data)
