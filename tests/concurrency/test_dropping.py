# SPDX-License-Identifier: Apache-2.0
"""The garbage collector may drop a writer at any point of the code."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import pytest

import s3dlio
from s3dlio import settings
from s3dlio.memory import buffers
from tests.replay import Received, Replay, answer

_STARTED = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"


def _multipart(request: Received) -> bytes:
    if request.method == "POST":
        return answer(200, _STARTED)
    return answer(200, b"", {"ETag": '"1"'}) if request.method == "PUT" else answer(204)


@pytest.mark.parametrize("lock", [buffers.pool._lock, settings._reading.lock], ids=["buffers", "settings"])
def test_a_writer_is_dropped_in_a_locked_section(lock: Any) -> None:
    with Replay(_multipart) as server:
        os.environ.update(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
        cycle: list[Any] = [s3dlio.MultipartUploadWriter.from_uri("s3://bucket/key")]
        cycle.append(cycle)
        cycle[0].write(bytes(40 << 20))
        os.environ["S3DLIO_RETRIES"] = "3"  # so that the settings are read again
        began = time.monotonic()
        with lock:
            del cycle
            gc.collect()
        assert time.monotonic() - began < 5
        deadline = time.monotonic() + 5
        while server.requests[-1].method != "DELETE" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.requests[-1].method == "DELETE"
