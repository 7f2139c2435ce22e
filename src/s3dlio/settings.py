# SPDX-License-Identifier: Apache-2.0
"""Every setting: its meaning, its environment variables and its default, in one dataclass.

A value comes from `configure`, else from the environment, else from the default. The environment is read when a setting
is first needed, and again after it has changed, so a program may set `os.environ` after the import (see `environment`).
`docs/environment.md` holds the table that `table` returns.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from s3dlio import environment, forks, redaction
from s3dlio.errors import ConfigurationError

MIB = 1 << 20


def _boolean(text: str) -> bool:
    value = text.strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("expected 1 or 0 (also true/false, yes/no, on/off)")


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"expected a whole number, {least} or more") from None
        if value < least:
            raise ValueError(f"expected {least} or more")
        return value

    return parse


def _number(least: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise ValueError(f"expected a number of {unit}, {least:g} or more")
        return value

    return parse


def _choice(*known: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"expected {' or '.join(known)}")
        return text

    return parse


def _line(text: str) -> str | None:
    """Text without the blanks and line ends around it, which copying and `echo` add; None if nothing is left."""
    text = text.strip()
    if text != redaction.printable(text):
        raise ValueError("the value contains a control character, such as a line end: remove it")
    return text or None


def _word(text: str) -> str | None:
    """A line without a blank in it: a key, a token or a name; None if it is empty."""
    word = _line(text)
    if word is not None and (" " in word or not word.isascii()):
        raise ValueError(
            "the value contains a space or a character that is not ASCII: copy all of it, and nothing else"
        )
    return word


def _secret(text: str) -> str | None:
    """A word that no message shows from now on."""
    word = _word(text)
    redaction.remember(word)
    return word


def _secret_line(text: str) -> str | None:
    """A line that no message shows from now on."""
    line = _line(text)
    redaction.remember(line)
    return line


def _boolean_or_auto(text: str) -> str:
    return "auto" if text == "auto" else str(int(_boolean(text)))


def _setting(default: Any, variables: str, parse: Callable[[str], Any], meaning: str, secret: bool = False) -> Any:
    """A field of `Settings`.

    Args:
        default: value if neither `configure` nor the environment has one.
        variables: environment variables, separated by blanks; the first one that is not empty counts.
        parse: turns text into the value; raises ValueError with what was expected. None counts as unset.
        meaning: for the documentation and for messages.
        secret: whether `repr` and messages leave the value out.
    """
    metadata = {"variables": tuple(variables.split()), "parse": parse, "meaning": meaning}
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclasses.dataclass(frozen=True, repr=False)
class Settings:
    """The settings of one moment. Names that end in `_mb` are in MiB; times are in seconds."""

    def __repr__(self) -> str:
        """All settings except secrets; URLs without user names and passwords."""
        shown = [f"{name}={_shown(getattr(self, name))!r}" for name, field in _FIELDS.items() if field.repr]
        return f"Settings({', '.join(shown)})"

    # Memory and files...
    buffer_idle_mb: float = _setting(
        1024, "S3DLIO_BUFFER_IDLE_MB", _number(0, "MiB"), "idle buffer memory to keep for the next objects, in MiB"
    )
    window_mb: float = _setting(
        128, "S3DLIO_WINDOW_MB", _number(1, "MiB"), "how far get_many_iter reads ahead of its caller, in MiB"
    )
    file_sync: bool = _setting(
        False, "S3DLIO_FILE_SYNC", _boolean, "1: sync a file and its folder to disk before a write returns"
    )
    direct_strict: bool = _setting(
        False,
        "S3DLIO_DIRECT_STRICT",
        _boolean,
        "1: fail, instead of warn, for direct:// on a file system without O_DIRECT",
    )
    direct_in_flight: int = _setting(
        4, "S3DLIO_DIRECT_IN_FLIGHT", _count(1), "reads or writes that one direct:// call keeps in flight"
    )

    # DLIO...
    torch_weights_only: bool = _setting(
        True,
        "S3DLIO_TORCH_WEIGHTS_ONLY",
        _boolean,
        "0: let DLIO's checkpoints hold any Python object; loading one then runs the code in it",
    )
    preflight: bool = _setting(
        True,
        "S3DLIO_PREFLIGHT",
        _boolean,
        "1: check the storage and the environment of the ranks before DLIO runs a workload",
    )

    # Large objects in object stores...
    get_part_mb: float = _setting(
        16, "S3DLIO_GET_PART_MB", _number(1, "MiB"), "read an object larger than this in parts of this size, in MiB"
    )
    multipart_threshold_mb: float = _setting(
        32, "S3DLIO_MULTIPART_THRESHOLD_MB", _number(0, "MiB"), "write an object larger than this in parts, in MiB"
    )
    put_part_mb: float = _setting(
        16,
        "S3DLIO_PUT_PART_MB",
        _number(5, "MiB"),
        "size of the parts in which an object is written, in MiB; larger if 10,000 parts are not enough",
    )
    parts_in_flight: int = _setting(8, "S3DLIO_PARTS_IN_FLIGHT", _count(1), "parts of one object in flight at a time")
    verify_get: bool = _setting(
        True, "S3DLIO_VERIFY_GET", _boolean, "1: check a whole object against the CRC32C that the store sends with it"
    )
    put_verify: bool = _setting(
        False, "S3DLIO_PUT_VERIFY", _boolean, "1: after a write, request the stored size and checksum, and compare them"
    )
    put_etag: bool = _setting(
        True,
        "S3DLIO_PUT_ETAG",
        _boolean,
        "1: if a store does not confirm the CRC32C of a write, compare its ETag with the MD5 of the data",
    )

    # The network...
    connect_timeout: float = _setting(
        5, "S3DLIO_CONNECT_TIMEOUT", _number(0.001, "seconds"), "seconds within which a connection must open"
    )
    read_timeout: float = _setting(
        30,
        "S3DLIO_READ_TIMEOUT",
        _number(0.001, "seconds"),
        "seconds without a byte in either direction after which a request fails",
    )
    min_rate: float = _setting(
        1024,
        "S3DLIO_MIN_RATE",
        _number(0, "bytes per second"),
        "bytes per second, averaged over 30 s, below which the transfer of a body fails; 0: no limit",
    )
    request_timeout: float = _setting(
        300,
        "S3DLIO_REQUEST_TIMEOUT",
        _number(0.001, "seconds"),
        "seconds that one request may take in total, except for the time in which a body moves",
    )
    retries: int = _setting(8, "S3DLIO_RETRIES", _count(0), "number of times that a request is retried")
    retry_seconds: float = _setting(
        60, "S3DLIO_RETRY_SECONDS", _number(0, "seconds"), "seconds after which a request is no longer retried"
    )
    connect_retry_seconds: float = _setting(
        2,
        "S3DLIO_CONNECT_RETRY_SECONDS",
        _number(0, "seconds"),
        "seconds after which a request is no longer retried if no connection can be opened",
    )
    retry_after_max: float = _setting(
        5,
        "S3DLIO_RETRY_AFTER_MAX",
        _number(0, "seconds"),
        "longest pause before a retry that a server may ask for (Retry-After), in seconds",
    )
    unsized_max_mb: float = _setting(
        1024,
        "S3DLIO_UNSIZED_MAX_MB",
        _number(0, "MiB"),
        "longest object that a server may send without its length, in MiB",
    )
    keep_alive: float = _setting(
        30,
        "S3DLIO_KEEP_ALIVE",
        _number(0, "seconds"),
        "seconds for which an idle connection stays open for the next request",
    )
    idle_connections: int = _setting(
        64, "S3DLIO_IDLE_CONNECTIONS", _count(0), "idle connections to keep open to each server"
    )
    ca_file: str | None = _setting(
        None,
        "AWS_CA_BUNDLE SSL_CERT_FILE",
        _line,
        "file of CA certificates to verify servers with, instead of the system's",
    )
    https_proxy: str | None = _setting(
        None, "HTTPS_PROXY https_proxy", _line, "proxy for endpoints with TLS, such as http://host:port", secret=True
    )
    http_proxy: str | None = _setting(
        None, "HTTP_PROXY http_proxy", _line, "proxy for endpoints without TLS", secret=True
    )
    no_proxy: str | None = _setting(
        None,
        "NO_PROXY no_proxy",
        str,
        "hosts to reach without a proxy, comma-separated: names, domains, IP addresses, networks, or *",
    )

    tokens_over_http: bool = _setting(
        False,
        "S3DLIO_TOKENS_OVER_HTTP",
        _boolean,
        "1: allow bearer tokens (Entra ID, Google) to be sent without TLS, where others can read them",
    )

    # S3...
    s3_endpoints: str | None = _setting(
        None,
        "S3_ENDPOINT_URIS AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL",
        _line,
        "S3 endpoints, comma-separated, such as http://host:9000; AWS if unset",
    )
    s3_load_balance: str = _setting(
        "round_robin",
        "S3_LOAD_BALANCE_STRATEGY",
        _choice("round_robin", "least_connections"),
        "how to spread requests over several endpoints: round_robin or least_connections",
    )
    s3_addressing: str = _setting(
        "auto",
        "S3_ADDRESSING_STYLE",
        _choice("auto", "path", "virtual"),
        "path: http://host/bucket/key; virtual: http://bucket.host/key; auto: virtual for AWS, path otherwise",
    )
    aws_region: str | None = _setting(
        None,
        "AWS_REGION AWS_DEFAULT_REGION",
        _word,
        "region of the buckets; if unset, us-east-1 until AWS names another one",
    )
    aws_access_key_id: str | None = _setting(None, "AWS_ACCESS_KEY_ID", _word, "access key ID", secret=True)
    aws_secret_access_key: str | None = _setting(
        None, "AWS_SECRET_ACCESS_KEY", _secret, "secret access key", secret=True
    )
    aws_session_token: str | None = _setting(
        None, "AWS_SESSION_TOKEN", _secret, "session token that belongs to temporary keys", secret=True
    )
    aws_profile: str | None = _setting(
        None, "AWS_PROFILE", _line, "profile in the shared AWS files, used if no keys are set (needs the extra `aws`)"
    )
    s3_no_sign: bool = _setting(
        False, "S3DLIO_NO_SIGN", _boolean, "1: send requests without credentials, for public buckets and containers"
    )
    s3_sign_payload: bool = _setting(
        False, "S3DLIO_SIGN_PAYLOAD", _boolean, "1: sign uploads with their SHA-256, for servers that require it (slow)"
    )

    # Google Cloud Storage...
    gcs_credentials: str | None = _setting(
        None,
        "GOOGLE_APPLICATION_CREDENTIALS",
        _line,
        "key file for gs://; if unset, the login of gcloud, or the identity of the machine",
    )
    gcs_config_folder: str | None = _setting(
        None, "CLOUDSDK_CONFIG", _line, "folder of gcloud's settings, instead of ~/.config/gcloud"
    )
    gcs_metadata_host: str = _setting(
        "169.254.169.254",
        "GCE_METADATA_HOST GCE_METADATA_ROOT",
        _line,
        "server that gives a machine in Google Cloud its credentials",
    )
    gcs_emulator: str | None = _setting(
        None, "STORAGE_EMULATOR_HOST", _line, "emulator for gs://, such as http://host:4443; used without credentials"
    )
    gcs_endpoint: str | None = _setting(
        None, "GCS_ENDPOINT_URL", _line, "endpoint for gs://, instead of https://storage.googleapis.com"
    )
    gcs_project: str | None = _setting(
        None, "GOOGLE_CLOUD_PROJECT", _word, "project in which buckets of gs:// are created and listed"
    )
    gcs_quota_project: str | None = _setting(
        None, "GOOGLE_CLOUD_QUOTA_PROJECT", _word, "project to bill for requests to gs://"
    )

    # Azure Blob Storage...
    azure_account: str | None = _setting(
        None,
        "AZURE_STORAGE_ACCOUNT_NAME AZURE_STORAGE_ACCOUNT",
        _word,
        "storage account for az://; not needed if an endpoint or a connection string names it",
    )
    azure_key: str | None = _setting(
        None,
        "AZURE_STORAGE_ACCOUNT_KEY AZURE_STORAGE_KEY",
        _secret_line,
        "one of the two keys of the account, in base64",
        secret=True,
    )
    azure_sas_token: str | None = _setting(
        None, "AZURE_STORAGE_SAS_TOKEN", _secret, "shared access signature, used if no key is set", secret=True
    )
    azure_connection_string: str | None = _setting(
        None,
        "AZURE_STORAGE_CONNECTION_STRING",
        _secret_line,
        "account, key or signature, and endpoint in one text; the separate settings take precedence",
        secret=True,
    )
    azure_endpoint: str | None = _setting(
        None,
        "AZURE_STORAGE_ENDPOINT AZURE_STORAGE_BLOB_ENDPOINT",
        _line,
        "Blob endpoint, such as https://account.blob.core.windows.net, or http://127.0.0.1:10000 for Azurite",
    )
    azure_put_checksum: str = _setting(
        "crc64",
        "S3DLIO_AZURE_PUT_CHECKSUM",
        _choice("crc64", "md5", "none"),
        "checksum with which the service verifies uploads to az://: crc64, md5 (slow) or none",
    )
    azure_get_md5: str = _setting(
        "auto",
        "S3DLIO_AZURE_GET_MD5",
        _boolean_or_auto,
        "1: compare data from az:// with the MD5 stored with it; 0: do not; auto: only without TLS",
    )


def _shown(value: Any) -> Any:
    return redaction.url(value) if isinstance(value, str) and ("://" in value or "@" in value) else value


# Settings that together say who is asking. If `configure` sets one of the first group, the environment's values of the
# whole second group are ignored. Otherwise keys from code would be combined with what happens to be in the environment:
# - a session token there belongs to other keys, and the service would refuse the pair;
# - keys there take precedence over a profile given in code, and the calls would run as somebody else;
# - a key, a signature or an account there would be mixed with a connection string given in code.
_IDENTITIES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (  # AWS
        frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_profile"}),
        frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}),
    ),
    (  # Azure: a key or a signature
        frozenset({"azure_key", "azure_sas_token"}),
        frozenset({"azure_key", "azure_sas_token", "azure_connection_string"}),
    ),
    (  # Azure: a connection string also names the account and the endpoint
        frozenset({"azure_connection_string"}),
        frozenset({"azure_account", "azure_key", "azure_sas_token", "azure_connection_string", "azure_endpoint"}),
    ),
)

_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
_environment = environment.watch(name for field in _FIELDS.values() for name in field.metadata["variables"])


class _Call(threading.local):
    """The settings that `held` fixes for the call that this thread is in."""

    settings: Settings | None = None


_call = _Call()
_reading = forks.ForkSafeLock()
_overrides: dict[str, Any] = {}
_seen: tuple[Any, ...] | None = None
_current = Settings()


def current() -> Settings:
    """The settings in force now: those of the call, if this thread is in one (`held`).

    Raises:
        ConfigurationError: a variable has a value that its setting does not accept; the message names both.
    """
    global _seen, _current
    if (held := _call.settings) is not None:
        return held
    raw = _environment()
    if raw != _seen:
        with _reading.lock:
            _current = _read(_overrides)
            _seen = raw
    return _current


class held:  # noqa: N801 - a context manager, named as those of contextlib; a generator would take three times as long
    """Fix the settings in this thread while a block runs, so that a change in the environment cannot split a call.

    Args:
        settings: the settings to use; None for those in force now.
    """

    __slots__ = ("_outer", "_settings")

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or current()

    def __enter__(self) -> Settings:
        self._outer = _call.settings
        _call.settings = now = self._settings
        return now

    def __exit__(self, *_: object) -> None:
        _call.settings = self._outer


def configure(**settings: Any) -> None:
    """Set settings in code. They take precedence over the environment until they are set to None.

    Args:
        settings: names of `Settings` with a value, or with the text that the environment variable would hold.

    Raises:
        ConfigurationError: a name is unknown, or a setting does not accept its value. Nothing is changed then.
    """
    global _seen, _current, _overrides
    with _reading.lock:
        overrides = dict(_overrides)
        for name, value in settings.items():
            if name not in _FIELDS:
                near = difflib.get_close_matches(name, _FIELDS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(sorted(_FIELDS))}"
                raise ConfigurationError(f"there is no setting {name!r}: {hint}")
            if value is None:
                overrides.pop(name, None)
            else:
                overrides[name] = _parse(name, str(value), _FIELDS[name])
        _current = _read(overrides)
        _overrides = overrides  # in one step: a child forked now has either the old or the new ones
        _seen = _environment()


def table() -> list[tuple[str, str, str]]:
    """The variables, the default and the meaning of every setting, in the order of `Settings`."""
    rows = []
    for field in _FIELDS.values():
        default = int(field.default) if isinstance(field.default, bool) else field.default
        shown = "" if default is None else str(default)
        rows.append((", ".join(field.metadata["variables"]), shown, field.metadata["meaning"]))
    return rows


def _read(overrides: Mapping[str, Any]) -> Settings:
    values: dict[str, Any] = {}
    replaced = {name for given, whole in _IDENTITIES if given & overrides.keys() for name in whole}
    for name, field in _FIELDS.items():
        if name in overrides:
            values[name] = overrides[name]
            continue
        if name in replaced:
            continue
        for variable in field.metadata["variables"]:
            text = os.environ.get(variable)
            if text:
                value = _parse(variable, text, field)
                if value is not None:
                    values[name] = value
                    break
    return Settings(**values)


def _parse(source: str, text: str, field: dataclasses.Field[Any]) -> Any:
    try:
        return field.metadata["parse"](text)
    except ValueError as error:
        shown = f"={_shown(text)!r}" if field.repr else ""
        raise ConfigurationError(f"{source}{shown}: {error}; meaning: {field.metadata['meaning']}") from None
