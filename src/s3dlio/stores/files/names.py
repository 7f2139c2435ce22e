# SPDX-License-Identifier: Apache-2.0
"""Names that a file can have, and the names that are kept for temporary files."""

from __future__ import annotations

import os

RESERVED = ".s3dlio-tmp-"  # how the names of temporary files begin (`temporary`); no object has such a name

_LONGEST = 255  # bytes of a file's name, on every file system of Linux
_SURELY_SHORT = _LONGEST // 4  # characters; each has at most four bytes


def unfit_for_a_file(relative: str) -> str | None:
    """Why no file below a folder can have this relative path; None if one can.

    Args:
        relative: a part of a key, with "/" between the names.
    """
    if not relative or any(name in ("", ".", "..") for name in relative.split("/")):
        return "no part of a file's path is empty, '.' or '..'"
    if "\0" in relative:
        return "a file's name has no NUL character"
    if f"/{RESERVED}" in f"/{relative}":
        return f"names that begin with {RESERVED!r} are for temporary files"
    if not is_encodable(relative, "surrogateescape"):
        return "the name has half a surrogate pair"
    if len(relative) > _SURELY_SHORT and any(len(os.fsencode(name)) > _LONGEST for name in relative.split("/")):
        return f"a file's name has at most {_LONGEST} bytes"
    return None


def is_encodable(name: str, surrogates: str) -> bool:
    """Whether a name can be written as UTF-8; lone surrogates are treated as `surrogates` says (see `str.encode`)."""
    try:
        name.encode("utf-8", surrogates)
    except UnicodeEncodeError:
        return False
    return True
