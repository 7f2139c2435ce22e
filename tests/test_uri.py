# SPDX-License-Identifier: Apache-2.0
"""The parser of URIs: its parts, joined again, are the original text."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3dlio.errors import InvalidURIError
from s3dlio.uri import CLOUD_SCHEMES, parse

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_SEGMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=8)


def _names_a_container(text: str) -> bool:
    return not text.isspace() and unquote(text) not in (".", "..")


@given(st.sampled_from(CLOUD_SCHEMES), _SEGMENT.filter(_names_a_container), _TEXT)
def test_the_key_is_everything_after_the_container(scheme: str, container: str, key: str) -> None:
    uri = parse(f"{scheme}://{container}/{key}")
    assert uri == (scheme, container, key, f"{scheme}://{container}/{key}")
    assert uri.root + uri.key == uri.text
    assert uri.with_key(key) == uri


@given(st.sampled_from(["file", "direct"]), _TEXT.filter(lambda text: ".." not in text))
def test_a_path_is_unchanged(scheme: str, path: str) -> None:
    uri = parse(f"{scheme}:///{path}")
    assert uri == (scheme, "", f"/{path}", f"{scheme}:///{path}")
    assert uri.root + uri.key == uri.text


@given(st.lists(st.sampled_from(["..", ".", "", "a", "..b", "c.."]), max_size=8))
def test_a_path_is_refused_only_if_it_climbs_above_the_root(segments: list[str]) -> None:
    depth, lowest = 0, 0
    for segment in segments:
        depth += {"..": -1, ".": 0, "": 0}.get(segment, 1)
        lowest = min(lowest, depth)
    text = "file:///" + "/".join(segments)
    if lowest < 0:
        with pytest.raises(InvalidURIError, match="leaves the root"):
            parse(text)
    else:
        assert parse(text).text == text


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("s3://bucket", ""),
        ("s3://bucket/", ""),
        ("s3://bucket/data", "data/"),
        ("s3://bucket/data/", "data/"),
        ("s3://bucket/data//", "data//"),
        ("file:///", "/"),
        ("file:///data", "/data/"),
    ],
)
def test_a_folder_ends_in_a_slash(text: str, folder: str) -> None:
    assert parse(text).folder_key == folder


@pytest.mark.parametrize("relative", ["../x", "a/../../x", "/etc/passwd", "..", "a/b/../../.."])
def test_a_name_from_a_store_cannot_leave_the_folder_that_it_is_copied_to(relative: str) -> None:
    with pytest.raises(InvalidURIError, match="leads out of the folder"):
        parse("file:///data").child(relative)
    assert parse("s3://bucket/data").child(relative).key == "data/" + relative  # only a name there


def test_a_child_is_below_its_folder() -> None:
    assert parse("file:///data").child("a/b").text == "file:///data/a/b"
    assert parse("direct:///data/").child("a b%20").text == "direct:///data/a b%20"
    assert parse("gs://bucket").child("a").text == "gs://bucket/a"


@pytest.mark.parametrize("container", [".", "..", "%2e", "%2E.", ".%2e", "%2E%2e", "", " "])
@pytest.mark.parametrize("scheme", CLOUD_SCHEMES)
def test_a_container_with_the_name_of_a_step_in_a_path_is_refused(scheme: str, container: str) -> None:
    for key in ("", "/", "/key"):
        with pytest.raises(InvalidURIError):
            parse(f"{scheme}://{container}{key}")


def test_a_container_may_begin_with_dots() -> None:
    assert parse("s3://..a/key").container == "..a"
