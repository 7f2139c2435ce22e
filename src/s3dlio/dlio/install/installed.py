# SPDX-License-Identifier: Apache-2.0
"""The storage classes of a DLIO into which Option 1 or Option 2 was installed.

Strategy: DLIO builds its first storage as soon as it has read its configuration, before anything else. When that is
one of the classes below, `registration` is made up for, and from then on this is the DLIO that `launcher.run` starts:
every format, reader, generator and checkpoint goes through s3dlio, in workers too. With Option 2 the storage type `s3`
becomes `s3dlio` in that moment, so that what DLIO asks of `s3` (a package, credentials in the workload, two formats)
does not apply.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from dlio_benchmark.common.enumerations import CheckpointMechanismType
from dlio_benchmark.utils.config import ConfigArguments

import s3dlio
from s3dlio.dlio.run import launcher, registration, storage

_started = False


class S3dlioStorage(storage.S3dlioStorage):
    """Option 1: the storage type `s3dlio`, built by a branch of DLIO's own factory.

    Args:
        namespace, framework: as for `storage.S3dlioStorage`.
    """

    def __init__(self, namespace: str, framework: Any = None) -> None:
        _start(registration.POINTS)
        super().__init__(namespace, framework)


class S3PyTorchConnectorStorage(storage.S3dlioStorage):
    """Option 2: what DLIO builds for the storage type `s3` with PyTorch.

    DLIO's class of this name stores the object `s3://bucket/data/x.npz` under the key `s3://bucket/data/x.npz`, all of
    it, inside the bucket. Such objects are read where the folder has none with the proper key, `data/x.npz`.

    Args:
        namespace: as for `storage.S3dlioStorage`; or, as DLIO has it for this type, the name of a bucket.
        framework: as there.
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
        """The URI of an id: of the literal key in a folder whose objects have such keys."""
        uri = super().get_uri(id)
        return _literal(uri) if posixpath.dirname(uri) in self._literal_folders else uri

    def walk_node(self, id: str, use_pattern: bool = False) -> list[str]:
        """As there; if nothing is found, what there is under literal keys."""
        found = super().walk_node(id, use_pattern)
        uri = super().get_uri(id).rstrip("/")
        if found or not uri.startswith("s3://"):
            return found
        try:
            found = super().walk_node(_literal(uri), use_pattern)
        except s3dlio.S3dlioError as error:
            # Some servers refuse a key with two slashes, so there are no such objects.
            if error.status != 400:
                raise
        if found and not use_pattern:
            self._literal_folders.add(uri)
        return found


def _literal(uri: str) -> str:
    """The URI of the object whose key is this whole URI, in the same bucket; "" on storage without such objects."""
    if not uri.startswith("s3://"):
        return ""
    bucket = uri.removeprefix("s3://").partition("/")[0]
    return f"s3://{bucket}/{uri}"


def _storage_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_storage(storage_type: Any, namespace: str, framework: Any = None) -> Any:
        if str(storage_type) != registration.STORAGE_TYPE:
            return original(storage_type, namespace, framework)
        return S3PyTorchConnectorStorage(namespace, framework)

    return get_storage


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
        "storages after the first have to be of the same class",
        _storage_factory,
    ),
    registration.Point(
        "dlio_benchmark.checkpointing.checkpointing_factory",
        "CheckpointingFactory.get_mechanism",
        "checkpoints of the storage type s3 have a suffix of their own, where DLIO knows them",
        _checkpointing_factory,
    ),
)


def _start(points: tuple[registration.Point, ...], elsewhere: Callable[[str], str] | None = None) -> None:
    """Make up for what `launcher.run` does before DLIO starts; only the first call of a process does anything."""
    global _started
    if _started:
        return
    _started = True
    registration.register(points + registration.BENCHMARK_POINTS)
    arguments = ConfigArguments.get_instance()
    launcher.watch_the_end()
    # DLIO 2.0.0 does not read the options at all.
    registration.configured(arguments, getattr(arguments, "storage_options", None) or {}, elsewhere)


def _start_as_drop_in() -> None:
    arguments = ConfigArguments.get_instance()
    if str(arguments.storage_type) != registration.STORAGE_TYPE:
        arguments.storage_root = root_uri(arguments)
        arguments.storage_type = registration.storage_type()
    _start(_DROP_IN_POINTS, _literal)


def root_uri(arguments: Any) -> str:
    """The storage root as a URI: DLIO's own class takes the name of a bucket."""
    root = str(arguments.storage_root)
    if "://" in root:
        return root
    if re.match(r"[A-Za-z0-9]", root):
        return f"s3://{root}"
    folders = [arguments.data_folder, *([arguments.checkpoint_folder] if arguments.do_checkpoint else [])]
    if any("://" not in str(folder) for folder in folders):
        raise s3dlio.ConfigurationError(
            f"[s3dlio] the storage type s3 cannot keep things in {root!r}: set workload.storage.storage_root to "
            "s3://bucket/prefix"
        )
    return root
