# SPDX-License-Identifier: Apache-2.0
"""The short script with which a user checks an installation, on each local protocol.

It stands here as it is printed in the integration guide; what differs is in `SUBSTITUTIONS` alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import output

SNIPPET = """
# Quick test script
import s3dlio
import io
import numpy as np

# Test write
data = np.random.rand(100, 100)
buffer = io.BytesIO()
np.save(buffer, data)
s3dlio.put_bytes("s3://my-bucket/test.npy", buffer.getvalue())

# Test read
content = bytes(s3dlio.get("s3://my-bucket/test.npy"))
loaded = np.load(io.BytesIO(content))
print(f"Data shape: {loaded.shape}")

# Test list
files = s3dlio.list("s3://my-bucket/")
print(f"Files: {files}")

# Test exists
exists = s3dlio.exists("s3://my-bucket/test.npy")
print(f"Exists: {exists}")

# Test stat
meta = s3dlio.stat("s3://my-bucket/test.npy")
print(f"Size: {meta['size']} bytes")

# Cleanup
s3dlio.delete("s3://my-bucket/test.npy")
"""

SUBSTITUTIONS = {"s3://my-bucket/": "{scheme}://{folder}/"}


@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_the_snippet_runs(tmp_path: Path, scheme: str) -> None:
    program = SNIPPET
    for printed, here in SUBSTITUTIONS.items():
        assert printed in program
        program = program.replace(printed, here.format(scheme=scheme, folder=tmp_path))
    assert output(program).splitlines() == [
        "Data shape: (100, 100)",
        f"Files: ['{scheme}://{tmp_path}/test.npy']",
        "Exists: True",
        "Size: 80128 bytes",
    ]
    assert list(tmp_path.iterdir()) == []
