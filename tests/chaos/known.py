"""What the compositions are known to find, until it is repaired."""

from __future__ import annotations

# Findings that are known, by what they begin with. Each goes with its repair.
KNOWN = (
    "deleted beyond what was named",
    "foreign exception",
    "incomplete",
    "not deleted",
    "refused",
    "unasked-for bytes",
    "uploads left behind",
    "wrong bytes",
    "wrong fact",
    "wrong listing",
    "torn",
    "lost write",
    "no end",
    "too long",
    "files left behind",
)
