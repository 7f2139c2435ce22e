# SPDX-License-Identifier: Apache-2.0
"""Options 1 and 2 of the integration guide: s3dlio put into DLIO's folder, and taken out again.

Strategy: each option is a few changes, which `edits` works out and makes; here is which, and what the user is told.
What a DLIO has decides, never its version. DLIO is neither imported nor needed: its folder is enough.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from shlex import quote

from s3dlio.dlio.install import edits
from s3dlio.dlio.install.edits import BACKUP, ENUMERATIONS, FACTORY, Change
from s3dlio.dlio.run import launcher
from s3dlio.errors import ConfigurationError

_SOURCES = Path(__file__).parent / "installable"
_STORAGE = "storage/s3dlio_storage.py"
_DROP_IN = "storage/s3_torch_storage.py"


def install_s3dlio_storage(path: str | os.PathLike[str] | None = None, patch: bool = False) -> None:
    """Option 1: give DLIO the storage type `s3dlio`.

    Without `patch` the storage file is copied, and the two steps that are left are printed. A second call changes
    nothing.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import.
        patch: make the changes to the enumeration and to the factory as well.

    Raises:
        ConfigurationError: there is no DLIO, or one that was edited in these places; the difference is in the message.
        PermissionDeniedError: the files cannot be changed. Then none is.
    """
    package = _package(path)
    changes = _option_1(package) if patch else edits.added(package / _STORAGE, _ours(_STORAGE))
    edits.make(changes)
    _tell(package, changes)
    _say("" if patch else _steps_left(package), _advice(package))


def install_dropin_replacement(path: str | os.PathLike[str] | None = None) -> None:
    """Option 2: let DLIO's storage type `s3` with PyTorch use s3dlio.

    DLIO's `storage/s3_torch_storage.py` is replaced, and kept as `s3_torch_storage.py.original.bak`. A DLIO without
    such a file, as 2.0.0 is, gets one, and its factory is changed to use it. A second call changes nothing.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import.

    Raises:
        ConfigurationError: there is no DLIO, or one that was edited in these places; the difference is in the message.
        PermissionDeniedError: the files cannot be changed. Then none is.
    """
    package = _package(path)
    target, ours = package / _DROP_IN, _ours(_DROP_IN)
    if _has_drop_in(package):
        there = edits.read(target)
        if b"S3PyTorchConnectorStorage" not in there:
            edits.refuse(target, "it has no S3PyTorchConnectorStorage", edits.text(ours), edits.text(there))
        changes = edits.replaced(target, ours)
        note = f"To go back: mv {quote(f'{target}{BACKUP}')} {quote(str(target))}"
    else:
        changes = edits.added(target, ours) + edits.inserted(package, edits.DROP_IN_BRANCH)
        note = (
            f"This DLIO has no {_DROP_IN} to replace: it was added, and the factory was changed to use it.\n"
            f"To go back: s3dlio dlio uninstall {quote(str(package))}"
        )
    edits.make(changes)
    _tell(package, changes)
    _say(note if changes else "", _advice(package))


def generate_patch(
    path: str | os.PathLike[str] | None = None, output_file: str | os.PathLike[str] = "dlio_s3dlio.patch"
) -> None:
    """Write what Option 1 changes as a patch, for `patch -p1` in the folder that holds `dlio_benchmark`.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import. Only what
            this DLIO lacks is in the patch.
        output_file: where it is written.

    Raises:
        ConfigurationError: there is no DLIO, or one that was edited in these places, or one that lacks nothing.
    """
    package = _package(path)
    changes = [change for change in _option_1(package) if not change.path.name.endswith(BACKUP)]
    if not changes:
        raise ConfigurationError(f"Option 1 is installed in {package} already: there is nothing to patch")
    target = Path(os.path.abspath(output_file))
    edits.make([Change(target, edits.data("".join(edits.as_patch(package, change) for change in changes)))])
    _say(f"s3dlio: wrote {target}", f"To apply it: cd {quote(str(package.parent))} && patch -p1 < {quote(str(target))}")


def get_s3dlio_storage_path() -> str:
    """The file of Option 1, to be copied to `dlio_benchmark/storage/s3dlio_storage.py`."""
    return str(_SOURCES / Path(_STORAGE).name)


def get_storage_file_path() -> str:
    """The file of Option 2, which takes the place of `dlio_benchmark/storage/s3_torch_storage.py`."""
    return str(_SOURCES / Path(_DROP_IN).name)


def uninstall(path: str | os.PathLike[str] | None = None) -> None:
    """Take both options out of DLIO again: every file is as it was, to the byte.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import.

    Raises:
        ConfigurationError: there is no DLIO, or what was installed has been edited since; nothing is changed then.
        PermissionDeniedError: the files cannot be changed. Then none is.
    """
    package = _package(path)
    changes = [
        *edits.restored(package / ENUMERATIONS),
        *edits.restored(package / FACTORY),
        *edits.removed(package / _STORAGE, _ours(_STORAGE), needed=False),
        *edits.removed(package / _DROP_IN, _ours(_DROP_IN), needed=_has_drop_in(package)),
    ]
    edits.make(changes)
    _tell(package, changes)
    by_hand = [
        f"{package / file}, line {number}: {line.strip()}"
        for file in (ENUMERATIONS, FACTORY)
        for number, line in enumerate(edits.lines_of(edits.text(edits.read(package / file))), 1)
        if "s3dlio" in line.lower()
    ]
    _say("These lines are not from the installer, and are left:" if by_hand else "", *by_hand)


def _package(path: str | os.PathLike[str] | None) -> Path:
    """The folder `dlio_benchmark`."""
    if path is None:
        found = importlib.util.find_spec("dlio_benchmark")
        if found is None or not found.submodule_search_locations:
            raise ConfigurationError(launcher.NOT_INSTALLED)
        return Path(found.submodule_search_locations[0])
    given = Path(os.path.abspath(path))
    for folder in (given, given / "dlio_benchmark"):
        if (folder / FACTORY).is_file() and (folder / ENUMERATIONS).is_file():
            return folder
    raise ConfigurationError(
        f"{given} is no DLIO: expected the folder dlio_benchmark, with {FACTORY} in it, or the folder that holds it"
    )


def _ours(file: str) -> bytes:
    """What we put in this place."""
    return (_SOURCES / Path(file).name).read_bytes()


def _has_drop_in(package: Path) -> bool:
    """Whether DLIO's own factory uses a storage of its own for S3 with PyTorch."""
    return Path(_DROP_IN).stem in edits.without_blocks(edits.text(edits.read(package / FACTORY)))


