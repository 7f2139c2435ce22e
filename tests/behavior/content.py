# SPDX-License-Identifier: Apache-2.0
"""Data for objects: bytes without repetition, so that a piece at a wrong offset is noticed."""

from __future__ import annotations

import random


def content(size: int, seed: int = 0) -> bytes:
    """`size` bytes, the same for the same seed."""
    return random.Random(seed).randbytes(size)


# Around the sizes at which an implementation changes its method: a block of the disk, a small buffer, a huge page, a
# piece of one system call, a segment of several in flight.
SIZES = [0, 1, 511, 4095, 4096, 4097, 65535, 65536, 65537, (2 << 20) + 1, (4 << 20) - 1, 4 << 20, (17 << 20) + 5]

# Usual and unusual names. Every store accepts all of them unchanged.
ODD_NAMES = [
    "two words.bin",
    " blank-at-the-ends ",
    "grüße-日本-🧪",
    "per%2Fcent%20",
    "a+b",
    "hash#mark",
    "what?=this&that",
    "quotes'\"`",
    "back\\slash",
    "<tag>&amp;",
    "colon:semi;comma,",
    "[glob]*{x}",
    "$HOME~",
    ".hidden",
    "...",
    "-dash",
    "tab\there",
    "n" * 200,
]
