# SPDX-License-Identifier: Apache-2.0
"""`s3dlio mb`: buckets created."""

from __future__ import annotations

import s3dlio
from s3dlio.cli.arguments import BucketURIs


def mb(uris: BucketURIs) -> None:
    """Create buckets, or containers. Creating a bucket that you own already succeeds."""
    for uri in uris:
        s3dlio.make_bucket(uri)
