# SPDX-License-Identifier: Apache-2.0
"""Every file of source says under which license it is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = "# SPDX-License-Identifier: Apache-2.0"


def test_every_source_file_names_its_license() -> None:
    suffixes = ("*.py", "*.sh", "Makefile")
    paths = [path for suffix in suffixes for path in ROOT.rglob(suffix) if not _is_made(path)]
    assert len(paths) > 300
    assert [str(path) for path in paths if LINE not in path.read_text().splitlines()[:2]] == []


def _is_made(path: Path) -> bool:
    """Whether a file is made by tools, in a folder whose name begins with a dot, and not part of the project."""
    return any(part.startswith(".") or part in ("build", "dist") for part in path.relative_to(ROOT).parts)
