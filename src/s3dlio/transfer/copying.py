# SPDX-License-Identifier: Apache-2.0
"""Copies of objects and of trees, from any protocol to any.

A store that can copy an object of its own to another of its places does so itself. Otherwise the object is read in
chunks, all of one version of it, and written through the target's writer: memory stays at a few chunks whatever the
size, and a copy that fails leaves the target as it was. A tree is copied while it is listed,
several objects at a time.

A key of an object store need not be a path. An object of a tree whose name could not be a file of exactly this name
below the target (an empty, "." or ".." part, a part that is too long, a NUL, a reserved name) is an error that names
it, before anything is written for it. Symbolic links that exist below the target are followed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from s3dlio.errors import InvalidURIError, ObjectNotFoundError
from s3dlio.runtime.operation import pause
from s3dlio.runtime.run import iterate, run
from s3dlio.runtime.threads import for_each
from s3dlio.stores import store_for
from s3dlio.stores.files.names import RESERVED
from s3dlio.transfer.batch import THREADS
from s3dlio.types import Progress
from s3dlio.uri import FILE_SCHEMES, URI

CHUNK = 16 << 20
_LONGEST = 255  # bytes of a file's name, on every file system of Linux
_SURELY_SHORT = _LONGEST // 4  # characters


def copy(
    source: URI,
    target: URI,
    recursive: bool,
    progress: Callable[[Progress], None] | None,
    stopped: threading.Event | None = None,
) -> None:
    """Copy an object, or, with `recursive`, the tree below a folder.

    A target that ends in "/", or is an existing folder of files, takes an object under its own name.

    Raises:
        ObjectNotFoundError: there is no such object; with `recursive`, no such folder either.
        InvalidURIError: the target of a tree lies inside it.
    """
    stopping = stopped or threading.Event()
    report = _Reporter(progress)
    source_store = store_for(source.scheme)
    # A bucket is a folder, and so is what ends in "/", even where an object of that name marks it.
    if recursive and (source.key == source.folder_key or not run(source_store.exists(source), stopping)):
        if _inside(target, source):
            raise InvalidURIError(f"cannot copy {source.text} into itself, to {target.text}", uri=target.text)
        jobs = _tree(source, target, report, stopping)
    else:
        size = run(source_store.facts(source), stopping)["size"]
        report.found(size)
        report.found_all()
        jobs = iter([(source, _object_target(source, target, stopping), size)])

    for_each(jobs, lambda job: run(_copy_object(*job, report), stopping), THREADS, stopped=stopping)


async def _copy_object(source: URI, target: URI, size: int, report: _Reporter) -> None:
    source_store = store_for(source.scheme)
    if source.scheme == target.scheme:
        report.moved(source, 0)  # a caller that stops here finds nothing at the target
        if await source_store.copy(source, target, size):
            report.moved(source, size)
            report.finished(source)
            return
    writer = store_for(target.scheme).writer(target, size)
    chunks = source_store.chunks(source, CHUNK)
    try:
        async for chunk in chunks:
            await writer.write(chunk, constant=True)
            report.moved(source, len(chunk))
            await pause
        await writer.close()
    except BaseException:
        await writer.abort()
        raise
    finally:
        await chunks.aclose()
    report.finished(source)


def _tree(source: URI, target: URI, report: _Reporter, stopping: threading.Event) -> Iterator[tuple[URI, URI, int]]:
    pages = iterate(store_for(source.scheme).entries(source), stopping)
    page = next(pages, None)
    if page is None and not run(store_for(source.scheme).is_prefix(source), stopping):
        raise ObjectNotFoundError(
            f"there is neither an object nor a folder {source.text}: check its name", uri=source.text
        )
    while page is not None:
        if target.scheme in FILE_SCHEMES:  # an object whose name ends in "/" only says that there is a folder
            page = [entry for entry in page if entry.size or not entry.relative.endswith("/")]
        for entry in page:
            report.found(entry.size)
        following = next(pages, None)  # before the last of this page goes out: its end must find the totals known
        if following is None:
            report.found_all()
        for entry in page:
            found = source.with_key(source.folder_key + entry.relative)
            yield found, _place(found, target, entry.relative), entry.size
        page = following


def _inside(inner: URI, outer: URI) -> bool:
    if inner.scheme in FILE_SCHEMES and outer.scheme in FILE_SCHEMES:  # a path may lead there by a link or by ".."
        outer_path = os.path.realpath(outer.key)
        return os.path.commonpath((os.path.realpath(inner.key), outer_path)) == outer_path
    return inner[:2] == outer[:2] and inner.folder_key.startswith(outer.folder_key)


def _object_target(source: URI, target: URI, stopping: threading.Event) -> URI:
    into_folder = not target.key or target.key.endswith("/")
    if not into_folder and target.scheme in FILE_SCHEMES:
        into_folder = run(store_for(target.scheme).is_prefix(target), stopping)
    return _place(source, target, source.key.rpartition("/")[2]) if into_folder else target


def _place(source: URI, folder: URI, relative: str) -> URI:
    """Where an object goes below a folder.

    Args:
        source: the object.
        folder: the folder to copy into.
        relative: the name there, a part of the key.

    Raises:
        InvalidURIError: the name cannot be stored there: no file has the name "", "." or "..", one with a NUL, of more
            than 255 bytes, or of a temporary, and a file name need not be the text that a key on an object store is.
    """
    why = None
    if folder.scheme not in FILE_SCHEMES:
        if not _encodable(relative, "strict"):
            why = "the name is not valid UTF-8, and the keys of object stores are"
    elif not relative or any(segment in ("", ".", "..") for segment in relative.split("/")):
        why = "a file's path has no part that is empty, '.' or '..'"
    elif "\0" in relative:
        why = "a file's name has no NUL character"
    elif f"/{RESERVED}" in f"/{relative}":
        why = f"names that begin with {RESERVED!r} are kept for temporary files"
    elif not _encodable(relative, "surrogateescape"):
        why = "the name holds half a surrogate pair"
    elif len(relative) > _SURELY_SHORT and any(len(os.fsencode(part)) > _LONGEST for part in relative.split("/")):
        why = f"a file's name has at most {_LONGEST} bytes"
    if why is not None:
        raise InvalidURIError(
            f"cannot copy {source.text!r} into {folder.text}: {why}; copy this object by itself, to a name"
            " of your choice",
            uri=source.text,
        )
    return folder.child(relative)


def _encodable(name: str, surrogates: str) -> bool:
    try:
        name.encode("utf-8", surrogates)
    except UnicodeEncodeError:
        return False
    return True


class _Reporter:
    """Adds up what the threads of a copy do, and tells the caller, one thread at a time."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes_done = self._objects_done = 0
        self._bytes_found = self._objects_found = 0
        self._complete = False

    def found(self, size: int) -> None:
        with self._lock:
            self._bytes_found += size
            self._objects_found += 1

    def found_all(self) -> None:
        self._complete = True

    def moved(self, source: URI, size: int) -> None:
        with self._lock:
            self._bytes_done += size
            self._tell(source)

    def finished(self, source: URI) -> None:
        with self._lock:
            self._objects_done += 1
            self._tell(source)

    def _tell(self, source: URI) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    source.text,
                    self._bytes_done,
                    self._bytes_found if self._complete else None,
                    self._objects_done,
                    self._objects_found if self._complete else None,
                )
            )
