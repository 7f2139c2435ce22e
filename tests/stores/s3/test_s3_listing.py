# SPDX-License-Identifier: Apache-2.0
"""A page of an S3 listing gives the same result whether it is read as text or as XML."""

from __future__ import annotations

from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

import s3dlio
from s3dlio.http.address import Address
from s3dlio.http.framing import BodyKind, ResponseHead
from s3dlio.http.response import Response
from s3dlio.stores.pager import Page
from s3dlio.stores.s3 import listing
from s3dlio.stores.s3.listing import read_page

# Text that XML can hold: no control characters, no surrogates.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20)
OBJECTS = st.lists(st.tuples(TEXT, st.integers(0, 2**50)), max_size=8)


def answer(text: str) -> Response:
    body = text.encode()
    head = ResponseHead(200, "OK", {}, BodyKind.LENGTH, len(body), True)
    return Response(head, memoryview(body), Address(False, "127.0.0.1", 9))


def contents(key: str, size: int, more: str = "") -> str:
    return f"<Contents><Key>{key}</Key><ETag>&quot;1&quot;</ETag><Size>{size}</Size>{more}</Contents>"


def document(content: str, encoding: str = "") -> str:
    kind = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name>{kind}{content}<IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>to&amp;ken</NextContinuationToken></ListBucketResult>"
    )


def is_read_by_shape(text: str) -> bool:
    return listing._contents_by_shape(memoryview(text.encode()), True) is not None


@given(OBJECTS, st.lists(TEXT, max_size=3))
def test_encoded_keys_are_read_as_text(objects: list[tuple[str, int]], prefixes: list[str]) -> None:
    folders = "".join(f"<CommonPrefixes><Prefix>{quote_plus(name)}</Prefix></CommonPrefixes>" for name in prefixes)
    text = document("".join(contents(quote_plus(key), size) for key, size in objects) + folders, "url")
    page = read_page(answer(text), "s3://b", True)
    assert page == Page([key for key, _ in objects], [size for _, size in objects], prefixes, "to&ken")
    assert is_read_by_shape(text) == bool(objects)
    assert read_page(answer(text), "s3://b", False) == page._replace(sizes=[])
    assert read_page(answer(text.replace("<Name>", "<!-- as XML --><Name>")), "s3://b", True) == page


@given(OBJECTS)
def test_keys_that_are_not_encoded_are_read_right(objects: list[tuple[str, int]]) -> None:
    text = document("".join(contents(escape(key), size) for key, size in objects))
    page = read_page(answer(text), "s3://b", True)
    assert page.keys == [key for key, _ in objects]
    assert page.sizes == [size for _, size in objects]


ODD = {
    "blanks between": document(f"{contents('a', 1)}\n  {contents('b', 2)}\n"),
    "folders between": document(
        f"{contents('a', 1)}<CommonPrefixes><Prefix>f/</Prefix></CommonPrefixes>{contents('b', 2)}"
    ),
    "another order of fields": document(
        "<Contents><Size>1</Size><Key>a</Key></Contents><Contents><Size>2</Size><Key>b</Key></Contents>"
    ),
    "CDATA": document(
        "<Contents><Key><![CDATA[a]]></Key><Size>1</Size></Contents>"
        "<Contents><Key>b<![CDATA[]]></Key><Size>2</Size></Contents>"
    ),
    "a comment that looks like an object": document(f"<!--{contents('x', 9)}-->{contents('a', 1)}{contents('b', 2)}"),
    "attributes": document(f'<Contents x="1"><Key>a</Key><Size>1</Size></Contents>{contents("b", 2)}'),
    "two sizes": document(contents("a", 1, "<Part><Size>7</Size></Part>") + contents("b", 2)),
    "an object without its size": document(f"<Contents><Key>a</Key></Contents>{contents('b', 2)}"),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_a_page_of_an_unknown_form_is_read_as_xml(text: str) -> None:
    page = read_page(answer(text), "s3://b", True)
    assert page.keys == ["a", "b"]
    assert page.sizes[-1] == 2
    assert page.token == "to&ken"


def test_a_page_that_is_not_xml_is_an_error_that_names_the_uri() -> None:
    broken = document(contents("a", 1)).replace("</ListBucketResult>", "")
    for text in (broken, "", "<html>"):
        with pytest.raises(s3dlio.S3dlioError, match=r"s3://b at http://127\.0\.0\.1:9: the answer is not XML"):
            read_page(answer(text), "s3://b", True)
