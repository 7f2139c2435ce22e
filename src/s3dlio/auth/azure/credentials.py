# SPDX-License-Identifier: Apache-2.0
"""Which storage account az:// speaks to, and what its requests are allowed by.

Strategy. `account_of` reads the settings once and gives an `Account`: its name, its endpoint, and one credential. What
is set on its own comes before what the connection string says; of several credentials the account key comes first, then
a shared access signature, then Entra ID. Settings that contradict each other are an error, not a choice.

Every credential has the same two methods: `authorize` gives what a request needs beside its own fields, and `refused`
says whether asking again may help. Only Entra ID ever asks somebody: azure-identity, imported only then, finds the
identity (workload identity, managed identity, client secret or certificate, Azure CLI and others), and each fetch is
by a new object of its, which has no cache that could give a refused token a second time.

Sources: Azure documentation, "Configure Azure Storage connection strings"; "Authorize access to blobs using Microsoft
Entra ID"; azure-identity's "Credential chains".
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import logging
import os
import re
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

from s3dlio import redaction
from s3dlio.auth.azure.shared_key import Authorization, SharedKey
from s3dlio.auth.renewal import Renewed
from s3dlio.errors import ConfigurationError
from s3dlio.settings import Settings

_SCOPE = "https://storage.azure.com/.default"  # the same in every cloud

# azure-identity's own requests: a token service that cannot be reached must not hold a call for long.
_REQUESTS = {"connection_timeout": 2, "read_timeout": 10, "retry_connect": 1}

_EARLY = 300.0  # seconds before a token expires at which the next one is fetched

# The variables that azure-identity reads. A change of one makes it look again.
VARIABLES = (
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CONFIG_DIR",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "HOME",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
)
_SECRET_VARIABLES = ("AZURE_CLIENT_SECRET", "AZURE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER")

_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
_ACCOUNT_HOST = re.compile(r"([a-z0-9]+)(?:-secondary)?\.(?:z\d+\.)?(?:privatelink\.)?blob\..+")

_NAME_SETTING = "AZURE_STORAGE_ACCOUNT_NAME"
_KEY_SETTING = "AZURE_STORAGE_ACCOUNT_KEY"
_STRING_SETTING = "AZURE_STORAGE_CONNECTION_STRING"
_ENDPOINT_SETTING = "AZURE_STORAGE_ENDPOINT"
_SAS_SETTING = "AZURE_STORAGE_SAS_TOKEN"
_WAYS = f"{_KEY_SETTING}, {_SAS_SETTING} or {_STRING_SETTING}"
_ANONYMOUS = "For a public container, S3DLIO_NO_SIGN=1 sends requests without credentials."

# Without a handler of the program's, what azure-identity logs would go to the standard error; we raise it.
logging.getLogger("azure.identity").addHandler(logging.NullHandler())

_import_lock = threading.RLock()


def _after_fork_in_child() -> None:
    _import_lock.release()


# A fork waits for the import of azure-identity: a child could never take the lock of a module that was half imported.
os.register_at_fork(
    before=_import_lock.acquire, after_in_parent=_import_lock.release, after_in_child=_after_fork_in_child
)


class Credential(Protocol):
    """What requests are allowed by."""

    def authorize(
        self, method: str, path: str, query: str, headers: Sequence[tuple[str, str]], length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """The query to send, and the fields to add; see `SharedKey.authorize`.

        Raises:
            ConfigurationError: There are no credentials, or they could not be had.
        """

    def authorize_gets(self, headers: Sequence[tuple[str, str]], /) -> Authorization:
        """The same for all GETs without a query of this second.

        Raises:
            ConfigurationError: As above.
        """

    def refused(self) -> bool:
        """Called when the service has refused the credential as such: whether asking once more may help."""


class Account(NamedTuple):
    """A storage account.

    Attributes:
        name: its name; "" where nothing tells it and nothing needs it.
        endpoint: the URL of its Blob service, with the account's name in the host or in the path.
        source: the setting that the endpoint comes from.
        credential: what its requests are allowed by.
    """

    name: str
    endpoint: str
    source: str
    credential: Credential


class SharedAccessSignature:
    """A shared access signature: it goes into the query of every request. Never part of a repr.

    Args:
        token: As the portal gives it, with or without the first ``?``.
        source: The setting that it comes from.

    Raises:
        ConfigurationError: It is none.
    """

    def __init__(self, token: str, source: str) -> None:
        pairs = [pair.partition("=") for pair in token.strip().lstrip("?").split("&") if pair]
        # Decoded and encoded again, since some tools give the signature's "+" and "/" as they are.
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

    def refused(self) -> bool:
        """A signature that was refused will be refused again."""
        return False


class EntraToken:
    """Tokens of Entra ID. Threads share one; it is fetched again before it expires, and in a forked child."""

    def __init__(self) -> None:
        self._tokens = Renewed("the token of Entra ID", _fetch_token, _EARLY, VARIABLES)

    def __repr__(self) -> str:
        return "EntraToken()"

    def authorize(
        self, _method: str, _path: str, query: str, _headers: Sequence[tuple[str, str]], _length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """The token as a field; see `Credential`. May wait for the token's service."""
        return query, self._tokens.current()

    def authorize_gets(self, _headers: Sequence[tuple[str, str]], /) -> Authorization:
        """The token as a field; see `Credential`. May wait for the token's service."""
        return Authorization("", self._tokens.current())

    def refused(self) -> bool:
        """The token may have expired earlier than it said: the next request is to have another."""
        self._tokens.drop()
        return True


