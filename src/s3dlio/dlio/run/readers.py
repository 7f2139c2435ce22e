# SPDX-License-Identifier: Apache-2.0
"""DLIO's readers, given objects instead of paths.

Strategy: a reader of DLIO gets its file by `open(path)` and hands on what a library made of it: an array,
an image, an h5py file. All those libraries also take a file object, so DLIO's own `open` is called with one
that reads from the pooled buffer `s3dlio.get` returned, and each format is decoded exactly as DLIO decodes
it. For npy and npz, where decoding is finding the array in the file, the array is a view of that buffer and
nothing is copied.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import s3dlio
from s3dlio.dlio.record.counters import ORIGIN, Operation
from s3dlio.dlio.run.files import BufferFile

# What is made of an object, by the name of DLIO's format; None: whatever DLIO's own reader makes of a file.
DECODERS: dict[str, Callable[[memoryview], Any] | None]


def decode_npy(data: memoryview) -> Any:
    """The array of an npy file, as a view of the file's buffer.

    Args:
        data: the whole file.

    Returns:
        A numpy array of the shape and type that the file's header names.

    Raises:
        ValueError: it is not an npy file, or holds Python objects.
        TypeError: it is shorter than its header says.
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
        raise ValueError("an npy file of Python objects is not read: loading it could run code")
    return np.ndarray(shape, dtype, buffer=data, offset=file.tell(), order="F" if fortran_order else "C")


def decode_npz(data: memoryview) -> Any:
    """The array `x` of an npz file: a view of the file's buffer, or a new array if it is compressed.

    Args:
        data: the whole file.

    Returns:
        The numpy array that DLIO's generator stored under the name `x`.

    Raises:
        zipfile.BadZipFile: it is not an npz file. KeyError: it has no `x`.
    """
    import numpy as np

    with zipfile.ZipFile(_reader(data)) as archive:
        member = archive.getinfo("x.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        return np.load(_reader(data))["x"]
    # The local header ends in a name and an extra field of its own, which may differ in length from the
    # central directory's (PKWARE APPNOTE.TXT, 4.3.7): 30 bytes, then both.
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
    # Its reader makes samples up and opens nothing.
    "synthetic": None,
}


# Those and the formats whose readers `registration` replaces.
FORMATS = (*DECODERS, "indexed_binary", "mmap_indexed_binary", "tfrecord")


def read_objects(reader: Any, format: str) -> None:
    """Make a reader of DLIO open URIs, with one recorded `read` each.

    Args:
        reader: a FormatReader, changed in place.
        format: the name of its format. A format that is not in `DECODERS` is left alone.
    """
    if format not in DECODERS:
        return
    decode = DECODERS[format]
    open_file = reader.open

    def open_object(uri: str) -> Any:
        with Operation("read", uri) as operation:
            data = s3dlio.get(uri)
            operation.bytes = data.nbytes
        try:
            return open_file(_reader(data)) if decode is None else decode(data)
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise s3dlio.S3dlioError(f"{ORIGIN}{uri}: is not a readable {format} file: {error}", uri=uri) from error

    reader.open = open_object
