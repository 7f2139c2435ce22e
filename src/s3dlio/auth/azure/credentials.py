# SPDX-License-Identifier: Apache-2.0
"""The four ways to authorize requests for az://: account key, shared access signature, Entra ID, and none.

Every credential has the same methods. `authorize` and `authorize_gets` return what a request needs in addition to its
own fields. `refused` says whether another attempt may succeed after the service has refused the credential.

Sources: Azure documentation, "Authorize access to blobs using Microsoft Entra ID"; "Grant limited access to Azure
Storage resources using shared access signatures (SAS)".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote, unquote

from s3dlio import redaction
from s3dlio.auth.azure import entra
from s3dlio.auth.azure.shared_key import Authorization
from s3dlio.auth.renewal import Renewed
from s3dlio.errors import ConfigurationError

_EARLY = 300.0  # seconds before a token expires at which the next one is fetched


class Credential(Protocol):
    """Authorizes requests."""

    def authorize(
        self, method: str, path: str, query: str, headers: Sequence[tuple[str, str]], length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """The query to send and the fields to add; see `SharedKey.authorize`.

        Raises:
            ConfigurationError: there are no credentials, or no token could be fetched.
        """

    def authorize_gets(self, headers: Sequence[tuple[str, str]], /) -> Authorization:
        """What allows the GETs of this second that have no query; see `SharedKey.authorize_gets`.

        Raises:
            ConfigurationError: there are no credentials, or no token could be fetched.
        """

    def refused(self, fields: Sequence[tuple[str, str]], /) -> bool:
        """Whether another request can succeed after one with the fields of this credential was refused."""


class SharedAccessSignature:
    """A shared access signature, which is added to the query of every request. Never part of a repr.

    Args:
        token: as the portal shows it, with or without the leading "?".
        source: the setting that it comes from.

    Raises:
        ConfigurationError: the text is not a shared access signature.
    """

    def __init__(self, token: str, source: str) -> None:
        pairs = [pair.partition("=") for pair in token.strip().lstrip("?").split("&") if pair]
        # Decoded and encoded again, because some tools leave "+" and "/" in the signature as they are.
        values = {name: quote(unquote(value), safe="") for name, _, value in pairs}
        if not values.get("sig") or any(re.fullmatch(r"[a-z]+", name) is None for name in values):
            raise ConfigurationError(
                f"{source} is not a shared access signature: expected parameters joined by &, with sv, sp, se and sig"
            )
        redaction.remember(unquote(values["sig"]))
        self._query = "&".join([f"{name}={value}" for name, value in values.items()])
        self.permissions = unquote(values.get("sp", ""))
        self.expires = unquote(values.get("se", ""))

    def __repr__(self) -> str:
        return f"SharedAccessSignature(sp={self.permissions!r}, se={self.expires!r})"

    def authorize(
        self, _method: str, _path: str, query: str, _headers: Sequence[tuple[str, str]], _length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """The query with the signature; see `Credential`."""
        return f"{query}&{self._query}" if query else self._query, []

    def authorize_gets(self, _headers: Sequence[tuple[str, str]], /) -> Authorization:
        """The signature as the query; see `Credential`."""
        return Authorization(self._query, ())

    def refused(self, _fields: Sequence[tuple[str, str]], /) -> bool:
        """False: the service would refuse the signature again."""
        return False


class EntraToken:
    """Tokens of Entra ID. Threads share one token; see `auth.renewal` for when the next one is fetched."""

    def __init__(self) -> None:
        self._tokens = Renewed("the token for az://", entra.fetch_token, _EARLY, entra.VARIABLES)

    def __repr__(self) -> str:
        return "EntraToken()"

    def authorize(
        self, _method: str, _path: str, query: str, _headers: Sequence[tuple[str, str]], _length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """The token as a field; see `Credential`. May wait for Entra ID."""
        return query, list(self._tokens.current())

    def authorize_gets(self, _headers: Sequence[tuple[str, str]], /) -> Authorization:
        """The token as a field; see `Credential`. May wait for Entra ID."""
        return Authorization("", self._tokens.current())

    def refused(self, fields: Sequence[tuple[str, str]], /) -> bool:
        """Whether there is another token: the refused one may have expired early, or have been revoked."""
        return self._tokens.renew(tuple(fields))


class Anonymous:
    """No credential, for public containers."""

    def authorize(
        self, _method: str, _path: str, query: str, _headers: Sequence[tuple[str, str]], _length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """No fields to add; see `Credential`."""
        return query, []

    def authorize_gets(self, _headers: Sequence[tuple[str, str]], /) -> Authorization:
        """No fields to add; see `Credential`."""
        return Authorization("", ())

    def refused(self, _fields: Sequence[tuple[str, str]], /) -> bool:
        """False: there is nothing to renew."""
        return False
