# SPDX-License-Identifier: Apache-2.0
"""Every setting: its meaning, its environment variables, its default, in one dataclass.

The environment is read when a setting is first needed, and again when it has changed, so that a program which sets
`os.environ` after the import is obeyed. Looking whether it changed must cost little, since every call to a cloud
store does it: the raw values of the variables named here are compared as one tuple, about two microseconds.
`configure` comes before the environment. The table in the documentation is made from `table()`.
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
        raise ValueError("it holds a control character, such as the end of a line")
    return text or None


def _word(text: str) -> str | None:
    """The same for what never holds a blank: keys, tokens and names."""
    word = _line(text)
    if word is not None and (" " in word or not word.isascii()):
        raise ValueError("it holds a blank or a character that is not ASCII: copy it whole, and nothing else with it")
    return word


def _secret(text: str) -> str | None:
    """The same for a secret, which from now on appears in no message."""
    word = _word(text)
    redaction.remember(word)
    return word


def _secret_line(text: str) -> str | None:
    line = _line(text)
    redaction.remember(line)
    return line


def _boolean_or_auto(text: str) -> str:
    return "auto" if text == "auto" else str(int(_boolean(text)))


def _setting(
    default: Any, *variables: str, parse: Callable[[str], Any] = str, meaning: str, secret: bool = False
) -> Any:
    return dataclasses.field(
        repr=not secret, default=default, metadata={"variables": variables, "parse": parse, "meaning": meaning}
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Settings:
    """The settings in force. Names that end in `_mb` are in MiB, times are in seconds."""

    def __repr__(self) -> str:
        """Every setting but secrets, URLs without user info."""
        shown = [f"{name}={_shown(getattr(self, name))!r}" for name, field in _FIELDS.items() if field.repr]
        return f"Settings({', '.join(shown)})"

    buffer_idle_mb: float = _setting(
        1024,
        "S3DLIO_BUFFER_IDLE_MB",
        parse=_number(0, "MiB"),
        meaning="idle buffer memory kept for the next objects, in MiB",
    )
    window_mb: float = _setting(
        128,
        "S3DLIO_WINDOW_MB",
        parse=_number(1, "MiB"),
        meaning="how far get_many_iter reads ahead of its caller, in MiB",
    )
    file_sync: bool = _setting(
        False,
        "S3DLIO_FILE_SYNC",
        parse=_boolean,
        meaning="1: a file and its folder are synced to the disk before a write returns",
    )
    direct_strict: bool = _setting(
        False,
        "S3DLIO_DIRECT_STRICT",
        parse=_boolean,
        meaning="1: direct:// on a file system without O_DIRECT is an error, not a warning",
    )
    direct_in_flight: int = _setting(
        4,
        "S3DLIO_DIRECT_IN_FLIGHT",
        parse=_count(1),
        meaning="reads or writes that one direct:// call keeps in flight",
    )

    torch_weights_only: bool = _setting(
        True,
        "S3DLIO_TORCH_WEIGHTS_ONLY",
        parse=_boolean,
        meaning="0: DLIO's checkpoints may hold any Python object; loading one runs whatever code is in it",
    )
    preflight: bool = _setting(
        True,
        "S3DLIO_PREFLIGHT",
        parse=_boolean,
        meaning="1: a workload of DLIO begins with checks of its storage and of the ranks' environment",
    )

    # Large objects in object stores...
    get_part_mb: float = _setting(
        16,
        "S3DLIO_GET_PART_MB",
        parse=_number(1, "MiB"),
        meaning="an object larger than this is read in parts of this size, in MiB",
    )
    multipart_threshold_mb: float = _setting(
        32,
        "S3DLIO_MULTIPART_THRESHOLD_MB",
        parse=_number(0, "MiB"),
        meaning="an object larger than this is written in parts, in MiB",
    )
    put_part_mb: float = _setting(
        16,
        "S3DLIO_PUT_PART_MB",
        parse=_number(5, "MiB"),
        meaning="size of the parts an object is written in, in MiB; larger where 10,000 would not do",
    )
    parts_in_flight: int = _setting(
        8,
        "S3DLIO_PARTS_IN_FLIGHT",
        parse=_count(1),
        meaning="parts of one object that are read or written at a time",
    )
    verify_get: bool = _setting(
        True,
        "S3DLIO_VERIFY_GET",
        parse=_boolean,
        meaning="1: a whole object read is checked against the CRC32C that the store sends with it",
    )
    put_verify: bool = _setting(
        False,
        "S3DLIO_PUT_VERIFY",
        parse=_boolean,
        meaning="1: after a write the stored size and checksum are asked for and compared",
    )
    put_etag: bool = _setting(
        True,
        "S3DLIO_PUT_ETAG",
        parse=_boolean,
        meaning="1: where a store does not confirm the CRC32C of a write, its ETag is compared with the MD5",
    )

    # The network...
    connect_timeout: float = _setting(
        5,
        "S3DLIO_CONNECT_TIMEOUT",
        parse=_number(0.001, "seconds"),
        meaning="seconds until a connection must be open",
    )
    read_timeout: float = _setting(
        30,
        "S3DLIO_READ_TIMEOUT",
        parse=_number(0.001, "seconds"),
        meaning="seconds without a byte in either direction after which a request is given up",
    )
    min_rate: float = _setting(
        1024,
        "S3DLIO_MIN_RATE",
        parse=_number(0, "bytes per second"),
        meaning="bytes per second, on average over 30 s, below which the transfer of a body is given up; 0: never",
    )
    request_timeout: float = _setting(
        300,
        "S3DLIO_REQUEST_TIMEOUT",
        parse=_number(0.001, "seconds"),
        meaning="seconds that one request may take in all, without the time in which a body moves",
    )
    retries: int = _setting(
        8,
        "S3DLIO_RETRIES",
        parse=_count(0),
        meaning="how often a request is tried again",
    )
    retry_seconds: float = _setting(
        60,
        "S3DLIO_RETRY_SECONDS",
        parse=_number(0, "seconds"),
        meaning="seconds after which a request is not tried again",
    )
    connect_retry_seconds: float = _setting(
        2,
        "S3DLIO_CONNECT_RETRY_SECONDS",
        parse=_number(0, "seconds"),
        meaning="the same where no connection can be made at all",
    )
    retry_after_max: float = _setting(
        5,
        "S3DLIO_RETRY_AFTER_MAX",
        parse=_number(0, "seconds"),
        meaning="longest pause between two tries that a server may ask for (Retry-After), in seconds",
    )
    unsized_max_mb: float = _setting(
        1024,
        "S3DLIO_UNSIZED_MAX_MB",
        parse=_number(0, "MiB"),
        meaning="longest object that a server may send without telling its length, in MiB",
    )
    keep_alive: float = _setting(
        30,
        "S3DLIO_KEEP_ALIVE",
        parse=_number(0, "seconds"),
        meaning="seconds that an idle connection is kept for the next request",
    )
    idle_connections: int = _setting(
        64,
        "S3DLIO_IDLE_CONNECTIONS",
        parse=_count(0),
        meaning="idle connections kept for each server",
    )
    ca_file: str | None = _setting(
        None,
        "AWS_CA_BUNDLE",
        "SSL_CERT_FILE",
        parse=_line,
        meaning="file of the CA certificates that servers are verified with, instead of the system's",
    )
    https_proxy: str | None = _setting(
        None,
        "HTTPS_PROXY",
        "https_proxy",
        parse=_line,
        meaning="proxy for endpoints with TLS, as in http://host:port",
        secret=True,
    )
    http_proxy: str | None = _setting(
        None, "HTTP_PROXY", "http_proxy", parse=_line, meaning="proxy for endpoints without TLS", secret=True
    )
    no_proxy: str | None = _setting(
        None,
        "NO_PROXY",
        "no_proxy",
        meaning="hosts reached without a proxy, comma-separated: names, domains, IP addresses, networks, or *",
    )

    tokens_over_http: bool = _setting(
        False,
        "S3DLIO_TOKENS_OVER_HTTP",
        parse=_boolean,
        meaning="1: bearer tokens (Entra ID, Google) may be sent without TLS, where others can read them",
    )

    # S3...
    s3_endpoints: str | None = _setting(
        None,
        "S3_ENDPOINT_URIS",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        parse=_line,
        meaning="S3 endpoints, comma-separated, as in http://host:9000; without any it is AWS",
    )
    s3_load_balance: str = _setting(
        "round_robin",
        "S3_LOAD_BALANCE_STRATEGY",
        parse=_choice("round_robin", "least_connections"),
        meaning="how requests are spread over several endpoints: round_robin or least_connections",
    )
    s3_addressing: str = _setting(
        "auto",
        "S3_ADDRESSING_STYLE",
        parse=_choice("auto", "path", "virtual"),
        meaning="path: http://host/bucket/key; virtual: http://bucket.host/key; auto: path for an endpoint of your own",
    )
    aws_region: str | None = _setting(
        None,
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        parse=_word,
        meaning="region of the buckets; AWS tells it where it is not given",
    )
    aws_access_key_id: str | None = _setting(None, "AWS_ACCESS_KEY_ID", parse=_word, meaning="access key", secret=True)
    aws_secret_access_key: str | None = _setting(
        None, "AWS_SECRET_ACCESS_KEY", parse=_secret, meaning="secret key", secret=True
    )
    aws_session_token: str | None = _setting(
        None, "AWS_SESSION_TOKEN", parse=_secret, meaning="session token, with temporary keys", secret=True
    )
    aws_profile: str | None = _setting(
        None,
        "AWS_PROFILE",
        parse=_line,
        meaning="profile of the shared AWS files, where no keys are given (extra `aws`)",
    )
    s3_no_sign: bool = _setting(
        False, "S3DLIO_NO_SIGN", parse=_boolean, meaning="1: requests are not signed, for anonymous buckets"
    )
    s3_sign_payload: bool = _setting(
        False,
        "S3DLIO_SIGN_PAYLOAD",
        parse=_boolean,
        meaning="1: uploads are signed with their SHA-256, for a server that insists (slow)",
    )

    # Google Cloud Storage...
    gcs_credentials: str | None = _setting(
        None,
        "GOOGLE_APPLICATION_CREDENTIALS",
        parse=_line,
        meaning="key file for gs://; without one, what gcloud has logged in as, or the machine's own identity",
    )
    gcs_config_folder: str | None = _setting(
        None, "CLOUDSDK_CONFIG", parse=_line, meaning="folder of gcloud's settings, instead of ~/.config/gcloud"
    )
    gcs_metadata_host: str = _setting(
        "169.254.169.254",
        "GCE_METADATA_HOST",
        "GCE_METADATA_ROOT",
        parse=_line,
        meaning="server that gives a machine of Google Cloud its own credentials",
    )
    gcs_emulator: str | None = _setting(
        None,
        "STORAGE_EMULATOR_HOST",
        parse=_line,
        meaning="an emulator for gs://, as in http://host:4443; no credentials are used then",
    )
    gcs_endpoint: str | None = _setting(
        None, "GCS_ENDPOINT_URL", parse=_line, meaning="endpoint for gs://, instead of https://storage.googleapis.com"
    )
    gcs_project: str | None = _setting(
        None, "GOOGLE_CLOUD_PROJECT", parse=_word, meaning="project in which buckets of gs:// are made and listed"
    )
    gcs_quota_project: str | None = _setting(
        None, "GOOGLE_CLOUD_QUOTA_PROJECT", parse=_word, meaning="project that is billed for the requests of gs://"
    )

    # Azure Blob Storage...
    azure_account: str | None = _setting(
        None,
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT",
        parse=_word,
        meaning="storage account for az://; not needed where an endpoint or a connection string names it",
    )
    azure_key: str | None = _setting(
        None,
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_KEY",
        parse=_secret_line,
        meaning="one of the account's two keys, as base64",
        secret=True,
    )
    azure_sas_token: str | None = _setting(
        None,
        "AZURE_STORAGE_SAS_TOKEN",
        parse=_secret,
        meaning="shared access signature, where there is no key",
        secret=True,
    )
    azure_connection_string: str | None = _setting(
        None,
        "AZURE_STORAGE_CONNECTION_STRING",
        parse=_secret_line,
        meaning="account, key or signature, and endpoint in one; what is set on its own comes first",
        secret=True,
    )
    azure_endpoint: str | None = _setting(
        None,
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_STORAGE_BLOB_ENDPOINT",
        parse=_line,
        meaning="Blob endpoint, as in https://account.blob.core.windows.net, or http://127.0.0.1:10000 for Azurite",
    )
    azure_put_checksum: str = _setting(
        "crc64",
        "S3DLIO_AZURE_PUT_CHECKSUM",
        parse=_choice("crc64", "md5", "none"),
        meaning="checksum by which the service checks uploads to az://: crc64, md5 (slow) or none",
    )
    azure_get_md5: str = _setting(
        "auto",
        "S3DLIO_AZURE_GET_MD5",
        parse=_boolean_or_auto,
        meaning="1: what is read from az:// is compared with the MD5 that is stored with it; auto: only without TLS",
    )


def _shown(value: Any) -> Any:
    return redaction.url(value) if isinstance(value, str) and ("://" in value or "@" in value) else value


# Credentials given in code replace those of the environment as a whole: otherwise a session token, or the key of
# another account, that happens to be set there would be combined with them, and be refused, or worse, accepted. A
# profile that is named in code is such a credential: keys in the environment would come before it.
_IDENTITIES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (
        frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_profile"}),
        frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}),
    ),
    (
        frozenset({"azure_key", "azure_sas_token"}),
        frozenset({"azure_key", "azure_sas_token", "azure_connection_string"}),
    ),
    (
        frozenset({"azure_connection_string"}),
        frozenset({"azure_account", "azure_key", "azure_sas_token", "azure_connection_string", "azure_endpoint"}),
    ),
)

_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
_environment = environment.watch(name for field in _FIELDS.values() for name in field.metadata["variables"])


class _Call(threading.local):
    settings: Settings | None = None


_call = _Call()
_reading = forks.ForkSafeLock()
_overrides: dict[str, Any] = {}
_seen: tuple[Any, ...] | None = None
_current = Settings()


def current() -> Settings:
    """The settings in force now.

    Raises:
        ConfigurationError: a variable has a value that its setting does not take; the message names both.
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


