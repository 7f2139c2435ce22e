"""How Option 2 reads a workload that was written for DLIO's own storage for S3."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

import s3dlio

pytestmark = pytest.mark.usefixtures("dlio")


@pytest.fixture
def installed() -> Any:
    return importlib.import_module("s3dlio.integrations.dlio.installed")


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


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        ({}, {}),
        (
            {"access_key_id": "key", "secret_access_key": "secret", "endpoint_url": "http://minio:9000", "region": ""},
            {
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_ENDPOINT_URL_S3": "http://minio:9000",
            },
        ),
        ({"region": "eu-west-1", "s3_force_path_style": False}, {"AWS_REGION": "eu-west-1"}),
        (
            {"s3_force_path_style": "True", "s3_max_attempts": 5},
            {"S3_ADDRESSING_STYLE": "path", "S3DLIO_RETRIES": "4"},
        ),
    ],
)
def test_storage_options_become_variables(
    installed: Any, options: Mapping[str, object], variables: Mapping[str, str]
) -> None:
    assert installed.variables(options) == variables


def test_a_mistaken_number_of_attempts_is_refused(installed: Any) -> None:
    with pytest.raises(s3dlio.ConfigurationError, match="s3_max_attempts=many: expected a number from 1"):
        installed.variables({"s3_max_attempts": "many"})
