# SPDX-License-Identifier: Apache-2.0
"""CRC32C of views, of joined pieces, and as text."""

from __future__ import annotations

import google_crc32c
import pytest

from s3dlio.memory.checksums import crc32c, crc32c_joined, crc32c_text, md5_hex
from tests.behavior.content import content


def test_the_crc32c_of_views_equals_that_of_their_bytes() -> None:
    data = memoryview(content(300_001))
    assert crc32c([data[:5], data[5:200_000], data[200_000:]]) == google_crc32c.value(bytes(data))
    assert crc32c([data[7:]], crc32c([data[:7]])) == google_crc32c.value(bytes(data))


def test_the_check_value_of_the_castagnoli_polynomial() -> None:
    assert crc32c([memoryview(b"123456789")]) == 0xE3069283  # RFC 3720, section B.4, and every catalog of CRCs


@pytest.mark.parametrize("cut", [0, 1, 7, 131_072, 299_999, 300_000])
def test_the_crc32c_of_joined_pieces_follows_from_those_of_the_pieces(cut: int) -> None:
    data = memoryview(content(300_000))
    first, second = crc32c([data[:cut]]), crc32c([data[cut:]])
    assert crc32c_joined(first, second, len(data) - cut) == crc32c([data])


def test_many_pieces_join_in_order() -> None:
    data = memoryview(content(1 << 20))
    value = 0
    for start in range(0, len(data), 70_001):
        piece = data[start : start + 70_001]
        value = crc32c_joined(value, crc32c([piece]), len(piece))
    assert value == crc32c([data])


def test_checksums_as_text() -> None:
    assert crc32c_text(crc32c([memoryview(b"hello")])) == "mnG7TA=="
    assert md5_hex([memoryview(b"he"), memoryview(b"llo")]) == "5d41402abc4b2a76b9719d911017c592"
