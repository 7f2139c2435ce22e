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
    """A file that will become `target`, or go away.

    It is made, known to who has to remove it, and only then created: so Ctrl-C at any moment leaves no file behind.

    Attributes:
        target: absolute path of the file to be.
        path: of the temporary; "" unless there may be one.
        fd: its descriptor; -1 unless it is open.
    """

    def __init__(self, target: str) -> None:
        """
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
        self.path = ""
        self.fd = -1
        self._changed_folders = [folder]

    def create(self) -> None:
        """Create the temporary, and the folders above it where they are missing.

        Raises:
            OSError: what the file system says; there may be a temporary all the same.
        """
        folder = self._changed_folders[0]
        try:
            self._create(folder)
        except FileNotFoundError:
            while not os.path.isdir(self._changed_folders[-1]):
                self._changed_folders.append(os.path.dirname(self._changed_folders[-1]))
            os.makedirs(folder, exist_ok=True)
            self._create(folder)
        _sweep_once(folder)

    def _create(self, folder: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            self.path = f"{folder}/{RESERVED}{_HOST}-{os.urandom(8).hex()}"
            self.fd = os.open(self.path, flags, 0o666)
            if _locked(self.fd) is not False and os.fstat(self.fd).st_nlink:
                return
            self._close()  # a sweeper has it

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
        self.path = ""
        self._close()
        if sync:
            for folder in self._changed_folders:
                sync_folder(folder)

    def discard(self) -> None:
        """Remove the file unless it has been published or discarded already."""
        try:
            if self.path:
                os.unlink(self.path)
        except FileNotFoundError:
            pass  # it has been published, or somebody removed it
        except OSError:
            if self.fd >= 0:  # otherwise it was most likely not even created, of which its writer tells
                raise
        finally:
            self.path = ""
            self._close()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
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


def _forget() -> None:
    global _swept_lock
    _swept_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
