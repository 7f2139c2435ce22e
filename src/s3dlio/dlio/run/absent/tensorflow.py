# SPDX-License-Identifier: Apache-2.0
"""An empty module in place of TensorFlow, for environments without it.

DLIO 2.0.0 imports tensorflow when it starts, even for PyTorch workloads, which do not use it. The launcher appends this
folder to `sys.path` if TensorFlow is not installed; spawned children get the same path.
"""


def __getattr__(name: str) -> object:
    raise AttributeError(f"tensorflow.{name} does not exist: TensorFlow is not installed (pip install tensorflow)")
