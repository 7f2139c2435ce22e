# SPDX-License-Identifier: Apache-2.0
"""Compare what a service stored with what was sent.

Each service reports size, checksum and ETag in fields of its own, and not every answer has them all. The service's
`writing` module puts both sides into one form (`Stored`), and this module compares them, at three moments of a write:

- The answer to the write names another checksum or ETag than that of the bytes sent: `check_stored` raises.
- S3DLIO_PUT_VERIFY asks for the stored object after the write: `verify_stored` raises if it differs.
- An upload no longer exists when it should be completed, perhaps because an earlier try succeeded and its answer was
  lost: `Stored.matches` tells whether the stored object is this upload.
"""

from __future__ import annotations

from typing import NamedTuple

from s3dlio.errors import IntegrityError
from s3dlio.http.address import Address
from s3dlio.stores.refusals import error_at


class Stored(NamedTuple):
    """The known facts about an object's content. An unknown fact is None.

    Attributes:
        size: bytes.
        checksum: in the form in which the service writes it.
        etag: the ETag, or another name of this version of the object.
    """

    size: int | None = None
    checksum: str | None = None
    etag: str | None = None

    def matches(self, other: Stored) -> bool | None:
        """Compare the facts that are known of both.

        Returns:
            False if one differs. True if none differs and the checksum or the ETag is known of both. None otherwise.
        """
        equal = [None if None in pair else pair[0] == pair[1] for pair in zip(self, other, strict=True)]
        if False in equal:
            return False
        return True if True in equal[1:] else None  # an equal size alone proves nothing


def check_stored(uri: str, address: Address, sent: Stored, stored: Stored) -> None:
    """Raise IntegrityError if `stored`, the facts in the answer to a write, say that other bytes were stored."""
    if sent.matches(stored) is False:
        raise stored_other_bytes(uri, address)


def verify_stored(uri: str, address: Address, sent: Stored, stored: Stored, *, prove: bool = True) -> None:
    """Raise IntegrityError if the stored object is not the one that was sent.

    With `prove`, an object counts as another one if neither a checksum nor an ETag can be compared.
    """
    match = sent.matches(stored)
    if match is False or (prove and match is None):
        raise error_at(
            IntegrityError,
            uri,
            address,
            f"{sent.size} bytes were written, and {stored.size} bytes with another checksum or ETag are stored",
            "check whether another client writes the same object, then write the object again",
        )


def stored_other_bytes(uri: str, address: Address, then: str = "") -> IntegrityError:
    """Make the error for a write whose answer names other bytes than were sent; `then` says what was done about it."""
    why = f"the service stored other bytes than were sent{then}"
    return error_at(IntegrityError, uri, address, why, "write the object again, and check the network and the service")
