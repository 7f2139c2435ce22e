"""The DLIO benchmark on s3dlio, without changing a file of DLIO, or with one of the options of the integration guide.

Strategy: `run` starts DLIO's own entry point in this process after `registration` has replaced, in memory,
the few functions of DLIO that decide where data goes. From there on `storage`, `generators`, `readers` and
`checkpointing` each serve one of DLIO's interfaces with calls of s3dlio, and `counters` writes down every
operation. `install` puts two small files into DLIO that do the same for a DLIO started by its own command. Importing
this package imports neither DLIO nor PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s3dlio.integrations.dlio.install import generate_patch as generate_patch
    from s3dlio.integrations.dlio.install import get_s3dlio_storage_path as get_s3dlio_storage_path
    from s3dlio.integrations.dlio.install import get_storage_file_path as get_storage_file_path
    from s3dlio.integrations.dlio.install import install_dropin_replacement as install_dropin_replacement
    from s3dlio.integrations.dlio.install import install_s3dlio_storage as install_s3dlio_storage
    from s3dlio.integrations.dlio.install import uninstall as uninstall
    from s3dlio.integrations.dlio.launcher import run as run

# Public name -> its module, loaded on first use.
_HOMES = {
    "generate_patch": "install",
    "get_s3dlio_storage_path": "install",
    "get_storage_file_path": "install",
    "install_dropin_replacement": "install",
    "install_s3dlio_storage": "install",
    "run": "launcher",
    "uninstall": "install",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
