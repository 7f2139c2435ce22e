# SPDX-License-Identifier: Apache-2.0
"""The rules of `s3dlio.forks`, each in a child that is forked while another thread of the parent is busy."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import pytest

from s3dlio import forks
from tests.processes import in_forked_child, output
from tests.threads import meanwhile

# Of Python 3.12 and later, which warn of any fork of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_lock_that_another_thread_holds_is_free_in_the_child_and_in_its_own_children() -> None:
    guard = forks.ForkSafeLock()
    held, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with guard.lock:
            held.set()
            assert ended.wait(30)

    def child() -> None:
        with guard.lock:
            in_forked_child(lambda: guard.lock.acquire(timeout=0) or os._exit(1))

    with meanwhile(hold):
        assert held.wait(10)
        try:
            in_forked_child(child)
            assert guard.lock.locked()  # the parent's lock has not been touched
        finally:
            ended.set()


def test_a_child_that_is_forked_inside_a_locked_block_leaves_it() -> None:
    guard = forks.ForkSafeLock()
    child = 0
    try:
        with guard.lock:
            child = os.fork()
        free = guard.lock.acquire(timeout=0)
        guard.lock.release()
    finally:
        if not child:
            os._exit(0 if free else 1)
    assert os.waitpid(child, 0)[1] == 0


class Thing:
    """Something that a process owns."""


def test_each_living_object_is_called_with_once_and_the_set_is_empty_in_the_child() -> None:
    called: list[Thing] = []
    things = forks.each_in_child(called.append)
    kept, dropped = Thing(), Thing()
    things.update([kept, dropped])
    gone = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert gone() is None

    def child() -> None:
        assert called == [kept]
        assert not list(things)
        things.add(own := Thing())
        in_forked_child(lambda: called == [kept, own] or os._exit(1))

    in_forked_child(child)
    assert called == []
    assert list(things) == [kept]


def test_calls_in_the_child_run_in_their_order_and_one_that_fails_stops_no_other() -> None:
    program = """
        import os, sys
        from s3dlio import forks
        ran = []
        forks.in_child(lambda: ran.append(1))
        forks.in_child(lambda: 1 / 0)
        forks.in_child(lambda: ran.append(2))
        forks.before(lambda: print("before", flush=True))
        sys.unraisablehook = lambda _: None
        child = os.fork()
        if not child:
            os._exit(0 if ran == [1, 2] else 1)
        print(os.waitpid(child, 0)[1], ran)
    """
    assert output(program) == "before\n0 []\n"


def test_a_fork_waits_while_another_thread_delays_forks() -> None:
    delayed = threading.Event()

    def hold() -> float:
        with forks.delayed:
            delayed.set()
            time.sleep(0.3)
            return time.monotonic()

    with meanwhile(hold) as ended:
        assert delayed.wait(10)
        in_forked_child(lambda: forks.delayed.acquire(timeout=0) or os._exit(1))
        forked = time.monotonic()
    assert forked >= ended.result()


def test_a_fork_does_not_wait_for_an_import_that_waits_for_the_lock_of_logging() -> None:
    """`logging` takes its lock before a fork; an import that creates a logger takes that lock, too."""
    program = """
        import os, threading, time
        import s3dlio
        s3dlio.init_logging  # imports logging, after s3dlio.forks
        import logging
        from s3dlio import forks

        ended = threading.Event()

        def create_loggers():
            while not ended.is_set():
                with forks.delayed:
                    logging.getLogger(f"logger-{time.monotonic()}")

        thread = threading.Thread(target=create_loggers)
        thread.start()
        for _ in range(100):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
        ended.set()
        thread.join()
        print("done")
    """
    assert output(program) == "done\n"
