# SPDX-License-Identifier: Apache-2.0
"""The figures of a run, in one file, which is replaced after each client of each round.

A run that was interrupted can continue. The file holds the figures by scenario, client and round, and what was
measured: settings, machine and versions. If any of these has changed, or if the previous run was complete, a run starts
again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


class State:
    """The file with the figures of a run."""

    def __init__(self, path: Path, what: dict[str, Any], *, fresh: bool) -> None:
        """
        Args:
            path: the file; it need not exist.
            what: what is being measured; figures of anything else are dropped.
            fresh: start again even if the file has figures of the same.
        """
        self._path = path
        self._data: dict[str, Any] = {"what": what, "complete": False, "runs": {}}
        self.resumed = 0
        if fresh or not path.exists():
            return
        try:
            found = json.loads(path.read_text())
        except ValueError:
            return
        if found.get("what") == json.loads(json.dumps(what)) and not found.get("complete"):
            self._data = found
            self.resumed = len(found["runs"])

    def get(self, scenario: str, client: str, number: int) -> Figures | None:
        """The figures of a client in a round, or None."""
        found: Figures | None = self._data["runs"].get(f"{scenario}|{client}|{number}")
        return found

    def add(self, scenario: str, client: str, number: int, figures: Figures) -> None:
        """Keep the figures of a client in a round."""
        self._data["runs"][f"{scenario}|{client}|{number}"] = figures
        self._write()

    def complete(self) -> None:
        """Note that everything has been measured."""
        self._data["complete"] = True
        self._write()

    @property
    def data(self) -> dict[str, Any]:
        """The content of the file."""
        return self._data

    def rounds(self, scenario: str, client: str) -> list[Figures]:
        """The figures of a client in a scenario, round by round."""
        prefix = f"{scenario}|{client}|"
        return [figures for name, figures in self._data["runs"].items() if name.startswith(prefix)]

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(self._data, indent=1) + "\n")
        os.replace(temporary, self._path)
