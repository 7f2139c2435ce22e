"""Checksums of views.

`google_crc32c` takes only `bytes`, so a view is passed on in copies of 128 KiB, which stay in the cache: 7.6 GiB/s
against 5.2 for one large `bytes`, both on one core.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import google_crc32c

_PIECE = 128 * 1024


def crc32c(views: Iterable[memoryview], value: int = 0) -> int:
    """The CRC32C (Castagnoli) of some views one after the other.

    Args:
        views: format "B".
        value: the CRC32C of what comes before.
    """
    for view in views:
        for start in range(0, len(view), _PIECE):
            value = google_crc32c.extend(value, bytes(view[start : start + _PIECE]))
    return value


def crc32c_text(value: int) -> str:
    """A CRC32C as S3 and GCS write it: base64 of its four bytes, the highest first."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def md5_hex(views: Iterable[memoryview]) -> str:
    """The MD5 of some views one after the other, in hexadecimal; for comparison, not for security."""
    digest = hashlib.md5(usedforsecurity=False)
    for view in views:
        digest.update(view)
    return digest.hexdigest()