class Anonymous:
    """No credential at all, for public containers."""

    def authorize(
        self, _method: str, _path: str, query: str, _headers: Sequence[tuple[str, str]], _length: int, /
    ) -> tuple[str, list[tuple[str, str]]]:
        """Nothing to add; see `Credential`."""
        return query, []

    def authorize_gets(self, _headers: Sequence[tuple[str, str]], /) -> Authorization:
        """Nothing to add; see `Credential`."""
        return Authorization("", ())

    def refused(self) -> bool:
        """There is nothing that could be renewed."""
        return False


def account_of(settings: Settings) -> Account:
    """The account that the settings describe.

    Raises:
        ConfigurationError: They describe none, contradict each other, or hold a malformed key, signature or
            connection string. The message names the setting and never its value where that is secret.
    """
    parts = _connection_parts(settings.azure_connection_string)
    name = settings.azure_account or parts.get("accountname", "")
    if settings.azure_account and parts.get("accountname", name) != name:
        raise ConfigurationError(
            f"{_NAME_SETTING}={name!r} and {_STRING_SETTING} name different accounts: unset one of them"
        )
    endpoint, source = _endpoint(settings, parts, name)
    name = name or _name_in(endpoint)
    return Account(name, endpoint, source, _credential(settings, parts, name))


def _connection_parts(text: str | None) -> dict[str, str]:
    """The parts of a connection string by their names in lower case."""
    parts = {}
    for pair in filter(None, map(str.strip, (text or "").split(";"))):
        name, mark, value = pair.partition("=")
        if not mark:
            raise ConfigurationError(f"{_STRING_SETTING} is malformed: expected Name=value pairs joined by ';'")
        parts[name.strip().lower()] = value.strip()
    redaction.remember(parts.get("accountkey"))
    if parts and not {"accountname", "blobendpoint"} & parts.keys():
        raise ConfigurationError(f"{_STRING_SETTING} names no account: it has neither AccountName nor BlobEndpoint")
    return parts


def _endpoint(settings: Settings, parts: dict[str, str], name: str) -> tuple[str, str]:
    """The URL of the account's Blob service, and the setting that it comes from."""
    given, source = settings.azure_endpoint, _ENDPOINT_SETTING
    if not given and parts.get("blobendpoint"):
        given, source = parts["blobendpoint"], _STRING_SETTING
    if not given:
        if not name:
            raise ConfigurationError(
                f"az:// needs a storage account: set {_NAME_SETTING}, {_ENDPOINT_SETTING} or {_STRING_SETTING}"
            )
        if _ACCOUNT_NAME.fullmatch(name) is None:
            raise ConfigurationError(
                f"{_NAME_SETTING}={name!r} is not the name of an account: it has 3 to 24 lower-case letters and digits"
            )
        scheme = parts.get("defaultendpointsprotocol", "https")
        return f"{scheme}://{name}.blob.{parts.get('endpointsuffix', 'core.windows.net')}", _NAME_SETTING
    try:
        split = urlsplit(given.strip())
        host = split.hostname or ""
    except ValueError:
        return given, source  # whoever connects will say what is wrong with it
    path = split.path.strip("/")
    if _has_account_in_path(host):
        if not path and not name:
            raise ConfigurationError(f"{source}={redaction.url(given)!r} names no account: set {_NAME_SETTING}")
        if name and name not in (path or name).split("/"):
            raise _other_account(source, given, name)
        return (given if path else f"{given.strip().rstrip('/')}/{name}"), source
    if host.startswith("blob.") and name:
        return given.replace("://blob.", f"://{name}.blob.", 1), source
    found = _ACCOUNT_HOST.fullmatch(host)
    if name and found is not None and found[1] != name:
        raise _other_account(source, given, name)
    return given, source


