# SPDX-License-Identifier: Apache-2.0
"""Options 1 and 2 of the integration guide, as printed, on a copy of DLIO that its own command runs.

The table `substitutions` replaces what differs between readers (paths, buckets, the name of a workload, sizes that take
hours), and `tests.stores.test_s3_guide` gives the environment; nothing else is changed. Steps for an editor are done as
an editor does them: the printed lines go where the guide says, with the line ends of the file.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.dlio.check import dlio_package
from s3dlio.integrations import dlio
from tests.dlio.checkouts import COMMAND, contents, copied, environment, like_main, line_ends
from tests.dlio.runs import FILES, MODEL_BYTES, SETTINGS, Run, overrides, run_dlio
from tests.docs.harness import substituted
from tests.servers.base import S3Server
from tests.stores.s3 import test_s3_guide as s3_guide

INSTALL_S3DLIO = """
pip install s3dlio
"""

COPY_BY_HELPER = """
# Automatic (using Python helper)
python3 -c "
from s3dlio.integrations.dlio import install_s3dlio_storage
install_s3dlio_storage('/path/to/dlio_benchmark')
"
"""

COPY_BY_HAND = """
# Or manual copy
cp $(python3 -c "from s3dlio.integrations.dlio import get_s3dlio_storage_path; print(get_s3dlio_storage_path())") \\
   /path/to/dlio_benchmark/storage/s3dlio_storage.py
"""

ENUMERATION = """
class StorageType(Enum):
    \"\"\"
    Different types of underlying storage
    \"\"\"
    LOCAL_FS = 'local_fs'
    PARALLEL_FS = 'parallel_fs'
    S3 = 's3'
    S3DLIO = 's3dlio'  # <-- ADD THIS LINE

    def __str__(self):
        return self.value
"""

FACTORY = """
@staticmethod
def get_storage(storage_type, namespace, framework=None):
    if storage_type == StorageType.LOCAL_FS:
        return FileStorage(namespace, framework)
    
    # ADD THIS BLOCK (before the S3 elif)
    elif storage_type == StorageType.S3DLIO:
        from dlio_benchmark.storage.s3dlio_storage import S3dlioStorage
        return S3dlioStorage(namespace, framework)
    
    elif storage_type == StorageType.S3:
        # ... existing S3 code ...
"""  # noqa: W293

CONFIGURATION_1 = """
storage:
  storage_type: s3dlio              # Use s3dlio backend
  storage_root: s3://bucket/prefix  # S3
  # storage_root: az://container/prefix  # Azure
  # storage_root: gs://bucket/prefix     # GCS  
  # storage_root: file:///mnt/data       # Local filesystem
"""  # noqa: W291

VERIFICATION = """
# Run DLIO - it will use s3dlio for storage
dlio_benchmark workload=unet3d ++workload.storage.storage_type=s3dlio
"""

DROP_IN = """
python3 -c "
from s3dlio.integrations.dlio import install_dropin_replacement
install_dropin_replacement('/path/to/dlio_benchmark')
"
"""

CONFIGURATION_2 = """
storage:
  storage_type: s3
  storage_root: s3://bucket/prefix
"""

REVERTING = """
cd /path/to/dlio_benchmark/storage
mv s3_torch_storage.py.original.bak s3_torch_storage.py
"""

IN_PYTHON = """
from s3dlio.integrations import dlio

# Option 1: New storage type
dlio.install_s3dlio_storage('/path/to/dlio_benchmark')
# Prints manual steps for enum/factory changes

# Option 1: Generate patch file instead
dlio.generate_patch(output_file='dlio_s3dlio.patch')
# Then: patch -p1 < dlio_s3dlio.patch

# Option 2: Drop-in replacement
dlio.install_dropin_replacement('/path/to/dlio_benchmark')

