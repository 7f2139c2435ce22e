# SPDX-License-Identifier: Apache-2.0
"""Changes of environment variables are noticed, whichever way they are made."""

from __future__ import annotations

import os

import pytest

from s3dlio.environment import watch
from tests.processes import output


def test_every_kind_of_change_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3DLIO_ONE", raising=False)
    now = watch(["S3DLIO_ONE", "S3DLIO_TWO"])
    seen = [now()]
    for change in (
        lambda: os.environ.update(S3DLIO_ONE="a"),
        lambda: os.environ.update(S3DLIO_ONE="b"),
        lambda: os.environ.update(S3DLIO_ONE=""),
        lambda: os.environ.pop("S3DLIO_ONE"),
        lambda: os.environ.setdefault("S3DLIO_TWO", "a"),
    ):
        change()
        assert now() == now()
        seen.append(now())
    del os.environ["S3DLIO_TWO"]
    assert now() == seen[0] == seen[4]
    assert len(set(seen)) == len(seen) - 1


def test_other_variables_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = watch(["S3DLIO_ONE"])
    before = now()
    monkeypatch.setenv("S3DLIO_TWO", "a")
    assert now() == before


def test_a_value_that_is_not_utf_8_can_be_watched() -> None:
    now = watch(["S3DLIO_ONE"])
    os.environb[b"S3DLIO_ONE"] = b"\xff"
    before = now()
    os.environb[b"S3DLIO_ONE"] = b"\xfe"
    assert now() != before
    del os.environb[b"S3DLIO_ONE"]


def test_an_interpreter_without_the_underlying_mapping_gives_the_same_answers() -> None:
    program = """
        import os
        os.environ = dict(os.environ)
        from s3dlio.environment import watch
        now = watch(["S3DLIO_ONE"])
        before = now()
        os.environ["S3DLIO_ONE"] = "a"
        print(before, now())
    """
    assert output(program) == "(None,) ('a',)\n"
