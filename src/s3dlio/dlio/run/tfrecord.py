# SPDX-License-Identifier: Apache-2.0
"""Lets DLIO read the tfrecord format from objects with TensorFlow's data loader, and stages TensorFlow's checkpoints.

Strategy: TensorFlow opens files in native code, which does not support the schemes of s3dlio. DLIO's reader keeps its
pipeline, and gets another source: `tf.data` lists the objects, and reads each of them by one `s3dlio.get`. The buffer
is cut into its records in Python and passed to TensorFlow as one tensor of strings, so that nothing is called per
record. A checkpoint of TensorFlow consists of several files that only its own file systems can write. So TensorFlow
saves it into a temporary folder, which is then uploaded; to load a checkpoint, its files are downloaded first.
"""

from __future__ import annotations

import os
import tempfile
import types
from collections.abc import Iterator
from typing import Any

import s3dlio
from s3dlio.dlio.record.records import Record

# A record (tensorflow.org, "TFRecord"): length as an 8-byte little-endian integer, its checksum, data, data's checksum.
_LENGTH_BYTES = 8
_CHECKSUM_BYTES = 4


def records(data: memoryview, uri: str) -> Iterator[tuple[int, int]]:
    """Find the records in a whole file.

    Yields:
        Where the data of each record begins and ends.

    Raises:
        S3dlioError: the last record is incomplete.
    """
    position = 0
    while position < len(data):
        begin = position + _LENGTH_BYTES + _CHECKSUM_BYTES
        end = begin + int.from_bytes(data[position : position + _LENGTH_BYTES], "little")
        position = end + _CHECKSUM_BYTES
        if position > len(data):
            raise s3dlio.S3dlioError(
                f"{uri} is not a readable tfrecord file: it ends inside a record; generate the data again", uri=uri
            )
        yield begin, end


def read_records(uri: bytes) -> Any:
    """Read the records of an object, as a numpy array of `bytes`."""
    import numpy as np

    name = uri.decode()
    with Record("read", name) as record:
        data = s3dlio.get(name)
        record.bytes = data.nbytes
    return np.array([data[begin:end].tobytes() for begin, end in records(data, name)], dtype=object)


def replace_tensorflow() -> None:
    """Make DLIO's tfrecord reader read objects. A second call changes nothing.

    Unlike the replacements in `registration`, this one waits for a reader of the format: importing the module of that
    reader imports TensorFlow.
    """
    from dlio_benchmark.reader import tf_reader

    if not isinstance(tf_reader.tf, _Altered):
        tf_reader.tf = reading_tensorflow(tf_reader.tf)


def reading_tensorflow(original: types.ModuleType) -> types.ModuleType:
    """The module `tensorflow`, with a `tf.data` that lists and reads objects for DLIO's tfrecord reader."""
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
    return _Altered(original, data=_Altered(original.data, Dataset=Dataset, TFRecordDataset=record_dataset))


class _Altered(types.ModuleType):
    """A module with other values for some names; all other names are looked up in the original."""

    def __init__(self, original: types.ModuleType, **names: Any) -> None:
        super().__init__(original.__name__)
        self.__dict__.update(names, _original=original)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"], name)


def index_without_script(module: Any, generator: Any) -> None:
    """Write the index of a tfrecord file, for which DLIO 2.0.0 would start a program of DALI.

    Args:
        module: the module of the generator, changed in place if it starts that program.
        generator: the TFRecordGenerator, whose storage knows the path of the index.
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
    """Make a TFCheckpointing save and load objects below the root of a DataStorage, and record their bytes."""
    save, load = mechanism.save_state, getattr(mechanism, "load_state", None)

    def save_state(suffix: str, state: Any, **options: Any) -> None:
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        target = uri.rpartition("/")[0]
        with Record("checkpoint_write", uri) as record, _local_names(mechanism) as folder:
            save(suffix, state, **options)
            for name in sorted(os.listdir(folder), key=_upload_order):
                path = os.path.join(folder, name)
                record.bytes += os.path.getsize(path)
                s3dlio.upload(path, f"{target}/{name}")

    def load_state(suffix: str, state: Any) -> None:
        uri = storage.get_uri(f"{suffix}.{mechanism.ext}")
        parts = [part for part in s3dlio.list(uri.rpartition("/")[0]) if part.startswith(f"{uri}-")]
        if not parts or load is None:
            raise s3dlio.ObjectNotFoundError(f"{uri}: no such checkpoint; check its name", uri=uri)
        with Record("checkpoint_read", uri) as record, _local_names(mechanism) as folder:
            for part in parts:
                path = os.path.join(folder, part.rpartition("/")[2])
                s3dlio.download(part, path)
                record.bytes += os.path.getsize(path)
            load(suffix, state)

    mechanism.save_state = save_state
    mechanism.load_state = load_state


def _upload_order(name: str) -> tuple[bool, bool, str]:
    """TensorFlow's own order of writing a checkpoint: the file `checkpoint`, which names the others, is last."""
    return name == "checkpoint", name.endswith(".index"), name


class _local_names:  # noqa: N801 - used like a function
    """Within the block, the names of the mechanism are paths in a temporary folder, which the block gets."""

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
