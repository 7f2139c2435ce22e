# SPDX-License-Identifier: Apache-2.0
"""Temporary files, through which every write to a file system goes.

An object is written to a file with a reserved name in the folder of its target, and renamed to the target when it is
complete. So a reader sees the old object or the new one, and a failure leaves the old one. The reserved names are never
listed.

A killed process leaves its temporary file behind. The next process that writes into the folder for the first time
removes it, but must not remove one that is still being written:

- A writer holds a lock (flock) on its temporary file, which the kernel releases with the process. A locked file is
  never removed.
- The name carries a mark of the host: a network file system that is mounted without locks does not show the locks of
  other hosts. The temporary file of another host is stale only if it was not written to for a day.
- The sweeper removes a file only while it holds the lock itself. It may get the lock after the writer created the file
  and before the writer locks it. The writer then finds that its file has no name any more, and creates another one.
- If flock fails (ENOLCK, EOPNOTSUPP and others), files are written without it, and the temporary file of any host is
  stale after a day.

A new file takes over owner, group, mode and POSIX ACL of the file that it replaces. If the process may not set owner or
group, the new file loses setuid and setgid. Without the old group, its group and others get only the rights that
both had before, so no user can read the new file who could not read the old one. The temporary file never gives more
rights than the final file: while its group may still change, only its owner can read it, unless group and others have
equal rights. A file that replaces none follows the umask and the default ACL of its folder.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat as modes
import time
import zlib

from s3dlio import forks
from s3dlio.stores.files.names import RESERVED

_HOST = f"{zlib.crc32(os.fsencode(os.uname().nodename)):08x}"
# The test for a regular file is `mode & KIND == REGULAR`: a call of stat.S_ISREG takes 700 instructions.
KIND, REGULAR = 0o170000, 0o100000
_BITS = 0o7777
_ABANDONED = 24 * 3600.0  # seconds
_FOLDERS_REMEMBERED = 4096
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB
_ATTEMPTS = 20  # to create a temporary file; only file systems whose locks do not work need more than a few
_ACL = "system.posix_acl_access"
# The folder cannot be opened for reading, or the file system does not sync folders. Databases ignore these errors too.
_NO_FOLDER_SYNC = frozenset({errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

# These make the names of this process's temporary files unique. Asking the kernel for each file would cost 1 µs.
_mark = os.urandom(8).hex()
_numbers = itertools.count()

_swept: dict[str, None] = {}
_sweeping = forks.ForkSafeLock()


class TemporaryFile:
    """A file that is renamed to `target`, or removed.

    The states and the calls that lead to them:

    - new: `path` is "". Nothing exists. The caller keeps the object, to discard it later, before it calls `create`: so
      Ctrl-C at any moment leaves no file behind.
    - created (`create`): `path` names the temporary file, which `fd` has open and locked.
    - published (`publish`): `published` is true, and the file has its final name.
    - discarded (`discard`): `path` is "" again, and the file is gone.

    Attributes:
        target: absolute path of the final file, not a symbolic link.
        path: path of the temporary file; "" if none exists.
        fd: descriptor of the temporary file; -1 if it is not open.
        published: whether the file has its final name.
    """

    def __init__(self, target: str, replaced: os.stat_result | None) -> None:
        """Take the facts about the regular file that the new file replaces, or None for a new name."""
        self.target = target
        self.path = ""
        self.fd = -1
        self.published = False
        self._replaced = replaced
        self._changed_folders = [target.rpartition("/")[0] or "/"]  # os.path.dirname takes ten times as long

    def create(self) -> None:
        """Create the temporary file, and any folder above it that is missing.

        Raises:
            OSError: a system call failed; a temporary file may exist nevertheless.
        """
        folder = self._changed_folders[0]
        try:
            self._create(folder)
        except FileNotFoundError:
            if self.fd >= 0:
                raise  # a call on the new file failed, so no folder is missing; the caller discards the file
            while not os.path.isdir(missing := self._changed_folders[-1]) and missing != "/":
                self._changed_folders.append(os.path.dirname(missing))
            os.makedirs(folder, exist_ok=True)
            self._create(folder)
        _sweep_once(folder)

    def _create(self, folder: str) -> None:
        mode = 0o666
        if self._replaced is not None:
            mode = self._replaced.st_mode
            # If group and others have different rights, the group that the new file has first must have none.
            mode = 0o600 if (mode >> 3 ^ mode) & 7 else 0o600 | mode & 0o077
        for attempt in range(1, _ATTEMPTS + 1):
            self.path = f"{folder}/{RESERVED}{_HOST}-{_mark}{next(_numbers):x}"
            try:
                self.fd = os.open(self.path, _NEW, mode)
            except FileExistsError:  # a copy of this process, as of a virtual machine, uses the same names
                self.path = ""
                _choose_mark()
                continue
            unlocked = _locked(self.fd) is False
            self._created = os.fstat(self.fd)
            if attempt == _ATTEMPTS or (not unlocked and self._created.st_nlink):
                return
            self.discard()  # a sweeper has locked or removed it
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))

    def publish(self, sync: bool) -> None:
        """Give the file its name, and the rights of the file that it replaces.

        Args:
            sync: sync the file to the disk before, and afterwards its folder and the folders that `create` made.

        Raises:
            OSError: a system call failed. If `published` is true, only the sync of a folder failed.
        """
        replaced = self._replaced
        try:
            replaced = os.lstat(self.target)  # it may have changed, or appeared, while the bytes were written
        except FileNotFoundError:
            pass
        if replaced is not None:
            _take_over(self.fd, self._created, self.target, replaced)
        if sync:
            os.fsync(self.fd)
        # A network file system reports at close what it could not write. Close a second descriptor before the rename:
        # closing the first one would release the lock.
        os.close(os.dup(self.fd))
        os.rename(self.path, self.target)
        self.path = ""
        self.published = True
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
            pass  # it has been published, or another process removed it
        except OSError:
            if self.fd >= 0:  # otherwise it most likely was never created, and the writer reports that error
                raise
        finally:
            self.path = ""
            self._close()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def sync_folder(folder: str) -> None:
    """Sync the names in a folder to the disk, where the file system can do that."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


