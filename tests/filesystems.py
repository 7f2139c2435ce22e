# SPDX-License-Identifier: Apache-2.0
"""File systems that tests need: one that is soon full, one with O_DIRECT, a folder that another user can reach."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import in_forked_child
from tests.required import lacking

NOBODY = 65534


@contextmanager
def tiny_file_system(folder: Path, mib: int) -> Iterator[Path]:
    """A separate file system with room for the given number of MiB."""
    if os.geteuid() != 0:
        lacking("mounting a tiny file system takes root")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        lacking(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and write; those of pytest are for its own user alone."""
    with tempfile.TemporaryDirectory(prefix="s3dlio-") as name:
        os.chmod(name, 0o777)
        yield Path(name)


def as_another_user(work: Callable[[], object]) -> None:
    """Run `work` in a child without the rights of root; of another user than now, if that is root."""

    def with_less_rights() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work()

    in_forked_child(with_less_rights)


def takes_direct(folder: Path) -> bool:
    """Whether files in a folder can be opened with O_DIRECT."""
    path = folder / "takes-direct"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True
