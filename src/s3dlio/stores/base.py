# SPDX-License-Identifier: Apache-2.0
"""The interface that every protocol implements.

A store implements the verbs of its protocol for one object, one folder or one bucket. Batches, trees and patterns are
in `transfer`. Each method that does I/O is a coroutine, so that one implementation serves a blocking call, a batch and
an async twin; `runtime` drives it. A store whose `blocking` is true does its I/O in the thread that runs the coroutine,
and suspends only in `runtime.operation.pause`. The other stores suspend while the network works.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

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

        Constant bytes do not change before this returns, so they may be sent without a copy.
        """

    async def close(self) -> None:
        """Make the whole object visible."""

    async def abort(self) -> None:
        """Throw away what was written. Allowed at any time, also after a failed `close`."""


class Store(abc.ABC):
    """A protocol. Every URI that a method is given is parsed, and has the scheme of this store.

    Attributes:
        blocking: whether I/O blocks the thread.
        settings: the settings that this store was made with; other settings need another store. None if the store has
            no state, and looks up the settings in force itself.
    """

    blocking: ClassVar[bool]
    settings: Settings | None = None

    @abc.abstractmethod
    def __init__(self, settings: Callable[[], Settings]) -> None:
        """Take a function that returns the settings in force."""

    # Reading...

    @abc.abstractmethod
    async def get(self, uri: URI) -> memoryview:
        """Read a whole object."""

    def batched_get(self, uri: URI, done: ReadDone, item: Any) -> BatchedRequest | Operation[None]:
        """Make the work of reading a whole object as one of many, for a `Gather`.

        An object store reads the object in one request: with many objects in flight, parts gain nothing.

        Args:
            uri: the object.
            done: called with `item` and the bytes of the object, or the error. It may raise the error to end the batch.
            item: the caller's name for this object.
        """
        return read_into(self, uri, done, item)

    @abc.abstractmethod
    async def get_range(self, uri: URI, offset: int, length: int | None) -> memoryview:
        """Read a range of an object.

        Args:
            uri: the object.
            offset: first byte.
            length: bytes of the range; None for all that follow. The result is shorter if the object ends before.
        """

    @abc.abstractmethod
    def chunks(
        self, uri: URI, size: int, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[memoryview, None]:
        """Read an object, or a range of it, in chunks that all belong to one version of the object.

        A chunk is valid until the next one is requested.

        Args:
            uri: the object.
            size: the most bytes of a chunk, 1 or more.
            offset: first byte.
            length: bytes of the range, 1 or more; None for all that follow. Fewer come if the object ends before.

        Raises:
            IntegrityError: the object was replaced after some of its chunks had been returned.
        """

    # Writing...

    @abc.abstractmethod
    async def put(self, uri: URI, data: memoryview) -> None:
        """Write an object. Readers see either the old object or the whole new one.

        Args:
            uri: the object.
            data: its bytes; not copied, so they must not change meanwhile.
        """

    def batched_put(self, uri: URI, data: memoryview, done: WriteDone, item: Any) -> BatchedRequest | Operation[None]:
        """Make the work of writing an object as one of many, for a `Gather`.

        Args:
            uri: the object.
            data: its bytes; not copied, so they must not change meanwhile.
            done: called with `item` and None when the object is written, or the error. It may raise the error to end
                the batch.
            item: the caller's name for this object.
        """
        return write_from(self, uri, data, done, item)

    @abc.abstractmethod
    def writer(self, uri: URI, size: int | None = None) -> ObjectWriter:
        """Make a writer for an object. The writer does no I/O before its first call.

        Args:
            uri: the object.
            size: bytes that it is expected to have; None if that is not known.
        """

    async def copy(self, source: URI, target: URI, size: int) -> bool:  # noqa: ARG002
        """Let the service copy an object, with its metadata, within this store.

        Args:
            source: the object.
            target: the object to write. Readers see either the old object or the whole new one.
            size: bytes of the source, when it was last looked at.

        Returns:
            False if the service cannot copy it; nothing has changed then.
        """
        return False

    @abc.abstractmethod
    async def delete(self, uri: URI) -> None:
        """Delete an object. Deleting a missing object succeeds."""

    def presign(self, uri: URI, method: str, expires: int) -> str:  # noqa: ARG002
        """A URL with which anyone can make one kind of request for an object.

        Args:
            uri: the object.
            method: "GET", "HEAD", "PUT" or "DELETE".
            expires: seconds for which the URL is valid.

        Raises:
            InvalidURIError: the store has no such URLs.
        """
        raise InvalidURIError(
            f"cannot presign {uri.text}: no server offers {uri.scheme}:// objects at a URL", uri=uri.text
        )

    # Facts...

    @abc.abstractmethod
    async def stat(self, uri: URI) -> ObjectInfo:
        """Ask for the facts about an object.

        Raises:
            ObjectNotFoundError: the object does not exist.
            UnreadableDateError: the date of its last change cannot be read.
        """

    async def facts(self, uri: URI) -> ObjectInfo:
        """Ask for the facts about an object, with None for a date that cannot be read."""
        try:
            return await self.stat(uri)
        except UnreadableDateError as error:
            known: ObjectInfo = error.facts
            return known

    @abc.abstractmethod
    async def exists(self, uri: URI) -> bool:
        """Whether an object exists. False only if the store says so; an unclear answer is an error."""

    # Folders...

    @abc.abstractmethod
    async def is_prefix(self, uri: URI) -> bool:
        """Whether a folder exists. In an object store that is any key that begins with the folder's and a "/"."""

    @abc.abstractmethod
    async def mkdir(self, uri: URI) -> None:
        """Make a folder, if the store has folders."""

    @abc.abstractmethod
    async def delete_prefix(self, uri: URI) -> None:
        """Delete everything below a folder, and nothing beside it."""

    @abc.abstractmethod
    def pages(self, uri: URI, recursive: bool) -> AsyncGenerator[list[str], None]:
        """List the names below a folder, relative to it, page by page in the order of the store.

        Args:
            uri: the folder. One that does not exist has no pages.
            recursive: list every object below the folder; otherwise its children, folders with a final "/".
        """

    @abc.abstractmethod
    def entries(self, uri: URI, recursive: bool = True) -> AsyncGenerator[list[SizedName], None]:
        """List the names that `pages` lists, each with its size in bytes; child folders have size 0."""

    # Buckets...

    async def make_bucket(self, uri: URI) -> None:
        """Create a bucket, or container. A bucket that exists and has the same owner is not an error."""
        raise InvalidURIError(f"cannot create {uri.text}: {uri.scheme}:// has no buckets", uri=uri.text)

    async def remove_bucket(self, uri: URI) -> None:
        """Remove a bucket, or container. Some services also remove everything in it."""
        raise InvalidURIError(f"cannot remove {uri.text}: {uri.scheme}:// has no buckets", uri=uri.text)

    async def buckets(self) -> list[str]:
        """The names of the buckets, or containers, that belong to these credentials."""
        raise InvalidURIError("cannot list buckets: files have none")


async def read_into(store: Store, uri: URI, done: ReadDone, item: Any) -> None:
    """Read a whole object, in parts if it is large, and call `done` with `item` and the bytes or the error."""
    try:
        data = await store.get(uri)
    except Exception as error:
        done(item, error)
    else:
        done(item, data)


async def write_from(store: Store, uri: URI, data: memoryview, done: WriteDone, item: Any) -> None:
    """Write an object, in parts if it is large, and call `done` with `item` and None or the error."""
    try:
        await store.put(uri, data)
    except Exception as error:
        done(item, error)
    else:
        done(item, None)
