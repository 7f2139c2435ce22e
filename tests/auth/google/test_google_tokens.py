# SPDX-License-Identifier: Apache-2.0
"""Tokens of Google: every source of credentials, their renewal, and the errors without them."""

from __future__ import annotations

import base64
import json
import os
import pickle
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from s3dlio.auth.google.tokens import Token, TokenSource
from s3dlio.errors import (
    ConfigurationError,
    PermissionDeniedError,
    S3dlioError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from s3dlio.objects import one_off
from s3dlio.settings import current
from tests.auth.google.key_files import EMAIL, authorized_user, external_account, private_key, service_account, written
from tests.replay import Received, Replay, answer
from tests.threads import side_by_side, until

NOWHERE = "127.0.0.1:9"
JSON = {"Content-Type": "application/json"}


def fetch(*arguments: Any, **options: Any) -> one_off.Answer:
    """A request with the settings of the test."""
    return one_off.fetch(current(), *arguments, **options)


def token(text: str, expires_in: float = 3600) -> bytes:
    """The answer of a token endpoint (RFC 6749, section 5.1)."""
    return answer(200, json.dumps({"access_token": text, "expires_in": expires_in, "token_type": "Bearer"}), JSON)


def refused(error: str, description: str, headers: dict[str, str] | None = None) -> bytes:
    """The refusal of a token endpoint (RFC 6749, section 5.2)."""
    return answer(400, json.dumps({"error": error, "error_description": description}), {**JSON, **(headers or {})})


def source(key_file: str | None = None, **more: Any) -> TokenSource:
    """A source that finds no credentials except the given ones."""
    more = {"fetch": fetch, "config_folder": os.devnull, "metadata_host": NOWHERE, **more}
    return TokenSource(key_file=key_file, **more)


def instead(url: str) -> Any:
    """A `fetch` that sends requests for Google's servers to a test server."""

    def ask(method: str, asked: str, *arguments: Any, **options: Any) -> Any:
        parts = urlsplit(asked)
        assert parts.hostname is not None
        assert parts.hostname.endswith(".googleapis.com")
        return fetch(method, url + parts.path, *arguments, **options)

    return ask


def held(tokens: TokenSource) -> Any:
    """The current token with its times."""
    assert tokens._tokens._held is not None
    return tokens._tokens._held


def sent(found: Token) -> dict[str, str]:
    return dict(found.fields)


# Sources...


def test_a_service_account_signs_an_assertion(tmp_path: Path) -> None:
    with Replay([token("one")]) as server:
        path = written(tmp_path / "key.json", service_account(server.url + "/token"))
        assert sent(source(path).current()) == {"Authorization": "Bearer one"}
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/token")
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]  # RFC 7523
    head, claims, signature = form["assertion"][0].split(".")
    key = load_pem_private_key(private_key().encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    key.public_key().verify(
        base64.urlsafe_b64decode(signature + "=="), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256()
    )
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert said["iss"] == EMAIL
    assert said["scope"] == "https://www.googleapis.com/auth/devstorage.read_write"
    assert abs(said["iat"] - time.time()) < 60


def test_an_authorized_user_sends_the_refresh_token_and_is_billed(tmp_path: Path) -> None:
    with Replay([token("two")]) as server:
        path = written(tmp_path / "user.json", authorized_user())
        assert sent(source(path, fetch=instead(server.url)).current()) == {
            "Authorization": "Bearer two",
            "x-goog-user-project": "billed",
        }
    form = parse_qs(server.requests[0].body.decode())
    assert form["refresh_token"] == ["the refresh token"]


def test_an_external_account_exchanges_its_subject_token(tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("who I am")
    with Replay([token("three")]) as server:
        path = written(tmp_path / "key.json", external_account(server.url, tmp_path / "subject"))
        assert sent(source(path).current()) == {"Authorization": "Bearer three"}
    form = parse_qs(server.requests[0].body.decode())
    assert form["subject_token"] == ["who I am"]
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]  # RFC 8693


def test_an_impersonated_account_follows_the_chain(tmp_path: Path) -> None:
    minted = json.dumps({"accessToken": "borrowed", "expireTime": "2100-01-01T00:00:00Z"})
    info = {
        "type": "impersonated_service_account",
        "source_credentials": authorized_user(),
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        f"{EMAIL}:generateAccessToken",
    }
    with Replay([token("mine"), answer(200, minted, JSON)]) as server:
        path = written(tmp_path / "key.json", info)
        found = source(path, fetch=instead(server.url)).current()
        assert sent(found)["Authorization"] == "Bearer borrowed"
    assert server.requests[1].headers["authorization"] == "Bearer mine"
    assert EMAIL in server.requests[1].target.replace("%40", "@")


def test_the_file_that_gcloud_writes_is_found(tmp_path: Path) -> None:
    with Replay([token("four")]) as server:
        written(tmp_path / "application_default_credentials.json", authorized_user())
        assert (
            sent(source(config_folder=str(tmp_path), fetch=instead(server.url)).current())["Authorization"]
            == "Bearer four"
        )


def test_the_key_file_takes_precedence_over_the_file_of_gcloud(tmp_path: Path) -> None:
    with Replay([token("key's")]) as server:
        written(tmp_path / "application_default_credentials.json", authorized_user())
        path = written(tmp_path / "key.json", service_account(server.url))
        found = source(path, config_folder=str(tmp_path)).current()
        assert sent(found)["Authorization"] == "Bearer key's"


def test_without_a_file_the_metadata_server_gives_the_token() -> None:
    with Replay([token("five", 600)]) as server:
        tokens = source(metadata_host=server.url.removeprefix("http://"), quota_project="mine")
        assert sent(tokens.current()) == {"Authorization": "Bearer five", "x-goog-user-project": "mine"}
    assert abs(held(tokens).expires - time.time() - 600) < 5
    request = server.requests[0]
    assert request.target == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert request.headers["metadata-flavor"] == "Google"


def test_requests_to_token_endpoints_use_the_proxy_and_those_to_the_metadata_server_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Replay([token("by-the-proxy")]) as proxy, Replay([token("direct")]) as metadata:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("S3DLIO_TOKENS_OVER_HTTP", "1")
        path = written(tmp_path / "key.json", service_account("http://token.invalid/path"))
        assert sent(source(path).current())["Authorization"] == "Bearer by-the-proxy"
        found = source(metadata_host=metadata.url.removeprefix("http://")).current()
        assert sent(found)["Authorization"] == "Bearer direct"
    assert proxy.requests[0].target == "http://token.invalid/path"


def test_a_request_to_a_busy_token_endpoint_is_retried(tmp_path: Path) -> None:
    with Replay([answer(503, "busy"), token("later")]) as server:
        path = written(tmp_path / "key.json", service_account(server.url))
        assert sent(source(path).current())["Authorization"] == "Bearer later"


# Renewal...


def test_a_token_is_used_until_it_is_about_to_expire(tmp_path: Path) -> None:
    with Replay([token("first"), token("second", 0.5), token("third")]) as server:
        tokens = source(written(tmp_path / "key.json", service_account(server.url)))
        assert sent(tokens.current())["Authorization"] == "Bearer first"
        assert tokens.current() is tokens.current()
        tokens = source(written(tmp_path / "key.json", service_account(server.url)))
        assert sent(tokens.current())["Authorization"] == "Bearer second"
        time.sleep(0.45)
        assert sent(tokens.current())["Authorization"] == "Bearer third"


def test_the_old_token_is_used_while_the_next_one_cannot_be_fetched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Replay([token("good", 100), refused("invalid_grant", "no more")]) as server:
        tokens = source(written(tmp_path / "key.json", service_account(server.url)))
        first = tokens.current()
        held(tokens).refresh_at = time.time() - 1
        assert tokens.current() is first
        until(lambda: "cannot renew the token for gs://" in caplog.text)
        assert tokens.current() is first
        assert len(server.requests) == 2  # not one for each call
    assert "good" not in caplog.text


def test_a_replaced_key_file_takes_effect_with_the_next_token(tmp_path: Path) -> None:
    with Replay([token("old"), token("new")]) as server:
        path = written(tmp_path / "key.json", service_account(server.url + "/old"))
        tokens = source(path)
        old = tokens.current()
        written(tmp_path / "key.json", service_account(server.url + "/new"))
        assert tokens.renew(old)
        assert sent(tokens.current())["Authorization"] == "Bearer new"
    assert [request.target for request in server.requests] == ["/old", "/new"]


def test_a_refused_token_is_renewed_once_for_all_requests_that_sent_it(tmp_path: Path) -> None:
    with Replay([token("stale"), token("fresh")]) as server:
        tokens = source(written(tmp_path / "key.json", service_account(server.url)))
        stale = tokens.current()
        assert all(tokens.renew(stale) for _ in range(5))
        assert not tokens.renew(tokens.current())  # the new token is refused, too, so age is not the reason
    assert len(server.requests) == 2


def test_threads_share_one_token(tmp_path: Path) -> None:
    def slow(_: Received) -> bytes:
        time.sleep(0.2)
        return token("shared")

    with Replay(slow) as server:
        tokens = source(written(tmp_path / "key.json", service_account(server.url)))
        found = side_by_side([tokens.current] * 16)
        assert len(server.requests) == 1
    assert len({id(each) for each in found}) == 1


def test_the_token_stays_in_use_while_the_next_one_is_fetched(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()
    texts = iter(["first", "second"])

    def wait(_: Received) -> bytes:
        text = next(texts)
        if text == "second":
            asked.set()
            go_on.wait(10)
        return token(text)

    with Replay(wait) as server:
        tokens = source(written(tmp_path / "key.json", service_account(server.url)))
        assert sent(tokens.current())["Authorization"] == "Bearer first"
        held(tokens).refresh_at = 0.0
        assert sent(tokens.current())["Authorization"] == "Bearer first"
        try:
            assert asked.wait(10)
            assert sent(tokens.current())["Authorization"] == "Bearer first"
        finally:
            go_on.set()
        until(lambda: sent(tokens.current())["Authorization"] == "Bearer second")


def test_the_first_token_starts_no_thread(tmp_path: Path) -> None:
    with Replay([token("one")]) as server:
        path = written(tmp_path / "key.json", service_account(server.url))
        before = set(threading.enumerate())
        source(path).current()
        started = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in started if "_serve" not in name}


# Errors...


def _said(tokens: TokenSource, kind: type[S3dlioError]) -> str:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        tokens.current()
    assert time.monotonic() - began < 3
    assert type(caught.value) is kind
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    chain = [str(caught.value), repr(caught.value), repr(tokens), repr(vars(tokens))]
    context: BaseException | None = caught.value
    while context is not None:
        chain.append(str(context))
        context = context.__cause__ or (None if context.__suppress_context__ else context.__context__)
    for secret in ("the refresh token", "the client's secret", "PRIVATE KEY", "MII", "Bearer"):
        assert not any(secret in text for text in chain)
    return str(caught.value)


def test_without_credentials_the_error_lists_the_three_sources() -> None:
    said = _said(source(), ConfigurationError)
    for part in ("GOOGLE_APPLICATION_CREDENTIALS: not set", "gcloud auth application-default login", NOWHERE):
        assert part in said
    assert "S3DLIO_NO_SIGN=1" in said


def test_the_error_for_a_machine_without_a_service_account() -> None:
    with Replay([answer(404, "not found")]) as server:
        said = _said(source(metadata_host=server.url.removeprefix("http://")), ConfigurationError)
    assert "no service account" in said


_OK = "http://127.0.0.1:9/token"


def _without(field: str) -> str:
    info = service_account(_OK)
    del info[field]
    return json.dumps(info)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "is not JSON"),
        ('{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nMII', "is not JSON"),
        ("[1, 2]", 'its "type" is not one of'),
        ("{}", 'its "type" is not one of'),
        ('{"type": "something_else"}', 'its "type" is not one of'),
        ('{"installed": {"client_secret": "the client\'s secret"}}', "an OAuth client"),
        (_without("client_email"), "missing fields client_email"),
        (_without("token_uri"), "missing fields token_uri"),
        (
            json.dumps({**service_account(_OK), "private_key": "-----BEGIN PRIVATE KEY-----\nMIIgarbage"}),
            "is malformed",
        ),
        (json.dumps({**service_account(_OK), "private_key": 5}), "is malformed"),
        ('{"type": "authorized_user", "client_id": "c"}', "missing fields"),
        ('{"type": "external_account"}', "is malformed"),
        (json.dumps(service_account("ftp://127.0.0.1/token")), "is not an endpoint"),
        (json.dumps(service_account("no url")), "is not a URL"),
    ],
    ids=lambda value: None if value is None else value[:30],
)
def test_the_error_for_a_wrong_key_file_names_the_file_and_the_fault(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    said = _said(source(str(path)), ConfigurationError)
    assert str(path) in said
    assert "GOOGLE_APPLICATION_CREDENTIALS" in said
    assert message in said


def test_the_error_for_a_key_file_that_is_a_folder(tmp_path: Path) -> None:
    assert "Is a directory" in _said(source(str(tmp_path)), ConfigurationError)


def test_the_error_for_a_key_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    root = os.geteuid() == 0  # whom permissions do not concern
    if root:
        os.seteuid(65534)
    try:
        said = _said(source(str(path)), ConfigurationError)
    finally:
        if root:
            os.seteuid(0)
    assert f"cannot read GOOGLE_APPLICATION_CREDENTIALS={str(path)!r}: Permission denied" in said


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (refused("invalid_grant", "Invalid JWT Signature."), PermissionDeniedError, "the key has been deleted"),
        (
            refused("invalid_grant", "Invalid grant: account not found"),
            PermissionDeniedError,
            "the key has been deleted",
        ),
        (
            refused(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
                " Check your iat and exp values in the JWT claim.",
            ),
            PermissionDeniedError,
            "clock is wrong",
        ),
        (
            refused("invalid_grant", "Invalid JWT.", {"Date": formatdate(time.time() + 7200, usegmt=True)}),
            PermissionDeniedError,
            "s behind the server's: set it",
        ),
        (
            refused("invalid_grant", "Token has been expired or revoked."),
            PermissionDeniedError,
            "gcloud auth application-default login",
        ),
        (refused("invalid_client", "The OAuth client was not found."), PermissionDeniedError, "invalid_client"),
        (answer(200, '{"id_token": "the refresh token"}', JSON), PermissionDeniedError, "No access token"),
        (answer(401, "<html>the refresh token</html>"), PermissionDeniedError, "without a reason"),
        (answer(200, "no JSON at all", JSON), ConfigurationError, "no token for gs://"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_error_for_a_refusal_says_why(tmp_path: Path, reply: bytes, kind: type[S3dlioError], message: str) -> None:
    with Replay(lambda _: reply) as server:
        path = written(tmp_path / "key.json", service_account(server.url))
        said = _said(source(path), kind)
    assert message in said
    assert path in said


def test_the_error_for_a_token_endpoint_that_refuses_connections(tmp_path: Path) -> None:
    said = _said(source(written(tmp_path / "key.json", service_account(_OK))), StoreUnavailableError)
    assert "Connection refused" in said
    assert "http://127.0.0.1:9" in said


def test_the_error_for_a_token_endpoint_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3DLIO_RETRY_SECONDS", "1")
    with Replay(lambda _: answer(503, "down")) as server:
        said = _said(source(written(tmp_path / "key.json", service_account(server.url))), StoreUnavailableError)
    assert f"the token endpoint {server.url} answered 503" in said


def test_the_error_for_a_token_endpoint_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def hang(_: Received) -> bytes:
        never.wait(10)
        return b""

    def impatient(*arguments: Any, **options: Any) -> Any:
        return fetch(*arguments, **options, total=0.5)

    monkeypatch.setenv("S3DLIO_RETRIES", "0")
    with Replay(hang) as server:
        path = written(tmp_path / "key.json", service_account(server.url))
        _said(TokenSource(impatient, path), StoreTimeoutError)
        never.set()


def test_many_calls_in_turn_do_not_each_wait_for_the_same_failure(tmp_path: Path) -> None:
    tokens = source(written(tmp_path / "key.json", service_account(_OK)))
    began = time.monotonic()
    for _ in range(64):
        with pytest.raises(StoreUnavailableError):
            tokens.current()
    assert time.monotonic() - began < 10


def test_many_calls_in_turn_do_not_each_wait_for_a_metadata_server_that_does_not_answer() -> None:
    asked = []

    def silent(*_: Any, **__: Any) -> Any:
        asked.append(time.monotonic())
        time.sleep(0.5)
        raise StoreTimeoutError("no answer", endpoint="http://169.254.169.254")

    tokens = source(fetch=silent)
    for _ in range(5):
        with pytest.raises(ConfigurationError, match="no answer"):
            tokens.current()
    assert len(asked) == 1


def test_the_repr_of_a_token_shows_no_secret() -> None:
    assert "secret" not in repr(Token((("Authorization", "Bearer secret"),)))
