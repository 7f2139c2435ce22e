# SPDX-License-Identifier: Apache-2.0
"""Keys from code go without the session token of the environment, and bearer tokens go only over TLS."""

from __future__ import annotations

import os
import time

import pytest

import s3dlio
from s3dlio.errors import ConfigurationError
from s3dlio.http.address import Address
from s3dlio.settings import Settings
from s3dlio.stores.azure.service import AzureService
from s3dlio.stores.gcs.service import GcsService
from tests.http.scripted import scripted
from tests.replay import answer


def test_keys_from_code_are_sent_without_the_session_token_of_the_environment() -> None:
    with scripted([]) as server:
        os.environ["AWS_SESSION_TOKEN"] = "token-of-the-environment"
        s3dlio.get("s3://bucket/key")
        s3dlio.configure(aws_access_key_id="code-key", aws_secret_access_key="code-secret")
        try:
            s3dlio.get("s3://bucket/key")
            s3dlio.get_many(["s3://bucket/key"])
        finally:
            s3dlio.configure(aws_access_key_id=None, aws_secret_access_key=None)
    first, *others = server.requests
    assert "token-of-the-environment" in first
    for request in others:
        assert "Credential=code-key/" in request
        assert "x-amz-security-token" not in request.lower()


def test_an_endpoint_with_user_info_is_refused_before_a_request_and_not_repeated() -> None:
    with scripted([]) as server:
        os.environ["AWS_ENDPOINT_URL"] = server.url.replace("://", "://user:pa,ss#wo/rd@")
        with pytest.raises(ConfigurationError, match="contains a user name or password") as caught:
            s3dlio.get("s3://bucket/key")
    assert server.requests == []
    for piece in ("pa,", "ss#", "rd@"):
        assert piece not in str(caught.value)


@pytest.mark.parametrize("proxy", [None, "http://10.0.0.9:3128"])
@pytest.mark.parametrize("endpoint", ["http://10.0.0.1:9000", "http://store.example"])
def test_bearer_tokens_need_tls(endpoint: str, proxy: str | None) -> None:
    for service, settings in (
        (GcsService, Settings(gcs_endpoint=endpoint, http_proxy=proxy)),
        (AzureService, Settings(azure_endpoint=f"{endpoint}/account", azure_account="account", http_proxy=proxy)),
    ):
        with pytest.raises(ConfigurationError, match="sent unencrypted"):
            service(settings)


def test_a_proxy_on_the_way_to_this_machine_gets_no_bearer_token() -> None:
    settings = Settings(gcs_endpoint="http://127.0.0.1:9000", http_proxy="http://10.0.0.9:3128")
    with pytest.raises(ConfigurationError, match=r"through the proxy 10\.0\.0\.9"):
        GcsService(settings)
    assert GcsService(Settings(gcs_endpoint="http://127.0.0.1:9000")).endpoints.all[0].address == Address(
        False, "127.0.0.1", 9000
    )


@pytest.mark.parametrize("sent", ["\x1b[31mred", "line\r\n\tfolded", "\x9b2J", "\u202eevil"])
def test_text_from_a_server_is_escaped_in_the_error(sent: str) -> None:
    body = f"<Error><Code>AccessDenied</Code><Message>{sent.replace(chr(27), '&#27;')}</Message></Error>"
    began = time.monotonic()
    with scripted([[answer(403, body)]]), pytest.raises(s3dlio.S3dlioError) as caught:
        s3dlio.get("s3://bucket/case")
    assert str(caught.value).isprintable()
    assert time.monotonic() - began < 5
