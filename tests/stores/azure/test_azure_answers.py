# SPDX-License-Identifier: Apache-2.0
"""Answers that Azure Blob Storage documents or is known to send, and that Azurite does not send, byte for byte.

Each case names the page that documents it, below https://learn.microsoft.com/rest/api/storageservices/.
"""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, NamedTuple

import pytest

import s3dlio
from s3dlio.runtime.run import run
from s3dlio.stores.azure.store import AzureStore
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.behavior.content import content
from tests.replay import Received, Replay, answer

MIB = 1 << 20
URI = "az://container/key"
KEY = base64.b64encode(b"a secret key").decode()
SAS = "sv=2021-12-02&sr=c&sp=rl&se=2999-01-01T00:00:00Z&sig=a%2Bsecret%2Fsignature%3D"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"

CODES = "blob-service-error-codes"
COMMON = "common-rest-api-error-codes"
STATUS = "status-and-error-codes2"

CREATED = answer(201, headers={"ETag": '"0x8CB171BA9E94B0B"', "x-ms-request-server-encrypted": "true"})


def error(status: int, code: str, detail: str = "", headers: dict[str, str] | None = None) -> bytes:
    """An error as status-and-error-codes2 shows it."""
    more = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    body = (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>As documented.\n'
        f"RequestId:b7f1d6ff-601e-0000-0a51-b7f1d6000000\nTime:2026-01-01T00:00:00.0000000Z</Message>{more}</Error>"
    )
    fields = {"Content-Type": "application/xml", "x-ms-error-code": code, "Server": "Windows-Azure-Blob/1.0"}
    return answer(status, body, {**fields, "Date": formatdate(usegmt=True), **(headers or {})})


def use(server: Replay) -> None:
    """Make a server the endpoint, with an account key."""
    os.environ.update(AZURE_STORAGE_ENDPOINT=f"{server.url}/account", AZURE_STORAGE_ACCOUNT_KEY=KEY)


def use_sas(server: Replay) -> None:
    """Make a server the endpoint, with a shared access signature."""
    os.environ.update(AZURE_STORAGE_ENDPOINT=f"{server.url}/account", AZURE_STORAGE_SAS_TOKEN=SAS)


