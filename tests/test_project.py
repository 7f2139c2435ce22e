# SPDX-License-Identifier: Apache-2.0
"""The files around the code agree with it: versions of Python, make targets, paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]


def workflow() -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())


def supported() -> list[str]:
    """The versions of Python that the package names."""
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())


def test_every_list_of_python_versions_is_the_same() -> None:
    scripts = re.search(r'VERSIONS="(.*)"', (ROOT / "tools" / "interpreters.sh").read_text())
    assert scripts is not None
    assert scripts[1].split() == supported()
    assert workflow()["jobs"]["versions"]["strategy"]["matrix"]["python-version"] == supported()
    for job in ("test", "release"):
        setup = next(step for step in workflow()["jobs"][job]["steps"] if "setup-python" in step.get("uses", ""))
        assert sorted(setup["with"]["python-version"].split(), key=lambda text: int(text[2:])) == supported()


def test_every_command_of_the_workflow_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for job in workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        program, *arguments = command.split()
        if program == "make":
            assert set(arguments) <= targets, command
        elif program.startswith("tools/"):
            assert (ROOT / program).stat().st_mode & 0o111, command
        else:
            assert program == ".venv/bin/python", command
            ignored = [argument.partition("=")[2] for argument in arguments if argument.startswith("--ignore=")]
            assert all((ROOT / path).exists() for path in ignored), command


def test_every_path_that_a_page_names_exists() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    missing = {}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"`((?:src|tests|tools|benchmarks|docs)/[\w./-]+)`", text)
        lost = [path for path in named if "NAME" not in path and "PROVIDER" not in path and not (ROOT / path).exists()]
        if lost:
            missing[page.name] = lost
    assert missing == {}


def test_pre_commit_runs_the_line_of_ruff_that_lint_runs() -> None:
    pinned = re.search(r'"ruff==(\d+\.\d+)\.\*"', (ROOT / "pyproject.toml").read_text())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    revision = next(repo["rev"] for repo in hooks["repos"] if "ruff" in repo["repo"])
    assert pinned is not None
    assert revision.startswith(f"v{pinned[1]}.")
