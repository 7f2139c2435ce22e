# SPDX-License-Identifier: Apache-2.0
"""`s3dlio dlio doctor`: its findings about workloads, folders and DLIO's files, and its exit status."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.dlio.check.slow import slow
from s3dlio.dlio.check.workload import Folder, Workload
from s3dlio.settings import Settings
from tests.cli.command import Result, run
from tests.faults.proxy import FaultProxy
from tests.servers.base import S3Server

pytestmark = pytest.mark.usefixtures("dlio")

SOURCE = Path(__file__).parents[2] / "src"


def doctor(*arguments: str, **changes: str | None) -> Result:
    return run("dlio", "doctor", *arguments, stdin=b"", folder=None, **changes)


def report(*arguments: str, **changes: str | None) -> tuple[int, Any]:
    ended = doctor("--json", *arguments, **changes)
    assert ended.err == ""
    return ended.status, json.loads(ended.out)


def findings(of: Any, level: str) -> dict[str, str]:
    return {finding["about"]: finding["message"] for finding in of["findings"] if finding["level"] == level}


def on(root: str, **more: object) -> list[str]:
    keys = {"storage.storage_root": root, **{key.replace("__", "."): value for key, value in more.items()}}
    return ["workload=unet3d_h100", *(f"++workload.{key}={value}" for key, value in keys.items())]


# Workloads...


def test_a_workload_that_can_run_passes_and_does_not_run(tmp_path: Path) -> None:
    ended = doctor(*on(f"file://{tmp_path}", workflow__generate_data=True))
    assert (ended.status, ended.err) == (0, "")
    assert f"ok      file://{tmp_path}/data/unet3d: can be listed, written and deleted" in ended.out.decode()
    assert f"ok      file://{tmp_path}/checkpoints/unet3d: can be listed, written and deleted" in ended.out.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_workload_without_data_fails(tmp_path: Path) -> None:
    ended = doctor(*on(f"file://{tmp_path}"))
    assert (ended.status, ended.err) == (1, "")
    line = f"FAIL    file://{tmp_path}/data/unet3d/train: the folder is empty or missing, and the workload reads it\n"
    assert line in ended.out.decode()


def test_a_workload_that_only_reads_is_not_written_to(seaweedfs: S3Server) -> None:
    os.environ.update(seaweedfs.environment())
    s3dlio.make_bucket("s3://doctor")
    s3dlio.put_bytes("s3://doctor/data/unet3d/train/1.npz", b"content")
    with FaultProxy(seaweedfs.url) as proxy:
        arguments = on("s3://doctor", workflow__checkpoint=False, reader__read_threads=0, train__epochs=1)
        status, found = report(*arguments, AWS_ENDPOINT_URL=proxy.url, S3DLIO_GET_PART_MB="8")
        assert dict(proxy.requests) == {"GET": 2}
    assert status == 0
    assert found["status"] == "ok"
    assert found["workload"]["places"] == [
        {"uri": "s3://doctor/data/unet3d/train", "filled": True, "written": False, "elsewhere": ""},
    ]
    assert "s3://doctor/data/unet3d/train" in findings(found, "ok")
    advice = findings(found, "advice")
    assert set(advice) - {"huge pages"} == {"reader.read_threads", "endpoints", "S3DLIO_GET_PART_MB"}
    assert advice["S3DLIO_GET_PART_MB"] == "8: reading a file of 140 MiB takes 18 requests"


def test_a_workload_with_a_missing_bucket_fails(seaweedfs: S3Server) -> None:
    status, found = report(*on("s3://no-such-bucket/x"), **seaweedfs.environment())
    assert status == 1
    assert found["status"] == "failed"
    failures = findings(found, "failure")
    assert set(failures) == {
        "s3://no-such-bucket/x/data/unet3d/train",
        "s3://no-such-bucket/x/checkpoints/unet3d",
    }
    assert all("no such bucket" in message for message in failures.values())


def test_a_workload_that_does_not_use_s3dlio_is_a_warning(tmp_path: Path) -> None:
    status, found = report(*on(str(tmp_path)))
    assert status == 0
    assert "DLIO's own storage serves this workload" in findings(found, "warning")["workload"]
    assert found["workload"]["storage_type"] == "local_fs"
    assert found["workload"]["places"] == []


def test_too_few_samples_for_a_batch_are_a_warning(tmp_path: Path) -> None:
    arguments = on(f"file://{tmp_path}", workflow__generate_data=True, dataset__num_files_train=4)
    status, found = report(*arguments, "++workload.reader.batch_size=7")
    assert status == 0
    assert findings(found, "warning")["workload"].startswith("the run would read nothing: 4 samples")


def test_a_workload_of_the_users_own_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    own = {
        "model": "own",
        "framework": "pytorch",
        "workflow": {"generate_data": True},
        "storage": {"storage_type": "s3dlio", "storage_root": f"file://{tmp_path}"},
        "dataset": {"data_folder": "mine"},
    }
    (tmp_path / "workload" / "own.yaml").write_text(json.dumps(own))
    status, found = report("--config-dir", str(tmp_path), "workload=own")
    assert status == 0
    assert f"file://{tmp_path}/mine" in findings(found, "ok")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["workload=no_such_workload"], "Could not find 'workload/no_such_workload'"),
        (["workload=unet3d_h100", "++workload.storage.storage_type=tape"], "'tape' is not a valid StorageType"),
        (["--multirun", "workload=unet3d_h100"], "--multirun: a workload cannot be composed of this flag"),
        (["s3://bucket", "workload=unet3d_h100"], "not both"),
        (["--write", "workload=unet3d_h100"], "--write needs the URIs"),
        (["http://bucket/key"], "unknown scheme"),
    ],
    ids=lambda of: of[0] if isinstance(of, list) else "",
)
def test_arguments_that_make_no_workload_are_a_usage_error(arguments: list[str], part: str) -> None:
    ended = doctor(*arguments)
    assert (ended.status, ended.out) == (2, b"")
    assert part in ended.err
    assert ended.err.count("\n") == 1


# Folders...


def test_folders_are_checked_and_written_to_with_write(tmp_path: Path) -> None:
    status, found = report(f"file://{tmp_path}", f"direct://{tmp_path}/new")
    assert status == 0
    assert set(findings(found, "ok")) >= {f"file://{tmp_path}", f"direct://{tmp_path}/new"}
    assert found["workload"] is None
    ended = doctor("--write", f"file://{tmp_path}/new", S3DLIO_FILE_SYNC="1")
    assert ended.status == 0
    assert b"can be listed, written and deleted" in ended.out
    assert b"slow    S3DLIO_FILE_SYNC: every write to file:// waits for the disk" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_variable_is_named(tmp_path: Path) -> None:
    status, found = report(f"file://{tmp_path}", S3DLIO_WINDOW_MB="much")
    assert status == 1
    assert "S3DLIO_WINDOW_MB='much'" in findings(found, "failure")["settings"]


def test_an_endpoint_behind_a_proxy_is_named(seaweedfs: S3Server) -> None:
    with FaultProxy(seaweedfs.url) as proxy:
        changes = {**seaweedfs.environment(), "HTTP_PROXY": proxy.url}
        _, found = report("s3://no-such-bucket", **changes)
    assert f"go through the proxy 127.0.0.1:{proxy.port}" in findings(found, "advice")[seaweedfs.url]


# Slow settings...

WORKLOAD = Workload(
    storage_type="s3dlio",
    folders=(),
    trains=True,
    generates=False,
    checkpoints=False,
    framework="pytorch",
    format="npz",
    read_threads=4,
    start_method="fork",
    samples=8,
    batch_size=2,
    file_bytes=140 << 20,
)

# Settings, changes to the workload, the finding, and the schemes that have it.
SLOW: list[tuple[dict[str, Any], dict[str, Any], str, set[str]]] = [
    ({"file_sync": True}, {}, "S3DLIO_FILE_SYNC", {"file"}),
    ({"s3_endpoints": "http://minio:9000"}, {}, "endpoints", {"s3"}),
    ({"s3_sign_payload": True}, {}, "S3DLIO_SIGN_PAYLOAD", {"s3"}),
    ({"azure_put_checksum": "md5"}, {}, "S3DLIO_AZURE_PUT_CHECKSUM", {"az"}),
    ({"azure_get_md5": "1"}, {}, "S3DLIO_AZURE_GET_MD5", {"az"}),
    ({"put_verify": True}, {}, "S3DLIO_PUT_VERIFY", {"s3", "az", "gs"}),
    ({"get_part_mb": 1.0}, {}, "S3DLIO_GET_PART_MB", {"s3", "az", "gs"}),
    ({"parts_in_flight": 1}, {}, "S3DLIO_PARTS_IN_FLIGHT", {"s3", "az", "gs"}),
    ({"parts_in_flight": 1, "get_part_mb": 1.0}, {"file_bytes": 4096}, "", set()),
    ({}, {"read_threads": 0}, "reader.read_threads", {"file", "s3", "az", "gs"}),
    ({}, {"start_method": "spawn"}, "reader.multiprocessing_context", {"file", "s3", "az", "gs"}),
    ({}, {"start_method": "spawn", "trains": False}, "", set()),
    ({}, {}, "", set()),
]


@pytest.mark.parametrize(("changes", "other", "about", "schemes"), SLOW, ids=[f"{row[2]} {row[1]}" for row in SLOW])
def test_a_slow_setting_is_named_for_the_schemes_it_affects(
    changes: dict[str, Any], other: dict[str, Any], about: str, schemes: set[str]
) -> None:
    for scheme in ("file", "s3", "az", "gs"):
        folders = [Folder(f"{scheme}:///folder", written=True)]
        found = slow(Settings(**changes), folders, dataclasses.replace(WORKLOAD, **other))
        named = {finding.about for finding in found} - {"huge pages"}
        assert named == ({about} if scheme in schemes else set()), scheme


# DLIO's files...


def test_the_dlio_that_would_run_is_named_with_its_features() -> None:
    import dlio_benchmark
    from dlio_benchmark.utils.config import ConfigArguments

    status, found = report()
    assert status == 0
    assert found["dlio"]["path"] == str(Path(dlio_benchmark.__file__ or "").parent)
    assert found["dlio"]["features"]["checkpoints_are_read"] is hasattr(ConfigArguments, "num_checkpoints_read")
    assert not any(found["dlio"]["option_1"].values())
    assert not any(found["dlio"]["option_2"].values())
    assert "s3dlio dlio run" in findings(found, "ok")["installation"]


def test_installed_options_are_found_in_dlios_files(tmp_path: Path) -> None:
    import dlio_benchmark

    package = tmp_path / "dlio_benchmark"
    shutil.copytree(Path(dlio_benchmark.__file__ or "").parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    (package / "storage" / "s3dlio_storage.py").touch()
    _, found = report(PYTHONPATH=path)
    message = findings(found, "warning")["Option 1"]
    assert "the change is missing in common/enumerations.py, storage/storage_factory.py" in message

    enumerations = package / "common" / "enumerations.py"
    enumerations.write_text(
        enumerations.read_text().replace("    S3 = 's3'\n", "    S3 = 's3'\n    S3DLIO = 's3dlio'\n")
    )
    factory = package / "storage" / "storage_factory.py"
    factory.write_text(factory.read_text() + "    # StorageType.S3DLIO\n")
    connector = package / "storage" / "s3_torch_storage.py"
    connector.with_name(connector.name + ".original.bak").touch()
    connector.write_text("import s3dlio\n")
    arguments = on("bucket", storage__storage_type="s3", workflow__checkpoint=False)
    _, found = report(*arguments, PYTHONPATH=path, AWS_ENDPOINT_URL="http://127.0.0.1:9", S3DLIO_NO_SIGN="1")
    assert [place["uri"] for place in found["workload"]["places"]] == ["s3://bucket/data/unet3d/train"]
    assert findings(found, "warning") == {}
    assert "the storage type s3dlio" in findings(found, "ok")["Option 1"]
    assert "installed, with a backup" in findings(found, "ok")["Option 2"]
    assert "installation" not in findings(found, "ok")


def test_a_missing_dlio_is_a_failure_of_a_workload_and_a_warning_beside_folders() -> None:
    program = f"""
        import sys
        sys.path.insert(0, {str(SOURCE)!r})
        from s3dlio.dlio.check.doctor import examine
        from s3dlio.dlio.run.composition import compose
        for report in examine(compose(["workload=unet3d_h100"])), examine(uris=["file:///"]):
            print(report.failed, [finding.level for finding in report.findings if "not installed" in finding.message])
    """
    # Without the site module nothing that is installed can be imported.
    command = [sys.executable, "-I", "-S", "-c", textwrap.dedent(program)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["True ['failure']", "False ['warning']"]


@pytest.mark.parametrize("secret", ["hush,x", "x@#/:hush", "[hush", "{hush"])
def test_an_error_of_hydra_does_not_quote_a_secret(secret: str, tmp_path: Path) -> None:
    key = {"storage__storage_options__secret_access_key": secret}
    ended = doctor(*on(f"file://{tmp_path}", **key))
    assert b"hush" not in ended.out
    assert "hush" not in ended.err
