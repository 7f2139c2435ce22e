# SPDX-License-Identifier: Apache-2.0
"""Copies of DLIO for tests to change, and runs of `dlio_benchmark` from such a copy."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from s3dlio.dlio.check import dlio_package
from s3dlio.dlio.run import launcher

COMMAND = Path(sys.executable).with_name("dlio_benchmark")

ENUMERATIONS = """\
from enum import Enum

class StorageType(Enum):
    LOCAL_FS = 'local_fs'
    S3 = 's3'

class MetadataType(Enum):
    S3_OBJECT = 's3_object'
"""
FACTORY = """\
from dlio_benchmark.common.enumerations import StorageType

class StorageFactory(object):
    @staticmethod
    def get_storage(storage_type, namespace, framework=None):
        if storage_type == StorageType.LOCAL_FS:
            return FileStorage(namespace, framework)
        elif storage_type == StorageType.S3:
            from dlio_benchmark.storage.s3_torch_storage import S3PyTorchConnectorStorage
            return S3PyTorchConnectorStorage(namespace, framework)
        else:
            raise Exception"""
TORCH_STORAGE = """\
from s3torchconnector._s3client import S3Client

class S3PyTorchConnectorStorage:
    pass
"""


def copied(folder: Path) -> Path:
    """Copy the DLIO that the tests use into a folder; returns its package's folder."""
    found = importlib.util.find_spec("dlio_benchmark")
    assert found is not None
    assert found.submodule_search_locations
    source = found.submodule_search_locations[0]
    return Path(shutil.copytree(source, folder / "dlio_benchmark", ignore=shutil.ignore_patterns("__pycache__")))


def like_main(folder: Path, end: str = "\n") -> Path:
    """A package with the files of DLIO's main branch that matter here, as short as they can be."""
    package = folder / "dlio_benchmark"
    for name, text in {
        dlio_package.ENUMERATIONS: ENUMERATIONS,
        dlio_package.FACTORY: FACTORY,
        "storage/s3_torch_storage.py": TORCH_STORAGE,
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(text.replace("\n", end).encode())
        os.utime(package / name, (1e9, 1e9))
    return package


def environment(package: Path) -> dict[str, str]:
    """Variables that make Python import this copy, and let DLIO 2.0.0 start without TensorFlow."""
    paths = [str(package.parent), os.environ.get("PYTHONPATH", "")]
    if importlib.util.find_spec("tensorflow") is None:
        paths.append(str(launcher.ABSENT_MODULES))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file below a folder, except those that Python compiled: bytes, mode, and time of the last change."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def line_ends(content: bytes) -> set[bytes]:
    """The different line ends of a file."""
    return {b"\r\n" if line.endswith(b"\r\n") else b"\n" for line in content.splitlines(keepends=True) if b"\n" in line}
