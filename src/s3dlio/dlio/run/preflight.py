# SPDX-License-Identifier: Apache-2.0
"""Checks a workload when its run starts: do all ranks have the same environment, and can the storage be used?

Strategy: every rank calls `start` when DLIO has read its configuration, before anything is created or listed. The ranks
compare the environment variables that decide where data goes and with which credentials. Then rank 0 alone probes the
folders of the workload, and tells the others whether the run continues. If not, rank 0 has printed the reasons, and
every rank ends with status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from s3dlio import diagnostics, settings
from s3dlio.dlio.check.environments import compare_environments
from s3dlio.dlio.check.findings import FAILURE, WARNING, Finding
from s3dlio.dlio.check.probe import probe
from s3dlio.dlio.check.workload import Workload, about_workload
from s3dlio.dlio.run.ranks import from_rank_zero
from s3dlio.dlio.run.workload import workload_of


def start(arguments: Any, elsewhere: Callable[[str], str] | None = None) -> None:
    """Check a workload. All ranks have to call this.

    Args:
        arguments: DLIO's ConfigArguments, filled, with the storage type `s3dlio`.
        elsewhere: given a folder, names another one in which its objects may lie.

    Raises:
        SystemExit: on every rank, if the workload cannot run.
    """
    from dlio_benchmark.utils.utility import DLIOMPI

    communicator = DLIOMPI.get_instance().comm()
    if not from_rank_zero(communicator, lambda: settings.current().preflight):
        return
    workload = workload_of(arguments, elsewhere)
    findings = compare_environments(communicator, diagnostics.environment_variables(workload.schemes))
    if not from_rank_zero(communicator, lambda: _report(findings) and _report(_check(workload, communicator.size))):
        raise SystemExit(1)


def _check(workload: Workload, ranks: int) -> list[Finding]:
    return [*about_workload(workload, ranks), *probe(workload.folders)]


def _report(findings: Iterable[Finding]) -> bool:
    """Print warnings and failures, and return True if nothing failed."""
    failed = False
    for finding in findings:
        if finding.level in (WARNING, FAILURE):
            advice = f"; {finding.advice}" if finding.advice else ""
            kind = "error" if finding.level == FAILURE else "warning"
            sys.stderr.write(f"s3dlio: {kind}: {finding.about}: {finding.message}{advice}\n")
            failed = failed or finding.level == FAILURE
    if failed:
        sys.stderr.write(
            "s3dlio: the workload was not started; correct the above, or set S3DLIO_PREFLIGHT=0 to start it anyway\n"
        )
    sys.stderr.flush()
    return not failed