# Get file paths (for manual copying)
print(dlio.get_s3dlio_storage_path())    # Option 1 file
print(dlio.get_storage_file_path())       # Option 2 file
"""

WHICH_IS_ACTIVE = """
# In DLIO code or debug session
from dlio_benchmark.storage.s3_torch_storage import S3PyTorchConnectorStorage
import inspect
print(inspect.getfile(S3PyTorchConnectorStorage))
# If it mentions s3dlio, you're using the replacement
"""

PROTOCOLS = """
# AWS S3
dataset:
  data_folder: s3://my-bucket/data

# Local Filesystem
dataset:
  data_folder: file:///mnt/data
"""


def substitutions(package: Path, settings: Mapping[str, object] | None = None) -> dict[str, str]:
    """Text of the guide -> text that is run."""
    return {
        "/path/to/dlio_benchmark": str(package),
        # This checkout is installed, and not published.
        "pip install s3dlio": "pip --version",
        # No DLIO has a workload of that name, and its real sizes are 25 GB.
        "workload=unet3d ": f"workload=unet3d_h100 {shlex.join(overrides(settings or {}))} hydra.run.dir=dlio ",
        "s3://bucket/prefix": "s3://my-bucket/prefix",
    }


def bash(text: str, folder: Path, package: Path, settings: Mapping[str, object] | None = None) -> str:
    """Run a snippet for the shell in a folder; its output, errors included."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", substituted(text, substitutions(package, settings))],
        cwd=folder,
        env={**os.environ, **environment(package), **paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def python(text: str, folder: Path, package: Path) -> str:
    """Run a snippet of Python; its output."""
    return bash(f"python3 - <<'END'{text}END\n", folder, package)


def yaml(text: str, package: Path) -> dict[str, object]:
    """A snippet of a workload as settings."""
    found = importlib.import_module("yaml").safe_load(substituted(text, substitutions(package)))
    return {f"{group}.{name}": value for group, names in found.items() for name, value in names.items()}


def edited(package: Path) -> None:
    """Make steps 3 and 4: add the printed lines where the guide shows them."""
    (member,) = (line for line in ENUMERATION.splitlines() if "ADD THIS LINE" in line)
    block = FACTORY[FACTORY.index("    # ADD THIS BLOCK") : FACTORY.index("    elif storage_type == StorageType.S3:")]
    branch = "        elif storage_type == StorageType.S3:\n"
    for name, before, added in (
        (dlio_package.ENUMERATIONS, "    S3 = 's3'\n", f"    S3 = 's3'\n{member}\n"),
        (dlio_package.FACTORY, branch, textwrap.indent(block, "    ") + branch),
    ):
        content = (package / name).read_bytes().decode()
        end = "\r\n" if "\r\n" in content else "\n"
        assert content.count(before.replace("\n", end)) == 1
        changed = content.replace(before.replace("\n", end), added.replace("\n", end))
        (package / name).write_bytes(changed.encode())


def assert_whole(run: Run, data: str, checkpoints: str) -> None:
    """Assert that every file was generated, every sample read and a checkpoint written, and that all objects exist."""
    assert run.status == 0, run.log
    totals = run.totals
    assert all(operation["ok"] for operation in run.operations)
    generated = {str(operation["uri"]) for operation in run.operations if operation["kind"] == "generate"}
    assert generated == set(s3dlio.list(data, recursive=True))
    assert len(generated) == FILES == totals["read"].operations == run.samples
    assert totals["read"].bytes == totals["generate"].bytes
    assert run.checkpoints == 1
    written = s3dlio.list(checkpoints, recursive=True)
    assert sum(s3dlio.stat(uri)["size"] for uri in written) == totals["checkpoint_write"].bytes > MODEL_BYTES


def sample() -> bytes:
    """A file as DLIO's generator for npz writes it."""
    numpy = importlib.import_module("numpy")
    content = io.BytesIO()
    numpy.savez(content, x=numpy.zeros((64, 64, 1), numpy.uint8))
    return content.getvalue()


def with_dlio(folder: Path, package: Path, settings: Mapping[str, object], **more: Any) -> Run:
    """Run `dlio_benchmark` itself."""
    return run_dlio(folder, settings, command=[COMMAND], environment=environment(package), **more)


@pytest.fixture
def package(tmp_path: Path, dlio: None) -> Path:  # noqa: ARG001
    return copied(tmp_path / "checkout")


def use(server: S3Server) -> None:
    """The environment of the guide, and an empty `my-bucket`."""
    printed = substituted(s3_guide.ENVIRONMENT, s3_guide.substitutions(server))
    for words in (shlex.split(line, comments=True) for line in printed.splitlines()):
        if words:
            name, _, value = words[1].partition("=")
            os.environ[name] = value
    s3dlio.make_bucket("s3://my-bucket")
    s3dlio.delete("s3://my-bucket", recursive=True)


@pytest.fixture
def bucket(seaweedfs: S3Server) -> None:
    use(seaweedfs)


# Option 1...


@pytest.fixture
def by_hand(package: Path, tmp_path: Path) -> Path:
    """A DLIO after the printed steps 1 to 4."""
    before = contents(package)
    bash(INSTALL_S3DLIO, tmp_path, package)
    printed = bash(COPY_BY_HELPER, tmp_path, package)
    assert "S3DLIO = 's3dlio'" in printed
    by_helper = contents(package)
    os.unlink(package / "storage" / "s3dlio_storage.py")
    bash(COPY_BY_HAND, tmp_path, package)
    assert contents(package)["storage/s3dlio_storage.py"][0] == by_helper["storage/s3dlio_storage.py"][0]
    edited(package)
    for name in (dlio_package.ENUMERATIONS, dlio_package.FACTORY):
        assert line_ends((package / name).read_bytes()) == line_ends(before[name][0])
    return package


def test_option_1_by_hand_runs_bare_with_forked_workers(by_hand: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "reader.read_threads": 2}
    log = bash(VERIFICATION, tmp_path / "run", by_hand, settings)
    folder = tmp_path / "run"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "data", "dlio"]
    assert_whole(Run(0, log, folder / "dlio", 2), f"file://{folder}/data", f"file://{folder}/checkpoints")


