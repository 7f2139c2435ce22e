# SPDX-License-Identifier: Apache-2.0
"""The async twins of the verbs: the same arguments and results, for a program with an event loop.

The engine awaits the network on the caller's loop (`runtime.on_asyncio`). File I/O blocks, so it runs in threads that
end with the calls (`runtime.asyncio_threads`). If a task is canceled, its operation is stopped and a write removes its
temporary file before the cancellation continues. So nothing of a canceled call happens later.

The twins are written out, not derived from the verbs by a table. A decorator with `ParamSpec` loses overloads and
docstrings for type checkers and editors, and a shared function that prepares a call would add a Python call to each
verb. A test compares the signature, the overloads and the result of every twin with its verb.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from itertools import chain
from typing import Literal, TypeVar, overload

from s3dlio import api
from s3dlio.runtime.asyncio_threads import in_thread
from s3dlio.runtime.on_asyncio import run_async
from s3dlio.runtime.operation import Operation
from s3dlio.runtime.run import end, run, step
from s3dlio.stores.base import Store
from s3dlio.transfer import batch, buckets, chunks, copying, listing
from s3dlio.transfer.stores import store_for
from s3dlio.types import BytesLike, Entry, ObjectInfo, as_view
from s3dlio.uri import of_path, parse

T = TypeVar("T")


async def get_async(uri: str) -> memoryview:
    """Read a whole object.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: the object.

    Returns:
        A writable view of exactly its bytes (format "B", one dimension). The view, and whatever is made from it, stays
        valid while it is in use; then the memory is used for other objects.

    Raises:
        ObjectNotFoundError: the object or its bucket does not exist, or the URI names a folder.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        IntegrityError: the bytes that arrived differ from those that the store keeps.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> view = await s3dlio.get_async("s3://bucket/object")
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.get(target))


async def get_range_async(uri: str, offset: int, length: int | None = None) -> memoryview:
    """Read a range of an object.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: the object.
        offset: the first byte, from 0.
        length: number of bytes; None for all that follow.

    Returns:
        A writable view (format "B", one dimension). It is shorter than `length` if the object ends earlier, and empty
        if the range begins at or after its end.

    Raises:
        ValueError: `offset` or `length` is negative.
        ObjectNotFoundError: the object or its bucket does not exist, or the URI names a folder.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        IntegrityError: the bytes that arrived differ from those that the store keeps.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> bytes(await s3dlio.get_range_async("s3://bucket/object", 1, 3))
        b'IFF'
    """
    api.check_range(offset, length)
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.get_range(target, offset, length))


def get_chunks_async(
    uri: str, chunk_size: int = api.CHUNK, offset: int = 0, length: int | None = None
) -> AsyncIterator[memoryview]:
    """Read an object, or a range of it, in chunks. Use this for objects larger than the memory to be used.

    All chunks are of one version of the object. Memory stays at one chunk if each is dropped before the next one. If a
    server names no version (no ETag, or a weak one), a range of more than one chunk is read by one request, into
    memory.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: the object.
        chunk_size: bytes of a chunk; the last chunk may be shorter.
        offset: the first byte, from 0.
        length: number of bytes; None for all that follow.

    Returns:
        An async iterator of writable views, each valid while it, or whatever is made from it, is in use. An empty
        object, and a range after the end, have no chunks. Nothing is read before the first chunk is requested, nor
        while the caller works on a chunk.

    Raises:
        ValueError: `chunk_size` is below 1, or `offset` or `length` is negative.
        ObjectNotFoundError: the object or its bucket does not exist, or the URI names a folder.
        IntegrityError: the object was replaced after some of its chunks had been returned, or bytes differ from those
            stored.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    ValueError, InvalidURIError and ConfigurationError come from this call, all other errors from the iteration.

    Example:
        >>> async for chunk in s3dlio.get_chunks_async("s3://bucket/large", 8 << 20):
        ...     digest.update(chunk)
    """
    api.check_range(offset, length)
    api.check_chunk_size(chunk_size)
    target = parse(uri)
    store = store_for(target.scheme)
    return _iterate(store, chunks.chunks(store, target, chunk_size, offset, length))


