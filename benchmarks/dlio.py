# SPDX-License-Identifier: Apache-2.0
"""DLIO end to end: the same workload on s3dlio, on DLIO's own storage, and on the s3torchconnector of its main branch.

Each client generates its data in one run and trains on it in another. The time is that of the training, as DLIO reports
it. The workload computes almost nothing, so the loop waits for reading. CPU time is that of the training run, including
the start of the interpreter.

`launcher.ABSENT_MODULES` is a private part of s3dlio: DLIO on its own storage needs the same stand-in for TensorFlow.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.scenarios import Scenario
from benchmarks.servers import NotHere, World
from s3dlio.dlio.run import launcher

EPOCHS = 3
BUCKET = "dlio"


def train(client: str, scenario: Scenario, world: World | None, folder: Path, source: Path | None) -> dict[str, float]:
    """Generate the data, unless this folder has them, and train.

    Args:
        client: one of the names in `scenarios`.
        world: the S3 server of a scenario on S3.
        folder: for data and output of this client.
        source: a checkout of DLIO's main branch; None for the installed DLIO.

    Raises:
        NotHere: the client needs a checkout, and none was given.
        RuntimeError: DLIO failed; the message has the end of its log.
    """
    environment = dict(os.environ)
    python = Path(sys.executable)
    if source:
        environment["PYTHONPATH"] = str(source)
        python = peers.environment(peers.DLIO_MAIN)
    if world is not None:
        environment.update(world.environment)
    ours = [str(python), "-m", "s3dlio.integrations.dlio"]
    by_itself = [str(python), "-m", "dlio_benchmark.main"]
    trains = by_itself
    if client == "DLIO on its local storage":
        (folder / "root").mkdir(parents=True, exist_ok=True)
        storage = {"storage.storage_type": "local_fs", "storage.storage_root": f"{folder}/root"}
        generated = storage = {**storage, "dataset.data_folder": f"{folder}/root/data"}
        environment["PYTHONPATH"] = _with_tensorflow(environment)
    elif client == "DLIO main on s3torchconnector":
        if not source or world is None:
            raise NotHere("no checkout of DLIO's main branch was given (--dlio-source)")
        storage = _s3torchconnector(world)
        generated = {"storage.storage_type": "s3dlio", "storage.storage_root": f"s3://{BUCKET}/generated"}
    else:
        root = f"s3://{BUCKET}/ours" if world is not None else f"file://{folder}/root"
        generated = storage = {"storage.storage_type": "s3dlio", "storage.storage_root": root}
        trains = ours
    if not (folder / "generated").exists():
        generates = ours if generated["storage.storage_type"] == "s3dlio" else by_itself
        _run(generates, folder / "generate", environment, _settings(scenario, generated, generate=True))
        if generated is not storage:
            _copy(python, environment)
        (folder / "generated").touch()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = _run(trains, folder / "train", environment, _settings(scenario, storage, generate=False))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    metric = json.loads((output / "summary.json").read_text())["metric"]
    samples = scenario.objects * EPOCHS
    throughput = metric["train_throughput_mean_samples_per_second"]
    if not throughput:
        raise RuntimeError("DLIO reports that it read no sample")
    return {
        "seconds": samples / throughput,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "bytes": samples * scenario.sizes[0],
        "objects": samples,
        "calls": samples,
    }


def _with_tensorflow(environment: Mapping[str, str]) -> str:
    """PYTHONPATH with the empty tensorflow that s3dlio has: DLIO 2.0.0 imports TensorFlow without using it."""
    absent = launcher.ABSENT_MODULES
    return os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(absent)]))


def _copy(python: Path, environment: Mapping[str, str]) -> None:
    """Copy the data that s3dlio generated to the keys that DLIO's main branch reads: keys that begin with the URI.

    The main branch itself cannot generate data on these servers: its multipart upload needs an ETag that Ceph does not
    send, and SeaweedFS turns "//" in a key into "/".
    """
    source, target = f"s3://{BUCKET}/generated/data/train", f"s3://{BUCKET}/s3://{BUCKET}/theirs/train"
    program = "import s3dlio, sys; s3dlio.copy(sys.argv[1], sys.argv[2], recursive=True)"
    subprocess.run([python, "-c", program, source, target], env=environment, check=True)


def _s3torchconnector(world: World) -> dict[str, Any]:
    options = {
        "access_key_id": world.environment["AWS_ACCESS_KEY_ID"],
        "secret_access_key": world.environment["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": world.url,
        "region": "us-east-1",
        "s3_force_path_style": "'true'",  # quoted: DLIO expects text there
    }
    return {
        "storage.storage_type": "s3",
        "dataset.data_folder": f"s3://{BUCKET}/theirs",
        "storage.storage_root": BUCKET,
        **{f"storage.storage_options.{name}": value for name, value in options.items()},
    }


def _settings(scenario: Scenario, storage: Mapping[str, Any], *, generate: bool) -> dict[str, Any]:
    size = scenario.sizes[0]
    return {
        "dataset.data_folder": "data",
        **storage,
        "framework": "pytorch",
        "workflow.generate_data": generate,
        "workflow.train": not generate,
        "workflow.checkpoint": False,
        "dataset.format": "npz",
        "dataset.num_files_train": scenario.objects,
        "dataset.num_samples_per_file": 1,
        # The spellings of 2.0.0 and of the main branch: DLIO ignores unknown keys.
        "dataset.record_length": size,
        "dataset.record_length_stdev": 0,
        "dataset.record_length_resize": 4096,
        "dataset.record_length_bytes": size,
        "dataset.record_length_bytes_stdev": 0,
        "dataset.record_length_bytes_resize": 4096,
        "reader.batch_size": 4 if size > 1 << 20 else 32,
        "reader.read_threads": 2,
        "train.epochs": EPOCHS,
        "train.computation_time": 0.001,
    }


def _run(program: list[str], folder: Path, environment: Mapping[str, str], settings: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [f"++workload.{key}={value}" for key, value in settings.items()]
    command = [*program, "workload=unet3d_h100", f"hydra.run.dir={folder}/dlio", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        words = re.findall(r"^\S*(?:Error|Exception)\b.*", done.stdout + done.stderr, re.MULTILINE)
        raise RuntimeError(f"DLIO ended with status {done.returncode}: {words[-1] if words else done.stderr[-500:]}")
    return folder / "dlio"
