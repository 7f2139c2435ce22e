# SPDX-License-Identifier: Apache-2.0
"""`Gather`: an operation runs others side by side.

The children of a group are tasks, or batched work (`engine.Batched`), which needs no task of its own. A child that ends
makes room for the next one. Children are taken from an iterator one by one, so a batch of any length holds only those
that are under way.

A group ends in one of four ways. The parent is resumed exactly once, and never before the last child has ended:

- the iterator is exhausted and every child has ended;
- a child failed: the other children are stopped, and the parent gets the error of that child;
- the iterator raised: the children it gave before run to their ends, and the parent gets the error of the iterator;
- the parent was stopped: every child is stopped, and the parent gets `Stopped`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from s3dlio.runtime.operation import Operation, Stopped, Task
from s3dlio.runtime.poller import READ, Signal

if TYPE_CHECKING:
    from s3dlio.runtime.engine import Batched, Engine


class Gather:
    """Awaitable: runs operations side by side, at most `limit` at a time, and waits for all of them.

    The first operation that fails stops the others. Its error is raised when all have ended. Operations have no
    results: each stores what it has made.
    """

    finish_before_stop = False

    def __init__(self, operations: Iterable[Operation[Any] | Batched | Signal], limit: int) -> None:
        """
        Args:
            operations: coroutines or batched work, each taken when there is room for it. A `Signal` among them says
                that there is no next operation yet: the iterator is asked again when the signal is set.
            limit: operations at a time, 1 or more.
        """
        self._operations = iter(operations)
        self._limit = limit

    def __await__(self) -> Generator[Any, None, None]:
        yield self

    def begin(self, engine: Engine, task: Task) -> None:
        """Start the first children (see `engine.Awaited`)."""
        self._engine = engine
        self._parent = task
        self._active: set[Task | Batched] = set()
        self._failure: BaseException | None = None  # of the first child that failed; set once the group is stopped
        self._source_failure: Exception | None = None  # raised by the iterator
        self._exhausted = False  # whether the iterator gives no more
        self._signal: Signal | None = None  # the signal to wait for before the iterator is asked again
        self._is_over = False  # whether the parent has been resumed
        self._fill()

    def detach(self) -> bool:
        """Stop every child; the parent gets `Stopped` after the last one (see `engine.Awaited`)."""
        self._stop(Stopped())
        return False

    # Starting children...

    def _fill(self) -> None:
        """Start children up to the limit, or resume the parent if all children have ended."""
        engine = self._engine
        room = 0 if self._exhausted or self._signal is not None else max(0, self._limit - len(self._active))
        batches: dict[type[Any], list[Any]] = {}
        try:
            for operation in islice(self._operations, room):
                room -= 1
                batch = batches.get(type(operation))
                if batch is not None:  # first: `isinstance` is slow where it fails
                    batch.append(operation)
                elif isinstance(operation, CoroutineType):
                    self._active.add(engine.start(operation, self._on_end))
                elif isinstance(operation, Signal):
                    self._signal = operation
                    engine.watch(operation.reader.fileno(), READ, self._on_signal)
                    break
                else:
                    batches[type(operation)] = [operation]
            else:
                self._exhausted = self._exhausted or room > 0
        except Exception as error:  # raised by the iterator
            if engine.closing:  # in a forked child, where the children that are under way never end
                raise
            self._exhausted, self._source_failure = True, error
        for kind, batch in batches.items():
            self._active.update(batch)
            kind.begin_together(engine, batch, self._on_batched_end)
        if not self._active and self._signal is None:
            self._resume_parent(self._source_failure)

    def _on_signal(self, _: int) -> None:
        assert self._signal is not None
        self._signal.reader.recv(64)
        self._ignore_signal()
        self._fill()

    def _ignore_signal(self) -> None:
        if self._signal is not None:
            self._engine.forget(self._signal.reader.fileno())
            self._signal = None

    # Ending...

    def _on_end(self, task: Task) -> None:
        self._active.discard(task)
        self._on_child_end(task.error)

    def _on_batched_end(self, ended: Sequence[Batched]) -> None:
        """Batched work has ended. Where an operation continues it, that operation is a child in its stead."""
        self._active.difference_update(ended)
        is_done = False
        for one in ended:
            rest = one.rest
            if rest is None:
                is_done = True
            elif one.at_once:
                task = Task(rest, self._on_end)
                self._active.add(task)  # before it runs: it may end at once
                self._engine.start_now(task)
            else:
                self._active.add(self._engine.start(rest, self._on_end))
        if is_done:
            self._on_child_end(None)

    def _on_child_end(self, error: BaseException | None) -> None:
        if self._failure is not None:
            if not self._active:
                self._resume_parent(self._failure)
        elif error is not None:
            self._stop(error)
        else:
            self._fill()

    def _stop(self, failure: BaseException) -> None:
        """Stop every child; the parent gets `failure` when all have ended."""
        if self._failure is None:
            self._failure = failure
            self._ignore_signal()
            for child in list(self._active):
                if isinstance(child, Task):
                    self._engine.cancel(child)
                else:
                    self._active.discard(child)
                    child.stop()
            if not self._active:
                self._resume_parent(failure)
        elif isinstance(failure, Stopped):
            self._failure = failure  # a stopped parent must not take the first failure for a reason to try again

    def _resume_parent(self, error: BaseException | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._engine.resume(self._parent, error=error)
