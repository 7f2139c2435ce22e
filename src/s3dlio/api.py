# SPDX-License-Identifier: Apache-2.0
"""The verbs: the public functions of `s3dlio`.

A verb checks its arguments, parses its URIs, and calls the store of the scheme. If that takes more than one call of a
store, it calls the layer `transfer`. All I/O of a call happens in the calling thread, and in threads that end with the
call. Results are views of pooled buffers (`memory.buffers`): a view, and whatever is made from it, stays valid while it
is in use.
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
        >>> view = s3dlio.get("s3://bucket/object")
        >>> len(view), bytes(view[:4])
        (1048576, b'RIFF')
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.get(target))


def get_range(uri: str, offset: int, length: int | None = None) -> memoryview:
    """Read a range of an object.

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
        >>> bytes(s3dlio.get_range("s3://bucket/object", 1, 3))
        b'IFF'
    """
    check_range(offset, length)
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.get_range(target, offset, length))


def get_chunks(uri: str, chunk_size: int = CHUNK, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
    """Read an object, or a range of it, in chunks. Use this for objects larger than the memory to be used.

    All chunks are of one version of the object. Memory stays at one chunk if each is dropped before the next one. If a
    server names no version (no ETag, or a weak one), a range of more than one chunk is read by one request, into
    memory.

    Args:
        uri: the object.
        chunk_size: bytes of a chunk; the last chunk may be shorter.
        offset: the first byte, from 0.
        length: number of bytes; None for all that follow.

    Returns:
        An iterator of writable views, each valid while it, or whatever is made from it, is in use. An empty object, and
        a range after the end, have no chunks. Nothing is read before the first chunk is requested.

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
        >>> for chunk in s3dlio.get_chunks("s3://bucket/large", 8 << 20):
        ...     digest.update(chunk)
    """
    check_range(offset, length)
    check_chunk_size(chunk_size)
    target = parse(uri)
    return iterate(chunks.chunks(store_for(target.scheme), target, chunk_size, offset, length))


def put_bytes(uri: str, data: BytesLike) -> None:
    """Write an object. Readers see the old object or the complete new one; a failure leaves the old one.

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
        >>> s3dlio.put_bytes("s3://bucket/object", b"content")
    """
    view = as_view(data)
    target = parse(uri)
    store = store_for(target.scheme)
    _run(store, store.put(target, view))


def stat(uri: str) -> ObjectInfo:
    """Return facts about an object.

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
        >>> s3dlio.stat("s3://bucket/object")["size"]
        1048576
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.stat(target))


