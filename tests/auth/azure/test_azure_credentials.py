# SPDX-License-Identifier: Apache-2.0
"""The account and the credential that the settings describe, and Entra ID by azure-identity and a test server."""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from s3dlio import settings
from s3dlio.auth.azure.account import Account, account_of
from s3dlio.auth.azure.credentials import Anonymous, EntraToken, SharedAccessSignature
from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.errors import ConfigurationError
from tests.processes import in_forked_child
from tests.replay import Received, Replay, answer
from tests.servers import certificates

KEY = base64.b64encode(b"k" * 64).decode()
SAS = "sv=2021-12-02&ss=b&srt=co&sp=rwdlac&se=2030-01-01T00:00:00Z&spr=https&sig=abc%2Bdef%2F%3D"
PUBLIC = "https://acct.blob.core.windows.net"

NAME_SET = {"AZURE_STORAGE_ACCOUNT_NAME": "acct"}
KEY_SET = {"AZURE_STORAGE_ACCOUNT_KEY": KEY}
SAS_SET = {"AZURE_STORAGE_SAS_TOKEN": SAS}


def connection(*parts: str) -> dict[str, str]:
    return {"AZURE_STORAGE_CONNECTION_STRING": ";".join(parts)}


def endpoint(url: str) -> dict[str, str]:
    return {"AZURE_STORAGE_ENDPOINT": url}


def described(environment: Mapping[str, str]) -> Account:
    os.environ.update(environment)
    return account_of(settings.current())


# What the settings mean...


