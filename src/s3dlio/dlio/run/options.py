# SPDX-License-Identifier: Apache-2.0
"""DLIO's `storage.storage_options`, put into the settings of s3dlio.

Strategy: an option is a field of `Settings`, or one of the names that DLIO's own S3 storage has for the same
thing. A configuration may carry options that are left empty, for DLIO to fall back to the environment: they do so
here too. An option that nobody knows is an error, as it would otherwise have no effect and no one would notice.
What is in force is kept, so that a worker which does not inherit it can be sent it.
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


# The names of DLIO's S3 storage and of the MLPerf Storage configurations -> our field, and how the value is put.
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
# These say where, not how; `scheme` reads the second.
_SELECTORS = ("storage_library", "uri_scheme")

_in_force: dict[str, Any] = {}


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that these options stand for; those that are empty are left out.

    Args:
        options: `storage.storage_options` of DLIO's configuration.

    Raises:
        ConfigurationError: an option is unknown, says the same as another, or asks for another library.
    """
    given = {str(name): value for name, value in options.items() if value is not None and value != ""}
    if (library := given.get("storage_library", "s3dlio")) != "s3dlio":
        raise s3dlio.ConfigurationError(
            f"storage_options.storage_library={library!r}: with storage type s3dlio it is s3dlio"
        )
    settings: dict[str, Any] = {}
    said: dict[str, str] = {}
    for name, value in given.items():
        if name in _SELECTORS:
            continue
        if name not in _ALIASES and name not in _FIELDS:
            raise s3dlio.ConfigurationError(f"there is no option storage_options.{name}: {_hint(name)}")
        field, put = _ALIASES.get(name, (name, _same))
        if field in said:
            raise s3dlio.ConfigurationError(
                f"storage_options.{said[field]} and storage_options.{name} are the same setting: give one of them"
            )
        said[field] = name
        settings[field] = put(value)
    return settings


def scheme(options: Mapping[str, Any]) -> str | None:
    """The scheme that `uri_scheme` names for a storage root without one, such as `s3`."""
    value = options.get("uri_scheme")
    return str(value).removesuffix("://") if value else None


def without_secrets(arguments: list[str]) -> list[str]:
    """Command-line arguments of DLIO, with the environment's variables in the place of the secrets in them.

    DLIO's launcher writes its arguments into the output folder, and on an error to the terminal. So a value that is
    a secret, or of an option that is unknown, goes to a variable of this process and is referred to.

    Args:
        arguments: as they are given to DLIO, such as `++workload.storage.storage_options.region=eu-1`.
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
    """Put settings in force in this process, and keep them for `in_force`.

    Raises:
        ConfigurationError: a value that a setting does not take.
    """
    s3dlio.configure(**settings)
    _in_force.update(settings)


def in_force() -> dict[str, Any]:
    """What `apply` has put in force."""
    return dict(_in_force)


def _same(value: Any) -> Any:
    return value


def _hint(name: str) -> str:
    known: Iterable[str] = {*_ALIASES, *_FIELDS, *_SELECTORS}
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
