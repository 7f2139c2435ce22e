# SPDX-License-Identifier: Apache-2.0
"""Starts DLIO in this process with the storage type `s3dlio` registered.

Strategy: everything DLIO does at start-up happens as if `dlio_benchmark` had been typed; before it,
`registration` replaces what has to be replaced, and after it an error of this rank ends all ranks. Without
that, the others would wait for this one at their next barrier, and this one for them in MPI's finalizer,
for ever.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from s3dlio.dlio.record import counters

ABSENT_MODULES = Path(__file__).parent / "absent"

# Whether DLIO was started by `run`.
_running = False

NOT_INSTALLED = """\
DLIO is not installed in this Python environment. Its own requirements cannot be met as they stand, so:
  pip install torch                       # the CPU build will do
  pip install 's3dlio[dlio]'
  pip install --no-deps dlio-benchmark==2.0.0
"""


def run(arguments: list[str]) -> int:
    """Run DLIO on s3dlio. Call it once per process: DLIO keeps its configuration and MPI in globals.

    Args:
        arguments: what `dlio_benchmark` takes, such as `workload=unet3d_h100` and `++workload.<key>=<value>`.

    Returns:
        The exit status: 0, or what DLIO ended with; 2 if DLIO is not installed. If it is not 0 and there are
        several MPI ranks, all of them are ended and this does not return.
    """
    global _running
    if importlib.util.find_spec("dlio_benchmark") is None:
        sys.stderr.write(NOT_INSTALLED)
        return 2
    _running = True
    if importlib.util.find_spec("tensorflow") is None:
        sys.path.append(str(ABSENT_MODULES))
    from s3dlio.dlio.run import options, registration

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
    """Let this process end as with `run`, if it is DLIO's own command that is running in it.

    The last thing that the command does is to finalize DLIO's MPI; after an error it ends without.
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
    """On rank 0, say what went through s3dlio, and that a run which read nothing was none."""
    from dlio_benchmark.utils.config import ConfigArguments

    arguments = ConfigArguments.get_instance()
    folder = os.environ.get(counters.FOLDER_VARIABLE)
    if arguments.my_rank != 0 or not folder:
        return
    totals = counters.summarise(folder)
    for kind, total in totals.items():
        sys.stderr.write(f"s3dlio: {kind}: {total.operations} operations, {total.bytes} bytes\n")
    sys.stderr.write(f"s3dlio: every operation is listed in {folder}\n")
    output = os.path.abspath(arguments.output_folder)
    elsewhere = [] if folder == os.path.join(output, counters.FOLDER_NAME) else ["--metrics", folder]
    sys.stderr.write(f"s3dlio: for a page with plots: {shlex.join(['s3dlio', 'dlio', 'report', output, *elsewhere])}\n")
    # DLIO 2.0.0 has no runs of checkpoints alone.
    trained = not (arguments.generate_only or getattr(arguments, "checkpoint_only", False))
    if trained and str(arguments.format) != "synthetic" and "read" not in totals:
        sys.stderr.write(
            "s3dlio: warning: no sample was read. DLIO drops the files that do not fill a batch on every "
            "rank: num_files_train has to be a multiple of num_samples_per_file * batch_size * ranks\n"
        )
