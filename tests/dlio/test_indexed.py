# SPDX-License-Identifier: Apache-2.0
"""The indexed binary formats: a sample is a range, and a wrong index is an error that names the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.dlio.record import records
from s3dlio.dlio.record.totals import summarise
from s3dlio.dlio.run.indexed import object_reader


class DlioReader:
    """The common part of DLIO's two readers: the names of index files, and the map that holds them."""

    def __init__(self) -> None:
        self.file_map_ibr: dict[str, Any] = {}
        self.load_index()

    def load_index(self) -> None:
        raise AssertionError("opens local files")

    def index_file_path_off(self, prefix: str) -> str:
        return prefix + ".off.idx"

    def index_file_path_size(self, prefix: str) -> str:
        return prefix + ".sz.idx"


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three samples, of 100, 200 and 300 bytes."""
    monkeypatch.setenv(records.FOLDER_VARIABLE, str(tmp_path / "metrics"))
    uri = f"file://{tmp_path}/data/a.indexed_binary"
    s3dlio.put_bytes(uri, bytes(600))
    s3dlio.put_bytes(uri + ".off.idx", struct.pack("3Q", 0, 100, 300))
    s3dlio.put_bytes(uri + ".sz.idx", struct.pack("3Q", 100, 200, 300))
    return uri


def test_each_sample_is_one_range_and_the_index_is_read_once(uri: str, tmp_path: Path) -> None:
    reader = object_reader(DlioReader)()
    for sample in (2, 0, 1):
        reader.get_sample(reader.open(uri), sample)
        reader.close(uri)
    found = summarise(tmp_path / "metrics")
    assert (found["read"].operations, found["read"].bytes) == (3, 600)
    assert (found["index"].operations, found["index"].bytes) == (1, 48)


def test_a_sample_beyond_the_index_is_an_error(uri: str) -> None:
    with pytest.raises(s3dlio.S3dlioError, match=f"{uri}: cannot read sample 3: the index has 3 samples"):
        object_reader(DlioReader)().get_sample(uri, 3)


def test_a_sample_beyond_the_data_is_an_error(uri: str) -> None:
    s3dlio.put_bytes(uri, bytes(599))
    with pytest.raises(s3dlio.S3dlioError, match=f"{uri} ends inside sample 2"):
        object_reader(DlioReader)().get_sample(uri, 2)


def test_an_index_cut_short_is_an_error(uri: str) -> None:
    s3dlio.put_bytes(uri + ".sz.idx", bytes(20))
    with pytest.raises(s3dlio.S3dlioError, match=r"a\.indexed_binary\.sz\.idx: 20 bytes are not an index"):
        object_reader(DlioReader)().get_sample(uri, 0)
