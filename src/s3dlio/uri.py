# SPDX-License-Identifier: Apache-2.0
"""One parser for every scheme.

    s3://bucket/key   az://container/key   gs://bucket/key   file:///absolute/path   direct:///absolute/path

A key is used as it is written: percent signs, repeated slashes and dots are parts of a name in an object store. A path
on a file system goes to the kernel as it is written, unless a ".." climbs out of the root. The parser refuses every
other text that cannot name an object, with a message that shows what was expected, so that no store has to.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from s3dlio.errors import InvalidURIError

FILE_SCHEMES = ("file", "direct")
CLOUD_SCHEMES = ("s3", "az", "gs")

_DOT = (".", "%2e", "%2E")
# "." and "..", percent-encoded or not: servers remove them from a path, and so would act on another object.
_DOTS = frozenset([*_DOT, *(first + second for first in _DOT for second in _DOT)])
_EXPECTED = "expected s3://bucket/key, az://container/key, gs://bucket/key, file:///path or direct:///path"


class URI(NamedTuple):
    """A parsed URI.

    Attributes:
        scheme: "s3", "az", "gs", "file" or "direct".
        container: bucket or container; "" for files.
        key: the object's key, without the slash before it; for files, the absolute path.
        text: the URI as it was written.
    """

    scheme: str
    container: str
    key: str
    text: str

    @property
    def root(self) -> str:
        """The text before the key: "s3://bucket/", or "file://"."""
        return f"{self.scheme}://{self.container}/" if self.container else f"{self.scheme}://"

    @property
    def folder_key(self) -> str:
        """The key with a "/" at its end, as the name of a folder; "" for a whole bucket."""
        return self.key if not self.key or self.key.endswith("/") else self.key + "/"

    def with_key(self, key: str) -> URI:
        """The URI of another key in the same container."""
        return URI(self.scheme, self.container, key, self.root + key)

    def child(self, relative: str) -> URI:
        """The URI of an object below this folder.

        Args:
            relative: the part of the key below the folder.

        Raises:
            InvalidURIError: the scheme is one of files, and the path would leave the folder.
        """
        if self.scheme in FILE_SCHEMES and (relative.startswith("/") or _climbs_out(relative)):
            raise InvalidURIError(
                f"cannot store {relative!r} below {self.text}: the name leads out of the folder; choose another name",
                uri=self.text,
            )
        return self.with_key(self.folder_key + relative)


_new = tuple.__new__  # takes half the time of the generated constructor, in every call


def parse(text: str) -> URI:
    """Parse a URI.

    Args:
        text: a URI of one of the five schemes.

    Raises:
        InvalidURIError: the text is empty, has no scheme or an unknown one, lacks its container, holds a NUL or a lone
            surrogate, or its path climbs out of the root with "..".
        TypeError: the argument is not a string.
    """
    try:
        scheme, mark, rest = text.partition("://")
    except (AttributeError, TypeError):
        raise TypeError(f"a URI must be a str, not {type(text).__name__}: {text!r}") from None
    if "\0" in text:
        raise InvalidURIError(f"{text!r} contains a NUL character, which no store accepts in a name", uri=text)
    if not text.isascii():
        _check_encodable(text, scheme)
    if mark:
        if scheme == "file" or scheme == "direct":
            if not rest.startswith("/"):
                raise InvalidURIError(
                    f"{text!r} is not an absolute path: expected {scheme}:///path, with three slashes",
                    uri=text,
                )
            if ".." in rest and _climbs_out(rest):
                raise InvalidURIError(f"{text!r} leaves the root with '..'; use a path below the root", uri=text)
            return _new(URI, (scheme, "", rest, text))
        if scheme in CLOUD_SCHEMES:
            container, _, key = rest.partition("/")
            if ":" in container and "@" in rest and not container.startswith("arn:"):
                raise InvalidURIError(
                    f"a URI {scheme}://USER:PASSWORD@… contains credentials, which would end up in logs; write"
                    f" {scheme}://bucket/key, and set the credentials in the environment or by s3dlio.configure"
                )
            if container in _DOTS:
                what = "container" if scheme == "az" else "bucket"
                raise InvalidURIError(
                    f"{text!r}: a {what} cannot have the name {container!r}, which is a step in a path: expected"
                    f" {scheme}://{what}/key",
                    uri=text,
                )
            if not container or container.isspace():
                what = "container" if scheme == "az" else "bucket"
                raise InvalidURIError(f"{text!r} names no {what}: expected {scheme}://{what}/key", uri=text)
            return _new(URI, (scheme, container, key, text))
    raise InvalidURIError(_refusal(text, scheme if mark else None), uri=text)


def of_path(path: str | os.PathLike[str]) -> str:
    """The file:// URI of a local path. A relative path is resolved; a final "/" stays."""
    text = os.fspath(path)
    absolute = os.path.abspath(text)
    return f"file://{absolute}/" if text.endswith("/") and absolute != "/" else f"file://{absolute}"


def _check_encodable(text: str, scheme: str) -> None:
    try:
        if scheme in FILE_SCHEMES:
            os.fsencode(text)  # accepts surrogates that stand for undecodable bytes, as in names from a listing
        else:
            text.encode()
    except UnicodeEncodeError:
        raise InvalidURIError(
            f"{text!r} contains half a surrogate pair, which no store accepts in a name", uri=text
        ) from None


def _climbs_out(path: str) -> bool:
    depth = 0
    for segment in path.split("/"):
        if segment == "..":
            depth -= 1
            if depth < 0:
                return True
        elif segment and segment != ".":
            depth += 1
    return False


def _refusal(text: str, scheme: str | None) -> str:
    if not text:
        return f"the URI is empty: {_EXPECTED}"
    if scheme is None:
        hint = f"; for a local path write file://{text}" if text.startswith("/") else ""
        return f"{text!r} has no scheme: {_EXPECTED}{hint}"
    if scheme.lower() in FILE_SCHEMES + CLOUD_SCHEMES:
        return f"{text!r}: expected the scheme in lower case, {scheme.lower()}://"
    return f"{text!r} has the unknown scheme {scheme!r}: {_EXPECTED}"
