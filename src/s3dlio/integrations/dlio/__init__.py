# SPDX-License-Identifier: Apache-2.0
"""The DLIO benchmark on s3dlio: started without changes to DLIO's files, or installed into DLIO.

`run` starts DLIO in this process, on s3dlio. `install_s3dlio_storage` and `install_dropin_replacement` install Option 1
and Option 2 of the integration guide, with which DLIO's own command uses s3dlio; `uninstall` removes both. Importing
this package imports neither DLIO nor PyTorch. The code is in `s3dlio.dlio`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s3dlio.dlio.install.installation import generate_patch as generate_patch
    from s3dlio.dlio.install.installation import get_s3dlio_storage_path as get_s3dlio_storage_path
    from s3dlio.dlio.install.installation import get_storage_file_path as get_storage_file_path
    from s3dlio.dlio.install.installation import install_dropin_replacement as install_dropin_replacement
    from s3dlio.dlio.install.installation import install_s3dlio_storage as install_s3dlio_storage
    from s3dlio.dlio.install.installation import uninstall as uninstall
    from s3dlio.dlio.run.launcher import run as run

# Public name -> the module that defines it, loaded on first use.
_HOMES = {
    "generate_patch": "s3dlio.dlio.install.installation",
    "get_s3dlio_storage_path": "s3dlio.dlio.install.installation",
    "get_storage_file_path": "s3dlio.dlio.install.installation",
    "install_dropin_replacement": "s3dlio.dlio.install.installation",
    "install_s3dlio_storage": "s3dlio.dlio.install.installation",
    "run": "s3dlio.dlio.run.launcher",
    "uninstall": "s3dlio.dlio.install.installation",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value
