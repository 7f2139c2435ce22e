# SPDX-License-Identifier: Apache-2.0
"""What all clients share: the job, and two ways to keep several calls for single objects in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# The operation, the objects and the numbers of a scenario, as the harness sends them (`runner._job`).
Job = dict[str, Any]
# The key of an object; for ranges a list [key, offset, length].
Item = Any
# Called with each item and its result.
Take = Callable[[Item, Any], None]
# Works through the items.
Runner = Callable[[Iterator[Item], Take], None]


class CannotDoThis(Exception):
    """The client does not have the operation, or not on this server."""


def operation(job: Job, **known: Callable[..., Any]) -> Callable[..., Any]:
    """The function for the operation of the job.

    Raises:
        CannotDoThis: the client has no function for it.
    """
    if job["operation"] not in known:
        raise CannotDoThis(f"no {job['operation']} with this client")
    return known[job["operation"]]


def in_threads(job: Job, one: Callable[[Item], Any]) -> Runner:
    """Call `one` in as many threads as objects may be in flight; for one object at a time, in the calling thread."""

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
    """Call `one` in as many tasks as objects may be in flight."""

    async def work(items: Iterator[Item], take: Take) -> None:
        for item in items:
            take(item, await one(item))

    async def all_of_them(items: Iterator[Item], take: Take) -> None:
        await asyncio.gather(*(work(items, take) for _ in range(job["in_flight"])))

    return lambda items, take: asyncio.run(all_of_them(items, take))
