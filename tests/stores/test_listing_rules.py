# SPDX-License-Identifier: Apache-2.0
"""A listing is complete or an error, lists only names below the folder, and always ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import s3dlio
from s3dlio.runtime.run import iterate, run
from s3dlio.stores.s3 import listing
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.replay import Received, Replay, answer
from tests.stores.s3.replay import error, error_body, use, xml
from tests.stores.s3.test_s3_listing import answer as page_answer
from tests.stores.s3.test_s3_listing import contents, document

Names = list[str]


class Service(NamedTuple):
    """How a service lists: its page of names with the token of the next page, and its page with an error."""

    root: str
    use: Callable[[Replay], None]
    page: Callable[[Names, Names, str], bytes]
    failed: Callable[[str], bytes]


def _s3_page(keys: Names, folders: Names, token: str) -> bytes:
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    entries += "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in folders)
    return answer(200, xml("ListBucketResult", more + entries))


def _az_page(keys: Names, folders: Names, token: str) -> bytes:
    entries = "".join(
        f"<Blob><Name>{key}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>" for key in keys
    )
    entries += "".join(f"<BlobPrefix><Name>{name}</Name></BlobPrefix>" for name in folders)
    content = f"<Blobs>{entries}</Blobs><NextMarker>{token}</NextMarker>"
    return answer(200, f"<EnumerationResults>{content}</EnumerationResults>")


def _gs_page(keys: Names, folders: Names, token: str) -> bytes:
    page = {"kind": "storage#objects", "items": [{"name": key, "size": "1"} for key in keys], "prefixes": folders}
    return answer(200, json.dumps({**page, "nextPageToken": token} if token else page))


def _use_az(server: Replay) -> None:
    os.environ.update(
        AZURE_STORAGE_ACCOUNT_NAME="account", AZURE_STORAGE_ACCOUNT_KEY="a2V5", AZURE_STORAGE_ENDPOINT=server.url
    )


def _use_gs(server: Replay) -> None:
    os.environ["STORAGE_EMULATOR_HOST"] = server.url


def _gs_failed(code: str) -> bytes:
    transient = code in ("SlowDown", "InternalError")
    return answer(200, json.dumps({"error": {"code": 503 if transient else 403, "message": code}}))


SERVICES = {
    "s3": Service("s3://bucket", use, _s3_page, lambda code: answer(200, error_body(code))),
    "az": Service(
        "az://container",
        _use_az,
        _az_page,
        lambda code: answer(200, error_body({"SlowDown": "ServerBusy"}.get(code, code))),
    ),
    "gs": Service("gs://bucket", _use_gs, _gs_page, _gs_failed),
}


@pytest.fixture(params=list(SERVICES.values()), ids=list(SERVICES))
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.param
    return found


CALLS: dict[str, Callable[[str], object]] = {
    "list": s3dlio.list,
    "list of all": lambda uri: s3dlio.list(uri, recursive=True),
    "list_iter": lambda uri: list(s3dlio.list_iter(uri)),
    "is_prefix": s3dlio.is_prefix,
    "delete": lambda uri: s3dlio.delete(uri, recursive=True),
    "copy": lambda uri: s3dlio.copy(uri, "file:///nowhere/to/go", recursive=True),
    "entries": lambda uri: {
        entry.relative: entry.size for page in iterate(store_for(uri[:2]).entries(parse(uri))) for entry in page
    },
}
FOREIGN = {
    "XHTML": '<html xmlns="http://www.w3.org/1999/xhtml"><body>Sign in</body></html>',
    "a list of buckets": xml("ListAllMyBucketsResult", "<Buckets/>"),
    "a list of containers": "<EnumerationResults><Containers/></EnumerationResults>",
    "an error": error_body("Odd"),
    "an error without a code": "<Error/>",
    "JSON": '{"error": {"code": 403, "message": "no"}}',
    "other JSON": '{"message": "no"}',
    "a list": "[]",
    "buckets in JSON": '{"kind": "storage#buckets", "items": []}',
    "nothing": "",
    "half": '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</Is',
    "an encoding that nobody knows": '<?xml version="1.0" encoding="odd"?><ListBucketResult/>',
}


@pytest.mark.parametrize("body", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_answer_that_is_not_a_listing_is_an_error(
    service: Service, call: Callable[[str], object], body: str
) -> None:
    def choose(request: Received) -> bytes:
        return answer(404) if request.method == "HEAD" or "/o/" in request.target else answer(200, body)

    with Replay(choose) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError) as caught:
            call(f"{service.root}/f")
    assert f"{service.root}/f" in str(caught.value)
    assert server.url in str(caught.value)


def test_a_page_with_an_error_inside_that_may_pass_is_tried_again(service: Service) -> None:
    answers = [service.failed("SlowDown"), service.failed("InternalError"), service.page(["f/a"], [], "")]
    with Replay(answers) as server:
        service.use(server)
        assert s3dlio.list(f"{service.root}/f") == [f"{service.root}/f/a"]


@pytest.mark.parametrize("key", ["other/a", "f", "f2/a", "F/a", ""])
@pytest.mark.parametrize("call", ["list", "list of all", "list_iter", "delete"])
def test_a_key_without_the_prefix_is_an_error_and_nothing_is_deleted(service: Service, call: str, key: str) -> None:
    with Replay([service.page(["f/a", key, "f/b"], [], "")]) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match=key or "f"):
            CALLS[call](f"{service.root}/f")
    assert [request.method for request in server.requests] == ["GET"]


def test_an_empty_key_never_deletes_a_bucket(service: Service) -> None:
    with Replay([service.page([""], [], "")]) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError):
            s3dlio.delete(f"{service.root}/", recursive=True)
    assert [request.method for request in server.requests] == ["GET"]


@pytest.mark.parametrize("folder", ["g/", "f/a", "/"])
def test_a_malformed_folder_is_an_error(service: Service, folder: str) -> None:
    with Replay([service.page([], [folder], "")]) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match=folder):
            s3dlio.list(f"{service.root}/f")


def test_folders_in_a_recursive_listing_are_an_error(service: Service) -> None:
    for call in ("list of all", "delete"):
        with Replay([service.page(["f/a"], ["f/hidden/"], "")]) as server:
            service.use(server)
            with pytest.raises(s3dlio.S3dlioError, match="f/hidden/"):
                CALLS[call](f"{service.root}/f")
        assert len(server.requests) == 1


def test_a_service_that_ignores_the_delimiter_misses_nothing(service: Service) -> None:
    pages = [service.page(["f/a", "f/b/1", "f/b/2"], [], "1"), service.page(["f/b/3", "f/c/"], ["f/d/"], "")]
    with Replay(pages) as server:
        service.use(server)
        expected = [f"{service.root}/f/{name}" for name in ("a", "b/", "c/", "d/")]
        assert s3dlio.list(f"{service.root}/f") == expected
    with Replay(pages) as server:
        service.use(server)
        found = {entry.uri: entry.size for entry in s3dlio.entries(f"{service.root}/f", recursive=False)}
        assert found == {uri: 0 if uri.endswith("/") else 1 for uri in expected}


@pytest.mark.parametrize("tokens", [["x"], ["x", "y"], ["x", "y", "z"]])
def test_a_token_that_repeats_is_an_error(service: Service, tokens: Names) -> None:
    asked = iter(range(1000))

    def choose(_: Received) -> bytes:
        number = next(asked)
        return service.page([f"f/{number:04}"], [], tokens[number % len(tokens)])

    with Replay(choose) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match="does not say where the listing continues"):
            s3dlio.list(f"{service.root}/f")
    assert len(server.requests) <= 3 * len(tokens) + 1


def test_a_page_that_repeats_with_another_token_is_an_error(service: Service) -> None:
    asked = iter(range(1000))
    with Replay(lambda _: service.page(["f/a"], [], f"token-{next(asked)}")) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match="the same keys"):
            s3dlio.list(f"{service.root}/f")
    assert len(server.requests) == 2


def test_pages_that_repeat_in_turn_are_an_error(service: Service) -> None:
    asked = iter(range(1000))

    def choose(_: Received) -> bytes:
        number = next(asked)
        return service.page([f"f/{number % 3}"], [], f"token-{number}")

    with Replay(choose) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match="the same keys"):
            s3dlio.list(f"{service.root}/f")
    assert len(server.requests) < 20


def test_pages_that_only_repeat_their_folders_are_an_error(service: Service) -> None:
    asked = iter(range(1000))
    with Replay(lambda _: service.page([], ["f/a/", "f/b/"], f"token-{next(asked)}")) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match="the same folders"):
            s3dlio.list(f"{service.root}/f")
    assert len(server.requests) < 20


@pytest.mark.parametrize("tag", ["Key", "Prefix"])
@pytest.mark.parametrize("name", list(SERVICES))
def test_the_error_shows_a_name_that_is_not_utf8(name: str, tag: str) -> None:
    service = SERVICES[name]
    names = ["f/@@/"]
    page = service.page(names, [], "") if tag == "Key" else service.page([], names, "")
    with Replay([page.replace(b"@@", b"\xc3\xfe")]) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match=r"\\xc3\\xfe" if tag == "Key" or name != "gs" else "not JSON"):
            s3dlio.list(f"{service.root}/f")


@pytest.mark.parametrize("body", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("name", list(SERVICES))
def test_an_answer_that_is_not_a_list_of_buckets_is_an_error(name: str, body: str) -> None:
    os.environ["GOOGLE_CLOUD_PROJECT"] = "project"
    own = {"s3": "a list of buckets", "az": "a list of containers", "gs": "buckets in JSON"}[name]
    with Replay([answer(200, body)]) as server:
        SERVICES[name].use(server)
        if body == FOREIGN[own]:
            assert run(store_for(name).buckets()) == []
        else:
            with pytest.raises(s3dlio.S3dlioError, match=f"{name}://"):
                run(store_for(name).buckets())


def test_a_token_that_repeats_in_a_list_of_buckets_is_an_error() -> None:
    os.environ["GOOGLE_CLOUD_PROJECT"] = "project"
    for name, body in (
        ("s3", xml("ListAllMyBucketsResult", "<ContinuationToken>{}</ContinuationToken>")),
        ("gs", '{{"kind": "storage#buckets", "nextPageToken": "{}"}}'),
    ):
        asked = iter(range(1000))
        with Replay(lambda _, body=body, asked=asked: answer(200, body.format(next(asked) % 2))) as server:  # type: ignore[misc]
            SERVICES[name].use(server)
            with pytest.raises(s3dlio.S3dlioError, match="the same token"):
                run(store_for(name).buckets())
        assert len(server.requests) < 10


@pytest.mark.parametrize(
    "body", [body for body in FOREIGN.values() if body], ids=[key for key in FOREIGN if FOREIGN[key]]
)
@pytest.mark.parametrize("name", ["s3", "gs"])
def test_a_delete_with_a_foreign_answer_is_an_error(name: str, body: str) -> None:
    service = SERVICES[name]
    with Replay(lambda _: answer(200, body)) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError):
            s3dlio.delete(f"{service.root}/key")
        with pytest.raises(s3dlio.S3dlioError):
            run(store_for(name).remove_bucket(parse(f"{service.root}/")))


@pytest.mark.parametrize(
    "body", [body for body in FOREIGN.values() if body], ids=[key for key in FOREIGN if FOREIGN[key]]
)
@pytest.mark.parametrize("name", ["s3", "gs"])
def test_making_a_bucket_with_a_foreign_answer_is_an_error(name: str, body: str) -> None:
    os.environ["GOOGLE_CLOUD_PROJECT"] = "project"
    with Replay(lambda _: answer(200, body)) as server:
        SERVICES[name].use(server)
        with pytest.raises(s3dlio.S3dlioError):
            run(store_for(name).make_bucket(parse(f"{SERVICES[name].root}/")))


def test_answers_of_emulators_to_deletes_and_creations_are_accepted() -> None:
    with Replay(lambda _: answer(200, xml("DeleteObjectResponse", "<Code>204</Code>"))) as server:
        use(server)
        s3dlio.delete("s3://bucket/key")
    with Replay(lambda _: answer(200, xml("CreateBucketResponse", ""))) as server:
        use(server)
        run(store_for("s3").make_bucket(parse("s3://bucket/")))
    for body in ("", "{}", "null"):
        with Replay(lambda _, body=body: answer(200, body)) as server:  # type: ignore[misc]
            _use_gs(server)
            s3dlio.delete("gs://bucket/key")


@pytest.mark.parametrize(
    "body", ["[]", "null", '{"message": "no"}', '{"error": {"code": 403}}', "<html/>", '{"name": "other"}']
)
def test_an_object_exists_only_if_the_answer_is_about_it(body: str) -> None:
    with Replay(lambda _: answer(200, body)) as server:
        _use_gs(server)
        with pytest.raises(s3dlio.S3dlioError, match="gs://bucket/key"):
            s3dlio.exists("gs://bucket/key")


# Azure and Google...


@pytest.mark.parametrize(
    ("text", "key"), [("a\rb", "a\rb"), ("a&#13;&#10;b", "a\r\nb"), ("&#0;&#x1F;", "\x00\x1f"), ("a\nb", "a\nb")]
)
def test_names_of_blobs_are_listed_as_they_are(text: str, key: str) -> None:
    for escaped, expected in ((text, key), (text + "\ue000", key + "\ue000")):
        with Replay([_az_page([f"f/{escaped}"], [f"f/d{escaped}/"], "")]) as server:
            _use_az(server)
            found = s3dlio.list("az://container/f")
        assert sorted(found) == sorted([f"az://container/f/{expected}", f"az://container/f/d{expected}/"])


def test_two_markers_are_an_error_and_a_blank_one_ends_the_listing() -> None:
    blobs = "<EnumerationResults><Blobs/>{}</EnumerationResults>"
    with Replay([answer(200, blobs.format("<NextMarker>\n </NextMarker>"))]) as server:
        _use_az(server)
        assert s3dlio.list("az://container/f") == []
    with Replay([answer(200, blobs.format("<NextMarker/><NextMarker>x</NextMarker>"))]) as server:
        _use_az(server)
        with pytest.raises(s3dlio.S3dlioError, match="two <NextMarker>"):
            s3dlio.list("az://container/f")


@pytest.mark.parametrize(
    "body",
    [
        '{"items": [{"name": "f/a"}], "items": []}',
        '{"items": [{"name": "f/a", "name": "f/b"}]}',
        '{"items": [{"name": "f/a"}], "nextPageToken": "x", "nextPageToken": ""}',
        '{"items": [{"name": "f/a", "n\\u0061me": "f/b"}]}',
    ],
)
def test_a_field_that_appears_twice_is_an_error(body: str) -> None:
    with Replay([answer(200, body)]) as server:
        _use_gs(server)
        with pytest.raises(s3dlio.S3dlioError, match="twice"):
            s3dlio.list("gs://bucket/f")


def test_names_that_are_names_of_fields_are_listed() -> None:
    names = ["f/name", "f/items", 'f/"name"', 'f/"items"', "f/prefixes", "f/nextPageToken"]
    with Replay([_gs_page(names, [], "")]) as server:
        _use_gs(server)
        assert s3dlio.list("gs://bucket/f") == sorted(f"gs://bucket/{name}" for name in names)


@pytest.mark.parametrize("error_", [{"code": "503"}, {"code": 429}, {"status": "UNAVAILABLE"}])
def test_google_errors_that_may_pass_are_tried_again(error_: dict[str, object]) -> None:
    with Replay([answer(200, json.dumps({"error": error_})), _gs_page(["f/a"], [], "")]) as server:
        _use_gs(server)
        assert s3dlio.list("gs://bucket/f") == ["gs://bucket/f/a"]


# S3...


def _listed(content: str) -> list[str]:
    with Replay([answer(200, xml("ListBucketResult", content))]) as server:
        use(server)
        return s3dlio.list("s3://bucket/f", recursive=True)


@pytest.mark.parametrize("truncated", ["True", "TRUE", " true\n", "1", "", None])
def test_every_spelling_of_truncated_is_read(truncated: str | None) -> None:
    more = "" if truncated is None else f"<IsTruncated>{truncated}</IsTruncated>"
    first = xml("ListBucketResult", f"{more}<NextContinuationToken>t</NextContinuationToken>{contents('f/a', 1)}")
    with Replay([answer(200, first), _s3_page(["f/b"], [], "")]) as server:
        use(server)
        assert s3dlio.list("s3://bucket/f") == ["s3://bucket/f/a", "s3://bucket/f/b"]


@pytest.mark.parametrize("name", ["isTruncated", "ISTRUNCATED", "Is-Truncated"])
def test_a_truncated_page_without_a_token_is_an_error(name: str) -> None:
    for token in ("", "<NextContinuationToken> </NextContinuationToken>"):
        with pytest.raises(s3dlio.S3dlioError, match="NextContinuationToken"):
            _listed(f"<{name}>true</{name}>{token}{contents('f/a', 1)}")


@pytest.mark.parametrize(
    "facts",
    [
        "<IsTruncated>false</IsTruncated><IsTruncated>true</IsTruncated>",
        "<NextContinuationToken>a</NextContinuationToken><NextContinuationToken>b</NextContinuationToken>",
        "<EncodingType/><EncodingType>url</EncodingType>",
    ],
)
def test_a_page_with_a_repeated_element_is_an_error(facts: str) -> None:
    with pytest.raises(s3dlio.S3dlioError, match="two <"):
        _listed(facts + contents("f/a", 1))


def test_a_page_with_a_document_type_is_refused() -> None:
    with Replay(
        [answer(200, "<!DOCTYPE a>" + xml("ListBucketResult", contents("f/a", 1)).partition("\n")[2])]
    ) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="document type"):
            s3dlio.list("s3://bucket/f")


def test_an_unknown_value_of_istruncated_is_an_error() -> None:
    with pytest.raises(s3dlio.S3dlioError, match="perhaps"):
        _listed("<IsTruncated>perhaps</IsTruncated>")


@pytest.mark.parametrize("name", ["EncodingType", "Encoding-Type", "encoding-type", "ENCODINGTYPE"])
@pytest.mark.parametrize("value", ["url", " URL "])
def test_every_spelling_of_the_encoding_is_read(name: str, value: str) -> None:
    assert _listed(f"<{name}>{value}</{name}>{contents('f/a+b%2Bc%0D%0A%00', 1)}") == ["s3://bucket/f/a b+c\r\n\x00"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a&#10;b", "a\nb"),
        ("a&#13;b", "a\rb"),
        ("a\rb", "a\rb"),
        ("&#0;&#x1F;", "\x00\x1f"),
        ("\ue000&#1;", "\ue000\x01"),
        ("&#xFFFE;", "\ufffe"),
        ("a\nb", "a\nb"),
        ("&amp;#0;", "&#0;"),
    ],
)
def test_keys_that_are_not_encoded_are_listed_as_they_are(text: str, key: str) -> None:
    assert _listed(contents(f"f/{text}", 1)) == [f"s3://bucket/f/{key}"]


@pytest.mark.parametrize("text", ["%FF", "a%C3", "%ED%A0%80"])
def test_the_error_names_an_encoded_key_that_is_not_utf8(text: str) -> None:
    with pytest.raises(s3dlio.S3dlioError, match=rf"f/{text}.*not valid UTF-8"):
        _listed(f"<EncodingType>url</EncodingType>{contents(f'f/{text}', 1)}")


def test_the_error_names_a_key_of_raw_bytes_that_are_not_utf8() -> None:
    body = xml("ListBucketResult", contents("f/@@", 1)).encode().replace(b"@@", b"\xff\xfe")
    with Replay([answer(200, body)]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match=r"f/\\xff\\xfe"):
            s3dlio.list("s3://bucket/f")


DAMAGED = {
    "an entity that nobody knows": contents("f/a", 1, "<Owner>&nope;</Owner>"),
    "tags that do not match": contents("f/a", 1, "<A><B></A></B>"),
    "two keys": "<Contents><Key>f/a</Key><Key>f/b</Key><Size>1</Size></Contents>",
    "no key": "<Contents><Size>1</Size></Contents>",
    "a key with an element": "<Contents><Key>f/a<B/>b</Key><Size>1</Size></Contents>",
    "a control character": contents("f/a", 1, "<A>\x01</A>"),
    "the end of CDATA": contents("f/a", 1, "<A>]]></A>"),
    "an attribute twice": contents("f/a", 1, '<A b="1" b="2">c</A>'),
    "objects in an attribute": f'<A b="{contents("f/a", 1)}"/>',
    "a lone ampersand": contents("f/a", 1, "<A>&</A>"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("beside", ["", contents("f/0", 1)], ids=["alone", "behind another"])
def test_a_damaged_page_is_refused(content: str, beside: str) -> None:
    with pytest.raises(s3dlio.S3dlioError):
        _listed(beside + content)


@pytest.mark.parametrize(
    "key", ['<Key a="1">{}</Key>', "<Key >{}</Key >", "<Key><!-- a -->{}</Key>", "<Key\n>{}</Key>"]
)
@pytest.mark.parametrize("size", ["<Size>5</Size>", '<Size a="1">5</Size>', "<Size >5</Size>"])
@pytest.mark.parametrize("call", ["list of all", "entries"])
def test_tags_in_unusual_forms_do_not_shift_keys(key: str, size: str, call: str) -> None:
    odd = "".join(f"<Contents>{key.format(name)}{size}</Contents>" for name in ("f/b", "f/c"))
    for content in (odd, contents("f/a", 1) + odd, odd + contents("f/a", 1)):
        with Replay([answer(200, xml("ListBucketResult", content))]) as server:
            use(server)
            found = CALLS[call]("s3://bucket/f")
        sizes = {"a": 1, "b": 5, "c": 5} if "f/a" in content else {"b": 5, "c": 5}
        assert found == (sizes if call == "entries" else [f"s3://bucket/f/{name}" for name in sizes])


@pytest.mark.parametrize("content", ["<Key/><Size>1</Size>", "<Key></Key><Size>1</Size>", "<Key>f/a</Key><Size/>"])
def test_an_empty_field_is_an_error(content: str) -> None:
    for page in (f"<Contents>{content}</Contents>", contents("f/0", 1) + f"<Contents>{content}</Contents>"):
        with Replay([answer(200, xml("ListBucketResult", page))]) as server:
            use(server)
            with pytest.raises(s3dlio.S3dlioError):
                CALLS["entries"]("s3://bucket/f")


_PIECES = st.sampled_from(
    ["<", ">", "&", "&amp;", "&quot;", "&#0;", "]]>", "<!--", "-->", "<Key>", "</Key>", "<Contents>", "</Contents>",
     "\x00", "\x0b", "\r", "\n", "\ufffe", '"', "<Size>2</Size>", "<A/>", "<Key/>", "<Size/>",
     " a='b'", "x", "</ListBucketResult>", "<![CDATA[",
     "<?x ?>", "é", " "]
)  # fmt: skip
_START = document(contents("a", 1) + contents("b", 22, "<A>text</A>") + contents("c", 3))


@given(st.lists(st.tuples(st.integers(0, len(_START)), st.integers(0, 12), _PIECES), max_size=3))
@example([(0, 0, "é")])
def test_a_page_changed_anywhere_is_read_as_a_parser_reads_it_or_refused(changes: list[tuple[int, int, str]]) -> None:
    text = _START
    for place, cut, piece in changes:
        text = text[:place] + piece + text[place + cut :]
    plain = listing._contents_by_shape(memoryview(text.encode()), True)
    if plain is None:
        return
    root = ET.fromstring(text.encode().lstrip())
    found = root.findall("{*}Contents")
    assert plain[1] == [item.findtext("{*}Key") for item in found]
    assert [str(size) for size in plain[2]] == [(item.findtext("{*}Size") or "").lstrip("0") or "0" for item in found]
    assert all(len(item.findall("{*}Key")) == 1 == len(item.findall("{*}Size")) for item in found)
    assert page_answer(text).head.status == 200


# Deletes on S3...


@pytest.mark.parametrize(
    "refused",
    [
        error(501, "NotImplemented"),
        error(400, "NotImplemented"),
        error(405, "MethodNotAllowed"),
        answer(501),
        answer(200, error_body("NotImplemented")),
        answer(200, xml("DeleteResult", "<Error><Key>f/1</Key><Code>NotImplemented</Code></Error>")),
    ],
)
def test_a_service_without_deleteobjects_deletes_singly_from_then_on(refused: bytes) -> None:
    left = {"/bucket/f/1", "/bucket/f/2"}

    def choose(request: Received) -> bytes:
        if request.method == "DELETE":
            left.discard(request.path)
            return answer(204)
        return refused if request.method == "POST" else _s3_page(["f/1", "f/2"], [], "")

    with Replay(choose) as server:
        use(server)
        s3dlio.delete("s3://bucket/f", recursive=True)
        s3dlio.delete("s3://bucket/f", recursive=True)
    assert not left
    assert [request.method for request in server.requests].count("POST") == 1


def test_a_key_that_the_answer_leaves_out_is_deleted_again() -> None:
    deleted = answer(200, xml("DeleteResult", "<Deleted><Key>f/1</Key></Deleted>"))
    with Replay([_s3_page(["f/1", "f/2"], [], ""), deleted, answer(204)]) as server:
        use(server)
        s3dlio.delete("s3://bucket/f", recursive=True)
    assert (server.requests[-1].method, server.requests[-1].path) == ("DELETE", "/bucket/f/2")


def test_an_error_of_a_key_that_was_not_asked_for_is_an_error() -> None:
    failed = answer(200, xml("DeleteResult", "<Error><Key/><Code>InternalError</Code></Error>"))
    with Replay([_s3_page(["f/1"], [], ""), failed]) as server:
        use(server)
        with pytest.raises(s3dlio.S3dlioError, match="InternalError"):
            s3dlio.delete("s3://bucket/f", recursive=True)


# A HEAD without a reason, markers of folders, copies, dates...


@pytest.mark.parametrize("call", [s3dlio.stat, s3dlio.exists])
@pytest.mark.parametrize("name", ["s3", "az"])
def test_a_get_asks_for_the_reason_of_a_refused_head(call: Callable[[str], object], name: str) -> None:
    def choose(request: Received) -> bytes:
        return answer(400) if request.method == "HEAD" else error(400, "ExpiredToken")

    service = SERVICES[name]
    with Replay(choose) as server:
        service.use(server)
        with pytest.raises(s3dlio.S3dlioError, match="ExpiredToken"):
            call(f"{service.root}/key")
    assert server.requests[-1].headers["range"] == "bytes=0-0"


def _marker(name: str) -> str:
    return (
        f"<Blob><Name>{name}</Name><Properties><Content-Length>0</Content-Length></Properties>"
        "<Metadata><Hdi_isfolder>True</Hdi_isfolder></Metadata></Blob>"
    )


def _marked(*blobs: str) -> bytes:
    return answer(200, f"<EnumerationResults><Blobs>{''.join(blobs)}</Blobs><NextMarker/></EnumerationResults>")


def test_a_folder_marker_is_listed_as_a_folder() -> None:
    object_ = "<Blob><Name>f/a</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"
    marked = answer(200, headers={"x-ms-meta-hdi_isfolder": "true", "ETag": '"1"'})
    with Replay([_marked(object_, _marker("f/sub"))] * 2 + [_marked(), marked]) as server:
        _use_az(server)
        assert s3dlio.list("az://container/f") == ["az://container/f/a", "az://container/f/sub/"]
        assert s3dlio.list("az://container/f", recursive=True) == ["az://container/f/a"]
        assert s3dlio.is_prefix("az://container/empty")
    assert "include=metadata" in server.requests[0].target
    with Replay(
        [_marked(object_, _marker("f/sub"), _marker("f/sub/b")), *[answer(202)] * 3, marked, answer(202)]
    ) as server:
        _use_az(server)
        s3dlio.delete("az://container/f", recursive=True)
    deleted = [request.path.partition("container/")[2] for request in server.requests if request.method == "DELETE"]
    assert deleted == ["f/a", "f/sub/b", "f/sub", "f"]


READS: dict[str, Callable[[str], object]] = {
    "get": s3dlio.get,
    "get_range": lambda uri: s3dlio.get_range(uri, 0, 10),
    "get_range from the middle": lambda uri: s3dlio.get_range(uri, 5),
    "get_many": lambda uri: s3dlio.get_many([uri]),
    "get_many_iter": lambda uri: list(s3dlio.get_many_iter([uri])),
    "chunks": lambda uri: run(_first_chunk(uri)),
    "stat": s3dlio.stat,
    "copy": lambda uri: s3dlio.copy(uri, "az://container/other"),
}


async def _first_chunk(uri: str) -> None:
    async for _ in store_for("az").chunks(parse(uri), 1 << 20):
        pass


@pytest.mark.parametrize(
    "field",
    [
        ("x-ms-meta-hdi_isfolder", "true"),
        ("x-ms-meta-Hdi_isfolder", "True"),
        ("x-ms-resource-type", "directory"),
    ],
)
@pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
@pytest.mark.parametrize("refuses_ranges", [False, True])
def test_reading_a_folder_is_an_error(
    call: Callable[[str], object], field: tuple[str, str], refuses_ranges: bool
) -> None:
    def choose(request: Received) -> bytes:
        if refuses_ranges and "range" in request.headers:  # as Azure does for empty blobs
            return answer(416, error_body("InvalidRange"), {"Content-Range": "bytes */0"})
        return answer(200, b"", {field[0]: field[1], "ETag": '"1"'})

    with Replay(choose) as server:
        _use_az(server)
        with pytest.raises(s3dlio.ObjectNotFoundError, match="is a folder"):
            call("az://container/folder")


@pytest.mark.parametrize("call", list(READS)[:6])
@pytest.mark.parametrize("refuses_ranges", [False, True])
def test_an_empty_object_is_not_a_folder(call: str, refuses_ranges: bool) -> None:
    def choose(request: Received) -> bytes:
        if refuses_ranges and "range" in request.headers:
            return answer(416, error_body("InvalidRange"), {"Content-Range": "bytes */0"})
        return answer(200, b"", {"ETag": '"1"'})

    with Replay(choose) as server:
        _use_az(server)
        READS[call]("az://container/empty")


def test_a_tree_with_markers_is_copied_without_them(tmp_path: Path) -> None:
    object_ = "<Blob><Name>f/sub/a</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"

    def choose(request: Received) -> bytes:
        if "comp=list" in request.target:
            return _marked(_marker("f/sub"), object_, _marker("f/empty"), _marker("f/slash/"))
        if request.path.endswith("/f/sub/a"):
            return answer(200, b"" if request.method == "HEAD" else b"x", {"ETag": '"1"'})
        return answer(200, b"", {"x-ms-meta-hdi_isfolder": "true", "ETag": '"1"'})

    with Replay(choose) as server:
        _use_az(server)
        s3dlio.copy("az://container/f", f"file://{tmp_path}/f", recursive=True)
        assert s3dlio.list("az://container/f") == [f"az://container/f/{name}/" for name in ("empty", "slash", "sub")]
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == ["f/sub/a"]


@pytest.mark.parametrize("progress", [{}, {"totalBytesRewritten": "5"}, {"totalBytesRewritten": "x"}])
def test_a_copy_without_progress_is_an_error(progress: dict[str, str]) -> None:
    step = {"done": False, "rewriteToken": "t", **progress}
    with Replay(lambda _: answer(200, json.dumps(step))) as server:
        _use_gs(server)
        with pytest.raises(s3dlio.StoreUnavailableError, match="no progress"):
            run(store_for("gs").copy(parse("gs://bucket/a"), parse("gs://bucket/b"), 3 << 20))
    assert len(server.requests) < 20


@pytest.mark.parametrize("date", ["never", "Sun, 31 Feb 1994 08:49:37 GMT"])
def test_stat_raises_for_an_unreadable_date(date: str) -> None:
    for service in SERVICES.values():
        facts = json.dumps({"size": "1", "updated": date})
        with Replay(
            lambda request, facts=facts: answer(
                200,
                b"" if request.method == "HEAD" else facts,  # type: ignore[misc]
                {"Last-Modified": date, "ETag": '"1"'},
            )
        ) as server:
            service.use(server)
            with pytest.raises(s3dlio.S3dlioError, match=f"{service.root}/key at {server.url}: .* cannot be read"):
                s3dlio.stat(f"{service.root}/key")


@pytest.mark.parametrize("name", list(SERVICES))
def test_an_object_with_an_unreadable_date_is_listed_and_copied(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]

    def choose(request: Received) -> bytes:
        query = request.target.partition("?")[2]
        if "prefix=" in query:
            return service.page(["f/a"], [], "")
        headers = {"Last-Modified": "never", "ETag": '"1"', "Content-Length": "3"}
        if name == "gs" and "alt=media" not in query:
            return answer(200, json.dumps({"size": "3", "updated": "never"}))
        return answer(200, b"" if request.method == "HEAD" else b"abc", headers)

    with Replay(choose) as server:
        service.use(server)
        s3dlio.copy(f"{service.root}/f/a", f"file://{tmp_path}/copy")
        assert (tmp_path / "copy").read_bytes() == b"abc"
        listed = subprocess.run(
            [sys.executable, "-m", "s3dlio", "ls", "-l", f"{service.root}/f"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout.split() == ["3", "-", f"{service.root}/f/a"]
        as_json = subprocess.run(
            [sys.executable, "-m", "s3dlio", "ls", "-l", "--json", f"{service.root}/f"],
            capture_output=True,
            check=True,
        )
        (facts,) = json.loads(as_json.stdout)
        assert facts["size"] == 3
        assert facts["last_modified"] is None
