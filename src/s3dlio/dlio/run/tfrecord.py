# SPDX-License-Identifier: Apache-2.0
"""The tfrecord format, read by TensorFlow's data loader, and TensorFlow's checkpoints.

Strategy: TensorFlow opens files in code of its own, which knows none of our schemes. DLIO's reader keeps its
pipeline and gets another source: where it asks `tf.data` for the files and for the records in them, each file is
one `s3dlio.get`, cut into its records in Python and handed to TensorFlow as one tensor of strings, so that nothing
is called per record. A checkpoint is written by TensorFlow into a temporary folder and uploaded, and the other way
round: its format is several files that only its own file systems can write.
"""

from __future__ import annotations

import os
import tempfile
import types
from collections.abc import Iterator
from typing import Any

import s3dlio
from s3dlio.dlio.record.counters import Operation

# A record (tensorflow.org, "TFRecord"): length as an 8-byte little-endian integer, its checksum, data, data's checksum.
_LENGTH_BYTES = 8
_CHECKSUM_BYTES = 4


def records(data: memoryview, uri: str) -> Iterator[tuple[int, int]]:
    """(begin, end) of the data of each record.

    Args:
        data: a whole file.
        uri: its name, for errors.

    Raises:
        S3dlioError: the lengths do not add up to the file.
    """
    position = 0
    while position < len(data):
        begin = position + _LENGTH_BYTES + _CHECKSUM_BYTES
        end = begin + int.from_bytes(data[position : position + _LENGTH_BYTES], "little")
        position = end + _CHECKSUM_BYTES
        if position > len(data):
            raise s3dlio.S3dlioError(f"{uri}: is not a readable tfrecord file: it ends inside a record", uri=uri)
        yield begin, end


def read_records(uri: bytes) -> Any:
    """The records of a file, as a numpy array of `bytes`."""
    import numpy as np

    name = uri.decode()
    with Operation("read", name) as operation:
        data = s3dlio.get(name)
        operation.bytes = data.nbytes
    return np.array([data[begin:end].tobytes() for begin, end in records(data, name)], dtype=object)


def reading_tensorflow(original: types.ModuleType) -> types.ModuleType:
    """The module `tensorflow`, whose `tf.data` lists and reads objects for DLIO's tfrecord reader."""
    import tensorflow as tf

    def list_files(names: list[str], shuffle: bool = False) -> Any:  # noqa: ARG001 - DLIO never asks for it
        return tf.data.Dataset.from_tensor_slices(list(names))

    def record_dataset(filenames: Any, buffer_size: Any = None, num_parallel_reads: int | None = None) -> Any:  # noqa: ARG001
        parallel = max(1, num_parallel_reads or 1)

        def read(name: Any) -> Any:
            found = tf.numpy_function(read_records, [name], tf.string)
            return tf.data.Dataset.from_tensor_slices(tf.reshape(found, [-1]))

        return filenames.interleave(read, cycle_length=parallel, num_parallel_calls=parallel, deterministic=True)

    class Dataset(tf.data.Dataset):  # type: ignore[misc]
        pass

    Dataset.list_files = staticmethod(list_files)
    return _altered(original, data=_altered(original.data, Dataset=Dataset, TFRecordDataset=record_dataset))


def _altered(module: types.ModuleType, **names: Any) -> types.ModuleType:
    """A copy of a module with other values for some of its names; the rest is looked up in the original."""

    class Altered(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            return getattr(module, name)

    copy = Altered(module.__name__)
    copy.__dict__.update(names)
    return copy


def index_without_script(module: Any, generator: Any) -> None:
    """Give DLIO 2.0.0, which calls a program of DALI for the index of a tfrecord file, the same index.

    Args:
        module: the generator's, changed in place if it has the call.
        generator: the TFRecordGenerator, of whose storage the id of the index becomes a path.
    """
    if not hasattr(module, "call"):
        return

    def write_index(command: list[str]) -> None:
        _, path, index = command
        with open(path, "rb") as file:
            data = memoryview(file.read())
        head, tail = _LENGTH_BYTES + _CHECKSUM_BYTES, _CHECKSUM_BYTES
        lines = [f"{begin - head} {end - begin + head + tail}\n" for begin, end in records(data, path)]
        with open(generator.storage.get_uri(index), "w", encoding="ascii") as file:
            file.writelines(lines)

    module.call = write_index


def stage_checkpoints(mechanism: Any, storage: Any) -> None:
    """Make TensorFlow's checkpointing of DLIO save and load objects, each checkpoint recorded with its bytes.

    Args:
        mechanism: a TFCheckpointing, changed in place.
        storage: the DataStorage whose root is the checkpoint folder.
    """
    save, load = mechanism.save_state, getattr(mechanism, "load_state", None)

    def save_state(suffix: str, state: Any, **options: Any) -> None:
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        target = uri.rpartition("/")[0]
        with Operation("checkpoint_write", uri) as operation, _local_names(mechanism) as folder:
            save(suffix, state, **options)
            # TensorFlow's own order: the file `checkpoint`, which names the others, is the last.
            for name in sorted(
                os.listdir(folder), key=lambda name: (name == "checkpoint", name.endswith(".index"), name)
            ):
                path = os.path.join(folder, name)
                operation.bytes += os.path.getsize(path)
                s3dlio.upload(path, f"{target}/{name}")

    def load_state(suffix: str, state: Any) -> None:
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        parts = [part for part in s3dlio.list(uri.rpartition("/")[0]) if part.startswith(f"{uri}-")]
        if not parts or load is None:
            raise s3dlio.ObjectNotFoundError(f"{uri}: there is no such checkpoint", uri=uri)
        with Operation("checkpoint_read", uri) as operation, _local_names(mechanism) as folder:
            for part in parts:
                path = os.path.join(folder, part.rpartition("/")[2])
                s3dlio.download(part, path)
                operation.bytes += os.path.getsize(path)
            load(suffix, state)

    mechanism.save_state = save_state
    mechanism.load_state = load_state


class _local_names:  # noqa: N801 - used like a function
    """While it is entered, the mechanism's names are paths in a temporary folder, which it gives."""

    def __init__(self, mechanism: Any) -> None:
        self._mechanism = mechanism
        self._folder = tempfile.TemporaryDirectory(prefix="s3dlio-checkpoint-")

    def __enter__(self) -> str:
        folder = self._folder.name
        extension = self._mechanism.ext
        self._mechanism.get_name = lambda suffix: os.path.join(folder, f"{suffix.rpartition('/')[2]}.{extension}")
        return folder

    def __exit__(self, *error: object) -> None:
        del self._mechanism.get_name
        self._folder.cleanup()
