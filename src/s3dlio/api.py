# SPDX-License-Identifier: Apache-2.0
"""The verbs. Each one parses its URI, picks the store, and calls it; what takes more than that is in `transfer`.

Every call does its I/O in the calling thread and leaves no thread behind. Results come in pooled buffers: a view,
and anything made from it, stays valid as long as it lives (see `buffers`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar, overload

from s3dlio import settings
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.run import iterate, run
from s3dlio.stores.base import Store
from s3dlio.transfer import batch, buckets, chunks, copying, listing
from s3dlio.transfer.read_ahead import ReadAhead
from s3dlio.transfer.stores import store_for
from s3dlio.types import BytesLike, Entry, ObjectInfo, Progress, as_view
from s3dlio.uri import of_path, parse

T = TypeVar("T")

CHUNK = 16 << 20  # bytes

Path = str | os.PathLike[str]
ProgressCallback = Callable[[Progress], None]


# One object...


def get(uri: str) -> memoryview:
    """Read a whole object.

    Args:
        uri: the object.

    Returns:
        A writable view of exactly its bytes (format "B", one dimension).

    Raises:
        ObjectNotFoundError: no such object, or the URI names a folder.
        InvalidURIError, PermissionDeniedError, StoreTimeoutError, StoreUnavailableError, IntegrityError
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.get(target))


def get_range(uri: str, offset: int, length: int | None = None) -> memoryview:
    """Read a part of an object.

    Args:
        uri: the object.
        offset: first byte, from 0.
        length: number of bytes; None for all that follow.

    Returns:
        A writable view; shorter than `length` where the object ends before, empty past its end.

    Raises:
        ValueError: a negative offset or length.
        ObjectNotFoundError and the others of `get`.
    """
    check_range(offset, length)
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.get_range(target, offset, length))


def get_chunks(uri: str, chunk_size: int = CHUNK, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
    """Read an object, or a range of it, in chunks, for objects larger than the memory to be used.

    All chunks are of one version of the object. A chunk stays valid while it, or anything made from it, lives; memory
    stays at one chunk if each is dropped before the next. Where a server names no version (no ETag, or a weak one), a
    range of more than one chunk is read by one request, into memory.

    Args:
        uri: the object.
        chunk_size: bytes of a chunk; the last may be shorter.
        offset: first byte, from 0.
        length: number of bytes; None for all that follow.

    Returns:
        An iterator of writable views. An empty object, and a range past the end, have no chunks. Nothing is read before
        the first is asked for.

    Raises:
        ValueError: a chunk size below 1, or a negative offset or length; at once. All other errors come from `next`.
        ObjectNotFoundError: no such object, or the URI names a folder.
        IntegrityError: the object was replaced after some of its chunks had been handed out.
        PermissionDeniedError, StoreTimeoutError, StoreUnavailableError

    Example:
        >>> for chunk in s3dlio.get_chunks("s3://bucket/large", 8 << 20):
        ...     digest.update(chunk)
    """
    check_range(offset, length)
    check_chunk_size(chunk_size)
    target = parse(uri)
    return iterate(chunks.chunks(store_for(target.scheme), target, chunk_size, offset, length))


def put_bytes(uri: str, data: BytesLike) -> None:
    """Write an object. Readers see the old one or the new one, whole; a failure leaves the old one.

    Args:
        uri: the object. On file:// and direct:// missing folders are made.
        data: any contiguous buffer. It is sent from where it lies, so it must not change before this returns.

    Raises:
        TypeError: not a buffer.
        IntegrityError: the data changed on its way, or while it was sent.
        InvalidURIError, PermissionDeniedError, StoreTimeoutError, StoreUnavailableError
    """
    view = as_view(data)
    target = parse(uri)
    store = store_for(target.scheme)
    _run(store, store.put(target, view))


def stat(uri: str) -> ObjectInfo:
    """Facts about an object: `size`, `last_modified`, `etag`, `content_type`, `metadata` and more (`ObjectInfo`).

    Raises:
        ObjectNotFoundError: no such object, or the URI names a folder.
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.stat(target))


def exists(uri: str) -> bool:
    """Whether there is such an object; a folder is none (see `is_prefix`).

    Raises:
        PermissionDeniedError, StoreUnavailableError, …: the question could not be answered.
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.exists(target))


