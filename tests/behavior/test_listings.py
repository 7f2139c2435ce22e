# SPDX-License-Identifier: Apache-2.0
"""list, list_iter and entries."""

# A memoryview equals the bytes that it shows.
# mypy: no-strict-equality

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import s3dlio
from tests.behavior.content import ODD_NAMES

Listing = Callable[..., list[str]]


def _streamed(uri: str, recursive: bool = False, pattern: str | None = None) -> list[str]:
    found = list(s3dlio.list_iter(uri, recursive, pattern))
    assert len(found) == len(set(found))
    return sorted(found)


@pytest.fixture(params=[s3dlio.list, _streamed], ids=["list", "list_iter"])
def listing(request: pytest.FixtureRequest) -> Listing:
    chosen: Listing = request.param
    return chosen


@pytest.fixture
def tree(root: str) -> str:
    names = [
        "b.npz",
        "a.npz",
        "data/x",
        "data/y.txt",
        "data/sub/z",
        "data/sub/deep/w",
        "data2/v",
        "data.txt",
        ".hidden/u",
    ]
    s3dlio.put_many((f"{root}/{name}", name.encode()) for name in names)
    return root


def _below(root: str, *names: str) -> list[str]:
    return [f"{root}/{name}" for name in names]


def test_a_listing_has_the_children_and_folders_end_in_a_slash(tree: str, listing: Listing) -> None:
    assert listing(tree) == _below(tree, ".hidden/", "a.npz", "b.npz", "data.txt", "data/", "data2/")


def test_a_recursive_listing_has_all_objects_and_no_folders(tree: str, listing: Listing) -> None:
    assert listing(tree, recursive=True) == _below(
        tree,
        ".hidden/u",
        "a.npz",
        "b.npz",
        "data.txt",
        "data/sub/deep/w",
        "data/sub/z",
        "data/x",
        "data/y.txt",
        "data2/v",
    )


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_named_with_or_without_its_slash_and_never_its_neighbor(
    tree: str, listing: Listing, end: str
) -> None:
    assert listing(f"{tree}/data{end}") == _below(tree, "data/sub/", "data/x", "data/y.txt")
    assert listing(f"{tree}/data{end}", recursive=True) == _below(
        tree, "data/sub/deep/w", "data/sub/z", "data/x", "data/y.txt"
    )


def test_a_part_of_a_name_is_not_a_folder(tree: str, listing: Listing) -> None:
    assert listing(f"{tree}/dat") == []
    assert listing(f"{tree}/dat", recursive=True) == []


@pytest.mark.parametrize("name", ["missing", "missing/", "missing/deeper", "a.npz/below"])
@pytest.mark.parametrize("recursive", [False, True])
def test_a_missing_folder_is_empty(tree: str, listing: Listing, name: str, recursive: bool) -> None:
    assert listing(f"{tree}/{name}", recursive=recursive) == []


def test_an_object_is_an_empty_folder(tree: str, listing: Listing) -> None:
    assert listing(f"{tree}/a.npz") == []
    assert listing(f"{tree}/a.npz", recursive=True) == []


def test_every_listed_object_can_be_read(tree: str, listing: Listing) -> None:
    for uri in listing(tree, recursive=True):
        assert s3dlio.get(uri) == uri.removeprefix(f"{tree}/").encode()


def test_a_listed_folder_can_be_listed(tree: str, listing: Listing) -> None:
    def descend(uri: str) -> Iterator[str]:
        for child in listing(uri):
            if child.endswith("/"):
                yield from descend(child)
            else:
                yield child

    assert sorted(descend(tree)) == listing(tree, recursive=True)


# Entries: names with sizes...


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("folder", ["", "/data", "/data/", "/missing", "/a.npz"])
def test_entries_are_the_names_of_the_listing_with_their_sizes(tree: str, folder: str, recursive: bool) -> None:
    found = {entry.uri: entry.size for entry in s3dlio.entries(f"{tree}{folder}", recursive)}
    names = s3dlio.list(f"{tree}{folder}", recursive)
    assert sorted(found) == names
    assert found == {uri: 0 if uri.endswith("/") else len(uri.removeprefix(f"{tree}/")) for uri in names}


