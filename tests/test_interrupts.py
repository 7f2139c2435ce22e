# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the middle of large calls: KeyboardInterrupt immediately, and no temporary file or thread is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from s3dlio.stores.files.names import RESERVED
from tests.processes import SECONDS, start

_PROGRAM = """
    import sys, threading, time
    import s3dlio

    base, target = sys.argv[1:3]
    large = f"{base}/large"
    many = [f"{base}/tree/{number}" for number in range(24)]
    data = bytes(200 << 20)

    def get():
        s3dlio.get(large)

    def get_many():
        s3dlio.get_many(many * 3)

    def get_many_iter():
        for _ in s3dlio.get_many_iter(many * 3):
            pass

    def put():
        s3dlio.put_bytes(f"{target}/object", data)

    def put_many():
        s3dlio.put_many((f"{target}/{number}", data[: 8 << 20]) for number in range(24))

    def copy():
        s3dlio.copy(f"{base}/tree", f"{target}/tree", recursive=True)

    call = globals()[sys.argv[3]]
    s3dlio.get(many[0])
    try:
        print("ready", flush=True)
        while True:
            call()
    except KeyboardInterrupt:
        pass
    deadline = time.monotonic() + 5  # one that has done its work may still be on its way out
    while time.monotonic() < deadline:
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("s3dlio")]
        if not left:
            break
        time.sleep(0.01)
    print("interrupted", left, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("scheme", ["file", "direct"])
@pytest.mark.parametrize(
    ("call", "delay"),
    [("get", 0.08), ("get_many", 0.11), ("get_many_iter", 0.14), ("put", 0.13), ("put_many", 0.09), ("copy", 0.12)],
)
def test_ctrl_c_ends_a_call_and_leaves_nothing(tmp_path: Path, scheme: str, call: str, delay: float) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "target").mkdir()
    for name, size in [("large", 700 << 20)] + [(f"tree/{number}", 12 << 20) for number in range(24)]:
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # no bytes on the disk, as many to be read
    with start(_PROGRAM, f"{scheme}://{tmp_path}", f"{scheme}://{tmp_path}/target", call) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            time.sleep(delay)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted []\n", process.stderr.read()
            assert time.monotonic() - sent < SECONDS / 6  # far below what the whole call may take, far above the usual
            temporaries = [
                name for _, _, names in os.walk(tmp_path / "target") for name in names if name.startswith(RESERVED)
            ]
            assert temporaries == []  # while the process still lives
            process.stdin.close()
            assert process.wait(SECONDS) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
