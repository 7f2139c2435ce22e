"""Host names to socket addresses, without ever blocking the caller.

`getaddrinfo` cannot be interrupted and has no timeout, so it runs in a thread of its own; the engine waits for the
thread's end of a socket pair, and so keeps its deadlines and Ctrl-C. A thread whose answer nobody waits for any more
ends when the system's resolver gives up. Answers are kept for half a minute; addresses in digits need none of this.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

SocketAddress = tuple[int, Any]  # family, address

_KEPT = 30.0  # seconds

_answers: dict[tuple[str, int], tuple[float, list[SocketAddress]]] = {}


def known(host: str, port: int) -> list[SocketAddress] | None:
    """The addresses of a host where no question is needed, or None."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    kept = _answers.get((host, port))
    return kept[1] if kept is not None and time.monotonic() - kept[0] < _KEPT else None


class Question:
    """One name being resolved. `waiter` becomes readable when `answer` can be called."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._found: list[SocketAddress] | OSError | None = None
        self.waiter, self._end = socket.socketpair()
        threading.Thread(target=self._ask, name="s3dlio-resolve", daemon=True).start()

    def _ask(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._found = [(family, address) for family, _, _, _, address in found]
            _answers[self._host, self._port] = time.monotonic(), self._found
        except OSError as error:
            self._found = error
        except Exception as error:  # UnicodeError for a name that cannot be one
            self._found = OSError(str(error))
        finally:
            self._end.close()

    def answer(self) -> list[SocketAddress]:
        """The addresses; OSError if the name has none."""
        self.waiter.close()
        if isinstance(self._found, list):
            return self._found
        raise self._found or OSError("no answer")


os.register_at_fork(after_in_child=_answers.clear)
