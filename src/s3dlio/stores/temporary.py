"""Temporary files, through which every write to a file system goes.

An object is written to a file of a reserved name in the folder of its target, and renamed over the target when it is
whole; so a reader sees the old object or the new one, and a failure leaves the old one. The name is never listed.

A process that is killed leaves its temporary behind. Whoever next writes into that folder for the first time removes
it, and must not take away one that is still being written:

- A writer holds a lock (flock) on its temporary; the kernel drops it with the process. The name carries a mark of
  the host, since on a network file system mounted without locks another host's lock is not seen: a temporary
  of another host is stale only when it has not been touched for a day. One that is locked never is.
- The sweeper removes a file only while it holds that lock. If it got the lock in the moment between a writer's
  creating the file and locking it, the writer finds its file without a name and starts with another.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
import zlib

RESERVED = ".s3dlio-tmp-"

_HOST = f"{zlib.crc32(os.fsencode(os.uname().nodename)):08x}"
_ABANDONED = 24 * 3600.0  # seconds
_FOLDERS_REMEMBERED = 4096

_swept: dict[str, None] = {}
_swept_lock = threading.Lock()


class TemporaryFile:
    """A file that will become `target`, or go away."""

    def __init__(self, target: str) -> None:
        """Create the temporary, and the folders above it where they are missing.

        Args:
            target: absolute path of the file to be; a symbolic link there is followed.

        Raises:
            OSError: what the file system says. A target that is a folder is EISDIR.
        """
        if os.path.islink(target):
            target = os.path.realpath(target)
        folder, name = os.path.split(target)
        if not name or os.path.isdir(target):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        self.target = target
        self._changed_folders = [folder]
        try:
            self.path, self.fd = _create(folder)
        except FileNotFoundError:
            while not os.path.isdir(self._changed_folders[-1]):
                self._changed_folders.append(os.path.dirname(self._changed_folders[-1]))
            os.makedirs(folder, exist_ok=True)
            self.path, self.fd = _create(folder)
        try:
            _sweep_once(folder)
        except BaseException:  # Ctrl-C: nobody else knows of the file yet
            self.discard()
            raise

    def publish(self, sync: bool) -> None:
        """Give the file its name.

        Args:
            sync: sync the file to the disk first, and its folder, with those made for it, afterwards.
        """
        if sync:
            os.fsync(self.fd)
        # Closing is where a network file system reports what it could not write: hear that before the rename,
        # through a second descriptor, for closing the first would give up the lock.
        os.close(os.dup(self.fd))
        os.rename(self.path, self.target)
        self._close()
        if sync:
            for folder in self._changed_folders:
                sync_folder(folder)

    def discard(self) -> None:
        """Remove the file unless it has been published or discarded already."""
        if self.fd >= 0:
            try:
                os.unlink(self.path)
            finally:
                self._close()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        os.close(fd)


def sync_folder(folder: str) -> None:
    """Sync the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(folder: str) -> None:
    """Remove the temporaries that killed processes left in a folder."""
    with os.scandir(folder) as names:
        for entry in names:
            if entry.name.startswith(RESERVED):
                _remove_if_stale(entry.path, entry.name)


def _create(folder: str) -> tuple[str, int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        path = f"{folder}/{RESERVED}{_HOST}-{os.urandom(8).hex()}"
        try:
            fd = os.open(path, flags, 0o666)
            if _locked(fd) is not False and os.fstat(fd).st_nlink:
                return path, fd
        except BaseException:  # Ctrl-C included, which may come between the creation and the next line
            _unlink_if_possible(path)
            raise
        os.close(fd)


def _locked(fd: int) -> bool | None:
    """Whether the file is locked by us now: False if another holds it, None where the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep_once(folder: str) -> None:
    with _swept_lock:
        if folder in _swept:
            return
        if len(_swept) >= _FOLDERS_REMEMBERED:
            _swept.pop(next(iter(_swept)))
        _swept[folder] = None
    try:
        sweep(folder)
    except OSError:
        pass  # the write itself does not depend on it: a folder may be writable and not readable


def _remove_if_stale(path: str, name: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        locked = _locked(fd)
        certain = locked and name.startswith(RESERVED + _HOST)
        if certain or (locked is not False and time.time() - os.fstat(fd).st_mtime > _ABANDONED):
            os.unlink(path)
    except OSError:
        pass  # another sweeper was faster, or the file is another user's
    finally:
        os.close(fd)


def _unlink_if_possible(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # most likely it was not even created


def _forget() -> None:
    global _swept_lock
    _swept_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