async def put_bytes_async(uri: str, data: BytesLike) -> None:
    """Write an object. Readers see the old object or the complete new one; a failure leaves the old one.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    write is stopped and undone before the cancellation continues: its temporary file, or the parts of the object, are
    removed.

    Args:
        uri: the object. On file:// and direct:// missing folders are created.
        data: any contiguous buffer. It is sent without a copy, so it must not change before this returns.

    Raises:
        TypeError: `data` is not a buffer, or not contiguous; or the URI is not a string.
        IntegrityError: the data changed while it was sent, or the store received other bytes.
        InvalidURIError: the URI is malformed, its scheme is unknown, or no file can have its name.
        ObjectNotFoundError: the bucket or container does not exist.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: no space is left, or the store refuses the object for another reason.

    Example:
        >>> await s3dlio.put_bytes_async("s3://bucket/object", b"content")
    """
    view = as_view(data)
    target = parse(uri)
    store = store_for(target.scheme)
    await _run(store, store.put(target, view))


async def stat_async(uri: str) -> ObjectInfo:
    """Return facts about an object.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: the object.

    Returns:
        A dict (`ObjectInfo`) with the same keys on every protocol: `size` in bytes, `last_modified` (a datetime in
        UTC), `etag`, `content_type`, `metadata`, `checksums`, `storage_class` and `version`. A fact that the store does
        not report is None, or an empty dict.

    Raises:
        ObjectNotFoundError: the object or its bucket does not exist, or the URI names a folder.
        S3dlioError: the store sent a date that cannot be read.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> (await s3dlio.stat_async("s3://bucket/object"))["size"]
        1048576
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.stat(target))


async def exists_async(uri: str) -> bool:
    """Return whether an object exists. A folder is not an object (see `is_prefix`).

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: the object.

    Returns:
        False only if the store says that the object does not exist.

    Raises:
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> await s3dlio.exists_async("s3://bucket/object")
        True
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return await _run(store, store.exists(target))


async def mkdir_async(uri: str) -> None:
    """Create a folder and its parents. In an object store this does nothing: folders come with their objects.

    The folder is created in another thread than that of the event loop.

    Args:
        uri: the folder. One that exists is left as it is.

    Raises:
        S3dlioError: an object of that name exists.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        PermissionDeniedError: the file system refuses to create a folder.

    Example:
        >>> await s3dlio.mkdir_async("file:///data/folder")
    """
    target = parse(uri)
    store = store_for(target.scheme)
    await _run(store, store.mkdir(target))


async def delete_async(uri: str, recursive: bool = False) -> None:
    """Delete an object, or everything below a folder. Deleting a missing object or folder succeeds.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues; objects deleted before stay deleted.

    Args:
        uri: the object; with `recursive` the folder.
        recursive: delete everything below the folder. Objects beside it stay, whatever their names begin with.

    Raises:
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ObjectNotFoundError: the bucket or container does not exist.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: the store refuses to delete an object, which the message names.

    Example:
        >>> await s3dlio.delete_async("s3://bucket/object")
        >>> await s3dlio.delete_async("s3://bucket/folder", recursive=True)
    """
    target = parse(uri)
    store = store_for(target.scheme)
    await _run(store, store.delete_prefix(target) if recursive else store.delete(target))


async def list_async(uri: str, recursive: bool = False, pattern: str | None = None) -> list[str]:
    """List a folder.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: a folder, with or without its last "/".
        recursive: list every object below the folder; otherwise its children, of which folders have a final "/".
        pattern: a regular expression, searched in the part of each name below the folder; other names are left out.

    Returns:
        Full URIs, sorted. A folder that does not exist has none.

    Raises:
        ValueError: `pattern` is not a regular expression.
        ObjectNotFoundError: the bucket or container does not exist.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: the store sent a listing that cannot be trusted. No error ever looks like an empty or a short
            listing.

    Example:
        >>> await s3dlio.list_async("s3://bucket/folder", pattern="npz$")
        ['s3://bucket/folder/0.npz', 's3://bucket/folder/1.npz']
    """
    matching = listing.compiled(pattern)
    folder = parse(uri)
    store = store_for(folder.scheme)
    return await _run(store, listing.everything(store, folder, recursive, matching))