def use_nothing(server: Replay) -> None:
    """Make a server the endpoint, without credentials."""
    os.environ.update(AZURE_STORAGE_ENDPOINT=f"{server.url}/account", S3DLIO_NO_SIGN="1")


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def found(body: bytes, status: int = 200, **headers: str) -> bytes:
    """An answer to Get Blob."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(status, body, {"ETag": '"0x8CB171BA9E94B0B"', "x-ms-blob-type": "BlockBlob", **fields})


def _get() -> bytes:
    return bytes(s3dlio.get(URI))


def _put() -> None:
    s3dlio.put_bytes(URI, b"content")


def _delete() -> None:
    s3dlio.delete(URI)


def _list() -> list[str]:
    return s3dlio.list("az://container/")


# Refusals...


class Refusal(NamedTuple):
    """An answer that ends a call: where it is documented, what it is, the call, and what the call raises."""

    page: str
    answer: bytes
    call: Callable[[], Any]
    kind: type[s3dlio.S3dlioError]
    says: str
    use: Callable[[Replay], None] = use


MAC_DETAIL = (
    "The MAC signature found in the HTTP request 'c2lnbmF0dXJl' is not the same as any computed signature. Server used"
    " following string to sign: 'GET x-ms-date'."
)
PAST = formatdate(time.time() - 7200, usegmt=True)
DENIED, NOT_FOUND, OTHER = s3dlio.PermissionDeniedError, s3dlio.ObjectNotFoundError, s3dlio.S3dlioError
MISCONFIGURED = s3dlio.ConfigurationError

REFUSALS = [
    Refusal(COMMON, error(403, "AuthenticationFailed", MAC_DETAIL), _get, DENIED, "check AZURE_STORAGE_ACCOUNT_KEY"),
    Refusal(
        "authorize-with-shared-key",  # "Specifying the date header"
        error(403, "AuthenticationFailed", f"Request date header too old: '{PAST}'", {"Date": PAST}),
        _put,
        DENIED,
        "minutes ahead: set it",
    ),
    Refusal(
        "service-sas-error-codes",
        error(
            403,
            "AuthenticationFailed",
            "Signature not valid in the specified time frame: Start [A] - Expiry [B] - Current [C]",
        ),
        _get,
        DENIED,
        "Expiry [B]",
        use_sas,
    ),
    Refusal(
        "service-sas-error-codes",
        error(403, "AuthenticationFailed", "Signature did not match. String to sign used was r sig=whatever"),
        _get,
        DENIED,
        "the shared access signature (it allows 'rl') does not allow this",
        use_sas,
    ),
    Refusal(COMMON, error(403, "AuthorizationPermissionMismatch"), _put, DENIED, "Storage Blob Data Contributor"),
    Refusal(COMMON, error(403, "AuthorizationFailure"), _get, DENIED, "firewall"),
    Refusal(COMMON, error(403, "AuthorizationProtocolMismatch"), _get, DENIED, "https only", use_sas),
    Refusal(COMMON, error(403, "AuthorizationResourceTypeMismatch"), _list, DENIED, "srt=co", use_sas),
    Refusal(COMMON, error(403, "AuthorizationServiceMismatch"), _list, DENIED, "ss=b", use_sas),
    Refusal(COMMON, error(403, "AuthorizationSourceIPMismatch"), _get, DENIED, "this machine's address", use_sas),
    Refusal(COMMON, error(403, "KeyBasedAuthenticationNotPermitted"), _get, DENIED, "use Entra ID"),
    Refusal(COMMON, error(403, "AccountIsDisabled"), _get, DENIED, "disabled"),
    Refusal(COMMON, error(403, "InsufficientAccountPermissions"), _put, DENIED, "the credentials are valid"),
    Refusal(COMMON, error(400, "AccountRequiresHttps"), _get, MISCONFIGURED, "https only"),
    Refusal(COMMON, error(404, "ResourceNotFound"), _get, MISCONFIGURED, "there is no account 'account'"),
    Refusal(COMMON, error(404, "ResourceNotFound"), _get, DENIED, "not public", use_nothing),
    Refusal(
        COMMON,
        answer(404, headers={"x-ms-error-code": "ResourceNotFound"}),
        lambda: s3dlio.exists(URI),
        DENIED,
        "not public",
        use_nothing,
    ),
    Refusal(
        COMMON,
        error(401, "NoAuthenticationInformation", headers={"WWW-Authenticate": "Bearer authorization_uri=https://x/y"}),
        _get,
        DENIED,
        "the container is not public",
        use_nothing,
    ),
    Refusal(COMMON, error(409, "PublicAccessNotPermitted"), _get, DENIED, "no public containers", use_nothing),
    Refusal(CODES, error(404, "BlobNotFound"), _get, NOT_FOUND, "no such object"),
    Refusal(CODES, error(404, "ContainerNotFound"), _get, NOT_FOUND, "no such container"),
    Refusal(CODES, error(404, "ContainerNotFound"), _delete, NOT_FOUND, "no such container"),
    Refusal(CODES, error(404, "ContainerNotFound"), _list, NOT_FOUND, "no such container"),
    Refusal(CODES, error(409, "ContainerBeingDeleted"), _put, OTHER, "wait half a minute"),
    Refusal(CODES, error(409, "BlobArchived"), _get, OTHER, "rehydrate it first"),
    Refusal(CODES, error(409, "BlobBeingRehydrated"), _get, OTHER, "leaving the archive tier"),
    Refusal(CODES, error(409, "BlobImmutableDueToPolicy"), _put, DENIED, "a policy"),
    Refusal(CODES, error(409, "BlobImmutableDueToLegalHold"), _delete, DENIED, "a policy"),
    Refusal(CODES, error(409, "SnapshotsPresent"), _delete, OTHER, "delete them first"),
    Refusal(CODES, error(409, "PendingCopyOperation"), _put, OTHER, "a copy to this blob is in progress"),
    Refusal(CODES, error(409, "BlockCountExceedsLimit"), _put, OTHER, "interrupted uploads have left too many blocks"),
    Refusal(CODES, error(409, "InvalidBlobType"), _put, OTHER, "an append blob or a page blob"),
    Refusal(CODES, error(412, "LeaseIdMissing"), _put, OTHER, "holds a lease"),
    Refusal(CODES, error(412, "LeaseIdMissing"), _delete, OTHER, "holds a lease"),
    Refusal(COMMON, error(400, "InvalidUri"), _get, s3dlio.InvalidURIError, "does not accept this name"),
    Refusal(COMMON, error(400, "OutOfRangeInput"), _put, s3dlio.InvalidURIError, "too long or too short"),
    Refusal(COMMON, error(400, "InvalidHeaderValue"), _put, OTHER, "400 InvalidHeaderValue As documented"),
    Refusal(STATUS, answer(418, "<html>teapot</html>", reason="Teapot"), _get, OTHER, "418 Teapot"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case.answer[9:12].decode()}-{case.says[:40]}")
def test_a_lasting_refusal_is_an_error_without_another_try(case: Refusal) -> None:
    with Replay([case.answer]) as server:
        case.use(server)
        began = time.monotonic()
        with pytest.raises(case.kind) as caught:
            case.call()
        assert time.monotonic() - began < 3
    raised = caught.value
    assert type(raised) is case.kind
    assert case.says in str(raised)
    assert server.url in str(raised)
    assert "az://container/" in str(raised)
    assert raised.endpoint == server.url
    assert raised.status == int(case.answer[9:12])
    for secret in (KEY, "signature%3D", "c2lnbmF0dXJl", "sig=", "string to sign", "RequestId"):
        assert secret not in str(raised)


@pytest.mark.parametrize(
    ("call", "status", "code", "kind"),
    [
        (_get, 503, "ServerBusy", s3dlio.StoreUnavailableError),
        (_get, 500, "InternalError", s3dlio.StoreUnavailableError),
        (_put, 500, "OperationTimedOut", s3dlio.StoreTimeoutError),
        (_put, 400, "Md5Mismatch", s3dlio.IntegrityError),
        (_put, 400, "Crc64Mismatch", s3dlio.IntegrityError),
    ],
)
def test_a_refusal_that_may_pass_is_tried_again_and_then_an_error(
    call: Callable[[], Any], status: int, code: str, kind: type[s3dlio.S3dlioError]
) -> None:
    """blob-service-error-codes, common-rest-api-error-codes."""
    os.environ["S3DLIO_RETRIES"] = "2"
    with Replay([error(status, code)] * 3) as server:
        use(server)
        with pytest.raises(kind, match=code):
            call()
    worked = found(b"content") if call is _get else CREATED
    with Replay([error(status, code, headers={"Retry-After": "0"}), worked]) as server:
        use(server)
        assert call() == (b"content" if call is _get else None)


def test_the_next_try_waits_as_long_as_the_service_asks() -> None:
    """503 ServerBusy may carry Retry-After: common-rest-api-error-codes."""
    with Replay([error(503, "ServerBusy", headers={"Retry-After": "1"}), found(b"content")]) as server:
        use(server)
        began = time.monotonic()
        assert _get() == b"content"
        assert time.monotonic() - began >= 1


# Tokens...


def challenge(status: int, code: str, detail: str = "") -> bytes:
    """authorize-with-azure-active-directory, "Bearer challenge"."""
    authority = f"https://login.microsoftonline.com/{TENANT}/oauth2/authorize"
    field = f"Bearer authorization_uri={authority} resource_id=https://storage.azure.com"
    return error(status, code, detail, {"WWW-Authenticate": field})


def identity(request: Received) -> bytes:
    """A managed identity whose tokens are numbered by the clock."""
    assert request.headers["x-identity-header"] == "identity-secret"
    expires = str(int(time.time() + 3600))
    body = {"access_token": f"token-{time.monotonic_ns()}", "expires_on": expires, "token_type": "Bearer"}
    return answer(200, json.dumps(body), {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "refused",
    [
        challenge(401, "InvalidAuthenticationInfo", "Lifetime validation failed. The token is expired."),
        error(403, "AuthenticationFailed", "Lifetime validation failed. The token is expired."),
    ],
    ids=["401", "403"],
)
def test_a_token_that_has_expired_is_renewed_and_the_request_sent_again(refused: bytes) -> None:
    """The second form: Azure/azure-sdk-for-java issue 8667."""
    with Replay(identity) as identities, Replay([found(b"content"), refused, found(b"content")]) as server:
        os.environ.update(IDENTITY_ENDPOINT=identities.url, IDENTITY_HEADER="identity-secret")
        os.environ["AZURE_STORAGE_ENDPOINT"] = f"{server.url}/account"
        assert _get() == b"content"
        store = store_for("az")
        assert isinstance(store, AzureStore)
        credential: Any = store.service().account.credential
        credential._tokens._held.since -= 60  # as if a minute had passed
        assert _get() == b"content"
    tokens = [request.headers["authorization"] for request in server.requests]
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(token.startswith("Bearer token-") for token in tokens)
    assert [request.headers["x-ms-version"] for request in server.requests] == ["2021-12-02"] * 3


def test_the_error_for_a_refused_token_names_the_right_tenant() -> None:
    refused = challenge(401, "InvalidAuthenticationInfo", "Issuer validation failed. Issuer did not match.")
    with Replay(identity) as identities, Replay(lambda _: refused) as server:
        os.environ.update(IDENTITY_ENDPOINT=identities.url, IDENTITY_HEADER="identity-secret")
        os.environ["AZURE_STORAGE_ENDPOINT"] = f"{server.url}/account"
        began = time.monotonic()
        with pytest.raises(s3dlio.PermissionDeniedError, match="Issuer validation failed") as caught:
            _get()
        assert time.monotonic() - began < 3
    assert f"the account belongs to the tenant {TENANT}" in str(caught.value)
    assert "token-" not in str(caught.value)
    assert len(server.requests) <= 4


# Reading...


@pytest.mark.parametrize(
    ("status", "headers", "right"),
    [
        (200, {}, True),  # get-blob: Content-MD5 comes only if the blob has one
        (200, {"Content_MD5": md5(b"content")}, True),
        (200, {"Content_MD5": md5(b"another")}, False),
        # get-blob: in the answer to a range, x-ms-blob-content-md5 is the whole blob's, Content-MD5 the range's
        (206, {"Content_Range": "bytes 0-6/7"}, True),
        (206, {"Content_Range": "bytes 0-6/7", "x_ms_blob_content_md5": md5(b"content")}, True),
        (206, {"Content_Range": "bytes 0-6/7", "x_ms_blob_content_md5": md5(b"another")}, False),
        (206, {"Content_Range": "bytes 0-6/7", "Content_MD5": md5(b"another")}, True),
    ],
)
def test_a_body_is_compared_with_the_md5_of_the_whole_blob(status: int, headers: dict[str, str], right: bool) -> None:
    with Replay([found(b"content", status, **headers)]) as server:
        use(server)
        if right:
            assert _get() == b"content"
        else:
            with pytest.raises(s3dlio.IntegrityError, match="MD5"):
                _get()


@pytest.mark.parametrize("wrong", [False, True])
def test_a_blob_read_in_parts_is_compared_with_the_md5_of_the_whole(wrong: bool) -> None:
    """get-blob: x-ms-blob-content-md5."""
    os.environ["S3DLIO_GET_PART_MB"] = "1"
    data = content(3 * MIB + 5)
    sent = md5(b"another" if wrong else data)

    def part(request: Received) -> bytes:
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        assert first in (0, 7) or request.headers["if-match"] == '"0x8CB171BA9E94B0B"'
        piece = data[first : last + 1]
        spans = f"bytes {first}-{first + len(piece) - 1}/{len(data)}"
        return found(piece, 206, Content_Range=spans, x_ms_blob_content_md5=sent)

    with Replay(part) as server:
        use(server)
        if wrong:
            with pytest.raises(s3dlio.IntegrityError, match="MD5"):
                _get()
        else:
            assert _get() == data
        assert s3dlio.get_range(URI, 7, 2 * MIB) == data[7 : 2 * MIB + 7]


def test_an_empty_blob_has_no_range() -> None:
    """specifying-the-range-header-for-blob-service-operations: 416 InvalidRange."""
    told = error(416, "InvalidRange", headers={"Content-Range": "bytes */0"})
    # If the answer does not tell the size, the whole blob is requested.
    with Replay([told, error(416, "InvalidRange"), found(b"")]) as server:
        use(server)
        assert _get() == b""
        assert _get() == b""


def test_a_blob_replaced_while_it_is_read_is_read_again() -> None:
    """specifying-conditional-headers-for-blob-service-operations: 412 ConditionNotMet."""
    os.environ["S3DLIO_GET_PART_MB"] = "1"
    old, new = b"1" * (2 * MIB), b"2" * MIB
    with Replay(
        [
            found(old[:MIB], 206, Content_Range=f"bytes 0-{MIB - 1}/{2 * MIB}"),
            error(412, "ConditionNotMet"),
            found(new, 206, Content_Range=f"bytes 0-{MIB - 1}/{MIB}"),
        ]
    ) as server:
        use(server)
        assert _get() == new


def test_an_error_between_parts_does_not_enter_the_checksum() -> None:
    """A body that is cut off, and 503 ServerBusy before the rest comes: common-rest-api-error-codes."""
    data = content(300_000)
    headers = {"Content_Range": f"bytes 0-{len(data) - 1}/{len(data)}", "x_ms_blob_content_md5": md5(data)}
    whole = found(data, 206, Connection="close", **headers)
    rest = {"Content_Range": f"bytes 100000-{len(data) - 1}/{len(data)}", "x_ms_blob_content_md5": md5(data)}
    cut = whole[: -len(data) + 100_000]
    with Replay([cut, error(503, "ServerBusy"), found(data[100_000:], 206, **rest)]) as server:
        use(server)
        assert _get() == data


# Writing...


def test_a_put_carries_what_the_service_wants() -> None:
    """put-blob."""
    with Replay([CREATED]) as server:
        use(server)
        _put()
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("PUT", "/account/container/key", b"content")
    headers = request.headers
    assert headers["x-ms-blob-type"] == "BlockBlob"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-ms-version"] == "2021-12-02"
    assert re.fullmatch(r"SharedKey account:[A-Za-z0-9+/]{43}=", headers["authorization"])
    assert len(base64.b64decode(headers["x-ms-content-crc64"])) == 8
    assert "content-md5" not in headers  # put-blob: both together are refused


def test_a_confirmation_of_other_bytes_is_an_error() -> None:
    """put-blob: the answer's x-ms-content-crc64 is computed by the service."""
    with Replay([answer(201, headers={"ETag": '"1"', "x-ms-content-crc64": "AAAAAAAAAAA="})]) as server:
        use(server)
        with pytest.raises(s3dlio.IntegrityError, match="other bytes than were sent"):
            _put()


