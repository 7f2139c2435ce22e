"""The protocols that the table of behaviour is run against.

A store joins with one entry in `PROTOCOLS`: a name, a factory that gives the URI of a fresh, empty folder, and the
cases that it cannot pass, each with its reason. Such a case is still run, and must still fail: a deviation that has
gone must leave the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Protocol:
    """An implementation of the contract.

    Attributes:
        name: as it is to appear in the names of the tests.
        root: gives the URI, without a final "/", of a folder in which nothing lies and that nobody else uses; called
            once for each case with the request of its fixture, through which it may start servers.
        deviations: name of a case, without its parameters -> why this protocol cannot pass it.
    """

    name: str
    root: Callable[[pytest.FixtureRequest], str]
    deviations: Mapping[str, str] = field(default_factory=dict)


def _folder(scheme: str) -> Callable[[pytest.FixtureRequest], str]:
    def root(request: pytest.FixtureRequest) -> str:
        folder: Path = request.getfixturevalue("tmp_path")
        return f"{scheme}://{folder}/root"

    return root


PROTOCOLS = [
    Protocol("file", _folder("file")),
    Protocol("direct", _folder("direct")),
]
