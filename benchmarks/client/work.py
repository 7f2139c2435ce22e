# SPDX-License-Identifier: Apache-2.0
"""What all clients share: the job, and the two ways to keep calls of a single object in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# What to do and to what, as the harness sends it (see `Scenario.job`).
Job = dict[str, Any]
# An object's key; a list [key, offset, length] where ranges are read.
Item = Any
# Called with each item and with what came of it.
Take = Callable[[Item, Any], None]
# Works through the items.
Runner = Callable[[Iterator[Item], Take], None]


class CannotDoThis(Exception):
    """The client has no such operation, or not on this server."""


def operation(job: Job, **known: Callable[..., Any]) -> Callable[..., Any]:
    """The function for the job's operation.

    Raises:
        CannotDoThis: it is not among those known.
    """
    if job["operation"] not in known:
        raise CannotDoThis(f"no {job['operation']} with this client")
    return known[job["operation"]]


def in_threads(job: Job, one: Callable[[Item], Any]) -> Runner:
    """Calls of `one` in as many threads as may be in flight; in the calling thread if that is one."""

    def work(items: Iterator[Item], take: Take) -> None:
        for item in items:
            take(item, one(item))

    def run(items: Iterator[Item], take: Take) -> None:
        if job["in_flight"] == 1:
            work(items, take)
            return
        with ThreadPoolExecutor(job["in_flight"]) as threads:
            for ended in [threads.submit(work, items, take) for _ in range(job["in_flight"])]:
                ended.result()

    return run


def with_asyncio(job: Job, one: Callable[[Item], Awaitable[Any]]) -> Runner:
    """Calls of `one` in as many tasks as may be in flight."""

    async def work(items: Iterator[Item], take: Take) -> None:
        for item in items:
            take(item, await one(item))

    async def all_of_them(items: Iterator[Item], take: Take) -> None:
        await asyncio.gather(*(work(items, take) for _ in range(job["in_flight"])))

    return lambda items, take: asyncio.run(all_of_them(items, take))
