# SPDX-License-Identifier: Apache-2.0
"""Waits for descriptors: with `poll` for a few, with `epoll` for many, with `selectors` on other systems.

`poll` needs no descriptor of its own, and no system call except the wait: a call that reads one object makes three
system calls with it, and seven with `epoll`. But `poll` checks every descriptor in each wait, so a poller changes to
`epoll` when it watches more than a few. An event loop needs a descriptor to watch, so `fileno` changes to `epoll`, too.

Events are READ and WRITE, with the values that `poll` and `epoll` share. An error or a hang-up arrives with bits of its
own, or as READ; the next receive then tells what happened.

A `Signal` ends the wait of another thread.
"""

from __future__ import annotations

import math
import select
import selectors
import socket
from contextlib import suppress
from typing import Any

from s3dlio import descriptors
from s3dlio.errors import StoreUnavailableError
from s3dlio.tuning import POLLED_DESCRIPTORS

READ = 1
WRITE = 4


class _Selectors:
    """What `selectors` offers, with the methods and the events of `epoll`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, events: int) -> None:
        self._selector.register(fd, self._mask(events))

    def modify(self, fd: int, events: int) -> None:
        self._selector.modify(fd, self._mask(events))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        return [
            (key.fd, (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0))
            for key, events in self._selector.select(timeout)
        ]

    def fileno(self) -> int:
        return self._selector.fileno()

    def close(self) -> None:
        self._selector.close()

    @staticmethod
    def _mask(events: int) -> int:
        return (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)


_Many: Any = getattr(select, "epoll", _Selectors)


class Poller:
    """Waits for any number of descriptors. A descriptor that is closed has to be unregistered."""

    def __init__(self) -> None:
        self._few: Any = select.poll() if hasattr(select, "poll") else None
        self._many: Any = None if self._few is not None else _Many()
        self._events: dict[int, int] = {}  # of the descriptors, while there are few

    def register(self, fd: int, events: int) -> None:
        """Start to wait for events on a descriptor."""
        if self._many is not None:
            self._many.register(fd, events)
            return
        self._few.register(fd, events)
        self._events[fd] = events
        if len(self._events) > POLLED_DESCRIPTORS:
            with suppress(OSError):  # the process has no descriptor left for `epoll`: `poll` serves as well
                self._become_many()

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events on a descriptor."""
        if self._many is not None:
            self._many.modify(fd, events)
        else:
            self._few.modify(fd, events)
            self._events[fd] = events

    def unregister(self, fd: int) -> None:
        """Stop waiting for a descriptor.

        Raises:
            OSError, ValueError, KeyError: the descriptor is not registered, or has been closed.
        """
        if self._many is not None:
            self._many.unregister(fd)
        else:
            self._few.unregister(fd)
            del self._events[fd]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait at most `timeout` seconds, without a limit if that is None, until something happens on a descriptor.

        Returns:
            Each descriptor on which something has happened, with its events.
        """
        if self._many is not None:
            found: list[tuple[int, int]] = self._many.poll(timeout)
        else:
            found = self._few.poll(None if timeout is None else math.ceil(timeout * 1000))
        return found

    def fileno(self) -> int:
        """A descriptor that is readable when something has happened, for an event loop to watch."""
        if self._many is None:
            self._become_many()
        number: int = self._many.fileno()
        return number

    def close(self) -> None:
        """Close the descriptor of `epoll`, if there is one."""
        if self._many is not None:
            self._many.close()

    def _become_many(self) -> None:
        self._many = _Many()
        for fd, events in self._events.items():
            self._many.register(fd, events)
        self._events.clear()


class Signal:
    """Wakes the engine that watches `reader`, from any thread. Holds two descriptors until it is closed.

    Attributes:
        reader: becomes readable when the signal is set.
        awaited: whether an engine wants to be woken. `set` resets it, so that each wait costs one byte at most.
    """

    def __init__(self) -> None:
        """
        Raises:
            StoreUnavailableError: the process can open no more files.
        """
        try:
            self.reader, self._writer = socket.socketpair()
        except OSError as error:
            raise StoreUnavailableError(descriptors.shortage(error)) from error
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self.awaited = False

    def set(self) -> None:
        """Wake the engine if it waits for this signal."""
        if self.awaited:
            self.awaited = False
            self._writer.send(b"!")

    def close(self) -> None:
        """Close both descriptors."""
        self.reader.close()
        self._writer.close()
