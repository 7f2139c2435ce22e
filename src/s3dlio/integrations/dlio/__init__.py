"""The DLIO benchmark on s3dlio, without changing a file of DLIO.

Strategy: `run` starts DLIO's own entry point in this process after `registration` has replaced, in memory,
the few functions of DLIO that decide where data goes. From there on `storage`, `generators`, `readers` and
`checkpointing` each serve one of DLIO's interfaces with calls of s3dlio, and `counters` writes down every
operation. Importing this package imports neither DLIO nor PyTorch.
"""

from s3dlio.integrations.dlio.launcher import run

__all__ = ["run"]
