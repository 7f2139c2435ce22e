# SPDX-License-Identifier: Apache-2.0
"""`import s3dlio` costs next to nothing, and gives every public name on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import s3dlio
from tests.processes import output

HEAVY = [
    "torch",
    "numpy",
    "typer",
    "rich",
    "botocore",
    "google",
    "azure",
    "asyncio",
    "ssl",
    "http.client",
    "urllib3",
]


def test_the_import_brings_in_nothing_heavy() -> None:
    program = """
        import sys
        before = set(sys.modules)
        import s3dlio
        print(*sorted(set(sys.modules) - before))
    """
    added = {name.partition(".")[0] if name != "http.client" else name for name in output(program).split()}
    assert "s3dlio" in added
    assert added.isdisjoint(HEAVY)


def test_working_with_files_brings_in_no_library_of_others_and_no_network() -> None:
    program = """
        import sys, tempfile
        before = set(sys.modules)
        import s3dlio
        with tempfile.TemporaryDirectory() as folder:
            for scheme in ("file", "direct"):
                s3dlio.put_bytes(f"{scheme}://{folder}/object", bytes(100_000))
                s3dlio.get(f"{scheme}://{folder}/object")
                s3dlio.get_many([f"{scheme}://{folder}/object"])
                list(s3dlio.get_many_iter([f"{scheme}://{folder}/object"]))
                s3dlio.list(f"{scheme}://{folder}")
                s3dlio.stat(f"{scheme}://{folder}/object")
        print(*sorted(set(sys.modules) - before))
    """
    added = set(output(program).split())
    assert "s3dlio.stores.files.file" in added
    assert added.isdisjoint([*HEAVY, "google.auth", "google_crc32c", "s3dlio.runtime.engine", "s3dlio.stores.s3.store"])


def test_every_public_name_can_be_loaded() -> None:
    for name in s3dlio.__all__:
        assert getattr(s3dlio, name) is getattr(s3dlio, name)
    assert set(s3dlio.__all__) <= set(dir(s3dlio))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = s3dlio.nonsense  # type: ignore[attr-defined]


def test_a_star_import_gives_the_public_names() -> None:
    program = "from s3dlio import *; print(sorted(name for name in globals() if not name.startswith('_')))"
    public = sorted(name for name in s3dlio.__all__ if not name.startswith("_"))
    assert output(program).strip() == str(public)


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert s3dlio.version() == s3dlio.__version__
    assert version("s3dlio").split("+")[0].startswith(s3dlio.version().split("+")[0].split(".")[0])


def test_log_levels() -> None:
    for level in ("trace", "debug", "info", "warn", "error", "INFO"):
        program = f"import s3dlio, logging; s3dlio.init_logging({level!r}); logging.getLogger('s3dlio').error('seen')"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stderr.count("seen") == 1
    for wrong in ("loud", "", None, 3):
        with pytest.raises(ValueError, match="log level"):
            s3dlio.init_logging(wrong)  # type: ignore[arg-type]
