# SPDX-License-Identifier: Apache-2.0
"""Azure Storage's Shared Key: the fields to add to a request, or the query that lets anyone use one blob.

Strategy. Pure functions of account, key, request and time, without sockets, environment or settings. The parts that the
requests of one second share are computed once in that second: the date, and the signed text before the path of requests
without a body, whose fields repeat. Each request then costs one HMAC and the joining of strings.

The service orders the signed fields by the rules of a dictionary instead of by their bytes: hyphens and apostrophes
count only if the names are equal without them, and digits come after most signs. The vendor's library does so, too, and
the tests compare every signature with that library's.

Source: Azure Storage REST API, "Authorize with Shared Key"; "Create a service SAS".
"""

from __future__ import annotations

import hashlib
import time
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlencode

from s3dlio.auth.encoding import HmacKey

_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_SIGNED_SET = frozenset(_SIGNED)
_BEGINNINGS_KEPT = 16  # for each second; further ones are made each time

# Signs, digits and letters of field names in the order of the service, which at first ignores hyphen and apostrophe.
_FIRST_ORDER = "!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz"
_FIRST = {**{ord(char): rank for rank, char in enumerate(_FIRST_ORDER, 2)}, ord("-"): None, ord("'"): None}
_SECOND = {**dict.fromkeys(range(33, 127), 1), ord("'"): 2, ord("-"): 3}


class _Moment(NamedTuple):
    """What requests signed in one second share.

    Attributes:
        second: seconds since the epoch.
        date: the second as HTTP writes it.
        beginnings: the first few texts that are signed before the path, by method and fields.
    """

    second: int
    date: str
    beginnings: dict[tuple[str, tuple[tuple[str, str], ...]], str]


class Authorization(NamedTuple):
    """Authorizes the GETs of one second that differ only in their paths.

    Attributes:
        query: the query to send with each GET.
        fields: the fields to add to each GET. If they are signed, the value of the last one ends before the signature.
        sign: returns the signature for a path (see `objects.request.Heads`); None if requests are not signed.
    """

    query: str
    fields: Sequence[tuple[str, str]]
    sign: Callable[[str, str], str] | None = None

    def __repr__(self) -> str:
        return "Authorization()"


class SharedKey:
    """Signs the requests to one storage account. Threads may share it: its cache is replaced in one step.

    Args:
        account: name of the account.
        key: one of the account's two keys, decoded from base64; never part of a repr.
    """

    __slots__ = ("_key", "_moment", "account")

    def __init__(self, account: str, key: bytes) -> None:
        self.account = account
        self._key = HmacKey(key)
        self._moment = _Moment(0, "", {})

    def __repr__(self) -> str:
        return f"SharedKey({self.account!r})"

    def authorize(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        length: int = 0,
        now: float | None = None,
    ) -> tuple[str, list[tuple[str, str]]]:
        """The query to send and the fields to add, so that the service accepts a request.

        Args:
            method: in capitals.
            path: the path as it is sent: percent-encoded, with its leading "/", without the query.
            query: the query as it is sent, without "?".
            headers: the other fields that the signature covers: all "x-ms-*", Content-MD5, Content-Type, Range and
                conditions. Not Content-Length.
            length: of the body, in bytes.
            now: seconds since the epoch; None for the clock.

        Returns:
            The query unchanged, and the fields x-ms-date and Authorization.
        """
        moment = self._moment_at(now)
        kept = method, tuple(headers)
        beginning = None if length else moment.beginnings.get(kept)
        if beginning is None:
            beginning = self._beginning(method, headers, length, moment.date)
            if not length and len(moment.beginnings) < _BEGINNINGS_KEPT:
                moment.beginnings[kept] = beginning
        signature = self._signature(f"{beginning}{path}{_canonical(query) if query else ''}")
        return query, [("x-ms-date", moment.date), ("Authorization", f"SharedKey {self.account}:{signature}")]

    def authorize_gets(self, headers: Sequence[tuple[str, str]] = (), now: float | None = None) -> Authorization:
        """What allows the GETs of this second that have these fields and no query.

        Args:
            headers, now: see `authorize`.
        """
        moment = self._moment_at(now)
        key = self._key.after(self._beginning("GET", headers, 0, moment.date).encode())
        fields = [("x-ms-date", moment.date), ("Authorization", f"SharedKey {self.account}:")]
        return Authorization("", fields, lambda path, _: _text(key.sign(path.encode())))

    def _moment_at(self, now: float | None) -> _Moment:
        """What requests signed in one second share."""
        second = int(time.time() if now is None else now)
        moment = self._moment
        if moment.second != second:
            self._moment = moment = _Moment(second, formatdate(second, usegmt=True), {})
        return moment

    def _beginning(self, method: str, headers: Sequence[tuple[str, str]], length: int, date: str) -> str:
        """The signed text of a request up to its path."""
        standard = {"content-length": str(length)} if length else {}
        own = [("x-ms-date", date)]
        for name, value in headers:
            name = name.lower()
            if name.startswith("x-ms-"):
                own.append((name, value.strip(" \t")))
            elif name in _SIGNED_SET:
                standard[name] = value.strip(" \t")
        if len(own) > 1:
            own.sort(key=_rank)
        fields = "".join([f"{name}:{value}\n" for name, value in own])
        get = standard.get
        values = "\n".join([get(name, "") for name in _SIGNED])
        return f"{method}\n{values}\n{fields}/{self.account}"

    def blob_sas(self, container: str, key: str, permissions: str, version: str, expires: int, only_https: bool) -> str:
        """A query with which anyone can use one blob: a service SAS.

        Args:
            container: container of the blob.
            key: name of the blob, not encoded.
            permissions: what is allowed, such as "r" for reading.
            version: version of the service, 2020-12-06 or later.
            expires: when the permission ends, in seconds since the epoch.
            only_https: whether to allow requests with TLS only.
        """
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        protocol = "https" if only_https else "https,http"
        resource = f"/blob/{self.account}/{container}/{key}"
        unused = ("",) * 7  # snapshot, encryption scope, and five fields of the answer to override
        parts = (permissions, "", end, resource, "", "", protocol, version, "b", *unused)
        signature = self._signature("\n".join(parts))
        return urlencode(
            {"sv": version, "se": end, "sr": "b", "sp": permissions, "spr": protocol, "sig": signature}, safe=""
        )

    def refused(self, _fields: Sequence[tuple[str, str]], /) -> bool:
        """False: the service would refuse the key again."""
        return False

    def _signature(self, to_sign: str) -> str:
        return _text(self._key.sign(to_sign.encode()))


def _text(code: hashlib._Hash) -> str:
    return b2a_base64(code.digest(), newline=False).decode()


def _rank(field: tuple[str, str]) -> tuple[str, str]:
    return _rank_of(field[0])


@lru_cache(maxsize=1024)
def _rank_of(name: str) -> tuple[str, str]:
    """The key that sorts the lower-case name of a field."""
    return name.translate(_FIRST), name.translate(_SECOND)


def _canonical(query: str) -> str:
    """The parameters of a query as they are signed: decoded, sorted by name, one to a line, values joined by commas."""
    values: dict[str, list[str]] = {}
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        values.setdefault(unquote(name).lower(), []).append(unquote(value))
    return "".join([f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values)])
