"""Logging: everything goes to the logger "s3dlio"; `init_logging` makes it visible."""

from __future__ import annotations

import logging

TRACE = 5

_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def init_logging(level: str) -> None:
    """Write s3dlio's log to standard error, from this level up. Call it again to change the level.

    Args:
        level: "trace", "debug", "info", "warn" or "error"; upper case will do.

    Raises:
        ValueError: there is no such level.
    """
    number = _LEVELS.get(str(level).lower())
    if number is None:
        raise ValueError(f"there is no log level {level!r}: use trace, debug, info, warn or error")
    logging.addLevelName(TRACE, "TRACE")
    logger = logging.getLogger("s3dlio")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(number)
