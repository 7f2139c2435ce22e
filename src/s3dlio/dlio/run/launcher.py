# SPDX-License-Identifier: Apache-2.0
"""Starts DLIO in this process, with the storage type `s3dlio` registered.

Strategy: `run` registers, then calls DLIO's own `main`, so that everything happens as with the command
`dlio_benchmark`. If this rank fails, it ends all ranks. Otherwise the others would wait for this rank at their next
barrier, and this rank for them in MPI's finalizer, for ever.
"""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from s3dlio.dlio.check import dlio_package
from s3dlio.dlio.record import records
from s3dlio.dlio.record.totals import summarise
from s3dlio.dlio.run import options, registration

ABSENT_MODULES = Path(__file__).parent / "absent"

_running = False  # whether `run` has started DLIO


def run(arguments: list[str]) -> int:
    """Run DLIO on s3dlio. Call this once per process: DLIO keeps its configuration and MPI in global variables.

    Args:
        arguments: the arguments of `dlio_benchmark`, such as `workload=unet3d_h100` and `++workload.<key>=<value>`.

    Returns:
        DLIO's exit status; 2 if DLIO is not installed. With several MPI ranks and another status than 0, this ends all
        ranks instead of returning.
    """
    global _running
    if dlio_package.folder() is None:
        sys.stderr.write(dlio_package.NOT_INSTALLED)
        return 2
    _running = True
    if not dlio_package.has_tensorflow():
        sys.path.append(str(ABSENT_MODULES))
    registration.register(registration.POINTS + registration.START_POINTS)
    from dlio_benchmark import main

    previous = sys.argv
    sys.argv = ["dlio_benchmark", *options.without_secrets(arguments)]
    try:
        main.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        _end_other_ranks(1, traceback.format_exc())
        raise
    finally:
        sys.argv = previous
    if status:
        _end_other_ranks(status)
    else:
        _report()
    return status


def watch_the_end() -> None:
    """Make DLIO's own command end like `run`: with a summary, or after an error by ending all ranks.

    The last step of the command is to finalize DLIO's MPI, which it leaves out after an error. If another program, or
    `run`, uses DLIO in this process, nothing changes.
    """
    by_command = any(frame.f_code.co_name == "run_benchmark" for frame, _ in traceback.walk_stack(None))
    if _running or not by_command:
        return
    from dlio_benchmark.utils.utility import DLIOMPI

    process, reached = os.getpid(), False
    finalize = DLIOMPI.finalize

    def finalize_and_report(mpi: Any) -> None:
        nonlocal reached
        reached = True
        finalize(mpi)
        _report()

    def ended() -> None:
        if not reached and os.getpid() == process:
            _end_other_ranks(1)

    DLIOMPI.finalize = finalize_and_report
    atexit.register(ended)


def _end_other_ranks(status: int, reason: str = "") -> None:
    from mpi4py import MPI

    if MPI.Is_initialized() and not MPI.Is_finalized() and MPI.COMM_WORLD.size > 1:
        sys.stderr.write(f"{reason}s3dlio: rank {MPI.COMM_WORLD.rank} failed; ending all ranks\n")
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(status)


def _report() -> None:
    """On rank 0, print what went through s3dlio, and a warning if the run has read no sample."""
    from dlio_benchmark.utils.config import ConfigArguments

    arguments = ConfigArguments.get_instance()
    folder = os.environ.get(records.FOLDER_VARIABLE)
    if arguments.my_rank != 0 or not folder:
        return
    totals = summarise(folder)
    for kind, total in totals.items():
        sys.stderr.write(f"s3dlio: {kind}: {total.operations} operations, {total.bytes} bytes\n")
    sys.stderr.write(f"s3dlio: {folder} lists every operation\n")
    output = os.path.abspath(arguments.output_folder)
    elsewhere = [] if folder == os.path.join(output, records.FOLDER_NAME) else ["--metrics", folder]
    sys.stderr.write(
        f"s3dlio: for a report with plots, run: {shlex.join(['s3dlio', 'dlio', 'report', output, *elsewhere])}\n"
    )
    # DLIO 2.0.0 has no runs of checkpoints alone.
    trained = not (arguments.generate_only or getattr(arguments, "checkpoint_only", False))
    if trained and str(arguments.format) != "synthetic" and "read" not in totals:
        sys.stderr.write(
            "s3dlio: warning: no sample was read. DLIO drops files that do not fill a batch on every rank: "
            "num_files_train has to be a multiple of num_samples_per_file * batch_size * ranks\n"
        )
