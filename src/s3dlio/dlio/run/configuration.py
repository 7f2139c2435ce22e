# SPDX-License-Identifier: Apache-2.0
"""Follows up when DLIO has read its configuration: storage type, options, checks, and where operations are recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import s3dlio
from s3dlio.dlio.record import records
from s3dlio.dlio.run import options, preflight
from s3dlio.dlio.run.readers import FORMATS
from s3dlio.dlio.run.storage_type import STORAGE_TYPE, in_use, storage_type


def configured(arguments: Any, given: Mapping[str, Any], elsewhere: Callable[[str], str] | None = None) -> None:
    """Do what has to be done between DLIO's reading of its configuration and anything else. Every rank calls this.

    Args:
        arguments: DLIO's ConfigArguments, changed in place.
        given: `storage.storage_options`. DLIO 2.0.0 does not read them, so they are not in `arguments`.
        elsewhere: given a folder, names another one in which its objects may lie.

    Raises:
        ConfigurationError: the workload cannot run on s3dlio.
        SystemExit: its storage cannot be used.
    """
    choose_storage(arguments, given)
    if in_use():
        check_workload(arguments)
        preflight.start(arguments, elsewhere)
        _start_recording(arguments)


def choose_storage(arguments: Any, given: Mapping[str, Any]) -> None:
    """Choose s3dlio if a folder is given as a URI and no storage type is set; with s3dlio, apply the options.

    DLIO's ConfigArguments are changed in place.

    Raises:
        ConfigurationError: there is no such option, or it has a value that it does not take.
    """
    folders = (arguments.storage_root, arguments.data_folder, arguments.checkpoint_folder)
    if str(arguments.storage_type) == "local_fs" and any("://" in str(folder) for folder in folders):
        arguments.storage_type = storage_type()
    if str(arguments.storage_type) == STORAGE_TYPE:
        apply_options(arguments, given)


def apply_options(arguments: Any, given: Mapping[str, Any]) -> None:
    """Apply `storage.storage_options`. The storage root gets the scheme that they name.

    Raises:
        ConfigurationError: `options.settings_of` does not take them, or they contradict the storage root.
    """
    options.apply(options.settings_of(given))
    scheme, root = options.scheme(given), str(arguments.storage_root)
    if scheme is None:
        return
    if "://" not in root:
        arguments.storage_root = f"{scheme}://{root}"
    elif not root.startswith(f"{scheme}://"):
        raise s3dlio.ConfigurationError(
            f"storage_options.uri_scheme={scheme!r} and storage_root={root!r} contradict each other; remove one"
        )


def check_workload(arguments: Any) -> None:
    """Refuse now what would fail only after the data was generated, or would silently bypass s3dlio.

    Raises:
        ConfigurationError: the message names what cannot work, and what to set instead.
    """
    format, framework, loader = str(arguments.format), str(arguments.framework), str(arguments.data_loader)
    if format not in FORMATS:
        raise s3dlio.ConfigurationError(
            f"storage type s3dlio does not support the format {format}; set workload.dataset.format to one of "
            + ", ".join(FORMATS)
        )
    if arguments.reader_classname is None and loader == "native_dali":
        raise s3dlio.ConfigurationError(
            "the data loader native_dali opens local paths in native code; set workload.reader.data_loader to "
            "pytorch or tensorflow"
        )
    if format == "tfrecord" and loader == "pytorch" and not arguments.generate_only:
        raise s3dlio.ConfigurationError(
            "DLIO does not read tfrecord with the data loader pytorch; set workload.framework=tensorflow and "
            "workload.reader.data_loader=tensorflow, or choose another workload.dataset.format"
        )
    if framework == "tensorflow" or format == "tfrecord":
        import tensorflow as tf

        if not hasattr(tf, "io"):  # the empty module of the launcher
            raise s3dlio.ConfigurationError(
                f"framework {framework} with format {format} needs TensorFlow; run pip install tensorflow-cpu"
            )


def _start_recording(arguments: Any) -> None:
    """Record into the folder that rank 0's environment names, by default in DLIO's output folder, without old lines."""
    from dlio_benchmark.utils.utility import DLIOMPI

    folder = os.environ.get(records.FOLDER_VARIABLE)
    if arguments.my_rank == 0 and not folder:
        folder = os.path.join(os.path.abspath(arguments.output_folder), records.FOLDER_NAME)
        records.clear(folder)
    # Rank 0 decides for all. DLIO names the output folder after the time, which the ranks may read differently; and no
    # rank may record before rank 0 has emptied the folder. Every rank gets here exactly once, as a broadcast requires.
    folder = DLIOMPI.get_instance().comm().bcast(folder, root=0)
    os.environ[records.FOLDER_VARIABLE] = folder
