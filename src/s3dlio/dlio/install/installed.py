# SPDX-License-Identifier: Apache-2.0
"""The storage classes of a DLIO in which Option 1 or Option 2 is installed.

Strategy: DLIO creates its first storage right after it has read its configuration. If that storage is one of the
classes below, its constructor does what `launcher.run` does before DLIO starts. From then on every format, reader,
generator and checkpoint goes through s3dlio, in workers too. With Option 2 the storage type `s3` becomes `s3dlio` at
the same moment, before DLIO checks what it requires for `s3`: a package, credentials in the workload, and one of two
formats.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from dlio_benchmark.common.enumerations import CheckpointMechanismType
from dlio_benchmark.utils.config import ConfigArguments

import s3dlio
from s3dlio.dlio.run import configuration, launcher, registration, replacements, storage
from s3dlio.dlio.run.storage_type import STORAGE_TYPE, storage_type

_started = False


class S3dlioStorage(storage.S3dlioStorage):
    """Option 1: the storage type `s3dlio`, which a branch of DLIO's own factory creates.

    Args:
        namespace, framework: see `storage.S3dlioStorage`.
    """

    def __init__(self, namespace: str, framework: Any = None) -> None:
        _start(registration.POINTS)
        super().__init__(namespace, framework)


class S3PyTorchConnectorStorage(storage.S3dlioStorage):
    """Option 2: the storage that DLIO creates for the storage type `s3` with PyTorch.

    DLIO's class of this name stores the object `s3://bucket/data/x.npz` under the literal key `s3://bucket/data/x.npz`
    inside the bucket. If a folder has no objects with proper keys, such as `data/x.npz`, those with literal keys are
    listed and read. They are never written or deleted.

    Args:
        namespace: see `storage.S3dlioStorage`; or the name of a bucket, which DLIO passes for this type.
        framework: see `storage.S3dlioStorage`.
    """

    def __init__(self, namespace: str, framework: Any = None) -> None:
        _start_as_drop_in()
        root = str(ConfigArguments.get_instance().storage_root)
        super().__init__(root if root == f"s3://{namespace}" else namespace, framework)
        self._literal_folders: set[str] = set()

    def __setstate__(self, state: str) -> None:
        super().__setstate__(state)
        self._literal_folders = set()

    def get_uri(self, id: str) -> str:
        """The URI of an id; it has the literal key in a folder whose objects have literal keys."""
        uri = super().get_uri(id)
        return _literal(uri) if posixpath.dirname(uri) in self._literal_folders else uri

    def walk_node(self, id: str, use_pattern: bool = False) -> list[str]:
        """List a folder, or find what matches a pattern; if there is nothing, do so under literal keys.

        See `storage.S3dlioStorage.walk_node`.
        """
        found = super().walk_node(id, use_pattern)
        uri = super().get_uri(id).rstrip("/")
        if found or not uri.startswith("s3://"):
            return found
        try:
            found = super().walk_node(_literal(uri), use_pattern)
        except s3dlio.S3dlioError as error:
            # Some servers refuse a key with two slashes: then there are no such objects.
            if error.status != 400:
                raise
        if found and not use_pattern:
            self._literal_folders.add(uri)
        return found


def _literal(uri: str) -> str:
    """The URI of the object whose key is the given URI, in the same bucket; "" for another scheme than s3://."""
    if not uri.startswith("s3://"):
        return ""
    bucket = uri.removeprefix("s3://").partition("/")[0]
    return f"s3://{bucket}/{uri}"


def _checkpointing_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_mechanism(checkpoint_mechanism_type: Any) -> Any:
        mechanism = original(checkpoint_mechanism_type)
        own_class = ConfigArguments.get_instance().checkpoint_mechanism_class is not None
        if hasattr(CheckpointMechanismType, "PT_S3_SAVE") and not own_class:
            mechanism.ext = "pts3"
        return mechanism

    return get_mechanism


_DROP_IN_POINTS = (
    *registration.POINTS,
    registration.Point(
        "dlio_benchmark.storage.storage_factory",
        "StorageFactory.get_storage",
        "storages after the first have to have the same class",
        partial(replacements.storage_factory, storage=S3PyTorchConnectorStorage),
    ),
    registration.Point(
        "dlio_benchmark.checkpointing.checkpointing_factory",
        "CheckpointingFactory.get_mechanism",
        "checkpoints of the storage type s3 have a suffix of their own, if this DLIO supports them",
        _checkpointing_factory,
    ),
)


def _start(points: tuple[registration.Point, ...], elsewhere: Callable[[str], str] | None = None) -> None:
    """Do what `launcher.run` does before DLIO starts. Only the first call of a process does anything."""
    global _started
    if _started:
        return
    _started = True
    registration.register(points + registration.BENCHMARK_POINTS)
    arguments = ConfigArguments.get_instance()
    launcher.watch_the_end()
    # DLIO 2.0.0 does not read storage_options, so its arguments have none.
    configuration.configured(arguments, getattr(arguments, "storage_options", None) or {}, elsewhere)


def _start_as_drop_in() -> None:
    arguments = ConfigArguments.get_instance()
    if str(arguments.storage_type) != STORAGE_TYPE:
        arguments.storage_root = root_uri(arguments)
        arguments.storage_type = storage_type()
    _start(_DROP_IN_POINTS, _literal)


def root_uri(arguments: Any) -> str:
    """The storage root as a URI. DLIO's own class takes the name of a bucket.

    Raises:
        ConfigurationError: the root is a local path, and something would be stored below it.
    """
    root = str(arguments.storage_root)
    if "://" in root:
        return root
    if re.match(r"[A-Za-z0-9]", root):
        return f"s3://{root}"
    folders = [arguments.data_folder, *([arguments.checkpoint_folder] if arguments.do_checkpoint else [])]
    if any("://" not in str(folder) for folder in folders):
        raise s3dlio.ConfigurationError(
            f"[s3dlio] the storage type s3 cannot store objects in {root!r}; set workload.storage.storage_root to "
            "s3://bucket/prefix"
        )
    return root