def test_entries_are_recursive_unless_asked_otherwise(tree: str) -> None:
    assert sorted(entry.uri for entry in s3dlio.entries(tree)) == s3dlio.list(tree, recursive=True)


def test_entries_of_more_than_one_page_come_once_each(root: str) -> None:
    sizes = {f"{root}/many/{number}": number % 7 for number in range(2300)}
    s3dlio.put_many((uri, bytes(size)) for uri, size in sizes.items())
    for recursive in (True, False):
        found = [(entry.uri, entry.size) for entry in s3dlio.entries(f"{root}/many", recursive)]
        assert sorted(found) == sorted(sizes.items())


def test_entries_with_odd_names_have_their_sizes(root: str) -> None:
    sizes = {f"{root}/{name}": number for number, name in enumerate(ODD_NAMES) if "\\" not in name}
    s3dlio.put_many((uri, bytes(size)) for uri, size in sizes.items())
    for recursive in (True, False):
        assert {entry.uri: entry.size for entry in s3dlio.entries(root, recursive)} == sizes


def test_entries_refuse_a_malformed_uri_at_once(root: str) -> None:
    for call in (s3dlio.entries, s3dlio.entries_async):
        with pytest.raises(s3dlio.InvalidURIError):
            call(root.replace("://", ":/"))


# Patterns...


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\.npz$", ["a.npz", "b.npz"]),
        (r"^data/", ["data/sub/deep/w", "data/sub/z", "data/x", "data/y.txt"]),  # on the path below the folder
        (r"sub/[^/]*$", ["data/sub/z"]),
        (r"^[ab]", ["a.npz", "b.npz"]),
        (r"(?i)A\.NPZ", ["a.npz"]),
        (r"", None),
        (r"no such name", []),
    ],
)
def test_a_pattern_is_searched_in_the_path_below_the_folder(
    tree: str, listing: Listing, pattern: str, expected: list[str] | None
) -> None:
    everything = listing(tree, recursive=True)
    found = listing(tree, recursive=True, pattern=pattern)
    assert found == (everything if expected is None else _below(tree, *expected))


def test_a_pattern_is_not_searched_in_the_path_above_the_folder(tree: str, listing: Listing) -> None:
    assert listing(f"{tree}/data", recursive=True, pattern="data") == []
    assert listing(f"{tree}/data", pattern="^sub/$") == _below(tree, "data/sub/")


@pytest.mark.parametrize("pattern", ["(", "[a-", "*", "a{2,1}"])
def test_a_bad_pattern_is_a_value_error_that_names_it(root: str, pattern: str) -> None:
    for call in (s3dlio.list, s3dlio.list_iter):
        with pytest.raises(ValueError, match="regular expression") as caught:
            call(root, pattern=pattern)  # immediately, not with the first name
        assert repr(pattern) in str(caught.value)


# Many names, and odd names...


def test_odd_names_are_listed_unchanged(root: str, listing: Listing) -> None:
    uris = [f"{root}/{name}" for name in ODD_NAMES] + [
        f"{root}/{name}/{name}" for name in ("a b", "ü", "%41", "+", "#?")
    ]
    s3dlio.put_many((uri, b"x") for uri in uris)
    assert listing(root, recursive=True) == sorted(uris)


def test_more_names_than_any_page_holds_sorted_by_code_point(root: str, listing: Listing) -> None:
    uris = [f"{root}/many/{number:x}-{'é' * (number % 2)}" for number in range(2300)]
    s3dlio.put_many((uri, b"") for uri in uris)
    assert s3dlio.list(f"{root}/many") == sorted(uris)
    assert listing(f"{root}/many") == sorted(uris)


def test_a_listing_can_be_left_half_way(root: str) -> None:
    s3dlio.put_many((f"{root}/{number}", b"") for number in range(20))
    names = s3dlio.list_iter(root)
    assert next(names).startswith(f"{root}/")
    del names
    assert len(s3dlio.list(root)) == 20
