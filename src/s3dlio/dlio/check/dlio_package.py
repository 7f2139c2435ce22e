# SPDX-License-Identifier: Apache-2.0
"""DLIO's package: where it is, what it can do, and what the installer has put into its files.

DLIO is not imported here. Its files are searched for names, since PyPI's 2.0.0 and the main branch both call themselves
2.0.0.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from s3dlio.dlio.check.findings import FAILURE, OK, WARNING, Finding

# Files in the folder `dlio_benchmark`.
ENUMERATIONS = "common/enumerations.py"
FACTORY = "storage/storage_factory.py"
STORAGE = "storage/s3dlio_storage.py"  # Option 1 adds it
DROP_IN = "storage/s3_torch_storage.py"  # Option 2 replaces or adds it
BACKUP = ".original.bak"  # what the name of a file's original ends in

NOT_INSTALLED = """\
DLIO is not installed in this Python environment. `pip install dlio-benchmark` fails on one of its requirements, so use:
  pip install torch                       # the CPU build is enough
  pip install 's3dlio[dlio]'
  pip install --no-deps dlio-benchmark==2.0.0
"""


def folder() -> Path | None:
    """Return the folder of the package `dlio_benchmark`, or None if DLIO is not installed."""
    spec = importlib.util.find_spec("dlio_benchmark")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def has_tensorflow() -> bool:
    """Whether TensorFlow can be imported."""
    return importlib.util.find_spec("tensorflow") is not None


def describe(package: Path | None) -> dict[str, Any]:
    """What a DLIO, given its folder, can do, and which options of the integration guide are installed in it.

    Returns:
        `path`, None without a DLIO; and by name, whether it is present: `features`, and for `option_1` and `option_2`
        the files that have their change.
    """
    if package is None:
        return {"path": None, "features": {}, "option_1": {}, "option_2": {}}
    configuration = text_of(package / "utils" / "config.py")
    connector = package / DROP_IN
    return {
        "path": str(package),
        "features": {
            "storage_options": "storage_options" in configuration,
            "checkpoints_are_read": "num_checkpoints_read" in configuration,
            "record_length_bytes": "record_length_bytes" in configuration,
            "s3torchconnector": connector.is_file(),
            "tensorflow": has_tensorflow(),
        },
        "option_1": {
            STORAGE: (package / STORAGE).is_file(),
            ENUMERATIONS: bool(re.search(r"^\s*S3DLIO\s*=", text_of(package / ENUMERATIONS), re.MULTILINE)),
            FACTORY: "StorageType.S3DLIO" in text_of(package / FACTORY),
        },
        "option_2": {DROP_IN: has_drop_in(package), "backup": connector.with_name(connector.name + BACKUP).is_file()},
    }


def has_drop_in(package: Path) -> bool:
    """Whether Option 2 is installed: DLIO's storage type `s3` with PyTorch goes through s3dlio."""
    return "s3dlio" in text_of(package / DROP_IN)


def text_of(path: Path) -> str:
    """The text of a file, "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def about_dlio(dlio: dict[str, Any], needed: bool) -> list[Finding]:
    """Findings about a DLIO that `describe` described. A missing one is a failure if it is needed."""
    if dlio["path"] is None:
        level, advice = FAILURE if needed else WARNING, 'follow "Install DLIO" in docs/dlio.md'
        return [Finding(level, "DLIO", "not installed in this Python environment", advice)]
    features = ", ".join(name for name, present in dlio["features"].items() if present)
    findings = [Finding(OK, "DLIO", dlio["path"] + (f" (features: {features})" if features else ""))]
    first, second = dlio["option_1"], dlio["option_2"]
    if all(first.values()):
        findings.append(Finding(OK, "Option 1", "installed: dlio_benchmark knows the storage type s3dlio"))
    elif any(first.values()):
        missing = ", ".join(name for name, present in first.items() if not present)
        message = f"installed in part, so dlio_benchmark fails: the change is missing in {missing}"
        advice = "run `s3dlio dlio install` again, or start DLIO with `s3dlio dlio run`"
        findings.append(Finding(WARNING, "Option 1", message, advice))
    if second[DROP_IN]:
        backup = "with" if second["backup"] else "without"
        message = f"installed, {backup} a backup of DLIO's file: the storage type s3 goes through s3dlio"
        findings.append(Finding(OK, "Option 2", message))
    if not any(first.values()) and not second[DROP_IN]:
        findings.append(Finding(OK, "installation", "no file of DLIO is changed: start DLIO with `s3dlio dlio run`"))
    return findings