@pytest.mark.usefixtures("bucket")
def test_option_1_by_hand_runs_on_s3_with_spawned_workers(by_hand: Path, tmp_path: Path) -> None:
    workers = {"reader.read_threads": 2, "reader.multiprocessing_context": "spawn"}
    run = with_dlio(tmp_path / "run", by_hand, {**yaml(CONFIGURATION_1, by_hand), **workers})
    assert_whole(run, "s3://my-bucket/prefix/data", "s3://my-bucket/prefix/checkpoints")


@pytest.mark.usefixtures("bucket")
def test_both_options_in_python_and_by_patch_need_no_storage_type_for_uris(
    package: Path, tmp_path: Path, patch_program: str
) -> None:
    printed = python(IN_PYTHON, package.parent, package)
    assert printed.splitlines()[-2:] == [dlio.get_s3dlio_storage_path(), dlio.get_storage_file_path()]
    bash(f"{shlex.quote(patch_program)} -p1 < dlio_s3dlio.patch", package.parent, package)
    configuration = {"dataset.data_folder": yaml(PROTOCOLS.partition("# Local")[0], package)["dataset.data_folder"]}
    run = with_dlio(tmp_path / "run", package, configuration)
    assert_whole(run, "s3://my-bucket/data", f"file://{tmp_path}/run/checkpoints")


def test_an_error_on_one_rank_ends_all_ranks_of_dlios_own_command(package: Path, tmp_path: Path) -> None:
    dlio.install_s3dlio_storage(package, patch=True)
    root = f"file://{tmp_path}/storage"
    for number in range(FILES - 1):
        s3dlio.put_bytes(f"{root}/data/train/img_{number}_of_{FILES}.npz", sample())
    damaged = f"{root}/data/train/img_{FILES - 1}_of_{FILES}.npz"
    s3dlio.put_bytes(damaged, b"no archive")
    settings = {"storage.storage_root": root, "dataset.data_folder": "data", "workflow.generate_data": False}
    run = with_dlio(tmp_path / "run", package, settings, ranks=2, timeout=60)
    assert run.status != 0
    assert f"[s3dlio] {damaged} is not a readable npz file" in run.log
    assert "rank 1 failed; ending all ranks" in run.log