def exists(uri: str) -> bool:
    """Return whether an object exists. A folder is not an object (see `is_prefix`).

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
        >>> s3dlio.exists("s3://bucket/object")
        True
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.exists(target))


def delete(uri: str, recursive: bool = False) -> None:
    """Delete an object, or everything below a folder. Deleting a missing object or folder succeeds.

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
        >>> s3dlio.delete("s3://bucket/object")
        >>> s3dlio.delete("s3://bucket/folder", recursive=True)
    """
    target = parse(uri)
    store = store_for(target.scheme)
    _run(store, store.delete_prefix(target) if recursive else store.delete(target))


def presign(uri: str, method: str = "GET", expires: int = 3600) -> str:
    """Return a URL with which anyone can make one kind of request for an object, without credentials.

    No request is sent. Whether the object exists, and whether these credentials allow the request, shows when the URL
    is used.

    Args:
        uri: the object, in an object store.
        method: "GET", "HEAD", "PUT" or "DELETE".
        expires: seconds for which the URL is valid, 1 to 604,800; fewer if the credentials expire before.

    Returns:
        The URL.

    Raises:
        ValueError: another method, or `expires` is out of bounds.
        InvalidURIError: the URI does not name an object in an object store.
        ConfigurationError: there are no credentials that can sign a URL.
        StoreTimeoutError, StoreUnavailableError: the service that supplies the credentials did not answer.

    Example:
        >>> s3dlio.presign("s3://bucket/object", expires=600)
        'https://bucket.s3.us-east-1.amazonaws.com/object?X-Amz-Algorithm=...'
    """
    if method not in ("GET", "HEAD", "PUT", "DELETE"):
        raise ValueError(f"method={method!r}: expected GET, HEAD, PUT or DELETE")
    target = parse(uri)
    return store_for(target.scheme).presign(target, method, expires)


# Folders...


def list_objects(uri: str, recursive: bool = False, pattern: str | None = None) -> list[str]:
    """List a folder. Public name: `s3dlio.list`.

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
        >>> s3dlio.list("s3://bucket/folder", pattern="npz$")
        ['s3://bucket/folder/0.npz', 's3://bucket/folder/1.npz']
    """
    matching = listing.compiled(pattern)
    folder = parse(uri)
    store = store_for(folder.scheme)
    return _run(store, listing.everything(store, folder, recursive, matching))


def list_iter(uri: str, recursive: bool = False, pattern: str | None = None) -> Iterator[str]:
    """List a folder, page by page. Memory does not grow with the number of names.

    Args:
        uri: a folder, with or without its last "/".
        recursive: list every object below the folder; otherwise its children, of which folders have a final "/".
        pattern: a regular expression, searched in the part of each name below the folder; other names are left out.

    Returns:
        An iterator of full URIs, in the order of the store. A folder that does not exist has none.

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

    ValueError, InvalidURIError and ConfigurationError come from this call, all other errors from the iteration.

    Example:
        >>> sum(1 for uri in s3dlio.list_iter("s3://bucket/folder", recursive=True))
        1000000
    """
    matching = listing.compiled(pattern)
    folder = parse(uri)
    pages = iterate(listing.pages(store_for(folder.scheme), folder, recursive, matching))
    return (found for page in pages for found in page)


def entries(uri: str, recursive: bool = True) -> Iterator[Entry]:
    """List a folder with sizes. The sizes come with the listing: no request is made for an object.

    Args:
        uri: a folder, with or without its last "/".
        recursive: list every object below the folder; otherwise its children, of which folders have a final "/" and
            size 0.

    Returns:
        An iterator of `Entry`: `uri`, the full URI, and `size` in bytes. Entries come page by page in the order of the
        store, so memory does not grow with their number. A folder that does not exist has none.

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
        >>> sum(entry.size for entry in s3dlio.entries("s3://bucket/folder"))
        1048576
    """
    folder = parse(uri)
    pages = iterate(listing.entries(store_for(folder.scheme), folder, recursive))
    return (entry for page in pages for entry in page)


def is_prefix(uri: str) -> bool:
    """Return whether a folder exists. In an object store: whether the key of any object begins with this key and a "/".

    Args:
        uri: the folder, with or without its last "/".

    Returns:
        False only if the store says that the folder does not exist.

    Raises:
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        ConfigurationError: a setting or a credential is missing or malformed.
        PermissionDeniedError: the store or the file system refuses the request.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> s3dlio.is_prefix("s3://bucket/folder")
        True
    """
    target = parse(uri)
    store = store_for(target.scheme)
    return _run(store, store.is_prefix(target))


def mkdir(uri: str) -> None:
    """Create a folder and its parents. In an object store this does nothing: folders come with their objects.

    Args:
        uri: the folder. One that exists is left as it is.

    Raises:
        S3dlioError: an object of that name exists.
        InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
        PermissionDeniedError: the file system refuses to create a folder.

    Example:
        >>> s3dlio.mkdir("file:///data/folder")
    """
    target = parse(uri)
    store = store_for(target.scheme)
    _run(store, store.mkdir(target))


# Buckets...


def make_bucket(uri: str) -> None:
    """Create a bucket, or a container. A bucket that you own already is left as it is.

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
        >>> s3dlio.make_bucket("s3://bucket")
    """
    target = buckets.bucket(uri)
    store = store_for(target.scheme)
    _run(store, store.make_bucket(target))


def remove_bucket(uri: str) -> None:
    """Remove an empty bucket, or container. Objects are never deleted, although some services would delete them too.

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
        InvalidURIError: another URI. One that is not a string is a TypeError.
        PermissionDeniedError: these credentials may not list buckets.
        ConfigurationError: there are no credentials or, on Google Cloud Storage, there is no project.
        StoreTimeoutError: the store did not answer in time.
        StoreUnavailableError: the store cannot be reached, or cannot serve the request.

    Example:
        >>> s3dlio.list_buckets("s3://")
        ['s3://bucket/', 's3://other/']
    """
    scheme = buckets.scheme_of_service(uri)
    store = store_for(scheme)
    return _run(store, buckets.names(store, scheme))


def _run(store: Store, operation: Operation[T]) -> T:
    """Run an operation. For an object store the settings are looked up once, since that takes 2 µs."""
    if store.blocking:
        return run(operation)
    with settings.held(store.settings):
        return run(operation)


# Many objects...


@overload
def get_many(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: Literal[False] = False
) -> list[tuple[str, memoryview]]: ...
@overload
def get_many(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool
) -> list[tuple[str, memoryview | Exception]]: ...
def get_many(
    uris: Iterable[str], max_in_flight: int = 64, *, return_errors: bool = False
) -> list[tuple[str, memoryview]] | list[tuple[str, memoryview | Exception]]:
    """Read many objects, of any mix of schemes.

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
        >>> for uri, view in s3dlio.get_many(["s3://bucket/0", "s3://bucket/1"]):
        ...     print(uri, len(view))
    """
    check_in_flight(max_in_flight)
    work, results = batch.getting(check_uris(uris), max_in_flight, return_errors)
    batch.run_work(work)
    return results


def get_many_iter(uris: Iterable[str], max_in_flight: int = 64, ordered: bool = True) -> ReadAhead:
    """Read many objects, of any mix of schemes, ahead of the caller.

    A thread, which ends with the iterator, reads objects while the caller computes: up to `max_in_flight` objects and
    S3DLIO_WINDOW_MB (128 MiB) of bytes, of which a single object may exceed.

    Args:
        uris: the objects; any iterable, consumed while the objects are read.
        max_in_flight: objects under way or waiting for the caller, at most.
        ordered: return objects in the order of `uris`; otherwise as they arrive.

    Returns:
        An iterator of (URI, view); see `get` for the views. `close()`, or dropping the iterator, ends the reading.

    Raises:
        ValueError: `max_in_flight` is below 1.
        TypeError: `uris` is a single string.
        S3dlioError: an error, of any class that `get` raises, comes from `next` at the turn of its object, and ends the
            iteration. The message names the URI.

    Example:
        >>> for uri, view in s3dlio.get_many_iter(s3dlio.list_iter("s3://bucket/folder")):
        ...     train(view)
    """
    check_no_string(uris)
    check_in_flight(max_in_flight)
    return ReadAhead(uris, max_in_flight, ordered, settings.current())


def get_each(uris: Iterable[str], receive: Callable[[str, memoryview], object], max_in_flight: int = 64) -> None:
    """Read many objects, of any mix of schemes, and call a function with each as it arrives. No object is kept.

    Memory stays at the objects in flight, unlike with `get_many`. Unlike with `get_many_iter`, no thread reads ahead
    while `receive` works, and a small object takes less CPU time.

    Args:
        uris: the objects; any iterable, consumed while the objects are read.
        receive: called with the URI and a writable view of its bytes, in the order in which objects arrive, by one
            thread at a time. An exception that it raises ends the reading.
        max_in_flight: objects read at a time, at most.

    Raises:
        S3dlioError: the first error, of any class that `get` raises, after the objects in flight have ended. Its
            message names the URI.
        ValueError: `max_in_flight` is below 1.
        TypeError: `uris` is a single string.

    Example:
        >>> s3dlio.get_each(s3dlio.list_iter("s3://bucket/folder"), lambda uri, view: print(uri, len(view)))
    """
    check_no_string(uris)
    check_in_flight(max_in_flight)
    batch.run_work(batch.giving(uris, max_in_flight, receive))


def put_many(
    pairs: Iterable[tuple[str, BytesLike]], max_in_flight: int = 64, *, progress: ProgressCallback | None = None
) -> None:
    """Write many objects, of any mix of schemes, each as `put_bytes` does.

    Args:
        pairs: (URI, data); any iterable, consumed while the objects are written. No data may change before this
            returns.
        max_in_flight: objects written at a time, at most.
        progress: called with a `Progress` after every object, by one thread at a time; the totals are None.

    Raises:
        S3dlioError: the first error, of any class that `put_bytes` raises, after the objects in flight have ended. Its
            message names the URI. Objects written before it stay.
        ValueError: `max_in_flight` is below 1.
        TypeError: some data is not a contiguous buffer.

    Example:
        >>> s3dlio.put_many((f"s3://bucket/{number}", bytes(1024)) for number in range(1000))
    """
    check_in_flight(max_in_flight)
    batch.run_work(batch.putting(pairs, max_in_flight, progress))


def delete_many(uris: Iterable[str], max_in_flight: int = 64, *, progress: ProgressCallback | None = None) -> None:
    """Delete many objects, of any mix of schemes, each as `delete` does. Deleting a missing object succeeds.

    Args:
        uris: the objects; any iterable, consumed while the objects are deleted.
        max_in_flight: objects deleted at a time, at most.
        progress: called with a `Progress` after every object, by one thread at a time; the totals are None.

    Raises:
        S3dlioError: the first error, of any class that `delete` raises, after the objects in flight have ended. Its
            message names the URI. Objects deleted before it stay deleted.
        ValueError: `max_in_flight` is below 1.
        TypeError: `uris` is a single string.

    Example:
        >>> s3dlio.delete_many(f"s3://bucket/folder/{number}" for number in range(1000))
    """
    check_no_string(uris)
    check_in_flight(max_in_flight)
    batch.run_work(batch.deleting(uris, max_in_flight, progress))


# Copies...


def upload(path: Path, uri: str, *, recursive: bool = False, progress: ProgressCallback | None = None) -> None:
    """Copy a local file, or a tree of files, to a store.

    Memory stays at a few pieces of 16 MiB. Every object becomes visible when it is complete. The first error ends the
    copy after the objects in flight have ended; objects copied before it stay.

    Args:
        path: the local file; with `recursive` the folder.
        uri: the object to write. If the URI ends in "/", or is an existing folder of files, the object keeps the name
            of the file there. With `recursive`: the folder below which the tree is copied.
        recursive: copy everything below the folder.
        progress: called with a `Progress` after every piece written, by one thread at a time.

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
        >>> s3dlio.upload("model.pt", "s3://bucket/models/")
    """
    copy(of_path(path), uri, recursive=recursive, progress=progress)


def download(uri: str, path: Path, *, recursive: bool = False, progress: ProgressCallback | None = None) -> None:
    """Copy an object, or a tree, to local files.

    Memory stays at a few pieces of 16 MiB. Every object becomes visible when it is complete. The first error ends the
    copy after the objects in flight have ended; objects copied before it stay.

    Args:
        uri: the object; with `recursive` the folder.
        path: the local file to write. If the path ends in "/", or is an existing folder, the file gets the last part of
            the object's key as its name there. With `recursive`: the folder below which the tree is copied.
        recursive: copy everything below the folder.
        progress: called with a `Progress` after every piece written, by one thread at a time.

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
        >>> s3dlio.download("s3://bucket/models/model.pt", "model.pt")
    """
    copy(uri, of_path(path), recursive=recursive, progress=progress)


def copy(source: str, target: str, *, recursive: bool = False, progress: ProgressCallback | None = None) -> None:
    """Copy an object, or a tree, from any store to any store.

    Memory stays at a few pieces of 16 MiB. Every object becomes visible when it is complete. The first error ends the
    copy after the objects in flight have ended; objects copied before it stay. A store that can copy within itself does
    so.

    Args:
        source: the object. With `recursive`: the folder, or an object if no folder is meant.
        target: the object to write. If the URI ends in "/", or is an existing folder of files, the object keeps its own
            name there. With `recursive`: the folder below which the tree is copied.
        recursive: copy everything below the source.
        progress: called with a `Progress` after every piece written, by one thread at a time.

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
        >>> s3dlio.copy("s3://bucket/folder", "file:///data/folder", recursive=True)
    """
    copying.copy(parse(source), parse(target), recursive, progress)


# Shared with the async twins...


def check_range(offset: int, length: int | None) -> None:
    """Raise ValueError unless offset and length are 0 or more."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset={offset}, length={length}: expected 0 or more for both")


def check_chunk_size(chunk_size: int) -> None:
    """Raise ValueError unless a chunk has at least one byte."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: expected 1 or more")


def check_in_flight(max_in_flight: int) -> None:
    """Raise ValueError unless at least one object may be in flight."""
    if max_in_flight < 1:
        raise ValueError(f"max_in_flight={max_in_flight}: expected 1 or more")


def check_no_string(uris: Iterable[str]) -> None:
    """Raise TypeError if a single string is given instead of several URIs: its characters would be taken for URIs."""
    if isinstance(uris, str | bytes):
        raise TypeError(f"uris must be an iterable of URIs, not one {type(uris).__name__}; write [{uris!r}]")


def check_uris(uris: Iterable[str]) -> list[str]:
    """The URIs as a list; a single string raises TypeError."""
    check_no_string(uris)
    return list(uris)