def _other_account(source: str, endpoint: str, name: str) -> ConfigurationError:
    return ConfigurationError(f"{source}={redaction.url(endpoint)!r} is not the endpoint of {_NAME_SETTING}={name!r}")


def _has_account_in_path(host: str) -> bool:
    """Whether requests to a host name the account in their path, as emulators want it: they have one host for all."""
    if "." not in host:
        return True  # localhost, the name of a container, an IPv6 address
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "host.docker.internal"
    return True


def _name_in(endpoint: str) -> str:
    """The account's name in the URL of its endpoint."""
    try:
        split = urlsplit(endpoint)
        host = split.hostname or ""
    except ValueError:
        return ""
    if _has_account_in_path(host):
        return split.path.strip("/").rpartition("/")[2]
    found = _ACCOUNT_HOST.fullmatch(host)
    return found[1] if found is not None else ""


def _credential(settings: Settings, parts: dict[str, str], name: str) -> Credential:
    if settings.s3_no_sign:
        return Anonymous()
    for key, source in ((settings.azure_key, _KEY_SETTING), (parts.get("accountkey"), _STRING_SETTING)):
        if key:
            if not name:
                raise ConfigurationError(f"{source} needs the account that the key belongs to: set {_NAME_SETTING}")
            return SharedKey(name, _decoded_key(key, source))
    for token, source in (
        (settings.azure_sas_token, _SAS_SETTING),
        (parts.get("sharedaccesssignature"), _STRING_SETTING),
    ):
        if token:
            return SharedAccessSignature(token, source)
    return EntraToken()


def _decoded_key(key: str, source: str) -> bytes:
    try:
        decoded = base64.b64decode(key.strip(), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        # Without its cause, which would carry the key.
        raise ConfigurationError(
            f"the account key in {source} is not base64: copy it whole, with the '=' at its end"
        ) from None
    return decoded


def _fetch_token() -> tuple[list[tuple[str, str]], float]:
    """A new token, as the fields that carry it, and the second at which it expires."""
    try:
        with _import_lock:
            from azure.core.exceptions import AzureError
            from azure.identity import DefaultAzureCredential
    except ImportError:
        raise ConfigurationError(
            f"no Azure credentials: none of {_WAYS} is set. Entra ID (managed identity, workload identity, client "
            f"secret, Azure CLI) needs azure-identity: pip install 's3dlio[azure]'. {_ANONYMOUS}"
        ) from None
    try:
        # An authority of one's own is trusted as it is: asking the public cloud about it would fail in others.
        trusted = bool(os.environ.get("AZURE_AUTHORITY_HOST"))
        made = DefaultAzureCredential(**_REQUESTS, disable_instance_discovery=trusted)
        with contextlib.closing(made) as identity:
            token: Any = identity.get_token(_SCOPE)
    # ValueError and OSError too: it raises them for variables and files that it cannot use.
    except (AzureError, ValueError, OSError) as error:
        # Without its cause, whose answer from the token service may hold more than the message.
        raise ConfigurationError(
            f"no Azure credentials: none of {_WAYS} is set, and Entra ID gave no token: {_without_secrets(str(error))} "
            f"Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or the machine's identity. {_ANONYMOUS}"
        ) from None
    redaction.remember(token.token)
    return [("Authorization", f"Bearer {token.token}")], float(token.expires_on)


def _without_secrets(text: str) -> str:
    """What azure-identity says, on one line, without the secrets in the environment should it ever quote one."""
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable)
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())
