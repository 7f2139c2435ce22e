# SPDX-License-Identifier: Apache-2.0
"""Logging: all modules log to the logger "s3dlio", and `init_logging` shows what they log.

A filter of `logger` keeps secrets out of each record, and each record on one line, whatever names and messages a server
has sent.
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
    """Write s3dlio's log to standard error, from one level up. A second call changes the level.

    Args:
        level: "trace", "debug", "info", "warn" or "error", in upper or lower case.

    Raises:
        ValueError: the level is unknown.
    """
    number = _LEVELS.get(str(level).lower())
    if number is None:
        raise ValueError(f"there is no log level {level!r}: expected trace, debug, info, warn or error")
    logging.addLevelName(TRACE, "TRACE")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(number)
