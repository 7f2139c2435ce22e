# SPDX-License-Identifier: Apache-2.0
"""Compare what a service stored with what was sent.

Each service says in its own fields what it stores, and not every answer says all of it. Its `writing` module puts both
sides into the same form (`Stored`); whether they match is decided here, for each of the three moments of a write:

- The answer to the write names another checksum or ETag than that of the bytes sent: `check_stored` raises.
- With S3DLIO_PUT_VERIFY the object is looked at once more: `verify_stored` raises if it differs.
- An upload is gone when it is to be completed, perhaps because an earlier try succeeded and its answer was lost:
  `Stored.matches` tells whether the object that is stored is this upload.

A size alone never proves that two objects are the same.
"""

from __future__ import annotations

from typing import NamedTuple

from s3dlio.errors import IntegrityError
from s3dlio.http.address import Address
from s3dlio.stores.refusals import error_at


class Stored(NamedTuple):
    """What is known of an object's content. None for what is not known.

    Attributes:
        size: bytes.
        checksum: in the form in which the service writes it.
        etag: or what else names this very version of the object.
    """

    size: int | None = None
    checksum: str | None = None
    etag: str | None = None

    def matches(self, other: Stored) -> bool | None:
        """Compare what is known of both.

        Returns:
            False if something differs, True if nothing does and the checksum or the ETag is the same, None if neither
            of these is known of both.
        """
        proven = None
        for index, (here, there) in enumerate(zip(self, other, strict=True)):
            if here is not None and there is not None:
                if here != there:
                    return False
                proven = proven or index > 0 or None
        return proven


def check_stored(uri: str, address: Address, sent: Stored, stored: Stored) -> None:
    """Raise IntegrityError if the answer to a write says that other bytes were stored.

    Args:
        uri: the object.
        address: the server that answered.
        sent: what was sent.
        stored: what the answer says.
    """
    if sent.matches(stored) is False:
        raise stored_other_bytes(uri, address)


def verify_stored(uri: str, address: Address, sent: Stored, stored: Stored, *, prove: bool = True) -> None:
    """Raise IntegrityError if an object that was looked at after it was written is not what was sent.

    Args:
        uri: the object.
        address: the server that answered.
        sent: what was sent.
        stored: what is stored now.
        prove: whether an object counts as another one if neither a checksum nor an ETag can be compared.
    """
    match = sent.matches(stored)
    if match is False or (prove and match is None):
        raise error_at(
            IntegrityError,
            uri,
            address,
            f"{sent.size} bytes were written, and {stored.size} bytes with another checksum or ETag are stored",
            "check whether somebody else writes the same object, and write it again",
        )


def stored_other_bytes(uri: str, address: Address, then: str = "") -> IntegrityError:
    """Make the error for a write whose answer names other bytes than were sent.

    Args:
        uri: the object.
        address: the server that answered.
        then: what has been done about it, as the end of a sentence.
    """
    why = f"the service stored other bytes than were sent{then}"
    return error_at(IntegrityError, uri, address, why, "write the object again, and check the network and the service")
