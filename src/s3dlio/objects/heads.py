# SPDX-License-Identifier: Apache-2.0
"""The heads of requests, and what a proxy that requests go through without TLS wants to see in them.

`head_for` makes one head. `Heads` makes those of a batch: it validates and joins the lines that all of them have in
common once, and then adds what differs from object to object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from s3dlio.http.address import Address
from s3dlio.http.framing import field_lines, request_head


def head_for(address: Address, method: str, target: str, fields: Sequence[tuple[str, str]]) -> bytes:
    """The head of a request; `fields` are all of its fields, Host and Content-Length included."""
    origin, proxy_fields = _for_proxy(address)
    return request_head(method, origin + target, [*proxy_fields, *fields])


def _for_proxy(address: Address) -> tuple[str, list[tuple[str, str]]]:
    """What a head contains for a proxy without TLS (RFC 9112 section 3.2.2): the beginning of the target, which is the
    whole URL there, and the proxy's own fields. Both are empty without such a proxy.
    """
    if address.proxy is None or address.tls:
        return "", []
    authorization = address.proxy.authorization
    return address.url, [("Proxy-Authorization", authorization)] if authorization else []


class Heads:
    """Makes the heads of requests for several objects of one container, all sent to one endpoint at about one time.

    Attributes:
        address: the server that they go to.
        credential: the credential that they are signed with (see `objects.request.Request`).
    """

    __slots__ = ("_after", "_before", "_lines", "_method", "_origin", "_query", "_sign", "address", "credential")

    def __init__(
        self,
        method: str,
        address: Address,
        before: str,
        fields: Sequence[tuple[str, str]],
        sign: Callable[[str, str], str] | None = None,
        *,
        query: str = "",
        hole: str = "",
        credential: Any = None,
    ) -> None:
        """
        Args:
            method: the method, in capitals.
            address: the server that the requests go to.
            before: the part of the target before an object's path, percent-encoded.
            fields: all fields. If the requests are signed, the value of the last one lacks the signature, which is
                appended to it.
            sign: returns the signature, given the target without its query, and the text that fills the hole; None if
                the requests are not signed.
            query: the part of the target after the object's path, with "?"; "" for no query.
            hole: a placeholder in a field for text that differs from request to request; "" if all text is the same.
            credential: see the attribute.
        """
        self.address = address
        self.credential = credential
        self._method = method
        self._before = before
        self._query = query
        self._origin, proxy_fields = _for_proxy(address)
        lines = field_lines([*proxy_fields, *fields]).removesuffix("\r\n")
        self._lines, _, self._after = lines.partition(hole) if hole else (lines, "", "")
        self._sign = sign

    def head(self, path: str, own: str = "", filled: str = "") -> bytes:
        """The head of the request for an object.

        Args:
            path: the object's path in the container, percent-encoded.
            own: lines of fields that only this request has, which the signature does not cover.
            filled: the text that fills the hole.
        """
        path = self._before + path
        signature = "" if self._sign is None else self._sign(path, filled)
        first = f"{self._method} {self._origin}{path}{self._query} HTTP/1.1\r\n"
        return f"{first}{own}{self._lines}{filled}{self._after}{signature}\r\n\r\n".encode("latin-1")
