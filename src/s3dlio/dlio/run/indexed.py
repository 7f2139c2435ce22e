# SPDX-License-Identifier: Apache-2.0
"""The indexed binary formats: a data file of samples, and two index files with their offsets and sizes.

Strategy: DLIO's readers open all three as local paths, and one of them maps them into memory. Here a sample is one
range of the data object, and an index is a view of the buffer that its object arrived in. An index is read when the
first sample of its file is, so a worker that starts waits for the files it needs and not for all of the data set.
"""

from __future__ import annotations

from typing import Any

import s3dlio
from s3dlio.dlio.record.counters import Operation

# DLIO's generator packs both indexes as native unsigned integers of this many bytes.
_ENTRY_BYTES = 8


def object_reader(base: type[Any]) -> type[Any]:
    """A reader of DLIO's for an indexed binary format that reads objects.

    Args:
        base: DLIO's IndexedBinaryReader or IndexedBinaryMMapReader.
    """

    class IndexedObjectReader(base):  # type: ignore[misc]
        def load_index(self) -> None:
            """Read no index yet."""

        def open(self, filename: str) -> str:
            return filename

        def close(self, filename: str) -> None:
            """Nothing stays open."""

        def get_sample(self, filename: str, sample_index: int) -> None:
            if filename not in self.file_map_ibr:
                names = self.index_file_path_off(filename), self.index_file_path_size(filename)
                self.file_map_ibr[filename] = _indexes(filename, *names)
            offset, size = (_entry(index, sample_index, filename) for index in self.file_map_ibr[filename])
            with Operation("read", filename) as operation:
                operation.bytes = len(s3dlio.get_range(filename, offset, size))
            if operation.bytes != size:
                raise s3dlio.S3dlioError(
                    f"{filename}: it ends inside sample {sample_index}: its index says {size} bytes at {offset}",
                    uri=filename,
                )

    return IndexedObjectReader


def _indexes(uri: str, offsets: str, sizes: str) -> list[memoryview]:
    """The two indexes of a data file, as sequences of integers."""
    with Operation("index", uri) as operation:
        found = s3dlio.get_many([offsets, sizes])
        operation.bytes = sum(data.nbytes for _, data in found)
    for name, data in found:
        if data.nbytes % _ENTRY_BYTES:
            raise s3dlio.S3dlioError(f"{name}: {data.nbytes} bytes are not an index of 8-byte integers", uri=name)
    return [data.cast("Q") for _, data in found]


def _entry(index: memoryview, sample: int, uri: str) -> int:
    if sample >= len(index):
        raise s3dlio.S3dlioError(
            f"{uri}: its index has {len(index)} samples, and sample {sample} was asked for: is "
            "num_samples_per_file what it was when the data was generated?",
            uri=uri,
        )
    entry: int = index[sample]
    return entry