def test_an_emulator_without_crc64_is_sent_md5_from_then_on() -> None:
    """Azurite 3.35 in its strict mode."""
    unknown = error(500, "FeatureNotSupported", headers={"Server": "Azurite-Blob/3.35.0"})
    with Replay([unknown, CREATED, CREATED]) as server:
        use(server)
        _put()
        _put()
    headers = [request.headers for request in server.requests]
    sent = [("x-ms-content-crc64" in fields, fields.get("content-md5")) for fields in headers]
    assert sent == [(True, None), (False, md5(b"content")), (False, md5(b"content"))]


@pytest.mark.parametrize("body", ["", "<html>Log in</html>", "{}"])
def test_a_write_whose_answer_has_no_etag_is_an_error(body: str) -> None:
    """put-blob: the answer carries the ETag."""
    with Replay([answer(201, body)] * 3) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=r"az://container/key at .* has no ETag, so that it is not known"):
            _put()
    with Replay([answer(201, body), CREATED]) as server:
        use(server)
        _put()
    assert [request.body for request in server.requests] == [b"content"] * 2


def test_a_list_of_blocks_whose_answer_has_no_etag_is_an_error() -> None:
    """put-block-list: the answer carries the ETag; put-block: it has none."""
    os.environ.update(S3DLIO_MULTIPART_THRESHOLD_MB="1", S3DLIO_PUT_PART_MB="5", S3DLIO_PARTS_IN_FLIGHT="1")
    with Replay([answer(201)] * 5) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="has no ETag"):
            s3dlio.put_bytes(URI, content(6 * MIB))


