# SPDX-License-Identifier: Apache-2.0
"""The storage account that az:// uses, as the settings describe it: name, endpoint and credential.

Precedence. Separate settings come before the parts of the connection string. Of several credentials, the account
key comes first, then a shared access signature, then Entra ID. Settings that contradict each other are an error.

Endpoints. The account's name is in the host (https://account.blob.core.windows.net), or in the path where one host
serves every account, as emulators do (http://127.0.0.1:10000/account). The name is added where the setting lacks it.

Source: Azure documentation, "Configure Azure Storage connection strings".
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from s3dlio import redaction
from s3dlio.auth.azure.credentials import Anonymous, Credential, EntraToken, SharedAccessSignature
from s3dlio.auth.azure.shared_key import SharedKey
from s3dlio.errors import ConfigurationError
from s3dlio.settings import Settings

_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
_ACCOUNT_HOST = re.compile(r"([a-z0-9]+)(?:-secondary)?\.(?:z\d+\.)?(?:privatelink\.)?blob\..+")

_NAME_SETTING = "AZURE_STORAGE_ACCOUNT_NAME"
_KEY_SETTING = "AZURE_STORAGE_ACCOUNT_KEY"
_STRING_SETTING = "AZURE_STORAGE_CONNECTION_STRING"
_ENDPOINT_SETTING = "AZURE_STORAGE_ENDPOINT"
_SAS_SETTING = "AZURE_STORAGE_SAS_TOKEN"


class Account(NamedTuple):
    """A storage account.

    Attributes:
        name: name of the account; "" if no setting names it and the credential does not need it.
        endpoint: the URL of its Blob service, with the account's name in the host or in the path.
        source: the setting that the endpoint comes from.
        credential: authorizes the requests.
    """

    name: str
    endpoint: str
    source: str
    credential: Credential


def account_of(settings: Settings) -> Account:
    """The account that the settings describe.

    Raises:
        ConfigurationError: the settings describe no account, contradict each other, or hold a malformed key, signature
            or connection string. The message names the setting, without its value if that is secret.
    """
    parts = _connection_parts(settings.azure_connection_string)
    name = settings.azure_account or parts.get("accountname", "")
    if settings.azure_account and parts.get("accountname", name) != name:
        raise ConfigurationError(
            f"{_NAME_SETTING}={name!r} and {_STRING_SETTING} name different accounts; unset one of them"
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
        raise ConfigurationError(f"{_STRING_SETTING} names no account: expected AccountName or BlobEndpoint in it")
    return parts


def _endpoint(settings: Settings, parts: dict[str, str], name: str) -> tuple[str, str]:
    """The URL of the account's Blob service, and the setting that it comes from."""
    if settings.azure_endpoint:
        return _with_account(settings.azure_endpoint, _ENDPOINT_SETTING, name), _ENDPOINT_SETTING
    if parts.get("blobendpoint"):
        return _with_account(parts["blobendpoint"], _STRING_SETTING, name), _STRING_SETTING
    if not name:
        raise ConfigurationError(
            f"az:// needs a storage account; set {_NAME_SETTING}, {_ENDPOINT_SETTING} or {_STRING_SETTING}"
        )
    if _ACCOUNT_NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"{_NAME_SETTING}={name!r} is not an account name: expected 3 to 24 lower-case letters and digits"
        )
    scheme = parts.get("defaultendpointsprotocol", "https")
    return f"{scheme}://{name}.blob.{parts.get('endpointsuffix', 'core.windows.net')}", _NAME_SETTING


def _with_account(endpoint: str, source: str, name: str) -> str:
    """The URL of an endpoint with the account's name in it; `name` is "" if only the endpoint can give it."""
    try:
        split = urlsplit(endpoint.strip())
        host = split.hostname or ""
    except ValueError:
        return endpoint  # `http.address.parse_endpoint` reports the fault
    path = split.path.strip("/")
    if _has_account_in_path(host):
        if not path and not name:
            raise ConfigurationError(f"{source}={redaction.url(endpoint)!r} names no account; set {_NAME_SETTING}")
        if name and name not in (path or name).split("/"):
            raise _other_account(source, endpoint, name)
        return endpoint if path else f"{endpoint.strip().rstrip('/')}/{name}"
    if host.startswith("blob.") and name:
        return endpoint.replace("://blob.", f"://{name}.blob.", 1)
    found = _ACCOUNT_HOST.fullmatch(host)
    if name and found is not None and found[1] != name:
        raise _other_account(source, endpoint, name)
    return endpoint


def _other_account(source: str, endpoint: str, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source}={redaction.url(endpoint)!r} is not the endpoint of {_NAME_SETTING}={name!r}; unset one of them"
    )


def _has_account_in_path(host: str) -> bool:
    """Whether one host serves every account, as emulators do, so that the account's name is in the path."""
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
    """The first credential that the settings give, or Entra ID."""
    if settings.s3_no_sign:
        return Anonymous()
    for key, source in ((settings.azure_key, _KEY_SETTING), (parts.get("accountkey"), _STRING_SETTING)):
        if key:
            if not name:
                raise ConfigurationError(f"{source} needs the account that the key belongs to; set {_NAME_SETTING}")
            return SharedKey(name, _decoded_key(key, source))
    for token, source in (
        (settings.azure_sas_token, _SAS_SETTING),
        (parts.get("sharedaccesssignature"), _STRING_SETTING),
    ):
        if token:
            return SharedAccessSignature(token, source)
    return EntraToken()


def _decoded_key(key: str, source: str) -> bytes:
    """An account key without its base64."""
    try:
        decoded = base64.b64decode(key.strip(), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        # Raised without its cause, which would carry the key.
        raise ConfigurationError(
            f"the account key in {source} is not base64; copy all of it, with the '=' at its end"
        ) from None
    return decoded
