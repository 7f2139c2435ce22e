# SPDX-License-Identifier: Apache-2.0
"""DLIO's storage type `s3dlio`, put here by `s3dlio dlio install` (Option 1). All of it is in the package s3dlio."""

from s3dlio.integrations.dlio.installed import S3dlioStorage

__all__ = ["S3dlioStorage"]
