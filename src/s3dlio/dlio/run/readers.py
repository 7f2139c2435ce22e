# SPDX-License-Identifier: Apache-2.0
"""Lets DLIO's readers read objects instead of local files.

Strategy: a reader of DLIO opens its file by `open(path)`, and returns what a library makes of it: an array, an image,
an h5py file. All of these libraries also take a file object. So DLIO's own `open` is called with a file over the buffer
that `s3dlio.get` returned, and each format is decoded exactly as DLIO decodes it. To decode npy and npz means to find
the array in the file; so here the array is a view of that buffer, without a copy.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import s3dlio
from s3dlio.dlio.record.records import ORIGIN, Record
from s3dlio.dlio.run.files import BufferFile

# By DLIO's name of the format, the function that decodes an object; None: DLIO's own reader decodes it.
DECODERS: dict[str, Callable[[memoryview], Any] | None]


def decode_npy(data: memoryview) -> Any:
    """The array of an npy file, as a view of the file's buffer, with the shape and type that the file's header names.

    Raises:
        ValueError: the data is not an npy file, or the file holds Python objects.
        TypeError: the file is shorter than its header says.
    """
    import numpy as np

    file = BufferFile(data)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        return np.load(_reader(data))
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects, and loading them could run code")
    return np.ndarray(shape, dtype, buffer=data, offset=file.tell(), order="F" if fortran_order else "C")


def decode_npz(data: memoryview) -> Any:
    """The array `x` of an npz file, under which name DLIO's generator stores it.

    The array is a view of the file's buffer, or a new one if the file is compressed.

    Raises:
        zipfile.BadZipFile: the data is not an npz file.
        KeyError: the file has no array `x`.
    """
    import numpy as np

    with zipfile.ZipFile(_reader(data)) as archive:
        member = archive.getinfo("x.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        return np.load(_reader(data))["x"]
    # The local header is 30 bytes, a name and an extra field, whose lengths may differ from those in the central
    # directory (PKWARE APPNOTE.TXT, 4.3.7).
    header = data[member.header_offset : member.header_offset + 30]
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = member.header_offset + 30 + lengths
    return decode_npy(data[start : start + member.file_size])


def _reader(data: memoryview) -> io.BufferedReader:
    return io.BufferedReader(BufferFile(data))


DECODERS = {
    "npz": decode_npz,
    "npy": decode_npy,
    "jpeg": None,
    "png": None,
    "hdf5": None,
    "csv": None,
    # DLIO's reader of this format invents samples and opens no file.
    "synthetic": None,
}


# The formats of a workload: the readers of the last three are replaced elsewhere (`indexed`, `tfrecord`).
FORMATS = (*DECODERS, "indexed_binary", "mmap_indexed_binary", "tfrecord")


def read_objects(reader: Any, format: str) -> None:
    """Make a reader of DLIO open URIs, unless its format is not in `DECODERS`; each object is recorded as a `read`."""
    if format not in DECODERS:
        return
    decode = DECODERS[format]
    open_file = reader.open

    def open_object(uri: str) -> Any:
        with Record("read", uri) as record:
            data = s3dlio.get(uri)
            record.bytes = data.nbytes
        try:
            return open_file(_reader(data)) if decode is None else decode(data)
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise s3dlio.S3dlioError(
                f"{ORIGIN}{uri} is not a readable {format} file: {error}; generate the data again", uri=uri
            ) from error

    reader.open = open_object
