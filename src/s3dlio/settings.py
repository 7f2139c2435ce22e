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


def _setting(default: Any, *variables: str, parse: Callable[[str], Any], meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"variables": variables, "parse": parse, "meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings in force. Names that end in `_mb` are in MiB, times are in seconds."""

    buffer_idle_mb: float = _setting(
        512,
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


_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
_VARIABLES = tuple(name for field in _FIELDS.values() for name in field.metadata["variables"])

# os.environ encodes and decodes at each access; the mapping behind it answers in a tenth of the time.
_environment: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
_encode: Callable[[str], Any] = getattr(os.environ, "encodekey", str)
_RAW_KEYS = tuple(_encode(name) for name in _VARIABLES)

_lock = threading.Lock()
_overrides: dict[str, Any] = {}
_seen: tuple[Any, ...] | None = None
_current = Settings()


def current() -> Settings:
    """The settings in force now.

    Raises:
        ConfigurationError: a variable has a value that its setting does not take; the message names both.
    """
    global _seen, _current
    raw = tuple(map(_environment.get, _RAW_KEYS))
    if raw != _seen:
        with _lock:
            _current = _read(_overrides)
            _seen = raw
    return _current


def configure(**settings: Any) -> None:
    """Set settings in code. They come before the environment; None gives a setting back to it.

    Args:
        settings: fields of `Settings` by name; a value, or the text an environment variable would hold.

    Raises:
        ConfigurationError: an unknown name, or a value the setting does not take. Nothing is changed then.
    """
    global _seen, _current
    with _lock:
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
        _overrides.clear()
        _overrides.update(overrides)
        _seen = tuple(map(_environment.get, _RAW_KEYS))


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
    for name, field in _FIELDS.items():
        if name in overrides:
            values[name] = overrides[name]
            continue
        for variable in field.metadata["variables"]:
            text = os.environ.get(variable)
            if text:
                values[name] = _parse(variable, text, field)
                break
    return Settings(**values)


def _parse(source: str, text: str, field: dataclasses.Field[Any]) -> Any:
    try:
        return field.metadata["parse"](text)
    except ValueError as error:
        raise ConfigurationError(f"{source}={text!r}: {error}; it means: {field.metadata['meaning']}") from None
