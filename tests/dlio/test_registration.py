# SPDX-License-Identifier: Apache-2.0
"""The storage type is a member of DLIO's enum, and registers itself in each process that receives it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

from s3dlio.dlio.run.storage_type import storage_type

pytestmark = pytest.mark.usefixtures("dlio")


@pytest.fixture
def registered() -> Any:
    from s3dlio.dlio.run import registration

    registration.register()
    return registration


def test_the_configured_name_is_a_member(registered: Any) -> None:  # noqa: ARG001
    from dlio_benchmark.common.enumerations import StorageType

    member = StorageType("s3dlio")
    assert member is StorageType.S3DLIO is storage_type()
    assert isinstance(member, StorageType)
    assert (str(member), member.name, member.value) == ("s3dlio", "S3DLIO", "s3dlio")
    assert member != StorageType.S3
    assert {member: 1}[StorageType("s3dlio")] == 1


def test_dlios_own_storage_types_are_unchanged(registered: Any) -> None:  # noqa: ARG001
    from dlio_benchmark.common.enumerations import StorageType

    assert pickle.loads(pickle.dumps(StorageType.LOCAL_FS)) is StorageType.LOCAL_FS
    with pytest.raises(ValueError, match="no_such_storage"):
        StorageType("no_such_storage")


def test_unpickling_the_storage_type_registers_a_process(registered: Any) -> None:  # noqa: ARG001
    pickled = pickle.dumps(storage_type())
    program = (
        "import pickle, sys;"
        "from dlio_benchmark.common.enumerations import StorageType;"
        "from dlio_benchmark.reader.reader_factory import ReaderFactory;"
        "member = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "assert member is StorageType('s3dlio');"
        "print(ReaderFactory.get_reader.__module__)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, pickled.hex()]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert answer.strip() == "s3dlio.dlio.run.replacements"


def test_registering_again_changes_nothing(registered: Any) -> None:
    from dlio_benchmark.storage.storage_factory import StorageFactory

    before = StorageFactory.get_storage
    registered.register()
    assert StorageFactory.get_storage is before


def test_every_point_has_a_reason(registered: Any) -> None:
    for point in registered.POINTS + registered.START_POINTS:
        assert point.module.startswith("dlio_benchmark.")
        assert point.reason


def test_paths_become_absolute_and_uris_are_unchanged(registered: Any) -> None:  # noqa: ARG001
    from dlio_benchmark.utils import config

    assert config.os.path.abspath("a/../b") == os.path.abspath("b")
    assert config.os.path.abspath("s3://bucket/a/../b") == "s3://bucket/a/../b"
    assert config.os.path.join("a", "b") == "a/b"
    assert config.os.environ is os.environ
