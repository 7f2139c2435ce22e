# SPDX-License-Identifier: Apache-2.0
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
- Where flock fails (ENOLCK, EOPNOTSUPP …) files are written all the same, and a temporary of any host is stale after
  a day.

A replaced file passes on its owner, group, mode and POSIX ACL. Where the process may not set the owner or the group,
the new file loses setuid and setgid; without the old group, group and others get only the rights that both had, so
nobody can read the new file who could not read the old one. The temporary never gives more rights than the final file:
while its group may still change, it is readable by its owner only, unless group and others have the same rights
anyway. A new file follows the umask and the default ACL of its folder.
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
# Whether a mode is that of a regular file: `mode & KIND == REGULAR`. A call of stat.S_ISREG takes 700 instructions.
KIND, REGULAR = 0o170000, 0o100000
_BITS = 0o7777
_ABANDONED = 24 * 3600.0  # seconds
_FOLDERS_REMEMBERED = 4096
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB
_ATTEMPTS = 20  # at creating a temporary; more than a few are needed only where locks do not work
_ACL = "system.posix_acl_access"
# A folder that cannot be opened for reading, or a file system that does not sync folders. Databases ignore these too.
_NO_FOLDER_SYNC = frozenset({errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

# What makes the names of this process's temporaries unique; a question to the kernel for each file would cost 1 µs.
_mark = os.urandom(8).hex()
_numbers = itertools.count()

_swept: dict[str, None] = {}
_sweeping = forks.ForkSafeLock()


class TemporaryFile:
    """A file that will become `target`, or go away.

    It is made, known to who has to remove it, and only then created: so Ctrl-C at any moment leaves no file behind.

    Attributes:
        target: absolute path of the file to be, no symbolic link.
        path: of the temporary; "" unless there may be one.
        fd: its descriptor; -1 unless it is open.
        published: whether the file has its name.
    """

    def __init__(self, target: str, replaced: os.stat_result | None) -> None:
        """
        Args:
            target: absolute path of the file to be; not a symbolic link.
            replaced: facts about the regular file that it replaces, if there is one.
        """
        self.target = target
        self.path = ""
        self.fd = -1
        self.published = False
        self._replaced = replaced
        self._changed_folders = [target.rpartition("/")[0] or "/"]  # os.path.dirname takes ten times as long

    def create(self) -> None:
        """Create the temporary, and the folders above it where they are missing.

        Raises:
            OSError: what the file system says; there may be a temporary all the same.
        """
        folder = self._changed_folders[0]
        try:
            self._create(folder)
        except FileNotFoundError:
            if self.fd >= 0:
                raise  # of the new file, and not for want of a folder: whoever writes removes it
            while not os.path.isdir(missing := self._changed_folders[-1]) and missing != "/":
                self._changed_folders.append(os.path.dirname(missing))
            os.makedirs(folder, exist_ok=True)
            self._create(folder)
        _sweep_once(folder)

    def _create(self, folder: str) -> None:
        mode = 0o666
        if self._replaced is not None:
            mode = self._replaced.st_mode
            # With other rights for the group than for others, the first group of the file must have none.
            mode = 0o600 if (mode >> 3 ^ mode) & 7 else 0o600 | mode & 0o077
        for attempt in range(1, _ATTEMPTS + 1):
            self.path = f"{folder}/{RESERVED}{_HOST}-{_mark}{next(_numbers):x}"
            try:
                self.fd = os.open(self.path, _NEW, mode)
            except FileExistsError:  # a copy of this process, such as a restored snapshot, uses the same names
                self.path = ""
                _choose_mark()
                continue
            unlocked = _locked(self.fd) is False
            self._created = os.fstat(self.fd)
            if attempt == _ATTEMPTS or (not unlocked and self._created.st_nlink):
                return
            self.discard()  # a sweeper has it
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))

    def publish(self, sync: bool) -> None:
        """Give the file its name, and what it takes over from the file that it replaces.

        Args:
            sync: sync the file to the disk first, and its folder, with those made for it, afterwards.

        Raises:
            OSError: what the file system says. When `published` is true then, only the sync of a folder has failed.
        """
        replaced = self._replaced
        try:
            replaced = os.lstat(self.target)  # it may have changed, or come, while the bytes were written
        except FileNotFoundError:
            pass
        if replaced is not None:
            _take_over(self.fd, self._created, self.target, replaced)
        if sync:
            os.fsync(self.fd)
        # Closing is where a network file system reports what it could not write: hear that before the rename,
        # through a second descriptor, for closing the first would give up the lock.
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


# What a replaced file hands over...


def _take_over(fd: int, created: os.stat_result, path: str, replaced: os.stat_result) -> None:
    """Give a new file the owner, group, ACL and mode of the one it replaces, as far as the process may set them.

    Args:
        fd: the new file.
        created: facts about it.
        path: the file that it replaces.
        replaced: facts about that.

    Raises:
        OSError: the mode cannot be set.
    """
    mode = replaced.st_mode
    if mode & KIND != REGULAR:
        raise OSError(errno.EBUSY, "it was exchanged for something that is no file while it was written")
    created_mode, same_group = created.st_mode, created.st_gid == replaced.st_gid
    if not same_group or created.st_uid != replaced.st_uid:
        for owner in (replaced.st_uid, -1):
            try:
                os.fchown(fd, owner, replaced.st_gid)
            except OSError:
                continue  # not for this process to set, or no room in the owner's quota
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
    """Copy the POSIX ACL of a file to a new one, and remove an inherited one where the file has none.

    Returns:
        False if the file has an ACL which the new one cannot have.
    """
    if _has_acl(path):
        try:
            os.setxattr(fd, _ACL, os.getxattr(path, _ACL))
        except OSError:
            return False
    elif (mode >> 3 ^ mode) & 7 and _has_acl(fd):
        # With equal rights, entries of an inherited ACL give no more than the group's bits, hence no more than others
        # have.
        os.removexattr(fd, _ACL)
    return True


def _has_acl(file: str | int) -> bool:
    # Asking for the attribute itself raises an exception where there is none, which takes three times as long.
    try:
        return _ACL in os.listxattr(file)
    except OSError:  # a file system without attributes
        return False


# Sweeping...


def sweep(folder: str) -> None:
    """Remove the temporaries that killed processes left in a folder."""
    with os.scandir(folder) as names:
        for entry in names:
            if entry.name.startswith(RESERVED):
                _remove_if_stale(entry.path, entry.name)


def _locked(fd: int) -> bool | None:
    """Whether the file is locked by us now: False if another holds it, None where the file system has no locks."""
    try:
        fcntl.flock(fd, _EXCLUSIVE)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep_once(folder: str) -> None:
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
        pass  # the write itself does not depend on it: a folder may be writable and not readable


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
        pass  # another sweeper was faster, or the file is another user's
    finally:
        os.close(fd)


@forks.in_child
def _choose_mark() -> None:
    global _mark
    _mark = os.urandom(8).hex()