def _option_1(package: Path) -> list[Change]:
    return [
        *edits.added(package / _STORAGE, _ours(_STORAGE)),
        *edits.inserted(package, edits.STORAGE_TYPE),
        *edits.inserted(package, edits.BRANCH),
    ]


# What is said...


def _say(*lines: str) -> None:
    for line in lines:
        if line:
            sys.stdout.write(f"{line}\n")


def _tell(package: Path, changes: list[Change]) -> None:
    if not changes:
        _say(f"s3dlio: nothing to change in {package}")
    for change in changes:
        _say(f"s3dlio: {'removed' if change.content is None else 'wrote'} {change.path}")


def _steps_left(package: Path) -> str:
    """What Option 1 needs besides the storage file."""
    enumerations, factory = (edits.text(edits.read(package / file)) for file in (ENUMERATIONS, FACTORY))
    steps = []
    if "S3DLIO" not in enumerations:
        steps.append(f"""\
In {package / ENUMERATIONS}, in the class StorageType, below S3:

    S3DLIO = 's3dlio'
""")
    if "s3dlio_storage" not in factory:
        steps.append(f"""\
In {package / FACTORY}, in get_storage, before the branch for StorageType.S3:

        elif storage_type == StorageType.S3DLIO:
            from dlio_benchmark.storage.s3dlio_storage import S3dlioStorage
            return S3dlioStorage(namespace, framework)
""")
    if not steps:
        return ""
    return f"""\
What is left is to be done by hand; `s3dlio dlio install {quote(str(package))}` would do it for you.

{chr(10).join(steps)}
Then set workload.storage.storage_type=s3dlio. With these steps that has to be set also where a folder is a URI
(dataset.data_folder: s3://bucket/data): without it DLIO makes a local folder of the name `s3:`."""


def _advice(package: Path) -> str:
    """What else stands between this DLIO and a run of `dlio_benchmark`."""
    profilers = package / "profiler" / "profiler_factory.py"
    imports = re.compile(rb"^from dlio_benchmark\.profiler\.tf_profiler import", re.MULTILINE)
    if not profilers.is_file() or not imports.search(edits.read(profilers)) or importlib.util.find_spec("tensorflow"):
        return ""
    return (
        "This DLIO imports TensorFlow when it starts, which is not installed. `s3dlio dlio run` does without; for "
        f"`dlio_benchmark` an empty module will do: export PYTHONPATH={launcher.ABSENT_MODULES}"
    )