@pytest.mark.parametrize(
    ("environment", "name", "url", "credential"),
    [
        (NAME_SET | KEY_SET, "acct", PUBLIC, SharedKey),
        ({"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": KEY}, "acct", PUBLIC, SharedKey),
        (NAME_SET | SAS_SET, "acct", PUBLIC, SharedAccessSignature),
        (NAME_SET | {"AZURE_STORAGE_SAS_TOKEN": f"?{SAS}\n"}, "acct", PUBLIC, SharedAccessSignature),
        (NAME_SET | SAS_SET | KEY_SET, "acct", PUBLIC, SharedKey),
        (NAME_SET, "acct", PUBLIC, EntraToken),
        (NAME_SET | KEY_SET | {"S3DLIO_NO_SIGN": "1"}, "acct", PUBLIC, Anonymous),
        # Connection strings, as the portal and as Azurite's documentation write them.
        (
            connection("DefaultEndpointsProtocol=https", "AccountName=acct", f"AccountKey={KEY}"),
            "acct",
            PUBLIC,
            SharedKey,
        ),
        (
            connection("accountname=acct", f" AccountKey = {KEY} ", "EndpointSuffix=core.chinacloudapi.cn", ""),
            "acct",
            "https://acct.blob.core.chinacloudapi.cn",
            SharedKey,
        ),
        (
            connection("AccountName=dev", f"AccountKey={KEY}", "BlobEndpoint=http://127.0.0.1:10000/dev"),
            "dev",
            "http://127.0.0.1:10000/dev",
            SharedKey,
        ),
        (
            connection(f"BlobEndpoint={PUBLIC}/", f"SharedAccessSignature={SAS}"),
            "acct",
            f"{PUBLIC}/",
            SharedAccessSignature,
        ),
        (connection("AccountName=acct") | SAS_SET, "acct", PUBLIC, SharedAccessSignature),
        (connection("AccountName=acct", "AccountKey=bm90") | KEY_SET, "acct", PUBLIC, SharedKey),
        (connection("AccountName=dev") | endpoint("http://[::1]:1"), "dev", "http://[::1]:1/dev", EntraToken),
    ],
)
def test_settings_describe_an_account(
    environment: dict[str, str], name: str, url: str, credential: type[object]
) -> None:
    account = described(environment)
    assert (account.name, account.endpoint) == (name, url)
    assert type(account.credential) is credential


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PUBLIC, PUBLIC),
        ("https://acct.blob.core.usgovcloudapi.net/", "https://acct.blob.core.usgovcloudapi.net/"),
        ("https://acct.privatelink.blob.core.windows.net", "https://acct.privatelink.blob.core.windows.net"),
        ("https://acct.z12.blob.storage.azure.net", "https://acct.z12.blob.storage.azure.net"),
        ("https://acct-secondary.blob.core.windows.net", "https://acct-secondary.blob.core.windows.net"),
        ("https://blob.core.usgovcloudapi.net", "https://acct.blob.core.usgovcloudapi.net"),
        ("https://data.example.org", "https://data.example.org"),
        ("http://127.0.0.1:10000", "http://127.0.0.1:10000/acct"),
        ("http://127.0.0.1:10000/acct/", "http://127.0.0.1:10000/acct/"),
        ("http://[::1]:10000", "http://[::1]:10000/acct"),
        ("http://localhost:10000/", "http://localhost:10000/acct"),
        ("http://azurite:10000", "http://azurite:10000/acct"),
        ("http://host.docker.internal:10000", "http://host.docker.internal:10000/acct"),
    ],
)
def test_an_endpoint_has_the_account_in_its_host_or_in_its_path(given: str, expected: str) -> None:
    account = described(NAME_SET | KEY_SET | endpoint(given))
    assert (account.name, account.endpoint) == ("acct", expected)
    if "acct" in given:
        del os.environ["AZURE_STORAGE_ACCOUNT_NAME"]
        assert account_of(settings.current())[:2] == ("acct", expected)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "set AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT or AZURE_STORAGE_CONNECTION_STRING"),
        (KEY_SET, "needs a storage account"),
        ({"AZURE_STORAGE_ACCOUNT_NAME": "My_Account"} | KEY_SET, "3 to 24 lower-case letters and digits"),
        ({"AZURE_STORAGE_ACCOUNT_NAME": "evil.example/"} | KEY_SET, "is not an account name"),
        (NAME_SET | {"AZURE_STORAGE_ACCOUNT_KEY": KEY[:-1]}, "AZURE_STORAGE_ACCOUNT_KEY is not base64"),
        (NAME_SET | {"AZURE_STORAGE_ACCOUNT_KEY": "no key: at all"}, "copy all of it"),
        (connection("AccountName=acct", "AccountKey=?"), "AZURE_STORAGE_CONNECTION_STRING is not base64"),
        (connection("AccountName=acct", KEY.rstrip("=")), "Name=value pairs"),
        (connection("DefaultEndpointsProtocol=https", f"AccountKey={KEY}"), "expected AccountName or BlobEndpoint"),
        (connection("AccountName=other", f"AccountKey={KEY}") | NAME_SET, "name different accounts"),
        (NAME_SET | {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sp=r"}, "not a shared access signature"),
        (NAME_SET | {"AZURE_STORAGE_SAS_TOKEN": KEY}, "not a shared access signature"),
        (NAME_SET | KEY_SET | endpoint("https://other.blob.core.windows.net"), "not the endpoint of"),
        (NAME_SET | KEY_SET | endpoint("http://127.0.0.1:10000/other"), "not the endpoint of"),
        (KEY_SET | endpoint("http://127.0.0.1:10000"), "names no account; set AZURE_STORAGE_ACCOUNT_NAME"),
        (KEY_SET | endpoint("https://data.example.org"), "the account that the key belongs to"),
    ],
)
def test_the_error_for_settings_without_an_account_says_why(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        described(environment)
    message = str(caught.value)
    assert says in message
    for name, value in environment.items():
        if name.endswith(("KEY", "TOKEN", "STRING")):
            assert value not in message
    assert KEY.rstrip("=") not in message


def test_no_secret_is_in_any_repr() -> None:
    for environment in (NAME_SET | KEY_SET, NAME_SET | SAS_SET, NAME_SET):
        account = described(environment)
        text = repr(account) + repr(settings.current())
        assert KEY not in text
        assert "sig" not in repr(account)
        assert "abc" not in text.replace("sv=", "")
        for variable in environment:
            del os.environ[variable]


@pytest.mark.parametrize("signature", ["abc%2Bdef%2F%3D", "abc+def/="])
def test_a_shared_access_signature_is_added_to_every_query_encoded(signature: str) -> None:
    credential = SharedAccessSignature(f"?sv=2021-12-02&sp=r&sig={signature}", "a test")
    expected = "sv=2021-12-02&sp=r&sig=abc%2Bdef%2F%3D"
    assert credential.authorize("GET", "/c/k", "", [], 0) == (expected, [])
    assert credential.authorize("GET", "/c", "comp=list", [], 0) == (f"comp=list&{expected}", [])
    assert credential.permissions == "r"


# Entra ID...


def token(text: str, lives: float = 3600) -> bytes:
    """The answer of a managed identity ("How to use managed identities for App Service", REST endpoint reference)."""
    expires = str(int(time.time() + lives))
    body = {
        "access_token": text,
        "expires_on": expires,
        "resource": "https://storage.azure.com",
        "token_type": "Bearer",
    }
    return answer(200, json.dumps(body), {"Content-Type": "application/json"})


class Identity:
    """A managed identity of App Service, which gives a new token each time."""

    def __init__(self) -> None:
        self.lives = 3600.0
        self.given = 0
        self._lock = threading.Lock()

    def __call__(self, request: Received) -> bytes:
        assert request.headers["x-identity-header"] == "identity-secret"
        assert "resource=https://storage.azure.com" in unquote(request.target)
        with self._lock:
            self.given += 1
            return token(f"token-{self.given}", self.lives)


@pytest.fixture
def identity() -> Iterator[Identity]:
    made = Identity()
    with Replay(made) as server:
        os.environ.update(IDENTITY_ENDPOINT=server.url, IDENTITY_HEADER="identity-secret")
        yield made


def bearer(credential: Any) -> str:
    query, fields = credential.authorize("GET", "/c/k", "comp=list", [], 0)
    assert query == "comp=list"
    ((name, value),) = fields
    assert name == "Authorization"
    return str(value)


def test_a_managed_identity_gives_the_token(identity: Identity) -> None:
    credential = EntraToken()
    assert [bearer(credential) for _ in range(3)] == ["Bearer token-1"] * 3
    assert identity.given == 1
    assert "token" not in repr(credential).replace("EntraToken", "")


def test_threads_share_a_token(identity: Identity) -> None:
    credential = EntraToken()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: bearer(credential), range(32))) == {"Bearer token-1"}
    assert identity.given == 1


