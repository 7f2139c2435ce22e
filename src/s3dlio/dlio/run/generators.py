# SPDX-License-Identifier: Apache-2.0
"""Lets DLIO's data generators write objects.

Strategy: a generator asks the storage for the path of a file, writes the file, and asks for the next path. Here it gets
a path in a folder of its own below TMPDIR. When it asks for the next path, or ends, every file in that folder is
uploaded. So index files beside a data file, and names to which a generator appends `.gz`, need no special case. One
file is staged at a time; for tfrecord there are two, as its generator reads a file again to make the index. Where all
ranks write to one file through MPI-IO, they share a folder, and rank 0 uploads it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import deque
from typing import Any

import s3dlio
from s3dlio.dlio.record.records import Record

_COLLECTIVE_FORMATS = ("indexed_binary", "mmap_indexed_binary")


class Staging:
    """The storage that a generator gets: it hands out local paths, and uploads the files written there.

    Args:
        storage: the DataStorage that knows the URIs; it answers everything that is not about writing files.
        folder: where files are staged; nothing else may write there.
        kept: how many files stay staged when the generator asks for the next path; None: all, until `flush`.
    """

    def __init__(self, storage: Any, folder: str, kept: int | None = 0) -> None:
        self._storage = storage
        self._folder = folder
        self._kept = kept
        self._count = 0
        self._staged: deque[tuple[str, str]] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def islocalfs(self) -> bool:
        """Whether `get_uri` returns a local path: True."""
        return True

    def get_uri(self, id: str) -> str:
        """Upload the files of earlier ids, then return a path for the file of this one."""
        if self._kept is not None:
            self.flush(self._kept)
        target, _, name = self._storage.get_uri(id).rpartition("/")
        # The tfrecord generator looks for `valid` in the path to tell the data sets apart.
        folder = os.path.join(self._folder, f"{self._count}-{'valid' if 'valid' in target else 'train'}")
        self._count += 1
        os.makedirs(folder, exist_ok=True)
        self._staged.append((folder, target))
        return os.path.join(folder, name)

    def flush(self, kept: int = 0) -> None:
        """Upload and remove what the generator wrote, except for the last `kept` files."""
        while len(self._staged) > kept:
            folder, target = self._staged[0]
            for name in sorted(os.listdir(folder)):
                path = os.path.join(folder, name)
                uri = f"{target}/{name}"
                with Record("generate", uri) as record:
                    record.bytes = os.path.getsize(path)
                    s3dlio.upload(path, uri)
                os.unlink(path)
            self._staged.popleft()


def write_objects(generator: Any, format: str) -> None:
    """Make a DataGenerator of this format write objects; each object is recorded as a `generate`."""
    generate = generator.generate

    def generate_objects() -> None:
        storage = generator.storage
        if format in _COLLECTIVE_FORMATS and _is_collective(generator):
            _generate_together(generator, generate)
            return
        with tempfile.TemporaryDirectory(prefix="s3dlio-generate-") as folder:
            staging = generator.storage = Staging(storage, folder, kept=int(format == "tfrecord"))
            generate()
            staging.flush()

    if format == "tfrecord":
        from s3dlio.dlio.run import tfrecord

        tfrecord.index_without_script(sys.modules[type(generator).__module__], generator)
    generator.generate = generate_objects


def _is_collective(generator: Any) -> bool:
    """Whether all ranks write into one file together: the condition is DLIO's own."""
    files: int = generator.num_files_train + max(0, generator.num_files_eval)
    ranks: int = generator.comm_size
    return ranks > 1 and files <= ranks


def _generate_together(generator: Any, generate: Any) -> None:
    """Generate with all ranks in one folder. The files are closed when DLIO's function has ended on every rank."""
    from dlio_benchmark.utils.utility import DLIOMPI

    comm = DLIOMPI.get_instance().comm()
    folder = comm.bcast(tempfile.mkdtemp(prefix="s3dlio-generate-") if generator.my_rank == 0 else None, root=0)
    try:
        seen = comm.allgather(os.path.isdir(folder))
        if not all(seen):
            raise s3dlio.ConfigurationError(
                "with no more files than ranks, DLIO lets all ranks write into one file, but rank "
                f"{seen.index(False)} cannot see {folder}; set TMPDIR to a folder that all hosts share, or set "
                f"workload.dataset.num_files_train to more than {generator.comm_size}"
            )
        staging = generator.storage = Staging(generator.storage, folder, kept=None)
        generate()
        comm.barrier()
        if generator.my_rank == 0:
            staging.flush()
        comm.barrier()
    finally:
        if generator.my_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
