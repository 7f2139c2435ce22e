# SPDX-License-Identifier: Apache-2.0
"""Reads DLIO's configuration as a `Workload`: the folders that a run uses, and the settings that decide its speed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from s3dlio.dlio.check.workload import Folder, Workload
from s3dlio.dlio.run.storage_type import STORAGE_TYPE


def workload_of(arguments: Any, elsewhere: Callable[[str], str] | None = None) -> Workload:
    """The workload that DLIO's configuration describes.

    Args:
        arguments: a ConfigArguments that LoadConfig has filled, with its storage type chosen.
        elsewhere: given a folder, names another one in which its objects may lie.
    """
    # 2.0.0 has no `do_train`: it trains unless it only generates. Nor does it have runs of checkpoints alone.
    trains = bool(getattr(arguments, "do_train", not arguments.generate_only))
    generates = bool(arguments.generate_data)
    checkpoints = bool(arguments.do_checkpoint) and not arguments.generate_only
    folders: tuple[Folder, ...] = ()
    if str(arguments.storage_type) == STORAGE_TYPE:
        folders = tuple(_folders(arguments, trains, generates, checkpoints))
        if elsewhere is not None:
            folders = tuple(dataclasses.replace(folder, elsewhere=elsewhere(folder.uri)) for folder in folders)
    return Workload(
        storage_type=str(arguments.storage_type),
        folders=folders,
        trains=trains,
        generates=generates,
        checkpoints=checkpoints,
        framework=str(arguments.framework),
        format=str(arguments.format),
        read_threads=int(arguments.read_threads),
        start_method=str(arguments.multiprocessing_context),
        samples=int(arguments.num_files_train) * int(arguments.num_samples_per_file),
        batch_size=int(arguments.batch_size),
        file_bytes=int(arguments.record_length) * int(arguments.num_samples_per_file),
    )


def _folders(arguments: Any, trains: bool, generates: bool, checkpoints: bool) -> list[Folder]:
    from s3dlio.dlio.run.storage import S3dlioStorage

    data = S3dlioStorage(arguments.storage_root).get_uri(arguments.data_folder).rstrip("/")
    folders = []
    if generates:
        folders.append(Folder(data, written=True))
    elif trains:
        folders.append(Folder(f"{data}/train", filled=True))
        if arguments.do_eval:
            folders.append(Folder(f"{data}/valid", filled=True))
    if checkpoints:
        only_read = getattr(arguments, "checkpoint_only", False) and arguments.num_checkpoints_write <= 0
        folder = S3dlioStorage(arguments.checkpoint_folder).get_namespace()
        folders.append(Folder(folder, filled=only_read, written=not only_read))
    return folders
