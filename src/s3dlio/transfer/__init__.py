# SPDX-License-Identifier: Apache-2.0
"""What takes more than one call of a store: batches, reading ahead, copies, listings, writers."""

from __future__ import annotations

from s3dlio import settings
from s3dlio.memory.buffers import pool


def _idle_limit() -> int:
    return int(settings.current().buffer_idle_mb * settings.MIB)


pool.idle_limit = _idle_limit
