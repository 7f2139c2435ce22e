# SPDX-License-Identifier: Apache-2.0
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
import multiprocessing
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import s3dlio
from s3dlio.dlio.record import counters
from s3dlio.dlio.record.tracing import balance_tracer
from s3dlio.dlio.run import options

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
        from s3dlio.dlio.run.storage import S3dlioStorage

        return S3dlioStorage(namespace, framework)

    return get_storage


def _generator_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_generator(type: Any) -> Any:
        if not _in_use():
            return original(type)
        from s3dlio.dlio.run.generators import write_objects

        generator = original(type)
        write_objects(generator, str(type))
        return generator

    return get_generator


def _reader_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_reader(type: Any, dataset_type: Any, thread_index: int, epoch_number: int) -> Any:
        from dlio_benchmark.utils.config import ConfigArguments

        # A class of the user's own, here and for checkpoints, is left to do its own I/O.
        if not _in_use() or ConfigArguments.get_instance().reader_class is not None:
            return original(type, dataset_type, thread_index, epoch_number)
        from s3dlio.dlio.run.readers import read_objects

        if str(type) == "tfrecord":
            _register_tfrecord()
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
        from s3dlio.dlio.run.checkpointing import stream_checkpoints
        from s3dlio.dlio.run.storage import S3dlioStorage
        from s3dlio.dlio.run.tfrecord import stage_checkpoints

        # By name: to import a class of the framework that is not used would be to import that framework.
        names = [kind.__name__ for kind in type(mechanism).__mro__]
        if "PyTorchCheckpointing" in names:
            serve = stream_checkpoints
        elif "TFCheckpointing" in names:
            serve = stage_checkpoints
        else:
            raise s3dlio.ConfigurationError(
                f"storage type s3dlio writes checkpoints of PyTorch and TensorFlow, not of {type(mechanism).__name__}: "
                "leave workload.checkpoint.checkpoint_mechanism out, or set workload.workflow.checkpoint=False"
            )
        serve(mechanism, S3dlioStorage(mechanism.args.checkpoint_folder))
        return mechanism

    return get_mechanism


def _register_tfrecord() -> None:
    """Late, since the module of DLIO's tfrecord reader imports TensorFlow."""
    from s3dlio.dlio.run.tfrecord import reading_tensorflow

    register((Point("dlio_benchmark.reader.tf_reader", "tf", "TensorFlow opens the files itself", reading_tensorflow),))


def _indexed_reader(original: type[Any]) -> Callable[..., Any]:
    objects: list[type[Any]] = []

    def make_reader(*arguments: Any, **named: Any) -> Any:
        if not _in_use():
            return original(*arguments, **named)
        if not objects:
            from s3dlio.dlio.run.indexed import object_reader

            objects.append(object_reader(original))
        return objects[0](*arguments, **named)

    return make_reader


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
        configured(arguments, configuration.get("storage", {}).get("storage_options") or {})

    return load_configuration


def _benchmark(original: Any) -> Any:
    """The class with the listings that all ranks make, made by rank 0; also of a benchmark that exists already."""
    from s3dlio.dlio.run.ranks import one_listing_for_all

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
        "dlio_benchmark.reader.indexed_binary_reader",
        "IndexedBinaryReader",
        "opens its index files when it is made",
        _indexed_reader,
    ),
    Point(
        "dlio_benchmark.reader.indexed_binary_mmap_reader",
        "IndexedBinaryMMapReader",
        "maps its files when it is made",
        _indexed_reader,
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


def configured(arguments: Any, given: Mapping[str, Any], elsewhere: Callable[[str], str] | None = None) -> None:
    """What has to be done on every rank once DLIO has read its configuration, and before it does anything else.

    Args:
        arguments: DLIO's ConfigArguments, changed in place.
        given: `storage.storage_options`. DLIO 2.0.0 does not read them, so they are not taken from `arguments`.
        elsewhere: given a folder, names another one in which its objects may lie.

    Raises:
        ConfigurationError: the workload cannot run on storage of ours.
        SystemExit: its storage cannot be used.
    """
    choose_storage(arguments, given)
    if _in_use():
        check_workload(arguments)
        from s3dlio.dlio.check import preflight

        preflight.start(arguments, elsewhere)
        _start_counting(arguments)


def choose_storage(arguments: Any, given: Mapping[str, Any]) -> None:
    """Where no storage type is named but a folder is given as a URI, it is ours; then the options are obeyed.

    Args:
        arguments: DLIO's ConfigArguments, changed in place.
        given: `storage.storage_options`.

    Raises:
        ConfigurationError: an option that is none.
    """
    folders = (arguments.storage_root, arguments.data_folder, arguments.checkpoint_folder)
    if str(arguments.storage_type) == "local_fs" and any("://" in str(folder) for folder in folders):
        arguments.storage_type = storage_type()
    if str(arguments.storage_type) == STORAGE_TYPE:
        apply_options(arguments, given)


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
        return _unpickle_storage_type, (options.in_force(),)
    return type(member), (member.value,)


def _unpickle_storage_type(settings: Mapping[str, Any]) -> Any:
    if multiprocessing.parent_process() is not None:
        balance_tracer()
    register()
    options.apply(settings)
    return storage_type()


def _in_use() -> bool:
    from dlio_benchmark.utils.config import ConfigArguments

    return str(ConfigArguments.get_instance().storage_type) == STORAGE_TYPE


def apply_options(arguments: Any, given: Mapping[str, Any]) -> None:
    """Obey `storage.storage_options`.

    Args:
        arguments: DLIO's ConfigArguments, whose storage root gets the scheme that the options name.
        given: the options.

    Raises:
        ConfigurationError: they are not what `options.settings_of` takes, or contradict the storage root.
    """
    options.apply(options.settings_of(given))
    scheme, root = options.scheme(given), str(arguments.storage_root)
    if scheme is None:
        return
    if "://" not in root:
        arguments.storage_root = f"{scheme}://{root}"
    elif not root.startswith(f"{scheme}://"):
        raise s3dlio.ConfigurationError(f"storage_options.uri_scheme={scheme!r} and storage_root={root!r} contradict")


def check_workload(arguments: Any) -> None:
    """Refuse now what would fail after the data has been generated, or would pass by s3dlio unnoticed.

    Args:
        arguments: DLIO's ConfigArguments.

    Raises:
        ConfigurationError: naming what cannot work, and what to set instead.
    """
    from s3dlio.dlio.run.readers import FORMATS

    format, framework, loader = str(arguments.format), str(arguments.framework), str(arguments.data_loader)
    if format not in FORMATS:
        raise s3dlio.ConfigurationError(
            f"storage type s3dlio does not carry the format {format}: set workload.dataset.format to one of "
            + ", ".join(FORMATS)
        )
    if arguments.reader_classname is None and loader == "native_dali":
        raise s3dlio.ConfigurationError(
            "the data loader native_dali opens local paths in code of its own: set workload.reader.data_loader to "
            "pytorch or tensorflow"
        )
    if format == "tfrecord" and loader == "pytorch" and not arguments.generate_only:
        raise s3dlio.ConfigurationError(
            "DLIO does not read tfrecord with the data loader pytorch: set workload.framework=tensorflow and "
            "workload.reader.data_loader=tensorflow, or choose another workload.dataset.format"
        )
    if framework == "tensorflow" or format == "tfrecord":
        import tensorflow as tf

        if not hasattr(tf, "io"):
            raise s3dlio.ConfigurationError(
                f"framework {framework} with format {format} needs TensorFlow: pip install tensorflow-cpu"
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
