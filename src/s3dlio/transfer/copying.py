# SPDX-License-Identifier: Apache-2.0
"""Copy an object or a tree, from any protocol to any.

A store that can copy within itself does so. Otherwise the object is read in chunks of one version of it, which go
through the writer of the target: memory stays at a few chunks whatever the size, and a failed copy leaves the target
as it was. A tree is copied while it is listed, several objects at a time.

A key of an object store need not be a valid path. Before an object of a tree is written, its name is checked: one that
could not be the name of a file below the target (an empty, "." or ".." part, a part that is too long, a NUL, a reserved
name) is an error that names the object. Symbolic links that exist below the target are followed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from s3dlio.errors import InvalidURIError, ObjectNotFoundError
from s3dlio.runtime.operation import Operation, pause
from s3dlio.runtime.run import iterate, run
from s3dlio.runtime.threads import for_each
from s3dlio.stores.base import Store
from s3dlio.stores.files.names import is_encodable, unfit_for_a_file
from s3dlio.transfer.stores import Stores
from s3dlio.tuning import FILE_THREADS
from s3dlio.types import Progress, SizedName
from s3dlio.uri import FILE_SCHEMES, URI

T = TypeVar("T")

CHUNK = 16 << 20  # bytes

Job = tuple[URI, URI, int]  # source, target, size in bytes


def copy(
    source: URI,
    target: URI,
    recursive: bool,
    progress: Callable[[Progress], None] | None,
    stopped: threading.Event | None = None,
) -> None:
    """Copy an object or, with `recursive`, the tree below a folder.

    Args:
        source: the object, or the folder.
        target: the object to write. A target that ends in "/", or is an existing folder of files, is the folder into
            which an object is copied under its own name.
        recursive: copy everything below the source, if that is not an object.
        progress: called for every piece written, by one thread at a time.
        stopped: set this event to end the copy; `Stopped` is raised then.

    Raises:
        ObjectNotFoundError: the object does not exist; with `recursive`, nor does the folder.
        InvalidURIError: the target of a tree lies inside the tree, or an object of a tree has a name that the target
            cannot have.
    """
    _Copy(progress, stopped or threading.Event()).run(source, target, recursive)


class _Copy:
    """One call of `copy`."""

    def __init__(self, progress: Callable[[Progress], None] | None, stopping: threading.Event) -> None:
        self._stores = Stores()
        self._totals = _Totals(progress)
        self._stopping = stopping

    def run(self, source: URI, target: URI, recursive: bool) -> None:
        """See `copy`."""
        # A bucket is a folder. So is a key that ends in "/", even if an object of that name marks the folder.
        if recursive and (source.key == source.folder_key or not self._run(self._store(source).exists(source))):
            if _is_inside(target, source):
                raise InvalidURIError(
                    f"cannot copy {source.text} into itself, to {target.text}; choose a target outside of it",
                    uri=target.text,
                )
            jobs = self._jobs_of_tree(source, target)
        else:
            size = self._run(self._store(source).facts(source))["size"]
            self._totals.found(size)
            self._totals.found_all()
            jobs = iter([(source, self._target_of_object(source, target), size)])

        for_each(jobs, lambda job: self._run(self._copy_object(*job)), FILE_THREADS, stopped=self._stopping)

    def _store(self, uri: URI) -> Store:
        return self._stores[uri.scheme]

    def _run(self, operation: Operation[T]) -> T:
        return run(operation, self._stopping)

    def _jobs_of_tree(self, source: URI, target: URI) -> Iterator[Job]:
        """List the source while its first objects are copied.

        A page is listed before the last one is handed out: when the last object has been copied the totals are known.

        Raises:
            ObjectNotFoundError: the source does not exist.
            InvalidURIError: the target cannot have the name of an object.
        """
        pages = iterate(self._store(source).entries(source), self._stopping)
        page = next(pages, None)
        if page is None and not self._run(self._store(source).is_prefix(source)):
            raise ObjectNotFoundError(
                f"{source.text} is neither an object nor a folder; check its name", uri=source.text
            )
        while page is not None:
            if target.scheme in FILE_SCHEMES:
                page = [entry for entry in page if not _marks_folder(entry)]
            for entry in page:
                self._totals.found(entry.size)
            following = next(pages, None)
            if following is None:
                self._totals.found_all()
            for entry in page:
                found = source.with_key(source.folder_key + entry.relative)
                yield found, _target_below(target, found, entry.relative), entry.size
            page = following

    def _target_of_object(self, source: URI, target: URI) -> URI:
        """The target of a single object: the one given or, if that is a folder, the object's own name in it."""
        is_folder = not target.key or target.key.endswith("/")
        if not is_folder and target.scheme in FILE_SCHEMES:
            is_folder = self._run(self._store(target).is_prefix(target))
        return _target_below(target, source, source.key.rpartition("/")[2]) if is_folder else target

    async def _copy_object(self, source: URI, target: URI, size: int) -> None:
        totals = self._totals
        if source.scheme == target.scheme:
            totals.moved(source, 0)  # a callback that raises here leaves the target as it was
            if await self._store(source).copy(source, target, size):
                totals.moved(source, size)
                totals.finished(source)
                return
        writer = self._store(target).writer(target, size)
        chunks = self._store(source).chunks(source, CHUNK)
        try:
            async for chunk in chunks:
                await writer.write(chunk, constant=True)
                totals.moved(source, len(chunk))
                await pause
            await writer.close()
        except BaseException:
            await writer.abort()
            raise
        finally:
            await chunks.aclose()
        totals.finished(source)


