# SPDX-License-Identifier: Apache-2.0
"""Stands in for TensorFlow where it is not installed.

DLIO 2.0.0 imports tensorflow when it starts, for PyTorch workloads too, and then never uses it. The
launcher puts this folder at the end of `sys.path` if no real TensorFlow can be found; spawned children get
the same path.
"""


def __getattr__(name: str) -> object:
    raise AttributeError(f"tensorflow.{name} was asked for, but TensorFlow is not installed (pip install tensorflow)")
