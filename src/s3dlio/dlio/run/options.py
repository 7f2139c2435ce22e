# SPDX-License-Identifier: Apache-2.0
"""Turns DLIO's `storage.storage_options` into settings of s3dlio.

Strategy: an option is a field of `Settings`, or the name that DLIO's own S3 storage has for the same thing. An empty
option falls back to the environment, as it does in DLIO. An unknown option is an error: otherwise a typing mistake
would silently have no effect. This module keeps the options in force, so that they can be sent to a worker that does
not inherit them.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import s3dlio
from s3dlio.settings import Settings


def _listed(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(map(str, value))


def _addressing(value: Any) -> str:
    return "path" if str(value).strip().lower() in ("1", "true", "yes", "on") else "auto"


def _retries(value: Any) -> int:
    try:
        attempts = int(value)
    except ValueError:
        attempts = 0
    if attempts < 1:
        raise s3dlio.ConfigurationError(
            f"storage_options.s3_max_attempts={value!r}: expected a whole number, 1 or more"
        )
    return attempts - 1


# Name in DLIO's S3 storage or in the configurations of MLPerf Storage -> field of `Settings`, and its value from
# DLIO's.
_ALIASES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "access_key_id": ("aws_access_key_id", str),
    "endpoint_uris": ("s3_endpoints", _listed),
    "endpoint_url": ("s3_endpoints", _listed),
    "load_balance_strategy": ("s3_load_balance", str),
    "region": ("aws_region", str),
    "s3_endpoints": ("s3_endpoints", _listed),
    "s3_force_path_style": ("s3_addressing", _addressing),
    "s3_max_attempts": ("retries", _retries),
    "secret_access_key": ("aws_secret_access_key", str),
    "session_token": ("aws_session_token", str),
}
_FIELDS = frozenset(field.name for field in dataclasses.fields(Settings))
_SECRETS = frozenset(field.name for field in dataclasses.fields(Settings) if not field.repr)
_ARGUMENT = re.compile(r"\A(\+{0,2}workload\.storage\.storage_options\.)(\w+)=(.+)\Z", re.DOTALL)
# These choose the storage and are not settings; `scheme` reads the second.
_SELECTORS = ("storage_library", "uri_scheme")

_in_force: dict[str, Any] = {}


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `storage.storage_options` of DLIO's configuration stand for, without the empty ones.

    Raises:
        ConfigurationError: an option is unknown, sets the same as another, or requests another library.
    """
    given = {str(name): value for name, value in options.items() if value is not None and value != ""}
    if (library := given.get("storage_library", "s3dlio")) != "s3dlio":
        raise s3dlio.ConfigurationError(
            f"storage_options.storage_library={library!r}: with storage type s3dlio it has to be s3dlio"
        )
    settings: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for name, value in given.items():
        if name in _SELECTORS:
            continue
        if name not in _ALIASES and name not in _FIELDS:
            raise s3dlio.ConfigurationError(f"there is no option storage_options.{name}: {_hint(name)}")
        field, put = _ALIASES.get(name, (name, _same))
        if field in given_as:
            raise s3dlio.ConfigurationError(
                f"storage_options.{given_as[field]} and storage_options.{name} are the same setting; remove one"
            )
        given_as[field] = name
        settings[field] = put(value)
    return settings


def scheme(options: Mapping[str, Any]) -> str | None:
    """The scheme that `uri_scheme` names for a storage root without one, such as `s3`."""
    value = options.get("uri_scheme")
    return str(value).removesuffix("://") if value else None


def without_secrets(arguments: list[str]) -> list[str]:
    """Command-line arguments of DLIO, with references to environment variables instead of secrets.

    DLIO's launcher writes its arguments into the output folder, and on an error to the terminal. So a value that is
    a secret, or that belongs to an unknown option, moves into an environment variable of this process.
    """
    return [_ARGUMENT.sub(_hidden, argument) for argument in arguments]


def _hidden(found: re.Match[str]) -> str:
    prefix, name, value = found.groups()
    field = _ALIASES[name][0] if name in _ALIASES else name
    if name in _SELECTORS or (field in _FIELDS and field not in _SECRETS) or value.startswith("${"):
        return found[0]
    variable = f"S3DLIO_OPTION_{name.upper()}"
    os.environ[variable] = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    return f"{prefix}{name}=${{oc.env:{variable}}}"


def apply(settings: Mapping[str, Any]) -> None:
    """Configure this process with these settings, and keep them for `in_force`.

    Raises:
        ConfigurationError: a setting does not take its value. Nothing is changed then.
    """
    s3dlio.configure(**settings)
    _in_force.update(settings)


def in_force() -> dict[str, Any]:
    """The settings that `apply` has configured."""
    return dict(_in_force)


def _same(value: Any) -> Any:
    return value


def _hint(name: str) -> str:
    known: Iterable[str] = {*_ALIASES, *_FIELDS, *_SELECTORS}
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"the options are {', '.join(sorted(known))}"
