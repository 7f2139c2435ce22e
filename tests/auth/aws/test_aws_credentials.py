# SPDX-License-Identifier: Apache-2.0
"""Where AWS credentials come from: every source, read from real files or a real server on the loopback."""

import hashlib
import json
import logging
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from s3dlio.auth.aws.credentials import CredentialSource
from s3dlio.auth.aws.sigv4 import AwsCredentials
from s3dlio.errors import ConfigurationError
from tests.processes import in_forked_child, output
from tests.threads import meanwhile, until


class Service:
    """An HTTP server that answers like the credential services of AWS, and records the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.lifetime = 3600.0
        self.failing = False
        self.open = threading.Event()  # cleared: requests wait
        self.open.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.requests.append((self.command, self.path, headers, body))
                service.open.wait(30)
                status, answer = service.answer(self.command, self.path, body)
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer.encode())
                except OSError:  # the client has given up waiting
                    self.close_connection = True

            do_GET = do_PUT = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, body: str) -> tuple[int, str]:
        if self.failing:
            return 400, "no"
        number = len(self.requests)
        expiration = (datetime.now(timezone.utc) + timedelta(seconds=self.lifetime)).isoformat()
        key, secret, token = f"KEY{number}", f"SECRET{number}", f"TOKEN{number}"
        role = {
            "Code": "Success",
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": expiration.replace("+00:00", "Z"),
        }
        if path == "/container":
            return 200, json.dumps(role)
        if (method, path) == ("PUT", "/latest/api/token"):
            return 200, "metadata-token"
        if path == "/latest/meta-data/iam/security-credentials/":
            return 200, "the-role"
        if path == "/latest/meta-data/iam/security-credentials/the-role":
            return 200, json.dumps(role)
        if path.startswith("/federation/credentials?"):
            milliseconds = int((time.time() + self.lifetime) * 1000)
            return 200, json.dumps(
                {
                    "roleCredentials": {
                        "accessKeyId": key,
                        "secretAccessKey": secret,
                        "sessionToken": token,
                        "expiration": milliseconds,
                    }
                }
            )
        if method == "POST":
            action = parse_qs(body)["Action"][0]
            return 200, (
                f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
                f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
                f"<SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>"
                f"</{action}Result></{action}Response>"
            )
        return 404, ""


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture
def container(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/container")
    return service


@pytest.fixture
def shared_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes the shared credentials and config files and points the environment to them."""

    def write(credentials: str, config: str = "") -> None:
        for variable, name, text in (
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", credentials),
            ("AWS_CONFIG_FILE", "config", config),
        ):
            (tmp_path / name).write_text(textwrap.dedent(text))
            monkeypatch.setenv(variable, str(tmp_path / name))

    return write


# A pair of keys


def test_a_pair_of_keys_is_used_unchanged() -> None:
    source = CredentialSource("AKIA", "secret", "token", "no-such-profile")
    assert source.current() == AwsCredentials("AKIA", "secret", "token")
    assert source.current() is source.current()
    assert CredentialSource("AKIA", "secret", "").current().session_token is None


@pytest.mark.parametrize(
    ("access_key", "secret_key", "missing"),
    [
        ("AKIA", None, "AWS_SECRET_ACCESS_KEY is not"),
        ("AKIA", "", "AWS_SECRET_ACCESS_KEY is not"),
        (None, "hidden", "AWS_ACCESS_KEY_ID is not"),
        ("", "hidden", "AWS_ACCESS_KEY_ID is not"),
    ],
)
def test_half_a_pair_is_an_error_that_names_the_other_half(
    access_key: str | None, secret_key: str | None, missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=missing) as caught:
        CredentialSource(access_key, secret_key)
    assert "hidden" not in str(caught.value)


def test_a_pair_of_keys_needs_no_botocore() -> None:
    program = """
        import sys
        from s3dlio.auth.aws.credentials import CredentialSource
        CredentialSource("AKIA", "secret").current()
        print(any(name.partition(".")[0] in ("botocore", "boto3", "awscrt") for name in sys.modules))
    """
    assert output(program) == "False\n"


# The chain, source by source


def test_the_shared_file_is_read_with_the_profile_of_the_environment_or_the_one_given(
    shared_files: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_files("""
        [default]
        aws_access_key_id = DEFAULT
        aws_secret_access_key = default-secret
        [team]
        aws_access_key_id = TEAM
        aws_secret_access_key = team-secret
        aws_session_token = team-token
    """)
    source = CredentialSource()
    assert source.current() == AwsCredentials("DEFAULT", "default-secret")
    assert source.current() is source.current()
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert source.current() == AwsCredentials("TEAM", "team-secret", "team-token")
    assert CredentialSource(profile="default").current().access_key == "DEFAULT"
    monkeypatch.delenv("AWS_PROFILE")
    assert source.current().access_key == "DEFAULT"


def test_another_shared_file_is_read_as_soon_as_the_environment_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = CredentialSource()
    for name in ("ONE", "TWO"):
        path = tmp_path / name
        path.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = s\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        assert source.current().access_key == name


def test_a_profile_that_does_not_exist_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "misspelt")
    with pytest.raises(ConfigurationError, match="misspelt"):
        CredentialSource().current()
    with pytest.raises(ConfigurationError, match="other"):
        CredentialSource(profile="other").current()


