# SPDX-License-Identifier: Apache-2.0
"""Makes the storage type `s3dlio` known to DLIO at run time.

Strategy: DLIO decides in a few functions where data goes, and in each of them by an enum or a path. `POINTS` lists
these functions, each with the reason why it has to change, and `register` replaces them in memory. It looks at what
DLIO has, never at its version: PyPI's 2.0.0 and the main branch both call themselves 2.0.0. A forked child inherits the
replacements. A spawned child starts without them, but DLIO sends it the configuration, in which the storage type is
pickled as a call of this module: unpickling it registers.
"""

from __future__ import annotations

import copyreg
import importlib
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from s3dlio.dlio.run import options, replacements
from s3dlio.dlio.run.storage_type import STORAGE_TYPE, storage_type
from s3dlio.dlio.run.tracer import balance_tracer


@dataclass(frozen=True)
class Point:
    """One function, class or module of DLIO that is replaced.

    Attributes:
        module: the module that holds it.
        name: its name there; `Class.method` for a static method.
        reason: what the original does to a storage type that it does not know.
        wrap: takes the original and returns the replacement.
    """

    module: str
    name: str
    reason: str
    wrap: Callable[[Any], Any]


POINTS = (
    Point(
        "dlio_benchmark.storage.storage_factory",
        "StorageFactory.get_storage",
        "raises for an unknown type",
        replacements.storage_factory,
    ),
    Point(
        "dlio_benchmark.data_generator.generator_factory",
        "GeneratorFactory.get_generator",
        "its generators write to the result of get_uri as to a local path",
        replacements.generator_factory,
    ),
    Point(
        "dlio_benchmark.reader.reader_factory",
        "ReaderFactory.get_reader",
        "its readers open local paths",
        replacements.reader_factory,
    ),
    Point(
        "dlio_benchmark.checkpointing.checkpointing_factory",
        "CheckpointingFactory.get_mechanism",
        "PyTorchCheckpointing opens local paths",
        replacements.checkpointing_factory,
    ),
    Point(
        "dlio_benchmark.reader.indexed_binary_reader",
        "IndexedBinaryReader",
        "opens its index files in its constructor",
        replacements.indexed_reader,
    ),
    Point(
        "dlio_benchmark.reader.indexed_binary_mmap_reader",
        "IndexedBinaryMMapReader",
        "maps its files into memory in its constructor",
        replacements.indexed_reader,
    ),
    Point(
        "dlio_benchmark.utils.config",
        "os",
        "os.path.abspath turns s3://bucket/key into /current/folder/s3:/bucket/key",
        replacements.path_functions,
    ),
)

# These are needed in the processes that run the benchmark, but not in workers, which receive the finished
# configuration.
BENCHMARK_POINTS = (
    Point("dlio_benchmark.main", "DLIOBenchmark", "every rank lists the data set", replacements.benchmark),
)
START_POINTS = (
    *BENCHMARK_POINTS,
    Point(
        "dlio_benchmark.main",
        "LoadConfig",
        "takes a folder given as a URI for a local path if no storage type is set",
        replacements.load_configuration,
    ),
)

_registered: set[Point] = set()


def register(points: tuple[Point, ...] = POINTS) -> None:
    """Make the storage type known to the DLIO that this process imports. A second call changes nothing.

    Raises:
        ModuleNotFoundError: DLIO is not installed.
        AttributeError: DLIO has no such function.
    """
    # Even if DLIO itself has the member (Option 1): pickled by DLIO, it would not register in the child.
    copyreg.pickle(type(storage_type()), _pickle)
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


# Across processes...


def _pickle(member: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Pickle a storage type: `s3dlio` as a call that registers it in the child, with the settings in force here."""
    if member.value == STORAGE_TYPE:
        return _unpickle, (options.in_force(),)
    return type(member), (member.value,)


def _unpickle(settings: Mapping[str, Any]) -> Any:
    if multiprocessing.parent_process() is not None:
        balance_tracer()
    register()
    options.apply(settings)
    return storage_type()