def test_after_a_copy_without_a_proof_this_machine_reads_and_writes() -> None:
    """copy-blob-from-url: x-ms-copy-status."""
    with Replay([answer(202), answer(202, headers={"x-ms-copy-status": "failed"}), answer(200), CREATED]) as server:
        use(server)
        assert [run(store_for("az").copy(parse(URI), parse(f"{URI}2"), 7)) for _ in range(4)] == [False] * 4


def test_a_list_of_blocks_may_be_sent_again() -> None:
    """put-block-list: "Latest" finds blocks that a lost answer had committed. 500 OperationTimedOut may have worked."""
    os.environ.update(S3DLIO_MULTIPART_THRESHOLD_MB="1", S3DLIO_PUT_PART_MB="5", S3DLIO_PARTS_IN_FLIGHT="1")
    with Replay([CREATED, CREATED, error(500, "OperationTimedOut"), CREATED]) as server:
        use(server)
        s3dlio.put_bytes(URI, content(6 * MIB))
    first, second = server.requests[2:]
    assert first.body == second.body
    names = [base64.b64decode(name) for name in re.findall(r"<Latest>(.*?)</Latest>", first.body.decode())]
    assert [name[-16:] for name in names] == [b"-000000000000001", b"-000000000000002"]
    assert first.headers["x-ms-blob-content-type"] == "application/octet-stream"


