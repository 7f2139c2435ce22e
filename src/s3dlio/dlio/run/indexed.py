# SPDX-License-Identifier: Apache-2.0
"""Lets DLIO read the indexed binary formats from objects: a data file, and two files with offsets and sizes of samples.

Strategy: DLIO's readers open all three as local files; one reader maps them into memory. Here a sample is a range of
the data object, and an index is a view of the buffer that its object was read into. The indexes of a file are read with
its first sample, so that a worker starts after reading the files that it needs, not those of the whole data set.
"""

from __future__ import annotations

from typing import Any

import s3dlio
from s3dlio.dlio.record.records import Record

# DLIO's generator packs both indexes as native unsigned integers of this many bytes.
_ENTRY_BYTES = 8


def object_reader(base: type[Any]) -> type[Any]:
    """A subclass of DLIO's IndexedBinaryReader or IndexedBinaryMMapReader, which reads objects."""

    class IndexedObjectReader(base):  # type: ignore[misc]
        def load_index(self) -> None:
            """Do nothing: `get_sample` reads an index when it needs one."""

        def open(self, filename: str) -> str:
            return filename

        def close(self, filename: str) -> None:
            """Do nothing: no file is open."""

        def get_sample(self, filename: str, sample_index: int) -> None:
            if filename not in self.file_map_ibr:
                names = self.index_file_path_off(filename), self.index_file_path_size(filename)
                self.file_map_ibr[filename] = _indexes(filename, *names)
            offset, size = (_entry(index, sample_index, filename) for index in self.file_map_ibr[filename])
            with Record("read", filename) as record:
                record.bytes = len(s3dlio.get_range(filename, offset, size))
            if record.bytes != size:
                raise s3dlio.S3dlioError(
                    f"{filename} ends inside sample {sample_index}, which has {size} bytes at offset {offset}; "
                    "generate the data again",
                    uri=filename,
                )

    return IndexedObjectReader


def _indexes(uri: str, offsets: str, sizes: str) -> list[memoryview]:
    """The two indexes of a data file, offsets and sizes, as sequences of integers."""
    with Record("index", uri) as record:
        found = s3dlio.get_many([offsets, sizes])
        record.bytes = sum(data.nbytes for _, data in found)
    for name, data in found:
        if data.nbytes % _ENTRY_BYTES:
            raise s3dlio.S3dlioError(
                f"{name}: {data.nbytes} bytes are not an index of 8-byte integers; generate the data again", uri=name
            )
    return [data.cast("Q") for _, data in found]


def _entry(index: memoryview, sample: int, uri: str) -> int:
    if sample >= len(index):
        raise s3dlio.S3dlioError(
            f"{uri}: cannot read sample {sample}: the index has {len(index)} samples; set num_samples_per_file to its "
            "value when the data was generated",
            uri=uri,
        )
    entry: int = index[sample]
    return entry
