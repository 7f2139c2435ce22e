# SPDX-License-Identifier: Apache-2.0
"""Names that a file can have, and the names that are kept for temporary files."""

from __future__ import annotations

RESERVED = ".s3dlio-tmp-"  # how the names of temporary files begin (`temporary`); no object has such a name
