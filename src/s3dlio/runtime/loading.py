# SPDX-License-Identifier: Apache-2.0
"""Loads the package's own modules when they are first needed.

A fork waits until no thread is loading one. Python keeps a lock for each module that is being imported, and a child
that is forked meanwhile could never take it: its first use of that module would hang.
"""

from __future__ import annotations

import importlib
import os
from _thread import RLock  # `threading` would make `import s3dlio` longer
from typing import Any

lock = RLock()  # for other imports inside functions, too

os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def load(module: str, name: str) -> Any:
    """The attribute of a module, which is imported if that has not been done yet.

    Raises:
        StoreUnavailableError: the process can open no more files, so it cannot read the module.
    """
    with lock:
        try:
            return getattr(importlib.import_module(module), name)
        except OSError as error:
            from s3dlio import errors
            from s3dlio.runtime import descriptors

            if not descriptors.are_short(error):
                raise
            raise errors.StoreUnavailableError(descriptors.shortage(error)) from error