def entries_async(uri: str, recursive: bool = True) -> AsyncIterator[Entry]:
    """List a folder with sizes. The sizes come with the listing: no request is made for an object.

    A request to an object store runs on the event loop, and file I/O in another thread. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uri: a folder, with or without its last "/".
        recursive: list every object below the folder; otherwise its children, of which folders have a final "/" and
            size 0.

    Returns:
        An async iterator of `Entry`: `uri`, the full URI, and `size` in bytes. Entries come page by page in the order
        of the store, so memory does not grow with their number. A folder that does not exist has none.

    Raises:
        ObjectNotFoundError: the bucket or container does not exist.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: the store sent a listing that cannot be trusted. No error ever looks like an empty or a short
            listing.

    ValueError, InvalidURIError and ConfigurationError come from this call, all other errors from the iteration.

    Example:
        >>> async for entry in s3dlio.entries_async("s3://bucket/folder"):
        ...     print(entry.uri, entry.size)
    """
    folder = parse(uri)
    store = store_for(folder.scheme)
    return _each(_iterate(store, listing.entries(store, folder, recursive)))


async def make_bucket_async(uri: str) -> None:
    """Create a bucket, or a container. A bucket that you own already is left as it is.

    The request runs on the event loop. If the task is canceled, the call is stopped before the cancellation continues.

    Args:
        uri: "s3://bucket", "az://container" or "gs://bucket". On Google Cloud Storage the bucket belongs to the project
            of the setting `gcs_project`.

    Raises:
        InvalidURIError: the URI names more than a bucket, or its store has no buckets (files).
        PermissionDeniedError: these credentials may not create buckets, or the bucket has another owner.
        ConfigurationError: there are no credentials or, on Google Cloud Storage, there is no project.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> await s3dlio.make_bucket_async("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    await _run(store, store.make_bucket(target))


async def remove_bucket_async(uri: str) -> None:
    """Remove an empty bucket, or container. Objects are never deleted, although some services would delete them too.

    The requests run on the event loop. If the task is canceled, the call is stopped before the cancellation continues.

    Args:
        uri: "s3://bucket", "az://container" or "gs://bucket".

    Raises:
        S3dlioError: the bucket is not empty.
        ObjectNotFoundError: the bucket or container does not exist.
        InvalidURIError: the URI names more than a bucket, or its store has no buckets (files).
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> await s3dlio.remove_bucket_async("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    await _run(store, buckets.remove(store, target))


async def list_buckets_async(uri: str) -> list[str]:
    """List the buckets, or containers, that these credentials own.

    The request runs on the event loop. If the task is canceled, the call is stopped before the cancellation continues.

    Args:
        uri: the service: "s3://", "az://" or "gs://".

    Returns:
        Full URIs, sorted, each with a final "/".

    Raises:
        InvalidURIError: another URI. One that is not a string is a TypeError.
        PermissionDeniedError: these credentials may not list buckets.
        ConfigurationError: there are no credentials or, on Google Cloud Storage, there is no project.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> await s3dlio.list_buckets_async("s3://")
        ['s3://bucket/', 's3://other/']
    """
    scheme = buckets.scheme_of_service(uri)
    store = store_for(scheme)
    return await _run(store, buckets.names(store, scheme))


@overload
async def get_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: Literal[False] = False
) -> list[tuple[str, memoryview]]: ...
@overload
async def get_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool
) -> list[tuple[str, memoryview | Exception]]: ...
async def get_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool = False
) -> list[tuple[str, memoryview]] | list[tuple[str, memoryview | Exception]]:
    """Read many objects, of any mix of schemes.

    Files are handled in other threads, and objects of object stores on the event loop. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uris: the objects; a URI may occur more than once.
        max_in_flight: objects read at a time, at most.
        return_errors: put the exception of an object that cannot be read into the result, instead of its bytes, and
            continue.

    Returns:
        (URI, view) in the order of `uris`; see `get` for the views. With `return_errors`: (URI, view or exception).

    Raises:
        S3dlioError: the first error, of any class that `get` raises, after the objects in flight have ended. Its
            message names the URI.
        ValueError: `max_in_flight` is below 1.
        TypeError: `uris` is a single string.

    Example:
        >>> for uri, view in await s3dlio.get_many_async(["s3://bucket/0", "s3://bucket/1"]):
        ...     print(uri, len(view))
    """
    api.check_in_flight(max_in_flight)
    work, results = batch.getting(api.check_uris(uris), max_in_flight, return_errors)
    await _run_work(work)
    return results


