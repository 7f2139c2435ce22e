# SPDX-License-Identifier: Apache-2.0
"""One Python API over S3, Azure Blob, GCS, local files and O_DIRECT.

`__all__` lists the public names. Each is loaded on first use, so `import s3dlio` takes almost no time.

Example:
    >>> import s3dlio
    >>> s3dlio.put_bytes("s3://bucket/object", b"content")
    >>> bytes(s3dlio.get("s3://bucket/object"))
    b'content'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3dlio.loading import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from s3dlio._version import __version__ as __version__
    from s3dlio._version import version as version
    from s3dlio.aio import copy_async as copy_async
    from s3dlio.aio import delete_async as delete_async
    from s3dlio.aio import delete_many_async as delete_many_async
    from s3dlio.aio import download_async as download_async
    from s3dlio.aio import entries_async as entries_async
    from s3dlio.aio import exists_async as exists_async
    from s3dlio.aio import get_async as get_async
    from s3dlio.aio import get_chunks_async as get_chunks_async
    from s3dlio.aio import get_each_async as get_each_async
    from s3dlio.aio import get_many_async as get_many_async
    from s3dlio.aio import get_range_async as get_range_async
    from s3dlio.aio import list_async as list_async
    from s3dlio.aio import list_buckets_async as list_buckets_async
    from s3dlio.aio import make_bucket_async as make_bucket_async
    from s3dlio.aio import mkdir_async as mkdir_async
    from s3dlio.aio import put_bytes_async as put_bytes_async
    from s3dlio.aio import put_many_async as put_many_async
    from s3dlio.aio import remove_bucket_async as remove_bucket_async
    from s3dlio.aio import stat_async as stat_async
    from s3dlio.aio import upload_async as upload_async
    from s3dlio.api import copy as copy
    from s3dlio.api import delete as delete
    from s3dlio.api import delete_many as delete_many
    from s3dlio.api import download as download
    from s3dlio.api import entries as entries
    from s3dlio.api import exists as exists
    from s3dlio.api import get as get
    from s3dlio.api import get_chunks as get_chunks
    from s3dlio.api import get_each as get_each
    from s3dlio.api import get_many as get_many
    from s3dlio.api import get_many_iter as get_many_iter
    from s3dlio.api import get_range as get_range
    from s3dlio.api import is_prefix as is_prefix
    from s3dlio.api import list_buckets as list_buckets
    from s3dlio.api import list_iter as list_iter
    from s3dlio.api import list_objects
    from s3dlio.api import make_bucket as make_bucket
    from s3dlio.api import mkdir as mkdir
    from s3dlio.api import presign as presign
    from s3dlio.api import put_bytes as put_bytes
    from s3dlio.api import put_many as put_many
    from s3dlio.api import remove_bucket as remove_bucket
    from s3dlio.api import stat as stat
    from s3dlio.api import upload as upload
    from s3dlio.errors import ConfigurationError as ConfigurationError
    from s3dlio.errors import IntegrityError as IntegrityError
    from s3dlio.errors import InvalidURIError as InvalidURIError
    from s3dlio.errors import ObjectNotFoundError as ObjectNotFoundError
    from s3dlio.errors import PermissionDeniedError as PermissionDeniedError
    from s3dlio.errors import S3dlioError as S3dlioError
    from s3dlio.errors import StoreTimeoutError as StoreTimeoutError
    from s3dlio.errors import StoreUnavailableError as StoreUnavailableError
    from s3dlio.log import init_logging as init_logging
    from s3dlio.settings import configure as configure
    from s3dlio.transfer.read_ahead import ReadAhead as ReadAhead
    from s3dlio.transfer.writer import MultipartUploadWriter as MultipartUploadWriter
    from s3dlio.types import BytesLike as BytesLike
    from s3dlio.types import Entry as Entry
    from s3dlio.types import ObjectInfo as ObjectInfo
    from s3dlio.types import Progress as Progress

    list = list_objects

_HOMES = {
    "s3dlio._version": ("__version__", "version"),
    "s3dlio.aio": (
        "copy_async",
        "delete_async",
        "delete_many_async",
        "download_async",
        "entries_async",
        "exists_async",
        "get_async",
        "get_chunks_async",
        "get_each_async",
        "get_many_async",
        "get_range_async",
        "list_async",
        "list_buckets_async",
        "make_bucket_async",
        "mkdir_async",
        "put_bytes_async",
        "put_many_async",
        "remove_bucket_async",
        "stat_async",
        "upload_async",
    ),
    "s3dlio.api": (
        "copy",
        "delete",
        "delete_many",
        "download",
        "entries",
        "exists",
        "get",
        "get_chunks",
        "get_each",
        "get_many",
        "get_many_iter",
        "get_range",
        "is_prefix",
        "list_buckets",
        "list_iter",
        "make_bucket",
        "mkdir",
        "presign",
        "put_bytes",
        "put_many",
        "remove_bucket",
        "stat",
        "upload",
    ),
    "s3dlio.errors": (
        "ConfigurationError",
        "IntegrityError",
        "InvalidURIError",
        "ObjectNotFoundError",
        "PermissionDeniedError",
        "S3dlioError",
        "StoreTimeoutError",
        "StoreUnavailableError",
    ),
    "s3dlio.log": ("init_logging",),
    "s3dlio.settings": ("configure",),
    "s3dlio.transfer.read_ahead": ("ReadAhead",),
    "s3dlio.transfer.writer": ("MultipartUploadWriter",),
    "s3dlio.types": ("BytesLike", "Entry", "ObjectInfo", "Progress"),
}

# Public name -> (module, name there). `list` has another name in its module, where the builtin is needed.
_NAMES = {name: (module, name) for module, names in _HOMES.items() for name in names}
_NAMES["list"] = ("s3dlio.api", "list_objects")

__all__ = sorted(_NAMES)  # noqa: PLE0605


if not TYPE_CHECKING:  # which would take any name for a public one

    def __getattr__(name: str) -> object:
        try:
            module, attribute = _NAMES[name]
        except KeyError:
            raise AttributeError(f"module 's3dlio' has no attribute {name!r}") from None
        value = globals()[name] = load(module, attribute)
        return value


def __dir__() -> Iterable[str]:
    return sorted(set(globals()) | set(_NAMES))
