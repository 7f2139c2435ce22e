# SPDX-License-Identifier: Apache-2.0
"""`s3dlio rb`: empty buckets removed."""

from __future__ import annotations

import s3dlio
from s3dlio.cli.arguments import BucketURIs


def rb(uris: BucketURIs) -> None:
    """Remove empty buckets, or containers. The command fails if a bucket is not empty."""
    for uri in uris:
        s3dlio.remove_bucket(uri)