def test_a_refused_token_is_replaced(identity: Identity) -> None:
    credential = EntraToken()
    assert bearer(credential) == "Bearer token-1"
    _, refused = credential.authorize("GET", "/c/k", "", [], 0)
    assert [credential.refused(refused) for _ in range(3)] == [True] * 3
    assert bearer(credential) == "Bearer token-2"
    assert identity.given == 2


def test_a_token_is_fetched_again_before_it_expires(identity: Identity) -> None:
    identity.lives = 2.0
    credential = EntraToken()
    first = bearer(credential)
    identity.lives = 3600.0
    end = time.monotonic() + 2.5
    while (seen := bearer(credential)) == first:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert seen == "Bearer token-2"


def test_a_forked_child_fetches_its_own_token(identity: Identity) -> None:
    credential = EntraToken()
    assert bearer(credential) == "Bearer token-1"

    def child() -> None:
        assert bearer(credential) == "Bearer token-2"

    in_forked_child(child)
    assert bearer(credential) == "Bearer token-1"
    assert identity.given == 2


def test_another_identity_in_the_environment_gives_another_token(identity: Identity) -> None:
    credential = EntraToken()
    bearer(credential)
    with Replay([token("other")]) as server:
        os.environ["IDENTITY_ENDPOINT"] = server.url
        assert bearer(credential) == "Bearer other"
    assert identity.given == 1


