# SPDX-License-Identifier: Apache-2.0
"""Option 2 accepts workloads for DLIO's own S3 storage."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

import s3dlio

pytestmark = pytest.mark.usefixtures("dlio")


@pytest.fixture
def installed() -> Any:
    return importlib.import_module("s3dlio.dlio.install.installed")


def configured(root: str, data: str = "data/", checkpoints: str = "checkpoints/", saves: bool = True) -> Any:
    return SimpleNamespace(storage_root=root, data_folder=data, checkpoint_folder=checkpoints, do_checkpoint=saves)


@pytest.mark.parametrize(
    ("root", "uri"),
    [
        ("bucket", "s3://bucket"),
        ("bucket/prefix", "s3://bucket/prefix"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("az://container", "az://container"),
    ],
)
def test_the_root_may_be_the_name_of_a_bucket(installed: Any, root: str, uri: str) -> None:
    assert installed.root_uri(configured(root)) == uri


def test_a_local_root_is_refused_unless_nothing_lies_in_it(installed: Any) -> None:
    for arguments in (configured("./"), configured("./", data="s3://bucket/data"), configured("/mnt")):
        with pytest.raises(s3dlio.ConfigurationError, match=r"storage_root to s3://bucket/prefix"):
            installed.root_uri(arguments)
    assert installed.root_uri(configured("./", data="s3://bucket/data", saves=False)) == "./"
    assert installed.root_uri(configured("./", "s3://bucket/data", "s3://bucket/checkpoints")) == "./"