# Sources and targets...


def _marks_folder(entry: SizedName) -> bool:
    """Whether an object only says that a folder exists."""
    return not entry.size and entry.relative.endswith("/")


def _is_inside(inner: URI, outer: URI) -> bool:
    if inner.scheme in FILE_SCHEMES and outer.scheme in FILE_SCHEMES:  # a link or ".." in a path may lead there
        outer_path = os.path.realpath(outer.key)
        return os.path.commonpath((os.path.realpath(inner.key), outer_path)) == outer_path
    return inner[:2] == outer[:2] and inner.folder_key.startswith(outer.folder_key)


def _target_below(folder: URI, source: URI, relative: str) -> URI:
    """The target of an object that is copied into a folder, under the name `relative`, a part of the object's key.

    Raises:
        InvalidURIError: nothing below the folder can have that name.
    """
    if folder.scheme in FILE_SCHEMES:
        why = unfit_for_a_file(relative)
    else:
        why = None if is_encodable(relative, "strict") else "the name is not valid UTF-8, unlike keys of object stores"
    if why is not None:
        raise InvalidURIError(
            f"cannot copy {source.text!r} into {folder.text}: {why}; copy this object separately, under another name",
            uri=source.text,
        )
    return folder.child(relative)


class _Totals:
    """Adds up what the threads of a copy do, and reports it to the caller from one thread at a time."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes_done = self._objects_done = 0
        self._bytes_found = self._objects_found = 0
        self._all_found = False

    def found(self, size: int) -> None:
        """Count an object that will be copied."""
        with self._lock:
            self._bytes_found += size
            self._objects_found += 1

    def found_all(self) -> None:
        """From now on the reports contain the totals."""
        self._all_found = True

    def moved(self, source: URI, size: int) -> None:
        """Count bytes of an object that have been written, and report."""
        with self._lock:
            self._bytes_done += size
            self._report(source)

    def finished(self, source: URI) -> None:
        """Count an object that is complete at the target, and report."""
        with self._lock:
            self._objects_done += 1
            self._report(source)

    def _report(self, source: URI) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    source.text,
                    self._bytes_done,
                    self._bytes_found if self._all_found else None,
                    self._objects_done,
                    self._objects_found if self._all_found else None,
                )
            )