# The rights of a replaced file...


def _take_over(fd: int, created: os.stat_result, path: str, replaced: os.stat_result) -> None:
    """Give a new file the owner, group, ACL and mode of the file that it replaces, if the process may set them.

    `created` and `replaced` are the facts about the two files.

    Raises:
        OSError: the mode cannot be set.
    """
    mode = replaced.st_mode
    if mode & KIND != REGULAR:
        raise OSError(errno.EBUSY, "something that is not a file took its name while it was written")
    created_mode, same_group = created.st_mode, created.st_gid == replaced.st_gid
    if not same_group or created.st_uid != replaced.st_uid:
        for owner in (replaced.st_uid, -1):
            try:
                os.fchown(fd, owner, replaced.st_gid)
            except OSError:
                continue  # this process may not set it, or the quota of the owner is used up
            break
        created = os.fstat(fd)  # some file systems ignore a change of owner without an error
        same_group = created.st_gid == replaced.st_gid
        if not same_group or created.st_uid != replaced.st_uid:
            mode &= ~(modes.S_ISUID | modes.S_ISGID)
    if not (same_group and _acl_taken_over(fd, path, mode)):
        common = mode >> 3 & mode & 7
        mode = mode & ~0o077 | common << 3 | common
    if created_mode != mode:
        os.fchmod(fd, mode & _BITS)


def _acl_taken_over(fd: int, path: str, mode: int) -> bool:
    """Copy the POSIX ACL of a file to a new file. If the file has none, remove what the new file inherited.

    Returns:
        False if the file has an ACL that cannot be set on the new file.
    """
    if _has_acl(path):
        try:
            os.setxattr(fd, _ACL, os.getxattr(path, _ACL))
        except OSError:
            return False
    elif (mode >> 3 ^ mode) & 7 and _has_acl(fd):
        # If group and others have equal rights, the inherited ACL may stay: its entries give no more than the group's
        # bits, hence no more than others have.
        os.removexattr(fd, _ACL)
    return True


def _has_acl(file: str | int) -> bool:
    # Reading a missing attribute raises an exception, which takes three times as long as listing all attributes.
    try:
        return _ACL in os.listxattr(file)
    except OSError:  # a file system without attributes
        return False


# Sweeping...


def sweep(folder: str) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    with os.scandir(folder) as names:
        for entry in names:
            if entry.name.startswith(RESERVED):
                _remove_if_stale(entry.path, entry.name)


def _locked(fd: int) -> bool | None:
    """Lock a file. True if that worked, False if another descriptor has it locked, None if locks do not work here."""
    try:
        fcntl.flock(fd, _EXCLUSIVE)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep_once(folder: str) -> None:
    """Sweep a folder before the first write of this process into it."""
    if folder in _swept:
        return
    with _sweeping.lock:
        if folder in _swept:
            return
        if len(_swept) >= _FOLDERS_REMEMBERED:
            _swept.pop(next(iter(_swept)))
        _swept[folder] = None
    try:
        sweep(folder)
    except OSError:
        pass  # the write does not depend on this: a folder may be writable and not readable


def _remove_if_stale(path: str, name: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        locked = _locked(fd)
        certain = locked and name.startswith(RESERVED + _HOST)
        if certain or (locked is not False and time.time() - os.fstat(fd).st_mtime > _ABANDONED):
            os.unlink(path)
    except OSError:
        pass  # another sweeper removed it, or it belongs to another user
    finally:
        os.close(fd)


@forks.in_child
def _choose_mark() -> None:
    global _mark
    _mark = os.urandom(8).hex()
