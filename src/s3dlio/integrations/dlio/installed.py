# SPDX-License-Identifier: Apache-2.0
"""The storage classes that the files which `s3dlio dlio install` writes into DLIO import from here."""

from s3dlio.dlio.install.installed import S3dlioStorage, S3PyTorchConnectorStorage

__all__ = ["S3PyTorchConnectorStorage", "S3dlioStorage"]
