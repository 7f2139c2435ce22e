"""The storage type `s3dlio`, made known to DLIO at run time.

Strategy: DLIO decides in few places where data goes, and in each by an enum or a path; `POINTS` lists them,
with why each has to change, and `register` replaces them in memory. It looks at what DLIO has, never at its
version: PyPI's 2.0.0 and the main branch both call themselves 2.0.0. A forked child inherits the
replacements. A spawned one starts without them, but DLIO sends it its configuration, in which the storage
type is pickled as a call of this module: unpickling it registers.
"""

from __future__ import annotations

import copyreg
import importlib
import os
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import s3dlio
from s3dlio.integrations.dlio import counters

STORAGE_TYPE = "s3dlio"


@dataclass(frozen=True)
class Point:
    """One function of DLIO that is replaced.

    Attributes:
        module: where it lives.
        name: its name there, `Class.method` for a static method.
        reason: what it does to a storage type it does not know.
        wrap: takes the original and returns the replacement.
    """

    module: str
    name: str
    reason: str
    wrap: Callable[[Any], Any]


def _storage_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_storage(storage_type: Any, namespace: str, framework: Any = None) -> Any:
        if str(storage_type) != STORAGE_TYPE:
            return original(storage_type, namespace, framework)
        from s3dlio.integrations.dlio.storage import S3dlioStorage

        return S3dlioStorage(namespace, framework)

    return get_storage


def _generator_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_generator(type: Any) -> Any:
        if not _in_use():
            return original(type)
        from s3dlio.integrations.dlio.generators import write_objects

        _check_format(type)
        generator = original(type)
        write_objects(generator)
        return generator

    return get_generator


def _reader_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_reader(type: Any, dataset_type: Any, thread_index: int, epoch_number: int) -> Any:
        from dlio_benchmark.utils.config import ConfigArguments

        # A class of the user's own, here and for checkpoints, is left to do its own I/O.
        if not _in_use() or ConfigArguments.get_instance().reader_class is not None:
            return original(type, dataset_type, thread_index, epoch_number)
        from s3dlio.integrations.dlio.readers import read_objects

        _check_format(type)
        reader = original(type, dataset_type, thread_index, epoch_number)
        read_objects(reader, str(type))
        return reader

    return get_reader


def _checkpointing_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_mechanism(checkpoint_mechanism_type: Any) -> Any:
        from dlio_benchmark.utils.config import ConfigArguments

        mechanism = original(checkpoint_mechanism_type)
        if not _in_use() or ConfigArguments.get_instance().checkpoint_mechanism_class is not None:
            return mechanism
        from dlio_benchmark.checkpointing.pytorch_checkpointing import PyTorchCheckpointing

        from s3dlio.integrations.dlio.checkpointing import stream_checkpoints
        from s3dlio.integrations.dlio.storage import S3dlioStorage

        if not isinstance(mechanism, PyTorchCheckpointing):
            raise s3dlio.ConfigurationError(
                f"storage type s3dlio writes PyTorch checkpoints, not {type(mechanism).__name__}: set "
                "workload.framework=pytorch or workload.workflow.checkpoint=False"
            )
        stream_checkpoints(mechanism, S3dlioStorage(mechanism.args.checkpoint_folder))
        return mechanism

    return get_mechanism


def _path_functions(original: types.ModuleType) -> types.ModuleType:
    """The module `os` with an `os.path.abspath` that leaves URIs as they are."""

    def abspath(path: Any) -> Any:
        return path if "://" in str(path) else os.path.abspath(path)

    paths = types.ModuleType(original.path.__name__)
    paths.__dict__.update(vars(original.path), abspath=abspath)
    module = types.ModuleType(original.__name__)
    module.__dict__.update(vars(original), path=paths)
    return module


def _configuration(original: Callable[..., None]) -> Callable[..., None]:
    def load_configuration(arguments: Any, configuration: Any) -> None:
        original(arguments, configuration)
        configured(arguments)

    return load_configuration


def _benchmark(original: Any) -> Any:
    """The class with the listings that all ranks make, made by rank 0; also of a benchmark that exists already."""
    from s3dlio.integrations.dlio.ranks import one_listing_for_all

    def listing_once(method: Callable[[Any], None]) -> Callable[[Any], None]:
        def run(benchmark: Any) -> None:
            with one_listing_for_all(benchmark):
                method(benchmark)

        return run

    # The second is of the main branch: the checkpoints are counted before they are read.
    for name in ("initialize", "_checkpoint"):
        if hasattr(original, name):
            setattr(original, name, listing_once(getattr(original, name)))
    return original


