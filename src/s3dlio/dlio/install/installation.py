# SPDX-License-Identifier: Apache-2.0
"""Installs Option 1 or Option 2 of the integration guide into DLIO's folder, and uninstalls both.

Strategy: an option consists of a few changes, which `edits` prepares and makes. This module chooses the changes, and
prints what was done. The files of a DLIO decide what it needs, never its version. DLIO is not imported, and need not be
installed: its folder is enough.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from shlex import quote

from s3dlio.dlio.check import dlio_package
from s3dlio.dlio.check.dlio_package import BACKUP, DROP_IN, ENUMERATIONS, FACTORY, STORAGE
from s3dlio.dlio.install import edits
from s3dlio.dlio.install.edits import Change
from s3dlio.dlio.run import launcher
from s3dlio.errors import ConfigurationError

_SOURCES = Path(__file__).parent / "installable"


def install_s3dlio_storage(path: str | os.PathLike[str] | None = None, patch: bool = False) -> None:
    """Install Option 1: DLIO gets the storage type `s3dlio`.

    Without `patch` this copies the storage file, and prints the two steps that remain. A second call changes nothing.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import.
        patch: change the enumeration and the factory, too.

    Raises:
        ConfigurationError: there is no DLIO, or its files were edited where s3dlio inserts lines; the message shows the
            difference.
        PermissionDeniedError: a file cannot be changed. Nothing was changed.
    """
    package = _package(path)
    changes = _option_1(package) if patch else edits.added(package / STORAGE, _installable(STORAGE))
    edits.make(changes)
    _print_changes(package, changes)
    _print("" if patch else _steps_left(package), _advice(package))


def install_dropin_replacement(path: str | os.PathLike[str] | None = None) -> None:
    """Install Option 2: DLIO's storage type `s3` with PyTorch uses s3dlio.

    This replaces DLIO's `storage/s3_torch_storage.py`, and keeps it as `s3_torch_storage.py.original.bak`. A DLIO
    without that file, such as 2.0.0, gets the file and a factory that uses it. A second call changes nothing.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import.

    Raises:
        ConfigurationError: there is no DLIO, or its files were edited where s3dlio inserts lines; the message shows the
            difference.
        PermissionDeniedError: a file cannot be changed. Nothing was changed.
    """
    package = _package(path)
    target, content = package / DROP_IN, _installable(DROP_IN)
    if _uses_own_storage(package):
        found = edits.read(target)
        if b"S3PyTorchConnectorStorage" not in found:
            edits.refuse(
                target,
                "it does not define S3PyTorchConnectorStorage; use Option 1",
                edits.text(content),
                edits.text(found),
            )
        changes = edits.replaced(target, content)
        note = f"To revert: mv {quote(f'{target}{BACKUP}')} {quote(str(target))}"
    else:
        changes = edits.added(target, content) + edits.inserted(package, edits.DROP_IN_BRANCH)
        note = (
            f"This DLIO has no {DROP_IN} to replace: the file was added, and the factory was changed to use it.\n"
            f"To revert: s3dlio dlio uninstall {quote(str(package))}"
        )
    edits.make(changes)
    _print_changes(package, changes)
    _print(note if changes else "", _advice(package))


def generate_patch(
    path: str | os.PathLike[str] | None = None, output_file: str | os.PathLike[str] = "dlio_s3dlio.patch"
) -> None:
    """Write the changes of Option 1 as a patch, for `patch -p1` in the folder that holds `dlio_benchmark`.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import. The patch
            holds the changes that this DLIO lacks.
        output_file: the patch to write.

    Raises:
        ConfigurationError: there is no DLIO, its files were edited where s3dlio inserts lines, or Option 1 is
        installed.
    """
    package = _package(path)
    changes = [change for change in _option_1(package) if not change.path.name.endswith(BACKUP)]
    if not changes:
        raise ConfigurationError(f"Option 1 is already installed in {package}: there is nothing to patch")
    target = Path(os.path.abspath(output_file))
    edits.make([Change(target, edits.data("".join(edits.as_patch(package, change) for change in changes)))])
    _print(
        f"s3dlio: wrote {target}", f"To apply it: cd {quote(str(package.parent))} && patch -p1 < {quote(str(target))}"
    )


def get_s3dlio_storage_path() -> str:
    """The path of the file of Option 1, to be copied to `dlio_benchmark/storage/s3dlio_storage.py`."""
    return str(_SOURCES / Path(STORAGE).name)


def get_storage_file_path() -> str:
    """The path of the file of Option 2, which replaces `dlio_benchmark/storage/s3_torch_storage.py`."""
    return str(_SOURCES / Path(DROP_IN).name)


def uninstall(path: str | os.PathLike[str] | None = None) -> None:
    """Uninstall both options: every file of DLIO is restored to the byte.

    Args:
        path: a checkout of DLIO, its folder `dlio_benchmark`, or None for the DLIO that Python would import.

    Raises:
        ConfigurationError: there is no DLIO, or an installed change was edited; the message shows the difference.
            Nothing was changed.
        PermissionDeniedError: a file cannot be changed. Nothing was changed.
    """
    package = _package(path)
    changes = [
        *edits.restored(package / ENUMERATIONS),
        *edits.restored(package / FACTORY),
        *edits.removed(package / STORAGE, _installable(STORAGE), needed=False),
        *edits.removed(package / DROP_IN, _installable(DROP_IN), needed=_uses_own_storage(package)),
    ]
    edits.make(changes)
    _print_changes(package, changes)
    by_hand = [
        f"{package / file}, line {number}: {line.strip()}"
        for file in (ENUMERATIONS, FACTORY)
        for number, line in enumerate(edits.lines_of(edits.text(edits.read(package / file))), 1)
        if "s3dlio" in line.lower()
    ]
    _print("The installer has not written these lines, and leaves them:" if by_hand else "", *by_hand)


def _package(path: str | os.PathLike[str] | None) -> Path:
    """The folder `dlio_benchmark`."""
    if path is None:
        found = dlio_package.folder()
        if found is None:
            raise ConfigurationError(dlio_package.NOT_INSTALLED)
        return found
    given = Path(os.path.abspath(path))
    for folder in (given, given / "dlio_benchmark"):
        if (folder / FACTORY).is_file() and (folder / ENUMERATIONS).is_file():
            return folder
    raise ConfigurationError(
        f"{given} is not a DLIO: expected the folder dlio_benchmark, with {FACTORY} in it, or the folder that holds it"
    )


def _installable(file: str) -> bytes:
    """The content of the file that s3dlio installs under this name."""
    return (_SOURCES / Path(file).name).read_bytes()


def _uses_own_storage(package: Path) -> bool:
    """Whether the factory of this DLIO uses a storage of its own for S3 with PyTorch, which Option 2 can replace."""
    return Path(DROP_IN).stem in edits.without_blocks(edits.text(edits.read(package / FACTORY)))


def _option_1(package: Path) -> list[Change]:
    return [
        *edits.added(package / STORAGE, _installable(STORAGE)),
        *edits.inserted(package, edits.STORAGE_TYPE),
        *edits.inserted(package, edits.BRANCH),
    ]


# Output...


def _print(*lines: str) -> None:
    for line in lines:
        if line:
            sys.stdout.write(f"{line}\n")


def _print_changes(package: Path, changes: list[Change]) -> None:
    if not changes:
        _print(f"s3dlio: nothing to change in {package}")
    for change in changes:
        _print(f"s3dlio: {'removed' if change.content is None else 'wrote'} {change.path}")


def _steps_left(package: Path) -> str:
    """The steps of Option 1 that remain after copying the storage file."""
    enumerations, factory = (edits.text(edits.read(package / file)) for file in (ENUMERATIONS, FACTORY))
    steps = []
    if "S3DLIO" not in enumerations:
        steps.append(f"""\
In {package / ENUMERATIONS}, in the class StorageType, after S3:

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
These steps remain; `s3dlio dlio install {quote(str(package))}` would make them for you.

{chr(10).join(steps)}
Then set workload.storage.storage_type=s3dlio. After these steps it has to be set even if a folder is a URI
(dataset.data_folder: s3://bucket/data): otherwise DLIO creates a local folder named `s3:`."""


def _advice(package: Path) -> str:
    """How to provide the module `tensorflow`, if this DLIO needs it to start and it is not installed."""
    profilers = package / "profiler" / "profiler_factory.py"
    imports = re.compile(rb"^from dlio_benchmark\.profiler\.tf_profiler import", re.MULTILINE)
    if not profilers.is_file() or not imports.search(edits.read(profilers)) or dlio_package.has_tensorflow():
        return ""
    return (
        "This DLIO imports TensorFlow when it starts, but TensorFlow is not installed. `s3dlio dlio run` needs no "
        f"TensorFlow; for `dlio_benchmark` an empty module is enough: export PYTHONPATH={launcher.ABSENT_MODULES}"
    )
