"""Files whose system calls fail, in compositions (`tests.chaos.files`).

S3DLIO_TEST_CHAOS is the number of compositions that go over the network; of these, each of which takes a process and a
tracer, there are an eighth as many. S3DLIO_TEST_CHAOS_SEED is the first seed.
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


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(120 + COUNT)
def test_whatever_system_call_fails_no_file_is_wrong_or_lost(part: int) -> None:
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
def test_the_oracle_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
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
