# SPDX-License-Identifier: Apache-2.0
"""DLIO's storage type `s3dlio`. `s3dlio dlio install` has put this file here (Option 1); the code is in s3dlio."""

from s3dlio.integrations.dlio.installed import S3dlioStorage

__all__ = ["S3dlioStorage"]
