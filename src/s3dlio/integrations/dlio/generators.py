"""DLIO's data generators, writing through s3dlio.

Strategy: nearly every generator asks the storage for the path of a file, writes there, and asks for the
next. It gets a path in a temporary folder, and whatever stands in that folder when it asks for the next
path, or ends, is uploaded: so index files beside a data file, and names that got a `.gz`, need no rule. One
file at a time is staged, in the folder that TMPDIR names.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import s3dlio
from s3dlio.integrations.dlio.counters import Operation


class Staging:
    """DLIO's storage as a generator sees it: paths to write to, whose files are uploaded.

    Args:
        storage: the DataStorage that knows the URIs. What is not about writing files is asked of it.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._folder = tempfile.TemporaryDirectory(prefix="s3dlio-generate-")
        self._target = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def islocalfs(self) -> bool:
        """True: what `get_uri` returns is a path to write to."""
        return True

    def get_uri(self, id: str) -> str:
        """A path for the file of this id, after uploading what was written for the one before."""
        self.flush()
        self._target, _, name = self._storage.get_uri(id).rpartition("/")
        return os.path.join(self._folder.name, name)

    def flush(self) -> None:
        """Upload and remove what the generator wrote."""
        for name in sorted(os.listdir(self._folder.name)):
            path = os.path.join(self._folder.name, name)
            uri = f"{self._target}/{name}"
            with Operation("generate", uri) as operation:
                operation.bytes = os.path.getsize(path)
                s3dlio.upload(path, uri)
            os.unlink(path)

    def remove(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()


def write_objects(generator: Any) -> None:
    """Make a generator of DLIO write objects, with one recorded `generate` each.

    Args:
        generator: a DataGenerator, changed in place.
    """
    generate = generator.generate

    def generate_objects() -> None:
        staging = generator.storage = Staging(generator.storage)
        try:
            generate()
            staging.flush()
        finally:
            staging.remove()

    generator.generate = generate_objects
