# SPDX-License-Identifier: Apache-2.0
"""DLIO's storage interface on s3dlio.

Strategy: DLIO names objects and folders by ids: paths relative to the storage root, such as
`data/unet3d/train/img_0.npz`, or full URIs that an earlier call returned. `get_uri` turns either into a URI. Every
other method is one call of s3dlio on that URI, with the result in DLIO's terms. The object holds a single string, since
DLIO creates it many times, pickles it and takes it through forks.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import Any

from dlio_benchmark.common.enumerations import MetadataType, NamespaceType
from dlio_benchmark.storage.storage_handler import DataStorage, Namespace

import s3dlio
from s3dlio.dlio.record.records import Record

# Schemes whose ids may be absolute paths, as in DLIO's own file storage.
_PATH_SCHEMES = ("file://", "direct://")


class S3dlioStorage(DataStorage):  # type: ignore[misc]
    """The storage below one root URI, where DLIO keeps its data or its checkpoints.

    Args:
        namespace: DLIO's `storage_root` or `checkpoint_folder`: a URI of any scheme, or a path. A relative
            checkpoint folder lies below the storage root; a relative storage root (DLIO's default is `./`) is
            a folder on `file://`.
        framework: ignored, since no I/O goes through a framework; DLIO passes it.
    """

    def __init__(self, namespace: str, framework: Any = None) -> None:  # noqa: ARG002
        # Without a framework: the base class would create it, and call it for I/O.
        super().__init__(None)
        root = str(namespace)
        storage_root = str(self._args.storage_root)
        if "://" not in root and root != storage_root:
            root = _join(_root_uri(storage_root), root)
        self.namespace = Namespace(_root_uri(root), NamespaceType.HIERARCHICAL)

    def __getstate__(self) -> str:
        # Not the base class's configuration: unpickling it would replace the configuration of the process.
        name: str = self.namespace.name
        return name

    def __setstate__(self, state: str) -> None:
        self.namespace = Namespace(state, NamespaceType.HIERARCHICAL)

    # Names

    def get_uri(self, id: str) -> str:
        """The URI of an id; an id that is a URI is returned unchanged."""
        return id if "://" in id else _join(self.namespace.name, id)

    def get_basename(self, id: str) -> str:
        """The last segment of an id."""
        return posixpath.basename(id)

    def get_namespace(self) -> str:
        """The root URI."""
        name: str = self.namespace.name
        return name

    def islocalfs(self) -> bool:
        """Whether ids are paths that other code can open: False."""
        return False

    # Folders

    def create_namespace(self, exist_ok: bool = False) -> bool:  # noqa: ARG002
        """Create the root. An object store needs no folders, and gets no request."""
        return self.create_node(self.namespace.name)

    def create_node(self, id: str, exist_ok: bool = False) -> bool:  # noqa: ARG002
        """Create a folder and its parents. If the folder already exists, nothing happens."""
        uri = self.get_uri(id)
        with Record("mkdir", uri):
            s3dlio.mkdir(uri)
        return True

    def get_node(self, id: str = "") -> Any:
        """FILE for an object, DIRECTORY for a prefix with something below it, None for neither."""
        uri = self.get_uri(id)
        with Record("stat", uri):
            try:
                s3dlio.stat(uri)
            except s3dlio.ObjectNotFoundError:
                return MetadataType.DIRECTORY if s3dlio.is_prefix(uri) else None
            return MetadataType.FILE

    def walk_node(self, id: str, use_pattern: bool = False) -> list[str]:
        """List a folder, or find what matches a pattern.

        A listing that fails raises an error: given an empty list instead, DLIO would silently train on nothing.

        Args:
            id: a folder; or with `use_pattern` a shell pattern such as `train/*/*.npz`, whose extension also matches
                in upper case.
            use_pattern: whether `id` is a pattern.

        Returns:
            The names of the folder's children, `[]` if the folder is missing; or the URIs that match the pattern.
        """
        uri = self.get_uri(id)
        if use_pattern:
            base, pattern = _split_pattern(uri)
            with Record("list", base):
                return s3dlio.list(base, recursive=True, pattern=pattern)
        with Record("list", uri):
            children = s3dlio.list(uri)
        names = (child.rstrip("/")[len(uri.rstrip("/")) + 1 :] for child in children)
        return [name for name in names if name]

    def delete_node(self, id: str) -> bool:
        """Delete an object, or a folder with everything below it."""
        uri = self.get_uri(id)
        recursive = self.get_node(uri) is not MetadataType.FILE
        with Record("delete", uri):
            s3dlio.delete(uri, recursive=recursive)
        return True

    # Objects

    def put_data(self, id: str, data: Any, offset: int | None = None, length: int | None = None) -> None:
        """Write a whole object. DLIO never writes a part of an object, and object stores cannot.

        Raises:
            ValueError: the arguments describe a part of an object.
        """
        if offset or length not in (None, memoryview(data).nbytes):
            raise ValueError(
                f"cannot write {length} bytes at offset {offset} of {self.get_uri(id)}: an object can only be written"
                " whole"
            )
        uri = self.get_uri(id)
        with Record("put", uri) as record:
            record.bytes = memoryview(data).nbytes
            s3dlio.put_bytes(uri, data)

    def get_data(
        self,
        id: str,
        data: Any = None,  # noqa: ARG002 - DLIO passes None here, by position
        offset: int | None = None,
        length: int | None = None,
    ) -> memoryview:
        """Read an object, or `length` bytes of it from `offset`."""
        uri = self.get_uri(id)
        with Record("get", uri) as record:
            whole = offset is None and length is None
            body = s3dlio.get(uri) if whole else s3dlio.get_range(uri, offset or 0, length)
            record.bytes = body.nbytes
        return body

    def isfile(self, id: str) -> bool:
        """Whether the id names an object; False for a folder, and if there is neither."""
        uri = self.get_uri(id)
        with Record("exists", uri):
            return s3dlio.exists(uri)


def _root_uri(root: str) -> str:
    return root if "://" in root else f"file://{os.path.abspath(root)}"


def _join(root: str, id: str) -> str:
    """The URI of an id below a root. DLIO means the same folder by `./data/` and `data`, so both have the same key."""
    path = posixpath.normpath(id)
    scheme, separator, top = root.partition("://")
    if path.startswith("/") and scheme + separator in _PATH_SCHEMES:
        return scheme + separator + path
    if path in (".", "/"):
        return root
    return f"{scheme}{separator}{top.rstrip('/')}/{path.lstrip('/')}"


def _split_pattern(uri: str) -> tuple[str, str]:
    """Split `a/b/*/*.npz` into the folder above its first wildcard and a regular expression below it."""
    segments = uri.split("/")
    first = next((i for i, segment in enumerate(segments) if "*" in segment), len(segments) - 1)
    stem, dot, extension = segments[-1].rpartition(".")
    below = [_segment_expression(segment) for segment in segments[first:-1]]
    if dot:
        either = f"(?:{re.escape(extension)}|{re.escape(extension.upper())})"
        below.append(rf"{_segment_expression(stem)}\.{either}")
    else:
        below.append(_segment_expression(segments[-1]))
    return "/".join(segments[:first]), rf"\A{'/'.join(below)}\Z"


def _segment_expression(segment: str) -> str:
    """The regular expression of a segment. A wildcard never crosses a "/" nor matches a leading dot, as in a shell."""
    hidden = "" if segment.startswith(".") else r"(?!\.)"
    return hidden + "[^/]*".join(re.escape(part) for part in segment.split("*"))
