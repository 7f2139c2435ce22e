# SPDX-License-Identifier: Apache-2.0
"""`Finding`: what one check has found, for the command, for a run that starts, and for JSON."""

from __future__ import annotations

from dataclasses import dataclass

from s3dlio import redaction

OK, ADVICE, WARNING, FAILURE = "ok", "advice", "warning", "failure"


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        level: `OK`; `ADVICE`: it works, and could be faster; `WARNING`: the user should look at it; `FAILURE`: the
            workload would fail.
        about: the URI, endpoint, setting or component that was checked.
        message: what was found; for an error, also why and what to check.
        advice: what to change; "" if there is nothing to change, or if the message already says it.
    """

    level: str
    about: str
    message: str
    advice: str = ""

    def __post_init__(self) -> None:
        for name in ("about", "message", "advice"):  # these may repeat text of a server or of a configuration
            object.__setattr__(self, name, redaction.message(getattr(self, name)))
