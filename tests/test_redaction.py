# SPDX-License-Identifier: Apache-2.0
"""Secrets do not get into messages and reports, and other text stays readable."""

from __future__ import annotations

import pickle

import pytest

import s3dlio
from s3dlio import redaction
from s3dlio.errors import InvalidURIError, S3dlioError
from s3dlio.http.framing import FramingError, find_head_end, parse_head
from s3dlio.log import logger
from s3dlio.redaction import HIDDEN, setting


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
    shown = redaction.text(text)
    assert "hush" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text", ["s3://bucket/a?b", "s3://bucket/key", "ValueError: what?", "http://host:9000/path", "user@host", "a = b"]
)
def test_other_texts_are_unchanged(text: str) -> None:
    assert redaction.text(text) == text


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
def test_a_setting_with_a_secret_name_is_hidden(name: str) -> None:
    assert setting(name, "hush") == HIDDEN
    assert setting(name, "") == ""


@pytest.mark.parametrize(
    "name", ["dataset.num_files_train", "reader.read_threads", "train.seed", "storage.storage_root"]
)
def test_other_settings_are_shown(name: str) -> None:
    assert setting(name, "4") == "4"


def test_mappings_are_judged_by_the_names_in_them_at_any_depth() -> None:
    tree = {"stores": [{"name": "a", "secret_access_key": "hush"}, [{"sas": "hush"}]], "url": "http://u:hush@h", "n": 1}
    shown = redaction.tree(tree)
    assert "hush" not in repr(shown)
    assert shown["stores"][0]["name"] == "a"
    assert shown["n"] == 1


@pytest.mark.parametrize("secret", ["h@ush", "hu#sh", "hu/sh", "hu:sh", "h?ush", "a,hush"])
def test_a_password_with_the_separators_of_a_url_is_hidden_completely(secret: str) -> None:
    for shown in (
        redaction.url(f"http://user:{secret}@host:9000/path"),
        redaction.url(f"http://a:1,https://user:{secret}@host"),
        redaction.text(f"cannot use http://user:{secret}@host:9000 here"),
        redaction.message(f"cannot use http://user:{secret}@host:9000 here"),
    ):
        assert secret not in shown
        assert "host" in shown
        assert HIDDEN in shown


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "https://h/?sig={}", "<Message>{}</Message>"])
def test_a_secret_in_use_is_hidden_wherever_a_server_repeats_it(form: str) -> None:
    redaction.remember("abc/def+secret==")
    for sent in ("abc/def+secret==", "abc%2Fdef%2Bsecret%3D%3D"):
        assert sent not in str(S3dlioError(form.format(sent)))


def test_an_error_is_one_line_without_control_characters_and_can_be_pickled() -> None:
    error = S3dlioError("a\r\nb\x1b[2J\x9bc\u202ed\u2028e\0", uri="s3://b/a\nb")
    assert str(error) == r"a\r\nb\x1b[2J\x9bc\u202ed\u2028e\x00"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.uri) == (str(error), "s3://b/a\nb")


def test_a_log_record_is_one_line_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    redaction.remember("a-token-that-is-secret")
    logger.warning("%s said %s", "http://u:p@host", "x\ny a-token-that-is-secret")
    assert caplog.messages == [rf"http://{HIDDEN}@host said x\ny {HIDDEN}"]


def test_a_presigned_url_is_not_repeated() -> None:
    with pytest.raises(InvalidURIError) as caught:
        s3dlio.get("https://bucket.s3.amazonaws.com/key?X-Amz-Signature=hush&X-Amz-Security-Token=hush")
    assert "hush" not in f"{caught.value} {caught.value.uri} {caught.value!r}"


@pytest.mark.parametrize("uri", ["s3://AKIA:hush@bucket/key", "s3://AKIA:hu/sh@bucket/key", "gs://a:hush@b"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(InvalidURIError, match="contains credentials") as caught:
        s3dlio.get(uri)
    for piece in ("AKIA", "hush", "hu/", "sh@"):
        assert piece not in f"{caught.value} {caught.value.uri} {caught.value!r}"


@pytest.mark.parametrize("secret", ["h ush", "hu\nsh", "h'ush", 'h"ush', "h<ush"])
def test_a_whole_value_may_hold_blanks_and_quotes(secret: str) -> None:
    for value in (f"http://user:{secret}@host:9000", f"user:{secret}@host:9000"):
        for shown in (setting("storage.endpoint_url", value), redaction.tree({"a": [value]})["a"][0]):
            assert secret not in shown
            assert "host:9000" in shown


@pytest.mark.parametrize(
    "tree",
    [
        {"secret_access_key": ["hush", {"a": "hush"}]},
        {"tokens": {"first": "hush"}},
        {"password": 4711},
        [{"name": "AWS_SECRET_ACCESS_KEY", "value": "hush"}],
        {"env": [{"name": "HTTPS_PROXY", "value": "http://user:hush@host"}]},
    ],
)
def test_everything_below_the_name_of_a_secret_is_hidden(tree: object) -> None:
    shown = repr(redaction.tree(tree))
    assert "hush" not in shown
    assert "4711" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize("value", ["s3://bucket/run@2/a:b", "/data/a:b@c", "user@host", "a: b", "12:30"])
def test_values_without_a_user_are_unchanged(value: str) -> None:
    assert setting("storage.storage_root", value) == value


def test_a_secret_is_hidden_as_urls_xml_json_and_repr_write_it() -> None:
    redaction.remember("a&b/'c\\d+eé")
    for sent in ("a%26b%2f%27c%5cd%2be%c3%a9", "a%26b/%27c%5Cd%2Be%C3%A9", "a&amp;b/'c\\d+eé", repr("a&b/'c\\d+eé")):
        assert redaction.message(f"<x>{sent}</x>").strip("<x/>'\"") == HIDDEN.strip("<x/>'\"")


@pytest.mark.parametrize("mark", ["#", "?"])
def test_the_query_and_fragment_of_an_endpoint_are_hidden(mark: str) -> None:
    assert redaction.url(f"http://host/path{mark}hush") == f"http://host/path{mark}{HIDDEN}"


@pytest.mark.parametrize("before", [30, 50, 59])
def test_a_secret_at_the_end_of_a_shortened_message_is_hidden(before: int) -> None:
    redaction.remember("a-token-that-is-secret")
    for line in (b"no colon ", b"Transfer-Encoding: "):
        sent = b"HTTP/1.1 200 OK\r\n" + line + b"x" * before + b"a-token-that-is-secret\r\n\r\n"
        with pytest.raises(FramingError) as caught:
            parse_head(sent, "GET")
        assert "xa-" not in str(caught.value)
    with pytest.raises(FramingError) as caught:
        find_head_end(b"x" * before + b"a-token-that-is-secret")
    assert "xa-" not in str(caught.value)
