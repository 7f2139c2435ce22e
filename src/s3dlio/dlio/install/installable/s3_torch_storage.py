# SPDX-License-Identifier: Apache-2.0
"""DLIO's storage type `s3` with PyTorch, on s3dlio. `s3dlio dlio install --drop-in` has put this file here (Option 2).

The code is in the package s3dlio. DLIO's own file of this name, if it has one, is s3_torch_storage.py.original.bak.
"""

from s3dlio.integrations.dlio.installed import S3PyTorchConnectorStorage

__all__ = ["S3PyTorchConnectorStorage"]
