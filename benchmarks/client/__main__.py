# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.client NAME`: measures one client.

The process reads a job, a line of JSON, from standard input. After its checked pass it writes the line "ready". The
next line on standard input starts the timed part, and the process writes the figures as JSON. So several processes can
start at the same moment, and the harness can read the server's CPU time before and after.
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
    # Standard output belongs to the harness, so what a client prints goes to standard error.
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
    # Skip the end of the interpreter, where the runtimes of some clients crash or hang.
    os._exit(0)


if __name__ == "__main__":
    main()