class Authority:
    """The token service of a cloud, with TLS because azure-identity requires it. `refusal` makes it refuse."""

    def __init__(self, folder: Path) -> None:
        made = certificates.make(folder)
        self.ca_file = made.ca
        self.refusal: dict[str, str] = {}
        self.asked: list[dict[str, list[str]]] = []
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                base = f"{authority.url}/the-tenant"
                self.reply(
                    200,
                    {
                        "token_endpoint": f"{base}/oauth2/v2.0/token",
                        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                        "issuer": f"{base}/v2.0",
                    },
                )

            def do_POST(self) -> None:
                asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                authority.asked.append(asked)
                if authority.refusal:
                    self.reply(401, authority.refusal)
                else:
                    self.reply(200, {"access_token": "from-entra", "expires_in": 3600, "token_type": "Bearer"})

            def reply(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.chain, made.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path)
    os.environ.update(
        AZURE_AUTHORITY_HOST=made.url,
        AZURE_TENANT_ID="the-tenant",
        AZURE_CLIENT_ID="the-client",
        REQUESTS_CA_BUNDLE=str(made.ca_file),
    )
    yield made
    made.close()


def test_a_client_secret_gives_the_token(authority: Authority) -> None:
    os.environ["AZURE_CLIENT_SECRET"] = "client-secret"
    assert bearer(EntraToken()) == "Bearer from-entra"
    (asked,) = authority.asked
    assert asked["scope"] == ["https://storage.azure.com/.default"]
    assert asked["client_secret"] == ["client-secret"]


def test_a_workload_identity_gives_the_token(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "federated").write_text("the-assertion")
    os.environ["AZURE_FEDERATED_TOKEN_FILE"] = str(tmp_path / "federated")
    assert bearer(EntraToken()) == "Bearer from-entra"
    (asked,) = authority.asked
    assert asked["client_assertion"] == ["the-assertion"]
    assert asked["client_id"] == ["the-client"]


def test_the_command_line_gives_the_token(tmp_path: Path) -> None:
    """A program that answers like the vendor's, which takes hundreds of megabytes."""
    program = tmp_path / "az"
    expires = int(time.time() + 3600)
    program.write_text(f"""#!/bin/sh
        echo '{{"accessToken": "from-az", "expiresOn": "2030-01-01 00:00:00.000000", "expires_on": {expires}}}'
    """)
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(PATH=path, AZURE_TOKEN_CREDENTIALS="AzureCliCredential")
    try:
        assert bearer(EntraToken()) == "Bearer from-az"
    finally:
        os.environ["PATH"] = path.partition(os.pathsep)[2]


def test_the_error_for_a_refused_secret_says_so_without_the_secret(authority: Authority) -> None:
    os.environ["AZURE_CLIENT_SECRET"] = "client-secret"
    authority.refusal = {
        "error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret provided: client-secret. Trace ID: 1",
    }
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="AADSTS7000215") as caught:
        bearer(EntraToken())
    assert time.monotonic() - began < 3
    assert "client-secret" not in str(caught.value)
    assert "AZURE_CLIENT_SECRET" in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_authority_that_cannot_be_reached_is_an_error_within_3_s() -> None:
    os.environ.update(
        AZURE_AUTHORITY_HOST="https://127.0.0.1:9",
        AZURE_TENANT_ID="the-tenant",
        AZURE_CLIENT_ID="the-client",
        AZURE_CLIENT_SECRET="client-secret",
    )
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="gave no token") as caught:
        bearer(EntraToken())
    assert time.monotonic() - began < 3
    assert "client-secret" not in str(caught.value)


def test_without_credentials_the_error_comes_within_3_s_and_says_what_to_set() -> None:
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        bearer(EntraToken())
    assert time.monotonic() - began < 3
    for name in (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_CLIENT_ID",
        "S3DLIO_NO_SIGN=1",
    ):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_needs_no_azure_identity() -> None:
    code = (
        "import sys; from s3dlio import settings; from s3dlio.auth.azure.account import account_of;"
        "account_of(settings.current()).credential.authorize('GET', '/c/k', '', [], 0);"
        "assert not {'azure', 'msal', 'requests'} & set(sys.modules)"
    )

    def child() -> None:
        os.environ.update(NAME_SET | KEY_SET)
        os.execv(sys.executable, [sys.executable, "-c", code])

    in_forked_child(child)
