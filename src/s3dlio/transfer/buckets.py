# SPDX-License-Identifier: Apache-2.0
"""Make, remove and list buckets and containers, with the checks that services leave out."""

from __future__ import annotations

from s3dlio.errors import InvalidURIError, S3dlioError
from s3dlio.stores.base import Store
from s3dlio.uri import CLOUD_SCHEMES, URI, parse


def bucket(text: str) -> URI:
    """The URI of a bucket, parsed.

    Raises:
        InvalidURIError: the text names an object or a folder, or no bucket.
    """
    uri = parse(text)
    if uri.key and uri.scheme in CLOUD_SCHEMES:
        raise InvalidURIError(f"{text!r} names more than a bucket: expected {uri.scheme}://{uri.container}", uri=text)
    return uri


def scheme_of_service(text: str) -> str:
    """The scheme of "s3://", "az://" or "gs://".

    Raises:
        InvalidURIError: another text.
        TypeError: not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a URI must be a str, not {type(text).__name__}: {text!r}")
    scheme = text.removesuffix("://")
    if scheme == text or scheme not in CLOUD_SCHEMES:
        raise InvalidURIError(f"{text!r} names no service with buckets: expected s3://, az:// or gs://", uri=text)
    return scheme


async def remove(store: Store, uri: URI) -> None:
    """Remove a bucket that is empty.

    Raises:
        S3dlioError: the bucket holds objects. Some services would delete them together with the bucket.
    """
    if uri.container and await store.is_prefix(uri):
        raise S3dlioError(
            f"cannot remove {uri.text}: the bucket is not empty; delete its objects first, as with"
            f" 's3dlio rm -r {uri.root}'",
            uri=uri.text,
        )
    await store.remove_bucket(uri)


async def names(store: Store, scheme: str) -> list[str]:
    """The URIs of all buckets of a service, each as the folder that it is, sorted."""
    return sorted(f"{scheme}://{name}/" for name in await store.buckets())
