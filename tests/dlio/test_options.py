# SPDX-License-Identifier: Apache-2.0
"""`storage.storage_options` of DLIO's configuration become settings of s3dlio."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import s3dlio
from s3dlio import settings
from s3dlio.dlio.run import options
from tests.dlio.runs import assert_complete, run_dlio
from tests.servers.base import S3Server


@pytest.fixture(autouse=True)
def _nothing_stays_in_force() -> Iterator[None]:
    yield
    s3dlio.configure(**dict.fromkeys(options.in_force()))
    options._in_force.clear()


def test_options_have_the_names_of_settings_or_of_dlios_s3_storage() -> None:
    given = {
        "endpoint_url": "http://host:9000",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "region": "eu-1",
        "s3_force_path_style": True,
        "s3_max_attempts": 5,
        "window_mb": 64,
    }
    assert options.settings_of(given) == {
        "s3_endpoints": "http://host:9000",
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "aws_region": "eu-1",
        "s3_addressing": "path",
        "retries": 4,
        "window_mb": 64,
    }


def test_several_endpoints_may_be_a_list_or_a_text() -> None:
    both = ["http://a:9000", "http://b:9000"]
    for name, value in [("endpoint_uris", both), ("endpoint_url", ",".join(both)), ("s3_endpoints", both)]:
        assert options.settings_of({name: value}) == {"s3_endpoints": "http://a:9000,http://b:9000"}


def test_empty_options_and_selectors_are_no_settings() -> None:
    given = {"storage_library": "s3dlio", "uri_scheme": "s3", "region": None, "access_key_id": ""}
    assert options.settings_of(given) == {}
    assert options.scheme(given) == "s3"
    assert options.scheme({"uri_scheme": "direct://"}) == "direct"
    assert options.scheme({}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoint_urll": "http://x"}, "no option storage_options.endpoint_urll: did you mean endpoint_url?"),
        ({"zzz": 1}, "no option storage_options.zzz: the options are access_key_id, "),
        ({"storage_library": "minio"}, "storage_library='minio'"),
        ({"region": "a", "aws_region": "b"}, "storage_options.region and storage_options.aws_region are the same"),
        ({"s3_max_attempts": "many"}, "s3_max_attempts='many': expected a whole number"),
    ],
)
def test_a_mistake_is_an_error_that_names_it(given: dict[str, Any], message: str) -> None:
    with pytest.raises(s3dlio.ConfigurationError) as raised:
        options.settings_of(given)
    assert message in str(raised.value)


def test_no_message_shows_a_secret() -> None:
    with pytest.raises(s3dlio.ConfigurationError) as raised:
        options.settings_of({"secret_access_keys": "hidden", "secret_access_key": "hidden"})
    assert "hidden" not in str(raised.value)


def test_arguments_refer_to_secrets_and_do_not_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    prefix = "++workload.storage.storage_options."
    kept = [
        "workload=unet3d_h100",
        f"{prefix}region=eu-1",
        f"{prefix}uri_scheme=s3",
        f"{prefix}access_key_id=${{oc.env:A}}",
    ]
    assert options.without_secrets(kept) == kept
    hidden = [f"{prefix}secret_access_key='a=b c'", f"{prefix}azure_key=key==", f"{prefix}acess_key_id=misspelt"]
    assert options.without_secrets(hidden) == [
        f"{prefix}{name}=${{oc.env:S3DLIO_OPTION_{name.upper()}}}"
        for name in ("secret_access_key", "azure_key", "acess_key_id")
    ]
    assert os.environ["S3DLIO_OPTION_SECRET_ACCESS_KEY"] == "a=b c"
    assert os.environ["S3DLIO_OPTION_AZURE_KEY"] == "key=="


def test_an_invalid_value_changes_no_setting() -> None:
    with pytest.raises(s3dlio.ConfigurationError, match="s3_addressing='sideways'"):
        options.apply({"aws_region": "eu-1", "s3_addressing": "sideways"})
    assert options.in_force() == {}
    assert settings.current().aws_region is None


@pytest.mark.usefixtures("dlio")
def test_a_process_that_unpickles_the_storage_type_gets_the_options() -> None:
    program = (
        "import pickle, sys;"
        "from s3dlio.dlio.run import options, registration, storage_type;"
        "options.apply({'aws_region': 'eu-7'});"
        "registration.register();"
        "sys.stdout.write(pickle.dumps(storage_type.storage_type()).hex())"
    )
    reading = (
        "import pickle, sys;"
        "pickle.loads(bytes.fromhex(sys.argv[1]));"
        "from s3dlio import settings;"
        "sys.stdout.write(settings.current().aws_region)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(*command: str) -> str:
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert run(sys.executable, "-c", reading, run(sys.executable, "-c", program)) == "eu-7"


def _configure(root: str, given: dict[str, Any], **arguments: Any) -> Any:
    """Apply the options to a configuration of DLIO."""
    from s3dlio.dlio.run import configuration

    found = SimpleNamespace(storage_root=root, **arguments)
    configuration.apply_options(found, given)
    return found


@pytest.mark.usefixtures("dlio")
def test_uri_scheme_completes_a_root_without_a_scheme() -> None:
    assert _configure("bucket/data", {"uri_scheme": "s3"}).storage_root == "s3://bucket/data"
    assert _configure("/mnt/nvme", {"uri_scheme": "direct"}).storage_root == "direct:///mnt/nvme"
    assert _configure("s3://bucket", {"uri_scheme": "s3"}).storage_root == "s3://bucket"
    with pytest.raises(s3dlio.ConfigurationError, match="contradict"):
        _configure("az://container", {"uri_scheme": "s3"})


@pytest.mark.usefixtures("dlio")
def test_spawned_workers_get_options_that_are_not_in_the_environment(
    tmp_path: Path, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        for name, value in seaweedfs.environment().items():
            context.setenv(name, value)
        subprocess.run([sys.executable, "-m", "s3dlio", "mb", "s3://options"], check=True)
    given = {
        "endpoint_url": seaweedfs.url,
        "access_key_id": seaweedfs.access_key,
        "secret_access_key": seaweedfs.secret_key,
        "region": "us-east-1",
        "storage_library": "s3dlio",
        "uri_scheme": "s3",
    }
    run = run_dlio(
        tmp_path,
        {
            "storage.storage_type": "s3dlio",
            "storage.storage_root": "options/run",
            **{f"storage.storage_options.{name}": value for name, value in given.items()},
            "dataset.format": "mmap_indexed_binary",
            "dataset.num_samples_per_file": 2,
            "reader.read_threads": 2,
            "reader.multiprocessing_context": "spawn",
        },
    )
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    assert_complete(run, "s3://options/run", samples_per_file=2)
    written = [path for path in run.output.rglob("*") if path.is_file() and path.suffix in (".yaml", ".log", ".json")]
    assert any(path.parent.name == ".hydra" for path in written)
    assert seaweedfs.secret_key not in run.log + "".join(path.read_text() for path in written)
