# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.client NAME`: measures one client.

A job comes as a line of JSON on standard input. When everything is warm and checked, the line "ready" goes out; at the
next line that comes in, the timed part begins; its figures go out as JSON. So several processes can begin at once, and
the harness can tell what the server spent meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

from benchmarks.client import floor, loaders, local, measure, others, ours
from benchmarks.client.work import CannotDoThis, Job, Runner

CLIENTS: dict[str, Callable[[Job], Runner]] = {
    "s3dlio get_many, put_many": ours.many,
    "s3dlio get_many_iter": ours.streaming,
    "s3dlio, threads": ours.threads,
    "s3dlio, asyncio": ours.tasks,
    "s3dlio": ours.threads,
    "s3dlio, DataLoader": loaders.s3dlio_loader,
    "s3dlio writer": ours.checkpoint,
    "obstore, threads": others.obstore_threads,
    "obstore, asyncio": others.obstore_asyncio,
    "obstore, DataLoader": loaders.obstore_loader,
    "opendal, threads": others.opendal_threads,
    "s3torchconnector, threads": others.s3torchconnector_threads,
    "s3torchconnector, DataLoader": loaders.s3torchconnector_loader,
    "s3dlio 0.10 get_many": ours.old_many,
    "s3dlio 0.10, threads": ours.threads,
    "boto3, threads": others.boto3_threads,
    "floor": floor.sockets,
    "plain Python": local.plain,
}


def main() -> None:
    """Do the job and print its figures."""
    # What a client prints goes to standard error: standard output is the harness's.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    make = CLIENTS[sys.argv[1]]
    try:
        if job["fork"]:
            figures = measure.in_child(job, make)
        else:
            run = make(job)
            measure.checked_pass(job, run)
            how = measure.tries if job["best_of"] else measure.timed
            figures = lambda: how(job, run)  # noqa: E731
    except CannotDoThis as error:
        raise SystemExit(str(error)) from None
    print("ready", file=answers, flush=True)
    if sys.stdin.readline():
        print(json.dumps(figures()), file=answers, flush=True)
    answers.close()
    # Not by the interpreter's end: the runtimes of some clients crash or wait there.
    os._exit(0)


if __name__ == "__main__":
    main()