# Option 2...


@pytest.fixture
def replaced(package: Path, tmp_path: Path) -> Path:
    """A DLIO after Option 2, in a Python without s3torchconnector."""
    assert importlib.util.find_spec("s3torchconnector") is None
    bash(DROP_IN, tmp_path, package)
    return package


@pytest.mark.usefixtures("bucket")
def test_option_2_runs_on_the_configuration_as_it_is(replaced: Path, tmp_path: Path) -> None:
    run = with_dlio(tmp_path / "run", replaced, {**yaml(CONFIGURATION_2, replaced), "reader.read_threads": 2})
    assert_whole(run, "s3://my-bucket/prefix/data", "s3://my-bucket/prefix/checkpoints")
    (file,) = python(WHICH_IS_ACTIVE, tmp_path, replaced).splitlines()
    assert "s3dlio" in file
    assert "s3dlio" in Path(file).read_text()


def test_option_2_reads_objects_with_literal_keys(replaced: Path, tmp_path: Path, ceph: S3Server) -> None:
    use(ceph)
    files = [f"s3://my-bucket/train/img_{number}_of_{FILES}.npz" for number in range(FILES)]
    for file in files:
        s3dlio.put_bytes(f"s3://my-bucket/{file}", sample())
    as_upstream = {
        "storage.storage_type": "s3",
        "storage.storage_root": "my-bucket",
        "dataset.data_folder": "s3://my-bucket",
    }
    run = with_dlio(tmp_path / "run", replaced, {**as_upstream, "workflow.generate_data": False})
    assert run.status == 0, run.log
    read = {operation["uri"] for operation in run.operations if operation["kind"] == "read"}
    assert read == {f"s3://my-bucket/{file}" for file in files}
    assert run.samples == FILES
    (checkpoint,) = {uri.rpartition(".")[2] for uri in s3dlio.list("s3://my-bucket/checkpoints", recursive=True)}
    assert checkpoint == ("pts3" if "PT_S3_SAVE" in (replaced / dlio_package.ENUMERATIONS).read_text() else "pt")


def test_option_2_obeys_the_storage_options_of_a_workload(
    replaced: Path,
    tmp_path: Path,
    seaweedfs: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if not (replaced / "configs" / "workload" / "unet3d_h100_s3.yaml").is_file():
        request.applymarker(pytest.mark.xfail(reason="this DLIO (2.0.0) has no storage_options", strict=True))
    use(seaweedfs)
    options = {
        "access_key_id": seaweedfs.access_key,
        "secret_access_key": seaweedfs.secret_key,
        "endpoint_url": seaweedfs.url,
    }
    settings = {f"storage.storage_options.{name}": value for name, value in options.items()}
    settings |= {"storage.storage_root": "my-bucket", "dataset.data_folder": "s3://my-bucket/data"}
    with monkeypatch.context() as without:
        for name in seaweedfs.environment():
            without.delenv(name)
        workers = {"reader.read_threads": 2, "reader.multiprocessing_context": "spawn"}
        checkpoints = {"workflow.checkpoint": True}
        run = with_dlio(tmp_path / "run", replaced, {**settings, **workers, **checkpoints}, workload="unet3d_h100_s3")
    assert_whole(run, "s3://my-bucket/data", "s3://my-bucket/checkpoints")


def test_option_2_is_reverted_by_moving_the_backup(tmp_path: Path) -> None:
    package = like_main(tmp_path / "checkout")
    before = contents(package)
    bash(DROP_IN, tmp_path, package)
    assert contents(package) != before
    bash(REVERTING, tmp_path, package)
    assert contents(package) == before
