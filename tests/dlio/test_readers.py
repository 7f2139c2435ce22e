# SPDX-License-Identifier: Apache-2.0
"""Decoding from a buffer gives the same arrays as numpy's loader, without a copy if possible."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s3dlio
from s3dlio.dlio.record import records
from s3dlio.dlio.record.totals import summarise
from s3dlio.dlio.run.readers import decode_npy, decode_npz, read_objects

ARRAYS = {
    "bytes": np.arange(60, dtype=np.uint8).reshape(5, 4, 3),
    "fortran order": np.asfortranarray(np.arange(60.0).reshape(5, 4, 3)),
    "big-endian": np.arange(7, dtype=">i4"),
    "scalar": np.array(3.5, dtype=np.float16),
    "empty": np.empty((0, 3), dtype=np.int64),
    "named fields": np.zeros(3, dtype=[("image", "u1", (2, 2)), ("label", "<i8")]),
}


def file_of(save: Any, *arrays: Any, **named: Any) -> memoryview:
    file = io.BytesIO()
    save(file, *arrays, **named)
    return memoryview(bytearray(file.getvalue()))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("save", ["npy", "npz", "compressed npz"])
def test_the_array_that_was_saved_comes_back(name: str, save: str) -> None:
    array = ARRAYS[name]
    if save == "npy":
        result = decode_npy(file_of(np.save, array))
    else:
        result = decode_npz(file_of(np.savez if save == "npz" else np.savez_compressed, x=array, y=[0]))
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    assert (result == array).all()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    array = ARRAYS["named fields"]
    result = decode_npy(file_of(partial(np.lib.format.write_array, version=version), array))
    assert (result == array).all()


@pytest.mark.parametrize("save", ["npy", "npz"])
def test_the_array_is_a_view_of_the_file(save: str) -> None:
    array = ARRAYS["bytes"]
    data = file_of(np.save, array) if save == "npy" else file_of(np.savez, x=array)
    result = (decode_npy if save == "npy" else decode_npz)(data)
    assert np.shares_memory(result, np.frombuffer(data, dtype=np.uint8))


def test_objects_that_could_run_code_are_refused() -> None:
    array = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="could run code"):
        decode_npy(file_of(np.save, array))
    with pytest.raises(ValueError, match="could run code"):
        decode_npz(file_of(np.savez, x=array))


class DlioReader:
    """DLIO's FormatReader, as far as s3dlio uses it: its `open` takes a path or a file."""

    def open(self, file: Any) -> Any:
        return file.read()


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(records.FOLDER_VARIABLE, str(tmp_path / "metrics"))
    return tmp_path / "metrics"


def test_other_formats_get_a_file_that_dlio_opens(tmp_path: Path, metrics: Path) -> None:
    uri = f"file://{tmp_path}/x.jpeg"
    s3dlio.put_bytes(uri, b"not really an image")
    reader = DlioReader()
    read_objects(reader, "jpeg")
    assert reader.open(uri) == b"not really an image"
    found = summarise(metrics)["read"]
    assert (found.operations, found.bytes) == (1, 19)


@pytest.mark.parametrize("cut", [0, 10, 200, 600])
@pytest.mark.parametrize("format", ["npy", "npz"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, format: str, cut: int) -> None:
    array = np.zeros(1000, dtype=np.uint8)
    whole = file_of(np.save, array) if format == "npy" else file_of(np.savez, x=array)
    uri = f"file://{tmp_path}/x.{format}"
    s3dlio.put_bytes(uri, whole[:cut])
    reader = DlioReader()
    read_objects(reader, format)
    with pytest.raises(s3dlio.S3dlioError, match=rf"^\[s3dlio\] {uri} is not a readable {format} file"):
        reader.open(uri)


def test_a_missing_file_is_an_error_and_counted(tmp_path: Path, metrics: Path) -> None:
    reader = DlioReader()
    read_objects(reader, "npz")
    with pytest.raises(s3dlio.ObjectNotFoundError):
        reader.open(f"file://{tmp_path}/missing.npz")
    assert summarise(metrics)["read"].errors == 1
