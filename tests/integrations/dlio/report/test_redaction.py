"""What may be a secret does not get into a report, and what is none stays readable."""

from __future__ import annotations

import pytest

from s3dlio.integrations.dlio.report.redaction import HIDDEN, plain, setting


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hush@proxy:3128/",
        "https://account.blob.core.windows.net/c/b?sv=2024&sig=hush%3D",
        "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=a&X-Amz-Signature=hush: 403",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hush==;EndpointSuffix=core.windows.net",
        "BlobEndpoint=https://a;SharedAccessSignature=hush",
        "aws_secret_access_key=hush, region=x",
        "password: hush",
    ],
)
def test_secrets_within_texts_are_hidden(text: str) -> None:
    shown = plain(text)
    assert "hush" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text", ["s3://bucket/a?b", "s3://bucket/key", "ValueError: what?", "http://host:9000/path", "user@host", "a = b"]
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "storage.storage_options.access_key_id",
        "storage.storage_options.secret_access_key",
        "storage.storage_options.accesskeyid",
        "storage.s3.sas",
        "x.api-key",
        "x.Session_Token",
        "x.azure_connection_string",
        "credentials.file",
        "x.db_password",
    ],
)
def test_a_setting_of_such_a_name_is_hidden(name: str) -> None:
    assert setting(name, "hush") == HIDDEN
    assert setting(name, "") == ""


@pytest.mark.parametrize(
    "name", ["dataset.num_files_train", "reader.read_threads", "train.seed", "storage.storage_root"]
)
def test_other_settings_are_shown(name: str) -> None:
    assert setting(name, "4") == "4"