def delete(uri: str, recursive: bool = False) -> None:
    """Remove an object; none there is fine.

    Args:
        uri: the object, or with `recursive` a folder.
        recursive: remove everything below that folder, and nothing beside it.
    """
    target = parse(uri)
    store = store_for(target.scheme)
    _run(store, store.delete_prefix(target) if recursive else store.delete(target))


def presign(uri: str, method: str = "GET", expires: int = 3600) -> str:
    """A URL with which anyone who has it can make one request for an object, without credentials.

    Nothing is sent: whether the object exists, and whether these credentials may do this, shows when it is used.

    Args:
        uri: the object, on a store that is reached by URLs.
        method: "GET", "HEAD", "PUT" or "DELETE".
        expires: seconds that the URL is good for, 1 to 604,800; less if the credentials themselves expire before.

    Raises:
        ValueError: another method, or `expires` out of bounds.
        InvalidURIError: not such an object.
        ConfigurationError: no credentials.
    """
    if method not in ("GET", "HEAD", "PUT", "DELETE"):
        raise ValueError(f"method={method!r}: it must be GET, HEAD, PUT or DELETE")
    target = parse(uri)
    return store_for(target.scheme).presign(target, method, expires)


# Folders...


def list_objects(uri: str, recursive: bool = False, pattern: str | None = None) -> list[str]:
    """List a folder (`s3dlio.list`).

    Args:
        uri: a folder, with or without its last "/".
        recursive: every object below it; otherwise its children, folders with a final "/".
        pattern: a regular expression; kept are the URIs in whose part below the folder it is found.

    Returns:
        Full URIs, sorted. A folder that is not there has none.

    Raises:
        ValueError: the pattern is no regular expression.
        ObjectNotFoundError: no such bucket or container.
        PermissionDeniedError, StoreUnavailableError, …: a failed listing is never an empty one.
    """
    matching = listing.compiled(pattern)
    folder = parse(uri)
    store = store_for(folder.scheme)
    return _run(store, listing.everything(store, folder, recursive, matching))


def list_iter(uri: str, recursive: bool = False, pattern: str | None = None) -> Iterator[str]:
    """The same as `list`, streamed in the store's own order: memory stays the same however many there are."""
    matching = listing.compiled(pattern)
    folder = parse(uri)
    pages = iterate(listing.pages(store_for(folder.scheme), folder, recursive, matching))
    return (found for page in pages for found in page)


def entries(uri: str, recursive: bool = True) -> Iterator[Entry]:
    """List a folder with sizes. They come with the listing: no request is made for an object.

    Args:
        uri: a folder, with or without its last "/".
        recursive: every object below it; otherwise its children, folders with a final "/" and size 0.

    Returns:
        An iterator of `Entry`: `uri`, the full URI, and `size`, in bytes. Entries come page by page, in the store's own
        order, so memory does not grow with the number of objects. A folder that does not exist has no entries.

    Raises:
        InvalidURIError: not such a URI; at once. All other errors come from `next`.
        ObjectNotFoundError: no such bucket or container.
        PermissionDeniedError, StoreTimeoutError, StoreUnavailableError: a failed listing never looks like a short one.

    Example:
        >>> sum(entry.size for entry in s3dlio.entries("s3://bucket/folder"))
        1048576
    """
    folder = parse(uri)
    pages = iterate(listing.entries(store_for(folder.scheme), folder, recursive))
    return (entry for page in pages for entry in page)


def is_prefix(uri: str) -> bool:
    """Whether there is such a folder: on an object store, whether any key begins with this one and a "/"."""
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.is_prefix(target))


def mkdir(uri: str) -> None:
    """Make a folder, with its parents, where the store has folders; on an object store there is nothing to do."""
    target = parse(uri)
    store = store_for(target.scheme)
    _run(store, store.mkdir(target))


# Buckets...