POINTS = (
    Point(
        "dlio_benchmark.storage.storage_factory",
        "StorageFactory.get_storage",
        "raises for an unknown type",
        _storage_factory,
    ),
    Point(
        "dlio_benchmark.data_generator.generator_factory",
        "GeneratorFactory.get_generator",
        "its generators write to what get_uri returns, as to a path",
        _generator_factory,
    ),
    Point(
        "dlio_benchmark.reader.reader_factory",
        "ReaderFactory.get_reader",
        "its readers open paths",
        _reader_factory,
    ),
    Point(
        "dlio_benchmark.checkpointing.checkpointing_factory",
        "CheckpointingFactory.get_mechanism",
        "PyTorchCheckpointing opens paths",
        _checkpointing_factory,
    ),
    Point(
        "dlio_benchmark.utils.config",
        "os",
        "os.path.abspath makes `/current/folder/s3:/bucket/key` of a URI",
        _path_functions,
    ),
)

# Needed in the processes that run the benchmark, not in their workers, which get the finished configuration.
BENCHMARK_POINTS = (
    Point(
        "dlio_benchmark.main",
        "DLIOBenchmark",
        "every rank lists the data set",
        _benchmark,
    ),
)
START_POINTS = (
    *BENCHMARK_POINTS,
    Point(
        "dlio_benchmark.main",
        "LoadConfig",
        "with no storage type, a folder given as a URI would be a local path; it names the output folder",
        _configuration,
    ),
)

_registered: set[Point] = set()


def register(points: tuple[Point, ...] = POINTS) -> None:
    """Make the storage type known to the DLIO that this process imports. A second call changes nothing.

    Args:
        points: what to replace.

    Raises:
        ModuleNotFoundError: DLIO is not installed.
        AttributeError: DLIO has no such function.
    """
    # Also if DLIO has had the member before: pickled by DLIO it would not register.
    copyreg.pickle(type(storage_type()), _pickle_storage_type)
    for point in points:
        if point in _registered:
            continue
        holder: Any = importlib.import_module(point.module)
        *classes, name = point.name.split(".")
        for part in classes:
            holder = getattr(holder, part)
        replacement = point.wrap(getattr(holder, name))
        setattr(holder, name, staticmethod(replacement) if classes else replacement)
        _registered.add(point)


def configured(arguments: Any) -> None:
    """What has to be done on every rank once DLIO has read its configuration, and before it does anything else.

    Args:
        arguments: DLIO's ConfigArguments, changed in place.
    """
    choose_storage(arguments)
    if _in_use():
        from s3dlio.integrations.dlio import preflight

        preflight.start(arguments)
        _start_counting(arguments)


def choose_storage(arguments: Any) -> None:
    """Where no storage type is named but a folder is given as a URI, it is ours.

    Args:
        arguments: DLIO's ConfigArguments, changed in place.
    """
    folders = (arguments.storage_root, arguments.data_folder, arguments.checkpoint_folder)
    if str(arguments.storage_type) == "local_fs" and any("://" in str(folder) for folder in folders):
        arguments.storage_type = storage_type()


def storage_type() -> Any:
    """The member `s3dlio` of DLIO's StorageType, added to it unless DLIO has one."""
    from dlio_benchmark.common.enumerations import StorageType

    try:
        return StorageType(STORAGE_TYPE)
    except ValueError:
        pass
    member = object.__new__(StorageType)
    member._name_, member._value_ = STORAGE_TYPE.upper(), STORAGE_TYPE

    def missing(cls: type, value: object) -> Any:  # noqa: ARG001 - the signature that Enum calls
        return member if value == STORAGE_TYPE else None

    StorageType._missing_ = classmethod(missing)
    setattr(StorageType, member._name_, member)
    return member


def _pickle_storage_type(member: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if member.value == STORAGE_TYPE:
        return _unpickle_storage_type, ()
    return type(member), (member.value,)


def _unpickle_storage_type() -> Any:
    register()
    return storage_type()


def _in_use() -> bool:
    from dlio_benchmark.utils.config import ConfigArguments

    return str(ConfigArguments.get_instance().storage_type) == STORAGE_TYPE


def _check_format(format: Any) -> None:
    from s3dlio.integrations.dlio.readers import DECODERS

    if str(format) not in DECODERS:
        raise s3dlio.ConfigurationError(
            f"storage type s3dlio does not carry the format {format}: set workload.dataset.format to one of "
            + ", ".join(DECODERS)
        )


def _start_counting(arguments: Any) -> None:
    """Count below DLIO's output folder, from zero, unless the environment of rank 0 names another folder."""
    from dlio_benchmark.utils.utility import DLIOMPI

    folder = os.environ.get(counters.FOLDER_VARIABLE)
    if arguments.my_rank == 0 and not folder:
        folder = os.path.join(os.path.abspath(arguments.output_folder), counters.FOLDER_NAME)
        counters.clear(folder)
    # Every rank comes through here once, whatever its environment. The output folder is named after the time by
    # default, which the ranks may see differently; and none may count before rank 0 has emptied the folder.
    folder = DLIOMPI.get_instance().comm().bcast(folder, root=0)
    os.environ[counters.FOLDER_VARIABLE] = folder
