# SPDX-License-Identifier: Apache-2.0
"""DLIO's storage type `s3` with PyTorch, on s3dlio; put here by `s3dlio dlio install --drop-in` (Option 2).

All of it is in the package s3dlio. DLIO's file of this name, where it has one, is s3_torch_storage.py.original.bak.
"""

from s3dlio.integrations.dlio.installed import S3PyTorchConnectorStorage

__all__ = ["S3PyTorchConnectorStorage"]
