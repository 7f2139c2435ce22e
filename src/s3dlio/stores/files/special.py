# SPDX-License-Identifier: Apache-2.0
"""Targets that are not regular files: pipes, character devices, and descriptors of this process.

A write must not replace such a target: a rename would destroy `/dev/null` or a FIFO. So the bytes go into the target in
order, as they are written. They cannot be taken back, so an abort only closes the target. Block devices and sockets are
refused.

Ctrl-C interrupts every wait here. A FIFO is opened with O_NONBLOCK, which fails (ENXIO) while no process reads it, and
a full pipe is polled for a tenth of a second at a time. A path that names a descriptor of this process (`/dev/stdout`,
`/dev/fd/3`) is written through that descriptor: opening the path would begin at offset 0 of a file to which a shell
appends, and fails for a socket. Other processes share the flags of that descriptor, so O_NONBLOCK cannot be set on it.
Instead, each write has a size that a ready pipe takes immediately.
"""

from __future__ import annotations

import errno
import os
import select
import stat as modes

from s3dlio.runtime.operation import TICK, pause
from s3dlio.tuning import FILE_PIECE

_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE = 1 << 20  # bytes of a write to a descriptor with O_NONBLOCK
_LINKS = 40  # the kernel follows at most this many in one path


class Special:
    """A pipe, a character device, or a descriptor of this process, open for writing.

    Attributes:
        fd: the descriptor; -1 after `close`.
    """

    def __init__(self, path: str, number: int | None) -> None:
        """
        Args:
            path: the target, as the caller wrote it.
            number: the descriptor of this process that the path names; None if it names none.

        Raises:
            OSError: the target cannot be opened. EISDIR for a folder, ENOTSUP for a block device or a socket, ENXIO for
                a pipe that no process reads.
        """
        if number is None:
            _check(os.stat(path).st_mode)  # before opening it: that alone may have an effect on a device
        self.fd = os.open(path, _FLAGS) if number is None else os.dup(number)
        try:
            mode = os.fstat(self.fd).st_mode
            if number is None:
                _check(mode)
        except BaseException:
            self.close()
            raise
        self._ready: select.poll | None = None
        if modes.S_ISREG(mode):
            self._piece = FILE_PIECE
        else:
            self._piece = _PIECE if number is None else select.PIPE_BUF
            self._ready = select.poll()
            self._ready.register(self.fd, select.POLLOUT)

    async def write(self, data: memoryview) -> None:
        """Write bytes. When this returns, the kernel has all of them.

        Raises:
            OSError: the write failed; EPIPE if no process reads the pipe any more.
        """
        done = 0
        while done < len(data):
            if self._ready is None or self._ready.poll(TICK * 1000):
                try:
                    done += os.write(self.fd, data[done : done + self._piece])
                except BlockingIOError:
                    pass  # another writer has filled the pipe after the poll
            await pause

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _check(mode: int) -> None:
    """Raise OSError unless a mode is that of a pipe or a character device."""
    if modes.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (modes.S_ISFIFO(mode) or modes.S_ISCHR(mode)):
        kind = (
            "a block device" if modes.S_ISBLK(mode) else "a socket" if modes.S_ISSOCK(mode) else "not a pipe any more"
        )
        raise OSError(errno.ENOTSUP, f"it is {kind}")


def descriptor_named(path: str) -> int | None:
    """The descriptor of this process to which a symbolic link such as `/dev/stdout` leads; None if it leads to none."""
    descriptors = {os.path.realpath(folder) for folder in ("/proc/self/fd", "/proc/thread-self/fd")}
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if folder in descriptors:
            return int(name) if name.isdecimal() and len(name) < 10 else None
        try:
            path = os.path.join(folder, os.readlink(os.path.join(folder, name)))
        except OSError:
            return None
    return None
