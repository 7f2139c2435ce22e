# SPDX-License-Identifier: Apache-2.0
"""Files whose system calls fail, in compositions (`tests.chaos.files`).

S3DLIO_TEST_CHAOS is the number of compositions that go over the network. These tests play an eighth as many, because
each takes a process and a tracer. S3DLIO_TEST_CHAOS_SEED is the first seed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import s3dlio
from tests.chaos import files

COUNT = int(os.environ.get("S3DLIO_TEST_CHAOS") or 2000) // 8
FIRST = int(os.environ.get("S3DLIO_TEST_CHAOS_SEED") or 1_000_000)
PARTS = 4  # so that several processes of pytest share them


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    """An import in a process whose calls fail would fail, too."""
    files.prepare()


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(120 + COUNT)
def test_no_file_is_damaged_or_lost_whatever_system_call_fails(part: int) -> None:
    first = FIRST + COUNT * part // PARTS
    count = FIRST + COUNT * (part + 1) // PARTS - first
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.files", str(first), str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.fullmatch(rf"{count} compositions, (\d+) verbs failed, 0 wrong\n", done.stdout)
    assert found, done.stdout
    assert int(found[1]) > count / 4  # the calls did fail


def test_a_seed_gives_one_composition_and_many_give_all() -> None:
    assert files.composed(5) == files.composed(5)
    many = [files.composed(seed) for seed in range(5000)]
    assert {composition.verb for composition in many} == set(files.VERBS)
    for verb, calls in files.CALLS.items():
        assert {composition.fault.calls for composition in many if composition.verb == verb} >= set(calls)
    assert {composition.fault.error for composition in many} == set(files.ERRORS)


@pytest.mark.usefixtures("strace")
def test_the_oracle_finds_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = files.Fault("?rename,renameat,renameat2", "EIO", "1+")
    failing = files.Composition(0, "put_bytes", "file", False, fault)
    assert files.play(failing) == files.Verdict([], True)
    verbs: dict[str, files.Verb] = {
        "put_bytes": lambda base: Path(f"{base.removeprefix('file://')}/a").write_bytes(b""),
        "get": lambda _: b"other",
        "delete": lambda _: 1 / 0,
        "stat": lambda _: s3dlio.get("file:///nowhere"),
        "list": lambda _: [],
    }
    for verb, wrong in verbs.items():
        monkeypatch.setitem(files.VERBS, verb, wrong)
        assert files.play(failing._replace(verb=verb)).wrong, verb


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    ("calls", "error", "when", "fails"),
    [
        *(("flock", error, "1+", False) for error in ("ENOLCK", "EOPNOTSUPP", "ENOSYS", "EAGAIN", "EIO")),
        *(("fsync", error, "2", False) for error in ("EINVAL", "EBADF", "EOPNOTSUPP")),  # of the folder
        *(("fsync", error, "1", True) for error in ("EIO", "ENOSPC", "EDQUOT")),  # of the file
        *(("write,pwrite64", error, "1", True) for error in ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "EFBIG")),
        ("write,pwrite64", "EINTR", "1", False),
        ("fchown", "EPERM", "1+", False),
        ("?newfstatat,?fstat", "ENOENT", "2", True),  # of the temporary
        ("fchmod", "EPERM", "1", True),
        ("listxattr", "EOPNOTSUPP", "1+", False),
        *(("?rename,renameat,renameat2", error, "1", True) for error in ("EDQUOT", "EXDEV", "EPERM")),
    ],
)
@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_failed_system_calls_that_a_write_survives_or_reports(
    scheme: str, calls: str, error: str, when: str, fails: bool
) -> None:
    composition = files.Composition(0, "put_bytes", scheme, True, files.Fault(calls, error, when))
    assert files.play(composition) == files.Verdict([], fails)


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_an_error_that_only_close_reports_fails_the_write(scheme: str, error: str) -> None:
    composition = files.Composition(0, "put_bytes", scheme, False, files.Fault("close", error, "1+"))
    assert files.play(composition) == files.Verdict([], True)
