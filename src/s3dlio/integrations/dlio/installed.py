# SPDX-License-Identifier: Apache-2.0
"""The storage classes for DLIO. The files that `s3dlio dlio install` writes import them from this module."""

from s3dlio.dlio.install.installed import S3dlioStorage, S3PyTorchConnectorStorage

__all__ = ["S3PyTorchConnectorStorage", "S3dlioStorage"]
