# SPDX-License-Identifier: Apache-2.0
"""`peaks.py ROOT save|load BYTES` prints how much memory grows while a checkpoint of this size is saved or loaded.

The growth is the peak of the resident memory (VmHWM) minus the resident memory before, so it includes the model.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from s3dlio.dlio.run.checkpointing import stream_checkpoints


def resident(name: str) -> int:
    """A value of /proc/self/status, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def main(root: str, direction: str, size: str) -> None:
    mechanism = SimpleNamespace(ext="pt")
    stream_checkpoints(mechanism, SimpleNamespace(get_uri=lambda id: f"{root}/{id}"))
    before = resident("VmRSS")
    if direction == "save":
        mechanism.save_state("model", {"a": torch.ones(int(size), dtype=torch.int8)})
    else:
        mechanism.load_state("model", None)
    sys.stdout.write(str(resident("VmHWM") - before))


if __name__ == "__main__":
    main(*sys.argv[1:])
