# SPDX-License-Identifier: Apache-2.0
"""Settings follow the environment, `configure` takes precedence, and a wrong value changes nothing."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator

import pytest

import s3dlio
from s3dlio import settings
from tests.processes import in_forked_child, output
from tests.threads import meanwhile


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    s3dlio.configure(file_sync=None, direct_in_flight=None, window_mb=None)


def test_the_environment_is_read_again_when_it_changes() -> None:
    assert settings.current().direct_in_flight == 4
    for value in ("7", "9", " 3 "):
        os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = value
        assert settings.current().direct_in_flight == int(value)
    del os.environ["S3DLIO_DIRECT_IN_FLIGHT"]
    assert settings.current().direct_in_flight == 4


def test_an_empty_variable_counts_as_unset() -> None:
    os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = ""
    assert settings.current().direct_in_flight == 4


def test_configure_takes_precedence_over_the_environment_until_it_is_set_to_none() -> None:
    os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = "7"
    s3dlio.configure(direct_in_flight=2)
    assert settings.current().direct_in_flight == 2
    os.environ["S3DLIO_DIRECT_IN_FLIGHT"] = "8"
    assert settings.current().direct_in_flight == 2
    s3dlio.configure(direct_in_flight=None)
    assert settings.current().direct_in_flight == 8


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("false", False),
        ("No", False),
        ("off", False),
    ],
)
def test_a_boolean_can_be_written_in_several_ways(text: str, value: bool) -> None:
    os.environ["S3DLIO_FILE_SYNC"] = text
    assert settings.current().file_sync is value
    s3dlio.configure(file_sync=value)
    assert settings.current().file_sync is value


def test_a_mistake_in_configure_changes_nothing() -> None:
    s3dlio.configure(window_mb=64)
    for wrong in ({"direct_in_flight": 0}, {"file_sync": "perhaps"}, {"nonsense": 1}):
        with pytest.raises(s3dlio.ConfigurationError):
            s3dlio.configure(window_mb=32, **wrong)
        assert settings.current().window_mb == 64
        assert settings.current().direct_in_flight == 4


def test_every_setting_is_in_the_table_with_its_variable_and_meaning() -> None:
    rows = settings.table()
    names = [name for variables, _, _ in rows for name in variables.split(", ")]
    assert len(names) == len(set(names))
    assert {"S3DLIO_BUFFER_IDLE_MB", "S3DLIO_WINDOW_MB", "S3DLIO_FILE_SYNC", "S3DLIO_DIRECT_STRICT"} <= set(names)
    assert all(meaning for _, _, meaning in rows)


def test_the_inherited_environment_is_read() -> None:
    program = "from s3dlio import settings; print(settings.current().direct_in_flight)"
    assert output(program, S3DLIO_DIRECT_IN_FLIGHT="11") == "11\n"


def test_a_fork_while_another_thread_changes_settings_does_not_hang_the_child() -> None:
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            s3dlio.configure(window_mb=64)
            s3dlio.configure(window_mb=None)

    with meanwhile(change):
        try:
            for _ in range(60):
                in_forked_child(lambda: s3dlio.configure(direct_in_flight=3))
        finally:
            stop.set()


SECRETS = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"]
WORDS = [*SECRETS, "AWS_ACCESS_KEY_ID", "AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_CLOUD_PROJECT"]

IMPOSSIBLE_WORDS = ["se cret", "se\ncret", "se\rcret", "se\tcret", "secr\u00e9t", "se\u202ecret", "se\x7fcret"]


def _field(variable: str) -> str:
    return next(
        field.name for field in dataclasses.fields(settings.Settings) if variable in field.metadata["variables"]
    )


@pytest.mark.parametrize("variable", WORDS)
@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}", "\t{} ", "\n{}"])
def test_blanks_and_line_ends_around_a_credential_are_not_part_of_it(variable: str, around: str) -> None:
    os.environ[variable] = around.format("some-value")
    assert getattr(settings.current(), _field(variable)) == "some-value"


@pytest.mark.parametrize(
    "variable", [word for word in WORDS if word != "AZURE_STORAGE_ACCOUNT_KEY"]
)  # see its own tests
@pytest.mark.parametrize("value", IMPOSSIBLE_WORDS)
def test_the_error_for_an_impossible_credential_names_its_variable(variable: str, value: str) -> None:
    os.environ[variable] = value
    try:
        with pytest.raises(s3dlio.ConfigurationError, match=variable) as caught:
            settings.current()
    finally:
        del os.environ[variable]
    if variable in SECRETS:
        assert value not in str(caught.value)
        assert repr(value) not in str(caught.value)


@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "AWS_REGION", "HTTP_PROXY", "AWS_ENDPOINT_URL"])
def test_a_variable_with_nothing_but_blanks_counts_as_unset(variable: str) -> None:
    before = settings.current()
    os.environ[variable] = " \n"
    assert settings.current() == before


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "env-key",
    "AWS_SECRET_ACCESS_KEY": "env-secret",
    "AWS_SESSION_TOKEN": "env-token",
    "AZURE_STORAGE_ACCOUNT_NAME": "envaccount",
    "AZURE_STORAGE_ACCOUNT_KEY": "env-azure-key",
    "AZURE_STORAGE_SAS_TOKEN": "env-sas",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=envaccount;AccountKey=e30=",
    "AZURE_STORAGE_ENDPOINT": "https://envaccount.example",
}


@pytest.mark.parametrize(
    ("configured", "absent"),
    [
        ({"aws_access_key_id": "k", "aws_secret_access_key": "s"}, ["aws_session_token"]),
        ({"aws_access_key_id": "k"}, ["aws_secret_access_key", "aws_session_token"]),
        ({"aws_secret_access_key": "s"}, ["aws_access_key_id", "aws_session_token"]),
        ({"aws_profile": "p"}, ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]),
        ({"azure_key": "k"}, ["azure_sas_token", "azure_connection_string"]),
        ({"azure_sas_token": "s"}, ["azure_key", "azure_connection_string"]),
        (
            {"azure_connection_string": "AccountName=a"},
            ["azure_account", "azure_key", "azure_sas_token", "azure_endpoint"],
        ),
    ],
)
def test_credentials_given_in_code_are_never_combined_with_others_from_the_environment(
    configured: dict[str, str], absent: list[str]
) -> None:
    os.environ.update(ENVIRONMENT)
    s3dlio.configure(**configured)
    try:
        now = settings.current()
        assert {name: getattr(now, name) for name in configured} == configured
        assert [getattr(now, name) for name in absent] == [None] * len(absent)
    finally:
        s3dlio.configure(**dict.fromkeys(configured))
    assert settings.current().aws_session_token == "env-token"


def test_a_session_token_given_in_code_belongs_to_the_keys_given_in_code() -> None:
    os.environ.update(ENVIRONMENT)
    configured = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_session_token": "t"}
    s3dlio.configure(**configured)
    try:
        assert settings.current().aws_session_token == "t"
    finally:
        s3dlio.configure(**dict.fromkeys(configured))


@pytest.mark.parametrize("secret", ["hush", "h@ush", "hu/sh", "hu#sh", "hu:sh"])
def test_the_repr_of_settings_shows_no_secret(secret: str) -> None:
    os.environ.update(dict.fromkeys(SECRETS, secret))
    os.environ["AZURE_STORAGE_CONNECTION_STRING"] = f"AccountName=a;AccountKey={secret}"
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT", "GCS_ENDPOINT_URL"):
        os.environ[variable] = f"http://user:{secret}@host:9000"
    shown = repr(settings.current())
    assert secret not in shown
    assert "host:9000" in shown
    assert "retries=8" in shown
