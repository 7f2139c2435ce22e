# SPDX-License-Identifier: Apache-2.0
"""Before a workload begins: do all ranks have the same environment, and can the storage be used?

Strategy: `start` is called on every rank when DLIO has read its configuration, before anything has been created or
listed. The ranks compare the variables that decide where data goes and who asks for it: rank 0 sends their names with
a keyed hash of each value, so that no value leaves its rank. Then rank 0 alone probes the places of the workload,
and sends on whether the job may go on; if not, every rank ends with status 1 and rank 0 has said why.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s3dlio import settings
from s3dlio.auth.aws import credentials as aws
from s3dlio.auth.azure import entra as azure
from s3dlio.dlio.check.doctor import about_workload
from s3dlio.dlio.check.probe import FAILURE, WARNING, Finding, probe
from s3dlio.dlio.check.workload import Workload, workload_of
from s3dlio.dlio.run.ranks import from_rank_zero

_SCHEMES_OF_PREFIXES = {
    "AWS_": "s3",
    "S3_": "s3",
    "AZURE_": "az",
    "IDENTITY_": "az",
    "IMDS_": "az",
    "MSI_": "az",
    "S3DLIO_AZURE_": "az",
    "CLOUDSDK_": "gs",
    "GCE_": "gs",
    "GCS_": "gs",
    "GOOGLE_": "gs",
    "STORAGE_EMULATOR_": "gs",
}
# These may well differ from host to host: how a host reaches the others, and whom it trusts.
_OF_HOSTS = ("_PROXY", "_BUNDLE", "SSL_CERT_FILE")
_MOST_RANKS_NAMED = 8


@dataclass(frozen=True, eq=False)
class Difference:
    """How the environment of a rank differs from that of rank 0.

    Attributes:
        rank, host: which rank it is, and where it runs.
        lacking: the variables that rank 0 has and this one lacks.
        added: those that this one has and rank 0 lacks.
        other: those that have another value here.
    """

    rank: int
    host: str
    lacking: list[str]
    added: list[str]
    other: list[str]


def start(arguments: Any, elsewhere: Callable[[str], str] | None = None) -> None:
    """Check a workload on all ranks, which all have to call this.

    Args:
        arguments: DLIO's ConfigArguments, filled, on storage of ours.
        elsewhere: given a folder, names another one in which its objects may lie.

    Raises:
        SystemExit: the workload cannot run; on every rank.
    """
    from dlio_benchmark.utils.utility import DLIOMPI

    communicator = DLIOMPI.get_instance().comm()
    if not from_rank_zero(communicator, lambda: settings.current().preflight):
        return
    workload = workload_of(arguments, elsewhere)
    findings = compare_environments(communicator, relevant(workload.schemes))
    if not from_rank_zero(communicator, lambda: _report(findings) and _report(_check(workload, communicator.size))):
        raise SystemExit(1)


def _check(workload: Workload, ranks: int) -> list[Finding]:
    return [*about_workload(workload, ranks), *probe(workload.places)]


def _report(findings: Iterable[Finding]) -> bool:
    """Say what is wrong; whether nothing of it is a failure."""
    failed = False
    for finding in findings:
        if finding.level in (WARNING, FAILURE):
            advice = f"; {finding.advice}" if finding.advice else ""
            kind = "error" if finding.level == FAILURE else "warning"
            sys.stderr.write(f"s3dlio: {kind}: {finding.about}: {finding.message}{advice}\n")
            failed = failed or finding.level == FAILURE
    if failed:
        sys.stderr.write("s3dlio: the workload was not started (S3DLIO_PREFLIGHT=0 starts it all the same)\n")
    sys.stderr.flush()
    return not failed


# The environment of the ranks...


def relevant(schemes: set[str]) -> list[str]:
    """The variables that have to be the same on all ranks for a workload on storage of these schemes."""
    known = {name for names, _, _ in settings.table() for name in names.split(", ")}
    known |= {*aws.VARIABLES, *azure.VARIABLES}
    return sorted(name for name in known - {"HOME"} if _scheme_of(name) in {None, *schemes})


def _scheme_of(name: str) -> str | None:
    return next((scheme for prefix, scheme in _SCHEMES_OF_PREFIXES.items() if name.startswith(prefix)), None)


def compare_environments(communicator: Any, names: Sequence[str]) -> list[Finding]:
    """How the environments of the ranks differ. All ranks have to call this; rank 0 gets the findings.

    Args:
        communicator: of MPI.
        names: of the variables to compare.

    Returns:
        On rank 0, a finding for each rank that lacks variables or has other values; empty on the others.
    """
    if communicator.size == 1:
        return []
    from mpi4py import MPI

    key, expected = communicator.bcast(_hashes(secrets.token_bytes(16), names) if communicator.rank == 0 else None)
    _, found = _hashes(key, names)
    difference = Difference(
        communicator.rank,
        MPI.Get_processor_name(),
        lacking=sorted(expected.keys() - found.keys()),
        added=sorted(found.keys() - expected.keys()),
        other=sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name]),
    )
    everyone: list[Difference] = communicator.gather(difference, root=0) or []
    return [*_about_lacking(everyone), *_about_others(everyone)]


def _about_lacking(everyone: Sequence[Difference]) -> list[Finding]:
    """A failure for each rank that lacks variables which no host has for itself."""
    lacking = {of: [name for name in of.lacking if not name.upper().endswith(_OF_HOSTS)] for of in everyone}
    lacking = {of: names for of, names in lacking.items() if names}
    findings = []
    for of, names in list(lacking.items())[:_MOST_RANKS_NAMED]:
        message = f"rank {of.rank} on host {of.host} lacks {', '.join(names)}, which rank 0 has"
        them = "it" if len(names) == 1 else "them"
        advice = f"forward {them} with `mpirun {' '.join(f'-x {name}' for name in names)}`"
        findings.append(Finding(FAILURE, "environment", message, advice))
    if len(lacking) > len(findings):
        message = f"{len(lacking) - len(findings)} more ranks lack variables that rank 0 has"
        findings.append(Finding(FAILURE, "environment", message))
    return findings


def _about_others(everyone: Sequence[Difference]) -> list[Finding]:
    """A warning for each variable that differs otherwise: it may be meant to, as an endpoint of each host is."""
    by_name: dict[str, list[Difference]] = {}
    for of in everyone:
        own = [name for name in of.lacking if name.upper().endswith(_OF_HOSTS)]
        for name in (*own, *of.added, *of.other):
            by_name.setdefault(name, []).append(of)
    findings = []
    for name, ranks in sorted(by_name.items()):
        first = ranks[0]
        more = f" and {len(ranks) - 1} more" if len(ranks) > 1 else ""
        message = f"{name} is not the same on rank {first.rank} on host {first.host}{more} as on rank 0"
        findings.append(Finding(WARNING, "environment", message))
    return findings


def _hashes(key: bytes, names: Sequence[str]) -> tuple[bytes, Mapping[str, bytes]]:
    """The key, and under it a hash of the value of each variable that is set."""
    values = {name: os.environ[name] for name in names if os.environ.get(name)}
    return key, {name: hashlib.blake2b(os.fsencode(value), key=key).digest() for name, value in values.items()}
