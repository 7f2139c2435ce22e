# SPDX-License-Identifier: Apache-2.0
"""Resolves host names to socket addresses, without blocking the caller.

`getaddrinfo` cannot be interrupted and has no timeout, so each name is resolved in a separate thread. All callers that
ask for a name while its thread runs, from any thread and any engine, share its answer or its failure. Each caller waits
on a separate socket pair, which its engine watches like any other descriptor, so deadlines and Ctrl-C keep working. If
a thread has not answered after some seconds, the next caller starts another thread. A thread whose callers have all
given up ends when the system's resolver gives up.

Answers are kept for half a minute; failures are not kept. Each connection gets the addresses in the order in which it
should try them (RFC 8305, section 4): families alternate, and the family that the system prefers comes first. Within a
family each connection starts with another address, so that the connections of a client spread over a cluster behind one
name. A host that is an IP address already needs none of this.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from s3dlio import forks

SocketAddress = tuple[int, Any]  # family, and address as `socket` wants it

_KEPT = 30.0  # seconds for which an answer is used
_JOINED = 5.0  # seconds for which others share a question; after that its thread may hang forever
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Addresses:
    """The addresses of a host name."""

    __slots__ = ("_every", "_turn", "since")

    def __init__(self, addresses: list[SocketAddress]) -> None:
        self.since = time.monotonic()
        families: dict[int, list[SocketAddress]] = {}
        for address in dict.fromkeys(addresses):
            families.setdefault(address[0], []).append(address)
        self._every = list(families.values())
        self._turn = random.randrange(1 << 16)  # so that processes that start together start with different addresses

    def in_turn(self) -> list[SocketAddress]:
        """All addresses, in the order in which the next connection should try them."""
        self._turn += 1
        rotated = [family[(at := self._turn % len(family)) :] + family[:at] for family in self._every]
        return [address for row in zip_longest(*rotated) for address in row if address is not None]


_answers: dict[tuple[str, int], Addresses] = {}


def known(host: str, port: int) -> list[SocketAddress] | None:
    """The addresses of a host in the order in which to try them; None if `ask` has to resolve the host first."""
    for family in _FAMILIES:
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    kept = _answers.get((host, port))
    return kept.in_turn() if kept is not None and time.monotonic() - kept.since < _KEPT else None


class _Question:
    """A host name that a thread resolves, and what waits for its addresses."""

    __slots__ = ("answered", "found", "key", "since", "waiters")

    def __init__(self, key: tuple[str, int]) -> None:
        self.key = key
        self.since = time.monotonic()
        self.answered = False
        self.found: Addresses | OSError = OSError("no answer")
        self.waiters: list[Waiter] = []


class Waiter:
    """Waits for the addresses of a host.

    Attributes:
        reader: becomes readable when `answer` can be called.
    """

    __slots__ = ("__weakref__", "_end", "_question", "reader")

    def __init__(self) -> None:
        self.reader, self._end = socket.socketpair()
        self._question: _Question | None = None
        _waiters.add(self)

    @property
    def is_stale(self) -> bool:
        """Whether the name has been resolved for so long that its thread may hang."""
        return self._question is None or time.monotonic() - self._question.since > _JOINED

    @property
    def is_answered(self) -> bool:
        """Whether `answer` can be called."""
        return self._question is not None and self._question.answered

    def answer(self) -> Addresses:
        """The addresses.

        Raises:
            OSError: the name has no address, or the resolver failed.
        """
        assert self._question is not None
        self.close()
        if isinstance(self._question.found, Addresses):
            return self._question.found
        raise self._question.found

    def close(self) -> None:
        """Stop waiting and close both ends."""
        with _lock:
            if self._question is not None and self in self._question.waiters:
                self._question.waiters.remove(self)
            self.reader.close()
            self._end.close()


def ask(host: str, port: int) -> Waiter:
    """Resolve a host, or share the question if the host is being resolved already.

    Raises:
        OSError: the process can start no thread or open no socket.
    """
    key = host, port
    waiter = Waiter()
    try:
        with _lock:
            question = _open.get(key)
            if question is None or time.monotonic() - question.since > _JOINED:
                question = _Question(key)
                # The thread starts first: Ctrl-C between the two lines must not leave a question that others join and
                # no thread answers. The thread cannot end before this block does, since it needs the lock.
                threading.Thread(target=_resolve, args=[question], name="s3dlio-resolve", daemon=True).start()
                _open[key] = question
            question.waiters.append(waiter)
            waiter._question = question
    except RuntimeError as error:
        waiter.close()
        raise OSError(str(error)) from None
    except BaseException:
        waiter.close()
        raise
    return waiter


def _resolve(question: _Question) -> None:
    host, port = question.key
    found: Addresses | OSError = question.found
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        usable: list[SocketAddress] = [(family, address) for family, _, _, _, address in infos if family in _FAMILIES]
        found = Addresses(usable) if usable else OSError("it has no address")
    except OSError as error:
        found = error
    except Exception as error:  # such as UnicodeError for a text that cannot be a name
        found = OSError(str(error))
    finally:
        with _lock:
            question.found, question.answered = found, True
            if isinstance(found, Addresses):
                _answers[question.key] = found
            if _open.get(question.key) is question:
                del _open[question.key]
            for waiter in question.waiters:
                with suppress(OSError):
                    waiter._end.send(b"!")  # to close is not enough: a forked child may hold this end, too


_open: dict[tuple[str, int], _Question] = {}
_lock = threading.RLock()


@forks.in_child
def _forget_parent() -> None:
    """Forget the questions, whose threads exist in the parent alone, and the answers."""
    global _lock, _open
    _lock, _open = threading.RLock(), {}
    _answers.clear()


def _close_inherited(waiter: Waiter) -> None:
    waiter.reader.close()
    waiter._end.close()


_waiters = forks.each_in_child(_close_inherited)