async def get_each_async(
    uris: Iterable[str], receive: Callable[[str, memoryview], object], max_in_flight: int = 64
) -> None:
    """Read many objects, of any mix of schemes, and call a function with each as it arrives. No object is kept.

    Memory stays at the objects in flight, unlike with `get_many`. Unlike with `get_many_iter`, no thread reads ahead
    while `receive` works, and a small object takes less CPU time.

    Files are handled in other threads, and objects of object stores on the event loop. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uris: the objects; any iterable, consumed while the objects are read. The first item, and for object stores
            every item, is taken on the event loop, so taking one must not block; for files the other items are taken in
            another thread.
        receive: called with the URI and a writable view of its bytes, in the order in which objects arrive, by one
            thread at a time: on the event loop for object stores, in other threads for files. An exception that it
            raises ends the reading.
        max_in_flight: objects read at a time, at most.

    Raises:
        S3dlioError: the first error, of any class that `get` raises, after the objects in flight have ended. Its
            message names the URI.
        ValueError: `max_in_flight` is below 1.
        TypeError: `uris` is a single string.

    Example:
        >>> await s3dlio.get_each_async(uris, lambda uri, view: print(uri, len(view)))
    """
    api.check_no_string(uris)
    api.check_in_flight(max_in_flight)
    await _run_work(batch.giving(uris, max_in_flight, receive))


async def put_many_async(
    pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int = 64, *, progress: api.ProgressCallback | None = None
) -> None:
    """Write many objects, of any mix of schemes, each as `put_bytes` does.

    Files are handled in other threads, and objects of object stores on the event loop. If the task is canceled, the
    writes under way are stopped and undone before the cancellation continues.

    Args:
        pairs: (URI, data); any iterable, consumed while the objects are written. No data may change before this
            returns. The first item, and for object stores every item, is taken on the event loop, so taking one must
            not block; for files the other items are taken in another thread.
        max_in_flight: objects written at a time, at most.
        progress: called with a `Progress` after every object, by one thread at a time: on the event loop for object
            stores, in other threads for files. The totals are None.

    Raises:
        S3dlioError: the first error, of any class that `put_bytes` raises, after the objects in flight have ended. Its
            message names the URI. Objects written before it stay.
        ValueError: `max_in_flight` is below 1.
        TypeError: some data is not a contiguous buffer.

    Example:
        >>> await s3dlio.put_many_async((f"s3://bucket/{number}", bytes(1024)) for number in range(1000))
    """
    api.check_in_flight(max_in_flight)
    await _run_work(batch.putting(pairs, max_in_flight, progress))


async def delete_many_async(
    uris: Iterable[str], max_in_flight: int = 64, *, progress: api.ProgressCallback | None = None
) -> None:
    """Delete many objects, of any mix of schemes, each as `delete` does. Deleting a missing object succeeds.

    Files are handled in other threads, and objects of object stores on the event loop. If the task is canceled, the
    call is stopped before the cancellation continues.

    Args:
        uris: the objects; any iterable, consumed while the objects are deleted. The first item, and for object stores
            every item, is taken on the event loop, so taking one must not block; for files the other items are taken in
            another thread.
        max_in_flight: objects deleted at a time, at most.
        progress: called with a `Progress` after every object, by one thread at a time: on the event loop for object
            stores, in other threads for files. The totals are None.

    Raises:
        S3dlioError: the first error, of any class that `delete` raises, after the objects in flight have ended. Its
            message names the URI. Objects deleted before it stay deleted.
        ValueError: `max_in_flight` is below 1.
        TypeError: `uris` is a single string.

    Example:
        >>> await s3dlio.delete_many_async(f"s3://bucket/folder/{number}" for number in range(1000))
    """
    api.check_no_string(uris)
    api.check_in_flight(max_in_flight)
    await _run_work(batch.deleting(uris, max_in_flight, progress))


