# SPDX-License-Identifier: Apache-2.0
"""Which process of a job this one is, so that the processes of a job do not all begin at the same endpoint."""

from __future__ import annotations

import os
import sys

_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", "RANK")


def process_number() -> int:
    """A number that differs between the processes of a job: the MPI rank plus the number of a worker process.

    Without a rank and a worker number the process id serves: the children of plain forks have consecutive ones.
    """
    rank = next((int(text) for name in _RANK_VARIABLES if (text := os.environ.get(name, "")).isdecimal()), None)
    processes = sys.modules.get("multiprocessing.process")
    identity = processes.current_process()._identity if processes is not None else ()
    if rank is None and not identity:
        return os.getpid()
    return (rank or 0) + (identity[-1] if identity else 0)
