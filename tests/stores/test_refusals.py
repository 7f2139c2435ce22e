# SPDX-License-Identifier: Apache-2.0
"""The table of refusals: the code decides, then the status, and every message says what to check."""

from __future__ import annotations

from itertools import product

import pytest

import s3dlio
from s3dlio.http.address import Address
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.http.response import Response
from s3dlio.objects.retry import TRANSIENT
from s3dlio.stores.azure.refusals import REFUSALS as AZURE
from s3dlio.stores.gcs.refusals import REFUSALS as GCS
from s3dlio.stores.refusals import Advice, Refusals
from s3dlio.stores.s3.refusals import REFUSALS as S3

TABLE = Refusals(
    "a service",
    {"Gone": Advice(s3dlio.ObjectNotFoundError, "look elsewhere"), "Odd": Advice(None, "look closely")},
    {403: Advice(s3dlio.PermissionDeniedError, "ask for it")},
)


def answer(status: int, reason: str = "Reason") -> Response:
    head = ResponseHead(status, reason, {}, BodyKind.LENGTH, 0, True)
    return Response(head, memoryview(b""), Address(False, "127.0.0.1", 9))


@pytest.mark.parametrize(
    ("code", "status", "kind", "hint"),
    [
        ("Gone", 403, s3dlio.ObjectNotFoundError, "look elsewhere"),
        ("Odd", 403, s3dlio.PermissionDeniedError, "look closely"),
        ("Odd", 418, s3dlio.S3dlioError, "look closely"),
        ("Unknown", 403, s3dlio.PermissionDeniedError, "ask for it"),
        ("", 504, s3dlio.StoreTimeoutError, "the service takes too long: try again later"),
        ("", 503, s3dlio.StoreUnavailableError, "the service cannot answer now: try again later"),
        ("Unknown", 418, s3dlio.S3dlioError, ""),
    ],
)
def test_the_code_decides_and_then_the_status(
    code: str, status: int, kind: type[s3dlio.S3dlioError], hint: str
) -> None:
    error = TABLE.error(answer(status), "s3://b/k", code, "as it says")
    assert type(error) is kind
    said = f"s3://b/k at http://127.0.0.1:9: {status} {code} as it says".replace("  ", " ")
    assert str(error) == (f"{said}; {hint}" if hint else said)
    assert (error.uri, error.endpoint, error.status) == ("s3://b/k", "http://127.0.0.1:9", status)


def test_an_answer_without_a_code_is_named_by_its_reason() -> None:
    assert str(TABLE.error(answer(418, "Teapot"), "s3://b/k", "", "")) == "s3://b/k at http://127.0.0.1:9: 418 Teapot"


@pytest.mark.parametrize(("table", "status"), list(product([S3, AZURE, GCS], sorted(TRANSIENT))))
def test_a_status_that_may_pass_means_the_same_on_every_service(table: Refusals, status: int) -> None:
    kind, hint = table.advice("", status)
    assert kind in (s3dlio.StoreTimeoutError, s3dlio.StoreUnavailableError)
    assert "try again later" in hint
