# SPDX-License-Identifier: Apache-2.0
"""What happens to the package's state when the process forks. The only module that calls `os.register_at_fork`.

A forked child has one thread, the one that forked, together with a copy of all memory and all descriptors. The parent's
other threads stop in the middle of whatever they were doing. State that more than one thread or process can see
therefore follows one of these rules:

- *The fork waits* (`delayed`): for imports and for the setup of OpenSSL, during which Python and OpenSSL hold internal
  locks that nothing could release in the child.
- *The child gets a new lock* (`ForkSafeLock`): for every lock that guards data which is whole between two statements.
- *The child lets go of what belongs to the parent* (`each_in_child`): sockets, pollers and pipes are closed without a
  word to the other end, since the parent still uses them; credentials are fetched again.
- *The child starts empty* (`in_child`): caches of stores, answers and process ids.
- *The parent tidies up* (`before`): the buffer pool returns its idle memory, so that the child does not copy it.

The order is Python's: before a fork, what was registered last runs first; in the child, what was registered first runs
first. So `delayed` is taken before `logging` takes its lock (see `delay_before_others`), and in the child, locks are
replaced before any other call of this package runs. An exception in one call does not keep the others from running.

The module stands at the bottom of the layers, not in `runtime/`, because settings and the loading of modules need it.
"""

from __future__ import annotations

import os
from _thread import RLock, allocate_lock  # `threading` would make `import s3dlio` slower
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")
Call = TypeVar("Call", bound=Callable[[], object])

delayed = RLock()
"""Forks wait while a thread holds this lock. Hold it around every import inside a function."""


def delay_before_others() -> None:
    """Make forks take `delayed` before any other lock that a module, imported until now, has registered.

    `logging` takes its lock before a fork, too. A fork that took that one first, and then waited for an import that
    creates a logger, would wait forever. May be called more than once, since a thread may take `delayed` repeatedly.
    """
    os.register_at_fork(before=delayed.acquire, after_in_parent=delayed.release, after_in_child=delayed.release)


delay_before_others()


def before(call: Callable[[], object]) -> None:
    """Call a function in the parent before each fork."""
    os.register_at_fork(before=call)


def in_child(call: Call) -> Call:
    """Call a function in each forked child; also a decorator."""
    os.register_at_fork(after_in_child=call)
    return call


def each_in_child(call: Callable[[T], object]) -> WeakSet[T]:
    """Call a function in each forked child with every living object of a set, and empty the set.

    Returns:
        The set. Add each object when it is made, and again in `call` if the child continues to use it.
    """
    objects: WeakSet[T] = WeakSet()

    @in_child
    def _call_with_each() -> None:
        inherited = list(objects)
        objects.clear()
        for one in inherited:
            call(one)

    return objects


class ForkSafeLock:
    """A lock that is free in a forked child, whichever thread held it: `with guard.lock: ...`.

    The child gets another lock instead of the old one released: a child that is forked inside the block, by a signal
    handler, releases the old lock when it leaves the block. `lock` is the interpreter's own, since Ctrl-C inside an
    `__enter__` written in Python would leave the lock held.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self._replace()

    def _replace(self) -> None:
        self.lock = allocate_lock()
        _guards.add(self)


_guards = each_in_child(ForkSafeLock._replace)