def test_a_profile_with_half_a_pair_is_an_error(shared_files: Callable[[str], None]) -> None:
    shared_files("[default]\naws_access_key_id = ONLY\n")
    with pytest.raises(ConfigurationError, match="aws_secret_access_key"):
        CredentialSource().current()


def test_a_credential_process_is_run(shared_files: Callable[[str, str], None], tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"Version": 1, "AccessKeyId": "PROCESS", "SecretAccessKey": "s"}))
    shared_files("", f"[default]\ncredential_process = cat {answer}\n")
    assert CredentialSource().current() == AwsCredentials("PROCESS", "s")


def test_a_role_is_assumed_with_the_keys_of_its_source_profile(
    shared_files: Callable[[str, str], None], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    shared_files(
        "[base]\naws_access_key_id = BASE\naws_secret_access_key = base-secret\n",
        "[profile reader]\nrole_arn = arn:aws:iam::123456789012:role/reader\nsource_profile = base\n",
    )
    assert CredentialSource(profile="reader").current() == AwsCredentials("KEY1", "SECRET1", "TOKEN1")
    [(_, _, headers, body)] = service.requests
    assert parse_qs(body)["RoleArn"] == ["arn:aws:iam::123456789012:role/reader"]
    assert "Credential=BASE/" in headers["authorization"]
    assert "/eu-central-1/sts/" in headers["authorization"]


def test_a_web_identity_token_is_exchanged_for_a_role(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("identity-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    assert CredentialSource().current() == AwsCredentials("KEY1", "SECRET1", "TOKEN1")
    form = parse_qs(service.requests[0][3])
    assert form["Action"] == ["AssumeRoleWithWebIdentity"]
    assert form["WebIdentityToken"] == ["identity-token"]


def test_a_signed_on_sso_session_gives_the_credentials_of_its_role(service: Service, tmp_path: Path) -> None:
    start = "https://example.awsapps.com/start"
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (cache / f"{hashlib.sha1(start.encode()).hexdigest()}.json").write_text(
        json.dumps({"startUrl": start, "region": "us-east-1", "accessToken": "sso-token", "expiresAt": tomorrow})
    )
    (tmp_path / ".aws" / "config").write_text(
        f"[profile sso]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
    )
    # Another process, since botocore looks up the home folder when it is imported.
    program = """
        from s3dlio.auth.aws.credentials import CredentialSource
        found = CredentialSource().current()
        print(found.access_key, found.secret_key, found.session_token)
    """
    printed = output(
        program,
        HOME=str(tmp_path),
        AWS_CONFIG_FILE=str(tmp_path / ".aws" / "config"),
        AWS_PROFILE="sso",
        AWS_ENDPOINT_URL_SSO=service.url,
    )
    assert printed == "KEY1 SECRET1 TOKEN1\n"
    assert service.requests[0][2]["x-amz-sso_bearer_token"] == "sso-token"


def test_a_container_service_receives_the_authorization_token(
    container: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("container-token")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    assert CredentialSource().current() == AwsCredentials("KEY1", "SECRET1", "TOKEN1")
    assert container.requests[0][2]["authorization"] == "container-token"


def test_a_container_service_that_refuses_is_an_error(container: Service) -> None:
    container.failing = True
    with pytest.raises(ConfigurationError, match="container"):
        CredentialSource().current()


def test_the_metadata_service_gives_the_role_of_an_instance(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    assert CredentialSource().current() == AwsCredentials("KEY3", "SECRET3", "TOKEN3")
    assert [(method, path) for method, path, _, _ in service.requests] == [
        ("PUT", "/latest/api/token"),
        ("GET", "/latest/meta-data/iam/security-credentials/"),
        ("GET", "/latest/meta-data/iam/security-credentials/the-role"),
    ]
    assert service.requests[2][2]["x-aws-ec2-metadata-token"] == "metadata-token"


def test_a_metadata_service_that_never_answers_is_asked_once_and_for_seconds_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.open.clear()
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="metadata service: no answer"):
        CredentialSource().current()
    assert time.monotonic() - began < 5
    assert [method for method, _, _, _ in service.requests] == ["PUT", "GET"]


def test_a_disabled_metadata_service_is_not_asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    with pytest.raises(ConfigurationError, match="AWS_EC2_METADATA_DISABLED"):
        CredentialSource().current()
    assert service.requests == []


def test_without_credentials_the_error_lists_every_source() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CredentialSource().current()
    for word in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "'default'",
        os.environ["AWS_SHARED_CREDENTIALS_FILE"],
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "S3DLIO_NO_SIGN=1",
    ):
        assert word in str(caught.value)


def test_credentials_that_appear_later_are_found(shared_files: Callable[[str], None]) -> None:
    shared_files("")
    source = CredentialSource()
    with pytest.raises(ConfigurationError):
        source.current()
    shared_files("[default]\naws_access_key_id = LATE\naws_secret_access_key = s\n")
    assert source.current().access_key == "LATE"


# Staying valid


def refreshing_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("s3dlio-credentials")


def test_a_thread_refreshes_credentials_while_the_old_ones_are_valid(container: Service) -> None:
    container.lifetime = 4
    source = CredentialSource()
    first = source.current()
    asked = len(container.requests)
    assert source.current() is first
    container.lifetime = 3600
    container.open.clear()  # the refresh that is due after half the time hangs
    until(lambda: source.current() is first and len(container.requests) > asked)
    for _ in range(100):
        assert source.current() is first
    assert refreshing_threads() == 1
    container.open.set()
    until(lambda: source.current() is not first)
    assert len(container.requests) == asked + 1
    assert source.current() == AwsCredentials(*(f"{name}{asked + 1}" for name in ("KEY", "SECRET", "TOKEN")))
    until(lambda: refreshing_threads() == 0)


def test_after_a_failed_refresh_the_old_credentials_are_used_until_they_expire(
    shared_files: Callable[[str, str], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = tmp_path / "answer.json"

    def write_answer(key: str, seconds: float) -> float:
        expiry = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        keys = {"AccessKeyId": key, "SecretAccessKey": "hidden", "Expiration": expiry.isoformat()}
        answer.write_text(json.dumps({"Version": 1, **keys}))
        return expiry.timestamp()

    shared_files("", f"[default]\ncredential_process = cat {answer}\n")
    expiry = write_answer("FIRST", 8)
    source = CredentialSource()
    first = source.current()
    answer.unlink()
    with caplog.at_level(logging.WARNING, "s3dlio"):
        until(lambda: source.current() is first and "cannot renew" in caplog.text)
    assert time.time() < expiry
    assert "hidden" not in caplog.text
    until(lambda: time.time() > expiry)
    with pytest.raises(ConfigurationError, match="custom-process"):
        source.current()
    write_answer("NEXT", 3600)
    assert source.current().access_key == "NEXT"


def test_expired_credentials_are_never_used(container: Service) -> None:
    container.lifetime = 1
    source = CredentialSource()
    first = source.current()
    time.sleep(1.1)
    container.lifetime = 3600
    assert source.current() != first
    assert source.current().access_key == f"KEY{len(container.requests)}"


# Threads and forks


def test_many_threads_share_one_lookup(container: Service) -> None:
    source = CredentialSource()
    container.open.clear()
    with ThreadPoolExecutor(16) as threads:
        waiting = [threads.submit(source.current) for _ in range(16)]
        until(lambda: len(container.requests) == 1)
        container.open.set()
        found = [future.result() for future in waiting]
    assert len(container.requests) == 1
    assert all(credentials is found[0] for credentials in found)


def test_many_threads_share_one_failure(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.open.clear()
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    source = CredentialSource()
    together = threading.Barrier(8)

    def look() -> AwsCredentials:
        together.wait()
        return source.current()

    with ThreadPoolExecutor(8) as threads:
        errors = [future.exception(20) for future in [threads.submit(look) for _ in range(8)]]
    assert {type(error) for error in errors} == {ConfigurationError}
    assert len({str(error) for error in errors}) == 1
    assert len(service.requests) == 2  # one attempt


def test_a_forked_child_looks_up_credentials_again_and_its_parent_does_not(container: Service) -> None:
    source = CredentialSource()
    assert source.current().access_key == "KEY1"

    def child() -> None:
        assert source.current().access_key == "KEY2"

    in_forked_child(child)
    assert source.current().access_key == "KEY1"
    assert len(container.requests) == 2


def test_a_child_forked_during_a_lookup_does_not_hang(container: Service) -> None:
    source = CredentialSource()
    container.open.clear()

    def child() -> None:
        os.environ.pop("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        assert CredentialSource("AKIA", "s").current().access_key == "AKIA"
        with pytest.raises(ConfigurationError, match="no credentials for s3:"):
            source.current()

    with meanwhile(source.current):
        try:
            until(lambda: len(container.requests) == 1)
            in_forked_child(child)
        finally:
            container.open.set()
    assert source.current().access_key == "KEY1"


def test_a_child_forked_during_the_import_of_botocore_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = FILE\naws_secret_access_key = s\n")
    program = """
        import os, threading, time
        from s3dlio.auth.aws.credentials import CredentialSource
        source = CredentialSource()
        looking = threading.Thread(target=source.current)
        looking.start()
        time.sleep(0.02)  # the import takes ten times as long
        child = os.fork()
        if child == 0:
            os._exit(0 if source.current().access_key == "FILE" else 1)
        looking.join()
        for _ in range(1000):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                print(status)
                break
            time.sleep(0.01)
        else:
            os.kill(child, 9)
            print("the child hangs")
    """
    assert output(program, AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials")) == "0\n"


def test_no_secret_is_in_the_repr_of_a_source() -> None:
    assert "SECRET" not in repr(CredentialSource("AKIA", "SECRET", "TOKEN-SECRET"))
