# SPDX-License-Identifier: Apache-2.0
"""Keys of HMAC-SHA256, for services that sign each request with the same one."""

from __future__ import annotations

import hashlib

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class HmacKey:
    """A key of HMAC-SHA256 (RFC 2104), the two blocks that it is padded to hashed already: half the time of `hmac`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def after(self, beginning: bytes) -> HmacKey:
        """The key for the rests of messages that all begin so."""
        key = HmacKey.__new__(HmacKey)
        key._inner, key._outer = self._inner.copy(), self._outer
        key._inner.update(beginning)
        return key

    def sign(self, message: bytes) -> hashlib._Hash:
        """The authentication code of a message, as a hash."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer
