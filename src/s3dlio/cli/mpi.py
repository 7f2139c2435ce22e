# SPDX-License-Identifier: Apache-2.0
"""The MPI ranks that run `s3dlio bench` together."""

from __future__ import annotations

import os
import time
from typing import Any

from s3dlio.errors import ConfigurationError

# The variables in which an MPI library gives a process the number of ranks: Open MPI, and MPICH and its relatives.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_POLL = 0.0005  # seconds between two looks at whether all ranks have arrived


class Ranks:
    """The processes that measure together: those that `mpirun` has started, or this one alone.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
    """

    def __init__(self) -> None:
        """
        Raises:
            ConfigurationError: there are several ranks, but mpi4py cannot be imported.
        """
        self.rank, self.size = 0, 1
        self._all: Any = None
        if max(int(os.environ.get(name) or 1) for name in _SIZES) > 1:
            try:
                from mpi4py import MPI
            except ImportError as error:
                raise ConfigurationError(
                    f"this is one of several MPI ranks, but mpi4py cannot be imported ({error}); run pip install mpi4py"
                ) from None
            self._all = MPI.COMM_WORLD
            self.rank, self.size = self._all.rank, self._all.size

    def gather(self, value: Any) -> list[Any]:
        """Wait for all ranks, and return the value of each. Ctrl-C ends the wait."""
        if self._all is None:
            return [value]
        barrier = self._all.Ibarrier()
        while not barrier.Test():
            time.sleep(_POLL)
        values: list[Any] = self._all.allgather(value)
        return values