def test_an_upload_whose_blocks_were_dropped_begins_again_with_other_names() -> None:
    """put-block-list: a commit makes the service drop all uncommitted blocks; 400 InvalidBlockList."""
    os.environ.update(S3DLIO_MULTIPART_THRESHOLD_MB="1", S3DLIO_PUT_PART_MB="5", S3DLIO_PARTS_IN_FLIGHT="1")
    with Replay([CREATED, CREATED, error(400, "InvalidBlockList"), CREATED, CREATED, CREATED]) as server:
        use(server)
        s3dlio.put_bytes(URI, content(6 * MIB))
    lists = [re.findall(r"<Latest>(.*?)</Latest>", server.requests[number].body.decode()) for number in (2, 5)]
    assert len({name for names in lists for name in names}) == 4


def test_instead_of_a_copy_in_the_background_this_machine_reads_and_writes() -> None:
    """copy-blob: until the copy is complete, the target would exist without its content."""
    pending = answer(202, headers={"x-ms-copy-status": "pending", "x-ms-copy-id": "1"})
    done = answer(202, headers={"x-ms-copy-status": "success", "x-ms-copy-id": "1"})
    refused = error(403, "CannotVerifyCopySource")
    with Replay([pending, done, refused]) as server:
        use(server)
        results = [run(store_for("az").copy(parse(URI), parse(f"{URI}2"), 7)) for _ in range(3)]
    assert results == [False, True, False]
    assert {request.headers["x-ms-requires-sync"] for request in server.requests} == {"true"}
    assert KEY not in str(server.requests)


