# SPDX-License-Identifier: Apache-2.0
"""The replacements of DLIO's functions, one for each point in `registration`.

Each function here takes DLIO's original and returns what replaces it. A replacement calls the original first, or alone
if the workload does not use s3dlio, and changes the object that it returns. The modules that do the work are imported
when a workload needs them.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from typing import Any

import s3dlio
from s3dlio.dlio.run.storage_type import STORAGE_TYPE, in_use


def storage_factory(original: Callable[..., Any], storage: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """`StorageFactory.get_storage`, which makes a storage, `S3dlioStorage` by default, for the type `s3dlio`, too."""

    def get_storage(storage_type: Any, namespace: str, framework: Any = None) -> Any:
        if str(storage_type) != STORAGE_TYPE:
            return original(storage_type, namespace, framework)
        from s3dlio.dlio.run.storage import S3dlioStorage

        return (storage or S3dlioStorage)(namespace, framework)

    return get_storage


def generator_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    """`GeneratorFactory.get_generator`, whose generators write objects."""

    def get_generator(type: Any) -> Any:
        if not in_use():
            return original(type)
        from s3dlio.dlio.run.generators import write_objects

        generator = original(type)
        write_objects(generator, str(type))
        return generator

    return get_generator


def reader_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    """`ReaderFactory.get_reader`, whose readers read objects."""

    def get_reader(type: Any, dataset_type: Any, thread_index: int, epoch_number: int) -> Any:
        from dlio_benchmark.utils.config import ConfigArguments

        # A reader class that the user configured does its own I/O; so does a checkpointing class below.
        if not in_use() or ConfigArguments.get_instance().reader_class is not None:
            return original(type, dataset_type, thread_index, epoch_number)
        from s3dlio.dlio.run.readers import read_objects

        if str(type) == "tfrecord":
            from s3dlio.dlio.run.tfrecord import replace_tensorflow

            replace_tensorflow()
        reader = original(type, dataset_type, thread_index, epoch_number)
        read_objects(reader, str(type))
        return reader

    return get_reader


def checkpointing_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    """`CheckpointingFactory.get_mechanism`, whose mechanisms save and load objects."""

    def get_mechanism(checkpoint_mechanism_type: Any) -> Any:
        from dlio_benchmark.utils.config import ConfigArguments

        mechanism = original(checkpoint_mechanism_type)
        if not in_use() or ConfigArguments.get_instance().checkpoint_mechanism_class is not None:
            return mechanism
        from s3dlio.dlio.run.checkpointing import stream_checkpoints
        from s3dlio.dlio.run.storage import S3dlioStorage
        from s3dlio.dlio.run.tfrecord import stage_checkpoints

        # By name: importing the class of the framework that is not used would import that framework.
        names = [kind.__name__ for kind in type(mechanism).__mro__]
        if "PyTorchCheckpointing" in names:
            serve = stream_checkpoints
        elif "TFCheckpointing" in names:
            serve = stage_checkpoints
        else:
            raise s3dlio.ConfigurationError(
                "storage type s3dlio writes checkpoints of PyTorch and TensorFlow, not of "
                f"{type(mechanism).__name__}; remove workload.checkpoint.checkpoint_mechanism, or set "
                "workload.workflow.checkpoint=False"
            )
        serve(mechanism, S3dlioStorage(mechanism.args.checkpoint_folder))
        return mechanism

    return get_mechanism


def indexed_reader(original: type[Any]) -> Callable[..., Any]:
    """A reader class of an indexed format, or its subclass that reads objects."""
    subclasses: list[type[Any]] = []

    def make_reader(*arguments: Any, **named: Any) -> Any:
        if not in_use():
            return original(*arguments, **named)
        if not subclasses:
            from s3dlio.dlio.run.indexed import object_reader

            subclasses.append(object_reader(original))
        return subclasses[0](*arguments, **named)

    return make_reader


def path_functions(original: types.ModuleType) -> types.ModuleType:
    """The module `os` with an `os.path.abspath` that leaves URIs unchanged."""

    def abspath(path: Any) -> Any:
        return path if "://" in str(path) else os.path.abspath(path)

    paths = types.ModuleType(original.path.__name__)
    paths.__dict__.update(vars(original.path), abspath=abspath)
    module = types.ModuleType(original.__name__)
    module.__dict__.update(vars(original), path=paths)
    return module


def load_configuration(original: Callable[..., None]) -> Callable[..., None]:
    """`LoadConfig`, after which `configuration.configured` follows up."""
    from s3dlio.dlio.run.configuration import configured

    def load(arguments: Any, configuration: Any) -> None:
        original(arguments, configuration)
        configured(arguments, configuration.get("storage", {}).get("storage_options") or {})

    return load


def benchmark(original: Any) -> Any:
    """`DLIOBenchmark`, changed in place: rank 0 makes the listings that all ranks need.

    Instances that exist already change with their class.
    """
    from s3dlio.dlio.run.ranks import one_listing_for_all

    def listing_once(method: Callable[[Any], None]) -> Callable[[Any], None]:
        def run(benchmark: Any) -> None:
            with one_listing_for_all(benchmark):
                method(benchmark)

        return run

    # Only the main branch has `_checkpoint`, which counts the checkpoints before it reads them.
    for name in ("initialize", "_checkpoint"):
        if hasattr(original, name):
            setattr(original, name, listing_once(getattr(original, name)))
    return original
