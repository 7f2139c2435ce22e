# SPDX-License-Identifier: Apache-2.0
"""Two descriptions of an object match only if a checksum or an ETag proves it and nothing differs."""

from __future__ import annotations

import pytest

import s3dlio
from s3dlio.http.address import Address
from s3dlio.stores.stored import Stored, check_stored, verify_stored

ADDRESS = Address(False, "127.0.0.1", 9)
SENT = Stored(5, "crc", "etag")

CASES = {
    "everything is the same": (Stored(5, "crc", "etag"), True),
    "the checksum is the same": (Stored(None, "crc", None), True),
    "the ETag is the same": (Stored(5, None, "etag"), True),
    "nothing is known": (Stored(), None),
    "only the size is the same": (Stored(5), None),
    "the size differs": (Stored(6, "crc", "etag"), False),
    "the checksum differs": (Stored(5, "other", "etag"), False),
    "the ETag differs": (Stored(5, "crc", "other"), False),
    "only the size is known, and differs": (Stored(6), False),
}


@pytest.mark.parametrize(("stored", "match"), CASES.values(), ids=CASES.keys())
def test_the_facts_that_are_known_of_both_are_compared(stored: Stored, match: bool | None) -> None:
    assert SENT.matches(stored) is match
    assert stored.matches(SENT) is match


@pytest.mark.parametrize(("stored", "match"), CASES.values(), ids=CASES.keys())
def test_the_answer_to_a_write_is_refused_only_if_a_fact_differs(stored: Stored, match: bool | None) -> None:
    if match is not False:
        check_stored("s3://b/k", ADDRESS, SENT, stored)
        return
    with pytest.raises(s3dlio.IntegrityError, match="the service stored other bytes than were sent") as caught:
        check_stored("s3://b/k", ADDRESS, SENT, stored)
    assert str(caught.value).startswith("s3://b/k at http://127.0.0.1:9: ")
    assert (caught.value.uri, caught.value.endpoint) == ("s3://b/k", "http://127.0.0.1:9")


@pytest.mark.parametrize("prove", [True, False])
@pytest.mark.parametrize(("stored", "match"), CASES.values(), ids=CASES.keys())
def test_a_stored_object_without_a_proof_is_refused_if_the_service_has_proofs(
    stored: Stored, match: bool | None, prove: bool
) -> None:
    if match or (match is None and not prove):
        verify_stored("s3://b/k", ADDRESS, SENT, stored, prove=prove)
        return
    with pytest.raises(s3dlio.IntegrityError, match=f"5 bytes were written, and {stored.size} bytes"):
        verify_stored("s3://b/k", ADDRESS, SENT, stored, prove=prove)
