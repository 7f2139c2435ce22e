# SPDX-License-Identifier: Apache-2.0
"""The data that the API takes and returns: buffers to write, facts about objects, entries of listings, progress."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypedDict

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
elif TYPE_CHECKING:
    from typing_extensions import Buffer  # part of every type checker; nothing has to be installed
else:
    Buffer = Any  # Python 3.10 and 3.11 have the buffer protocol but no name for it


class ArrayInterface(Protocol):
    """An array of NumPy, whose type declares the buffer protocol from Python 3.12 on only."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


# What can be written: bytes, bytearray, memoryview, array.array, mmap, an array of NumPy or ctypes.
BytesLike: TypeAlias = Buffer | ArrayInterface


class ObjectInfo(TypedDict):
    """Facts about an object, as `stat` returns them; every protocol has the same keys.

    Keys:
        size: bytes.
        last_modified: when the object was written, in UTC; None if the service does not tell.
        etag: changes whenever the content does, without quotes; None if the service has none.
        content_type: the media type stored with the object; None if the service keeps none.
        metadata: user metadata; the names are in lower case.
        checksums: checksums of the whole object that the service keeps, by name, in the notation of the service.
        storage_class: tier of storage, or None.
        version: version or generation of the object, or None.
    """

    size: int
    last_modified: datetime | None
    etag: str | None
    content_type: str | None
    metadata: dict[str, str]
    checksums: dict[str, str]
    storage_class: str | None
    version: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An object or a child folder in a listing with sizes (`entries`). Later versions may add attributes.

    Attributes:
        uri: the full URI; that of a child folder ends in "/".
        size: bytes; 0 for a child folder.
    """

    uri: str
    size: int


class SizedName(NamedTuple):
    """An object or a child folder in a page of a listing, as a store gives it.

    Attributes:
        relative: the part of its key below the folder that was listed.
        size: bytes; 0 for a child folder.
    """

    relative: str
    size: int


class Progress(NamedTuple):
    """How far a copy, or a batch of writes or deletions, has come.

    Attributes:
        uri: the object that was worked on last.
        bytes_done: bytes written so far, of all objects; 0 for deletions.
        bytes_total: bytes to write in all; None while that is not known.
        objects_done: objects that are complete at the target, or deleted.
        objects_total: objects in all; None while that is not known.
    """

    uri: str
    bytes_done: int
    bytes_total: int | None
    objects_done: int
    objects_total: int | None


def as_view(data: BytesLike) -> memoryview:
    """View a buffer as bytes, without a copy.

    Args:
        data: any contiguous buffer, of any item type and shape.

    Returns:
        A view of format "B" and one dimension.

    Raises:
        TypeError: `data` has no buffer protocol, or is not contiguous in memory; the message says what to do.
    """
    try:
        view = memoryview(data)  # type: ignore[arg-type]  # see ArrayInterface
    except (TypeError, ValueError, BufferError):  # NumPy has types, such as datetime64, without the buffer protocol
        hint = "encode it first, as in text.encode()" if isinstance(data, str) else "give bytes or any buffer"
        raise TypeError(f"data must be bytes-like, not {type(data).__name__}; {hint}") from None
    if view.nbytes == 0:
        return memoryview(b"")
    if view.ndim == 1 and view.format == "B" and view.contiguous:
        return view
    try:
        return view.cast("B")
    except TypeError:
        raise TypeError("data must be contiguous in memory; copy it first, as in numpy.ascontiguousarray") from None