def make_bucket(uri: str) -> None:
    """Make a bucket, or a container. A bucket that is yours already is left as it is.

    Args:
        uri: "s3://bucket", "az://container" or "gs://bucket". On Google Cloud Storage the bucket is made in the project
            of the setting `gcs_project`.

    Raises:
        InvalidURIError: the URI names more than a bucket, or its store has no buckets (files).
        PermissionDeniedError: these credentials may not make buckets, or somebody else has one of that name.
        ConfigurationError: no credentials, or no project.
        StoreTimeoutError, StoreUnavailableError

    Example:
        >>> s3dlio.make_bucket("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    _run(store, store.make_bucket(target))


def remove_bucket(uri: str) -> None:
    """Remove a bucket, or a container, that is empty. Some services would delete its objects too: this never does.

    Args:
        uri: "s3://bucket", "az://container" or "gs://bucket".

    Raises:
        S3dlioError: the bucket is not empty.
        ObjectNotFoundError: no such bucket.
        InvalidURIError: the URI names more than a bucket, or its store has no buckets (files).
        PermissionDeniedError, StoreTimeoutError, StoreUnavailableError

    Example:
        >>> s3dlio.remove_bucket("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    _run(store, buckets.remove(store, target))


def list_buckets(uri: str) -> list[str]:
    """List the buckets, or containers, that these credentials own.

    Args:
        uri: the service: "s3://", "az://" or "gs://".

    Returns:
        Full URIs, sorted, each with a final "/".

    Raises:
        InvalidURIError: another URI.
        PermissionDeniedError: these credentials may not list buckets.
        ConfigurationError: no credentials, or, on Google Cloud Storage, no project.
        StoreTimeoutError, StoreUnavailableError

    Example:
        >>> s3dlio.list_buckets("s3://")
        ['s3://bucket/', 's3://other/']
    """
    scheme = buckets.scheme_of_service(uri)
    store = store_for(scheme)
    return _run(store, buckets.names(store, scheme))


def _run(store: Store, operation: Operation[T]) -> T:
    """Run an operation; one of a cloud store with the settings of its beginning: each look at them takes 2 µs."""
    if store.blocking:
        return run(operation)
    with settings.held(store.settings):  # type: ignore[attr-defined]
        return run(operation)


# Many objects...


@overload
def get_many(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: Literal[False] = False
) -> list[tuple[str, memoryview]]: ...
@overload
def get_many(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: Literal[True]
) -> list[tuple[str, memoryview | Exception]]: ...
def get_many(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool = False
) -> list[tuple[str, memoryview]] | list[tuple[str, memoryview | Exception]]:
    """Read many objects, of any mix of schemes.

    Args:
        uris: the objects; one may stand there twice.
        max_in_flight: objects read at a time, at most.
        return_errors: give an object's exception in the place of its bytes; otherwise the first is raised once what
            was under way has ended, and names its URI.

    Returns:
        (URI, bytes) in the order of `uris`.
    """
    check_in_flight(max_in_flight)
    work, results = batch.getting(check_uris(uris), max_in_flight, return_errors)
    batch.run_work(work)
    return results


def get_many_iter(uris: Iterable[str], max_in_flight: int = 64, ordered: bool = True) -> ReadAhead:
    """Read many objects one after the other, ahead of the caller.

    A thread that lives as long as the iterator keeps transfers going while the caller computes, inside a window of
    `max_in_flight` objects and S3DLIO_WINDOW_MB bytes.

    Args:
        uris: the objects; any iterable, consumed as the reading goes on.
        max_in_flight: objects under way or waiting, at most.
        ordered: in the order of `uris`; otherwise as they come.

    Returns:
        An iterator of (URI, bytes). An object's error is raised in its place and ends the iteration. `close()`, or
        dropping the iterator, ends the reading.
    """
    check_no_string(uris)
    check_in_flight(max_in_flight)
    return ReadAhead(uris, max_in_flight, ordered, settings.current())


def get_each(uris: Iterable[str], receive: Callable[[str, memoryview], object], max_in_flight: int = 64) -> None:
    """Read many objects, of any mix of schemes, and call a function with each as it comes. Nothing is kept.

    Compared with `get_many`, memory stays at the objects in flight; compared with `get_many_iter`, no other thread
    reads ahead while `receive` works, and a small object takes less CPU time.

    Args:
        uris: the objects; any iterable, consumed as the reading continues.
        receive: called with the URI and a writable view of its bytes, in the order in which the objects come, by one
            thread at a time. An exception that it raises ends the reading.
        max_in_flight: objects read at a time, at most.

    Raises:
        The first error, naming its URI, once what was under way has ended.
        TypeError: `uris` is a single string.

    Example:
        >>> s3dlio.get_each(s3dlio.list_iter("s3://bucket/folder"), lambda uri, data: print(uri, len(data)))
    """
    check_no_string(uris)
    check_in_flight(max_in_flight)
    batch.run_work(batch.giving(uris, max_in_flight, receive))


def put_many(
    pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int = 64, *, progress: ProgressCallback | None = None
) -> None:
    """Write many objects, of any mix of schemes; each as `put_bytes` would.

    Args:
        pairs: (URI, data); any iterable, consumed as the writing goes on. No data may change before this returns.
        max_in_flight: objects written at a time, at most.
        progress: called with a `Progress` for every object written, by one thread at a time.

    Raises:
        The first error, naming its URI, once what was under way has ended. Objects written before it stay.
    """
    check_in_flight(max_in_flight)
    batch.run_work(batch.putting(pairs, max_in_flight, progress))


def delete_many(uris: Iterable[str], max_in_flight: int = 64, *, progress: ProgressCallback | None = None) -> None:
    """Delete many objects, of any mix of schemes, each as `delete` does: deleting a missing object succeeds.

    Args:
        uris: the objects; any iterable, consumed as the deleting continues.
        max_in_flight: objects deleted at a time, at most.
        progress: called with a `Progress` for every object deleted, by one thread at a time.

    Raises:
        The first error, naming its URI, once what was under way has ended. Objects deleted before it stay deleted.
        TypeError: `uris` is a single string.

    Example:
        >>> s3dlio.delete_many(f"s3://bucket/folder/{number}" for number in range(1000))
    """
    check_no_string(uris)
    check_in_flight(max_in_flight)
    batch.run_work(batch.deleting(uris, max_in_flight, progress))


# Copies...


def upload(path: Path, uri: str, *, recursive: bool = False, progress: ProgressCallback | None = None) -> None:
    """Copy a local file, or a tree of files, to a store; see `copy`.

    Args:
        path: a local path.
        uri: the object to write; the folder, if it ends in "/" or with `recursive`.
    """
    copy(of_path(path), uri, recursive=recursive, progress=progress)


def download(uri: str, path: Path, *, recursive: bool = False, progress: ProgressCallback | None = None) -> None:
    """Copy an object, or a tree, to local files; see `copy`.

    Args:
        uri: the object; the folder with `recursive`.
        path: a local path: of the file to write, or of a folder. The file appears when it is whole.
    """
    copy(uri, of_path(path), recursive=recursive, progress=progress)


def copy(source: str, target: str, *, recursive: bool = False, progress: ProgressCallback | None = None) -> None:
    """Copy an object, or a tree, from any store to any.

    Args:
        source: an object; with `recursive` a folder, or an object after all.
        target: the object to write. If it ends in "/" or is an existing folder of files, the object goes into it
            under its own name. With `recursive`: the folder below which the tree goes.
        recursive: copy everything below the folder.
        progress: called with a `Progress` for every piece written, by one thread at a time.

    Raises:
        ObjectNotFoundError: no such source.
        S3dlioError: the first error, once what was under way has ended. What was copied before stays, each object
            whole.
    """
    copying.copy(parse(source), parse(target), recursive, progress)


# Shared with the async twins...


def check_range(offset: int, length: int | None) -> None:
    """Raise ValueError unless offset and length are 0 or more."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset={offset}, length={length}: both must be 0 or more")


def check_chunk_size(chunk_size: int) -> None:
    """Raise ValueError unless a chunk has at least one byte."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: it must be 1 or more")


def check_in_flight(max_in_flight: int) -> None:
    """Raise ValueError unless at least one object may be in flight."""
    if max_in_flight < 1:
        raise ValueError(f"max_in_flight={max_in_flight}: it must be 1 or more")


def check_no_string(uris: Iterable[str]) -> None:
    """Raise TypeError for a single string instead of several URIs: iterating over it would give its letters."""
    if isinstance(uris, str | bytes):
        raise TypeError(f"uris must be an iterable of URIs, not one {type(uris).__name__}: write [{uris!r}]")


def check_uris(uris: Iterable[str]) -> list[str]:
    """The URIs as a list; a single string in their place is a TypeError, not a list of its letters."""
    check_no_string(uris)
    return list(uris)