class held:  # noqa: N801 - a context manager, as contextlib's are; one made of a generator takes three times as long
    """For the length of one call in this thread: the settings of its beginning, without looking again.

    Args:
        settings: others that are to hold for this call.
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
    """Set settings in code. They come before the environment; None gives a setting back to it.

    Args:
        settings: fields of `Settings` by name; a value, or the text an environment variable would hold.

    Raises:
        ConfigurationError: an unknown name, or a value the setting does not take. Nothing is changed then.
    """
    global _seen, _current, _overrides
    with _reading.lock:
        overrides = dict(_overrides)
        for name, value in settings.items():
            if name not in _FIELDS:
                near = difflib.get_close_matches(name, _FIELDS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(_FIELDS))}"
                raise ConfigurationError(f"there is no setting {name!r}: {hint}")
            if value is None:
                overrides.pop(name, None)
            else:
                overrides[name] = _parse(name, str(value), _FIELDS[name])
        _current = _read(overrides)
        _overrides = overrides  # in one step: a fork in between leaves the child the old ones or the new
        _seen = _environment()


def table() -> list[tuple[str, str, str]]:
    """(variables, default, meaning) of every setting that the environment can give, in the order of `Settings`."""
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
        raise ConfigurationError(f"{source}{shown}: {error}; it means: {field.metadata['meaning']}") from None