async def upload_async(
    path: api.Path, uri: str, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """Copy a local file, or a tree of files, to a store.

    Memory stays at a few pieces of 16 MiB. Every object becomes visible when it is complete. The first error ends the
    copy after the objects in flight have ended; objects copied before it stay.

    The copy runs in other threads. If the task is canceled, the copy is stopped, and the objects under way are undone,
    before the cancellation continues.

    Args:
        path: the local file; with `recursive` the folder.
        uri: the object to write. If the URI ends in "/", or is an existing folder of files, the object keeps the name
            of the file there. With `recursive`: the folder below which the tree is copied.
        recursive: copy everything below the folder.
        progress: called with a `Progress` after every piece written, by one thread at a time, which is not the thread
            of the event loop.

    Raises:
        ObjectNotFoundError: the source, or the bucket of the target, does not exist.
        InvalidURIError: a URI is malformed; the target of a tree lies inside the tree; or no file can have the name of
            an object, which the message names.
        IntegrityError: an object was replaced, or its bytes changed, while it was copied.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: any other error of the store, such as no space left.

    Example:
        >>> await s3dlio.upload_async("model.pt", "s3://bucket/models/")
    """
    await copy_async(of_path(path), uri, recursive=recursive, progress=progress)


async def download_async(
    uri: str, path: api.Path, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """Copy an object, or a tree, to local files.

    Memory stays at a few pieces of 16 MiB. Every object becomes visible when it is complete. The first error ends the
    copy after the objects in flight have ended; objects copied before it stay.

    The copy runs in other threads. If the task is canceled, the copy is stopped, and the objects under way are undone,
    before the cancellation continues.

    Args:
        uri: the object; with `recursive` the folder.
        path: the local file to write. If the path ends in "/", or is an existing folder, the file gets the last part of
            the object's key as its name there. With `recursive`: the folder below which the tree is copied.
        recursive: copy everything below the folder.
        progress: called with a `Progress` after every piece written, by one thread at a time, which is not the thread
            of the event loop.

    Raises:
        ObjectNotFoundError: the source, or the bucket of the target, does not exist.
        InvalidURIError: a URI is malformed; the target of a tree lies inside the tree; or no file can have the name of
            an object, which the message names.
        IntegrityError: an object was replaced, or its bytes changed, while it was copied.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: any other error of the store, such as no space left.

    Example:
        >>> await s3dlio.download_async("s3://bucket/models/model.pt", "model.pt")
    """
    await copy_async(uri, of_path(path), recursive=recursive, progress=progress)


async def copy_async(
    source: str, target: str, *, recursive: bool = False, progress: api.ProgressCallback | None = None
) -> None:
    """Copy an object, or a tree, from any store to any store.

    Memory stays at a few pieces of 16 MiB. Every object becomes visible when it is complete. The first error ends the
    copy after the objects in flight have ended; objects copied before it stay. A store that can copy within itself does
    so.

    The copy runs in other threads. If the task is canceled, the copy is stopped, and the objects under way are undone,
    before the cancellation continues.

    Args:
        source: the object. With `recursive`: the folder, or an object if no folder is meant.
        target: the object to write. If the URI ends in "/", or is an existing folder of files, the object keeps its own
            name there. With `recursive`: the folder below which the tree is copied.
        recursive: copy everything below the source.
        progress: called with a `Progress` after every piece written, by one thread at a time, which is not the thread
            of the event loop.

    Raises:
        ObjectNotFoundError: the source, or the bucket of the target, does not exist.
        InvalidURIError: a URI is malformed; the target of a tree lies inside the tree; or no file can have the name of
            an object, which the message names.
        IntegrityError: an object was replaced, or its bytes changed, while it was copied.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.
        S3dlioError: any other error of the store, such as no space left.

    Example:
        >>> await s3dlio.copy_async("s3://bucket/folder", "file:///data/folder", recursive=True)
    """
    from_uri, to_uri = parse(source), parse(target)
    await in_thread(lambda stopped: copying.copy(from_uri, to_uri, recursive, progress, stopped))


# How they run...


async def _run(store: Store, operation: Operation[T]) -> T:
    """Run an operation of a store: one that blocks in a thread, any other on the loop."""
    if store.blocking:
        return await in_thread(lambda stopped: run(operation, stopped))
    return await run_async(operation)


async def _iterate(store: Store, generator: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the items of a store's generator. Each step runs as a separate call."""
    try:
        while True:
            try:
                item = await _run(store, step(generator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        await _run(store, end(generator))


async def _each(pages: AsyncGenerator[list[T], None]) -> AsyncGenerator[T, None]:
    """Yield the items of each page."""
    try:
        async for page in pages:
            for item in page:
                yield item
    finally:
        await pages.aclose()


async def _run_work(work: batch.Work) -> None:
    """Do the work of a batch: files in threads, the network on the loop. The first failure stops both."""
    network = batch.side_by_side(work.network, work.max_in_flight)
    halves = {asyncio.ensure_future(run_async(network))}
    first_file = next(work.blocking, None)
    if first_file is not None:
        files = work._replace(blocking=chain([first_file], work.blocking), network=iter(()))
        halves.add(asyncio.ensure_future(in_thread(lambda stopped: batch.run_work(files, stopped))))
    try:
        ended, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for half in halves:
            half.cancel()
        await asyncio.gather(*halves, return_exceptions=True)
    for half in ended:
        half.result()
