# SPDX-License-Identifier: Apache-2.0
"""Compares the environment variables of all MPI ranks: `mpirun` forwards a variable to other hosts only on request.

Strategy: rank 0 sends the names of the variables that it has, each with a keyed hash of the value, so that no value
leaves its rank. Each rank compares them with its own, and sends the difference back.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s3dlio.dlio.check.findings import FAILURE, WARNING, Finding

# Variables that may differ from host to host: how a host reaches others, and which certificates it trusts.
_OF_HOSTS = ("_PROXY", "_BUNDLE", "SSL_CERT_FILE")
_MOST_RANKS_NAMED = 8
_UNLESS_INTENDED = "if this is not intended, set the same value on all ranks"


@dataclass(frozen=True, eq=False)
class Difference:
    """How the environment of a rank differs from that of rank 0.

    Attributes:
        rank, host: which rank it is, and where it runs.
        lacking: variables that rank 0 has, and this rank lacks.
        added: variables that this rank has, and rank 0 lacks.
        other: variables that have another value on this rank.
    """

    rank: int
    host: str
    lacking: list[str]
    added: list[str]
    other: list[str]


def compare_environments(communicator: Any, names: Sequence[str]) -> list[Finding]:
    """Find out how these variables differ in the environments of the ranks. All ranks have to call this.

    Returns:
        On rank 0, a failure for each rank that lacks variables, and a warning for each variable that differs
        otherwise; empty on the other ranks.
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
    """A failure for each rank that lacks variables, except those that each host has for itself."""
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
        findings.append(Finding(FAILURE, "environment", message, "forward them in the same way"))
    return findings


def _about_others(everyone: Sequence[Difference]) -> list[Finding]:
    """A warning for each variable that differs otherwise. The user may intend it, as for an endpoint on each host."""
    by_name: dict[str, list[Difference]] = {}
    for of in everyone:
        own = [name for name in of.lacking if name.upper().endswith(_OF_HOSTS)]
        for name in (*own, *of.added, *of.other):
            by_name.setdefault(name, []).append(of)
    findings = []
    for name, ranks in sorted(by_name.items()):
        first = ranks[0]
        more = f" (and on {len(ranks) - 1} more)" if len(ranks) > 1 else ""
        message = f"{name} differs between rank 0 and rank {first.rank} on host {first.host}{more}"
        findings.append(Finding(WARNING, "environment", message, _UNLESS_INTENDED))
    return findings


def _hashes(key: bytes, names: Sequence[str]) -> tuple[bytes, Mapping[str, bytes]]:
    """The key, and under it a hash of the value of each variable that is set."""
    values = {name: os.environ[name] for name in names if os.environ.get(name)}
    return key, {name: hashlib.blake2b(os.fsencode(value), key=key).digest() for name, value in values.items()}