def test_a_shared_access_signature_goes_with_every_request() -> None:
    """create-service-sas."""
    with Replay([found(b"content"), answer(200, page([]))]) as server:
        use_sas(server)
        _get()
        _list()
    for request in server.requests:
        assert request.target.endswith(SAS.replace(":", "%3A"))
        assert "authorization" not in request.headers


# Listings...


def page(names: list[str], marker: str = "", blobs: str = "") -> str:
    """An answer to List Blobs, with the byte order mark that the service sends."""
    blobs += "".join(
        f"<Blob><Name>{name}</Name><Properties><Content-Length>3</Content-Length></Properties></Blob>" for name in names
    )
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://account.blob.core.'
        f'windows.net/" ContainerName="container"><Prefix /><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker>'
        "</EnumerationResults>"
    )


def test_a_page_may_be_empty_and_not_be_the_last() -> None:
    """enumerating-blob-resources: only an empty NextMarker ends a listing."""
    pages = [answer(200, page([], "2!88!a")), answer(200, page(["a"], "2!88!b&amp;/+")), answer(200, page(["b"]))]
    with Replay(pages) as server:
        use(server)
        assert _list() == ["az://container/a", "az://container/b"]
    assert ["marker=" in request.target for request in server.requests] == [False, True, True]
    assert "marker=2%2188%21b%26%2F%2B&" in server.requests[2].target
    with Replay([pages[0], answer(200, page(["folder/a"], "2!88!b"))]) as server:
        use(server)
        assert s3dlio.is_prefix("az://container/folder")


