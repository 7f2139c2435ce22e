# SPDX-License-Identifier: Apache-2.0
"""Logging: everything goes to the logger "s3dlio"; `init_logging` makes it visible.

Modules log with `logger`, whose filter keeps secrets out of each record and the record on one line, whatever a server
sent as a name or a message.
"""

from __future__ import annotations

import logging

from s3dlio import forks, redaction

TRACE = 5

_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


forks.delay_before_others()

logger = logging.getLogger("s3dlio")
"""The logger of the whole package."""


def _one_line_without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = redaction.message(record.getMessage()), None
    return True


logger.addFilter(_one_line_without_secrets)


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
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(number)
