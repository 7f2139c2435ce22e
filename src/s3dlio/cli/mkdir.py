# SPDX-License-Identifier: Apache-2.0
"""`s3dlio mkdir`: folders created."""

from __future__ import annotations

import s3dlio
from s3dlio.cli.arguments import URIs


def mkdir(uris: URIs) -> None:
    """Create folders and their parents. Existing folders are left as they are.

    On object stores, which have no folders, this command does nothing.
    """
    for uri in uris:
        s3dlio.mkdir(uri)
