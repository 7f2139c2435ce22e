# SPDX-License-Identifier: Apache-2.0
"""What callers give to be written: any buffer, seen as bytes without a copy."""

from __future__ import annotations

from typing import Any, TypeAlias

# Anything with the buffer protocol, such as an array of numpy; the type exists by name only from Python 3.12 on.
BytesLike: TypeAlias = "bytes | bytearray | memoryview | Any"


def as_view(data: BytesLike) -> memoryview:
    """The bytes of a buffer, as a view of format "B".

    Raises:
        TypeError: not a buffer, or not a contiguous one; the message says what to do.
    """
    try:
        view = memoryview(data)
    except (TypeError, ValueError, BufferError):  # numpy has types, such as datetime64, without the buffer protocol
        hint = "encode it first, as in text.encode()" if isinstance(data, str) else "give bytes or any buffer"
        raise TypeError(f"data must be bytes-like, not {type(data).__name__}: {hint}") from None
    if view.nbytes == 0:
        return memoryview(b"")
    if view.ndim == 1 and view.format == "B" and view.contiguous:
        return view
    try:
        return view.cast("B")
    except TypeError:
        raise TypeError("data must be contiguous in memory: copy it first, as in numpy.ascontiguousarray") from None
