# SPDX-License-Identifier: Apache-2.0
"""Loads modules of the package when they are first needed, so that `import s3dlio` stays cheap."""

from __future__ import annotations

import importlib
from typing import Any

from s3dlio import forks


def load(module: str, name: str) -> Any:
    """Return an attribute of a module, which is imported on first use. Forks wait for the import.

    Raises:
        StoreUnavailableError: the process can open no more files, so it cannot read the module.
    """
    with forks.delayed:
        try:
            return getattr(importlib.import_module(module), name)
        except OSError as error:
            from s3dlio import descriptors, errors

            if not descriptors.are_short(error):
                raise
            raise errors.StoreUnavailableError(descriptors.shortage(error)) from error