def test_names_that_xml_cannot_hold_come_encoded() -> None:
    """list-blobs: from version 2021-02-12 on, the attribute Encoded."""
    blobs = '<Blob><Name Encoded="true">a%EF%BF%BEb%2520</Name></Blob>'
    blobs += '<BlobPrefix><Name Encoded="true">%EF%BF%BF/</Name></BlobPrefix>'
    with Replay([answer(200, page(["plain%20"], blobs=blobs))]) as server:
        use(server)
        assert _list() == ["az://container/a\ufffeb%20", "az://container/plain%20", "az://container/\uffff/"]


@pytest.mark.parametrize(
    ("body", "says"),
    [(page(["a"], "same"), "continues where it already was"), ("<html>a proxy", "not XML"), ("", "not XML")],
)
def test_a_listing_that_cannot_be_trusted_is_an_error(body: str, says: str) -> None:
    with Replay(lambda _: answer(200, body)) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=says):
            _list()


# Accounts with a hierarchical namespace, where folders are blobs...


def test_a_folder_of_a_hierarchical_namespace_is_not_an_object() -> None:
    """get-blob-properties: x-ms-resource-type, and the metadata hdi_isfolder."""
    for headers in ({"x-ms-resource-type": "directory"}, {"x-ms-meta-hdi_isfolder": "true"}):
        with Replay([answer(200, headers={"ETag": '"1"', **headers})] * 2) as server:
            use(server)
            assert s3dlio.exists("az://container/folder") is False
            with pytest.raises(s3dlio.ObjectNotFoundError, match="a folder, not an object"):
                s3dlio.stat("az://container/folder")


def test_folders_of_a_hierarchical_namespace_are_not_listed_and_go_last() -> None:
    """list-blobs: ResourceType; a folder that is not empty cannot be deleted (409 DirectoryIsNotEmpty)."""

    def folder(name: str) -> str:
        return f"<Blob><Name>{name}</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>"

    listed = page(["f/a", "f/sub/b"], blobs=folder("f/sub") + folder("f/sub/deep"))
    deleted = answer(202)
    with Replay([answer(200, listed), answer(200, listed)] + [deleted] * 4) as server:
        use(server)
        assert s3dlio.list("az://container/f", recursive=True) == ["az://container/f/a", "az://container/f/sub/b"]
        s3dlio.delete("az://container/f", recursive=True)
    names = [request.target.partition("container/")[2] for request in server.requests if request.method == "DELETE"]
    assert sorted(names[:2]) == ["f/a", "f/sub/b"]
    assert names[2:] == ["f/sub/deep", "f/sub"]
