# SPDX-License-Identifier: Apache-2.0
"""Changes files in a folder of DLIO's source, all of them or none, and reverts the changes.

Strategy: from what the files hold now, the functions in the middle of this module make a list of `Change`s, one per
file. Then `make` makes all of them, or none. An edit is a block of whole lines after one line of DLIO's, with the line
ends of that file, so that removing the block restores the file to the byte. A copy of the original is kept beside the
file as `NAME.original.bak`. A file that does not look as expected is refused, and the error shows the difference.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from s3dlio import redaction
from s3dlio.dlio.check.dlio_package import BACKUP, ENUMERATIONS, FACTORY
from s3dlio.errors import ConfigurationError, from_os_error


class EditedError(ConfigurationError):
    """A file of DLIO does not look as a change expects.

    Attributes:
        summary: the message without the difference.
        difference: the expected and the actual content, as a unified diff.
    """

    def __init__(self, summary: str, difference: str) -> None:
        super().__init__(summary)
        self.summary = summary
        self.difference = "\n".join(map(redaction.message, difference.split("\n")))

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.difference}"  # the one message of several lines


@dataclass(frozen=True)
class Insertion:
    """Lines to insert into a file of DLIO.

    Attributes:
        file: relative to the package's folder.
        scope: the first line of the class that is changed.
        anchor: the line in this class after which the lines go.
        mark: text that only these lines hold, and still hold after an edit.
        block: the lines, each with its line feed.
        by_hand: a regular expression for a line that a user may have written to the same effect.
    """

    file: str
    scope: str
    anchor: str
    mark: str
    block: tuple[str, ...]
    by_hand: str | None = None


STORAGE_TYPE = Insertion(
    ENUMERATIONS,
    "class StorageType(Enum):",
    "    S3 = 's3'",
    "S3DLIO",
    ("    S3DLIO = 's3dlio'\n",),
    by_hand=r"\s+S3DLIO\s*=\s*(['\"])s3dlio\1",
)

BRANCH = Insertion(
    FACTORY,
    "class StorageFactory(object):",
    "    def get_storage(storage_type, namespace, framework=None):",
    "# s3dlio, Option 1",
    (
        "        # s3dlio, Option 1: its storage type, which need not be given where a folder is a URI.\n",
        "        from dlio_benchmark.utils.config import ConfigArguments\n",
        "        args = ConfigArguments.get_instance()\n",
        "        folders = (args.storage_root, args.data_folder, args.checkpoint_folder)\n",
        "        if storage_type == StorageType.LOCAL_FS and any('://' in str(folder) for folder in folders):\n",
        "            storage_type = args.storage_type = StorageType.S3DLIO\n",
        "        if storage_type == StorageType.S3DLIO:\n",
        "            from dlio_benchmark.storage.s3dlio_storage import S3dlioStorage\n",
        "            return S3dlioStorage(namespace, framework)\n",
    ),
)

# For a DLIO whose factory has no storage of its own for S3 with PyTorch, such as 2.0.0. The anchor is far enough from
# the other block's, so that a patch with one block applies to a file with the other.
DROP_IN_BRANCH = Insertion(
    FACTORY,
    "class StorageFactory(object):",
    "        elif storage_type == StorageType.S3:",
    "# s3dlio, Option 2",
    (
        "            # s3dlio, Option 2: the storage of S3 with PyTorch.\n",
        "            if str(framework) == 'pytorch':\n",
        "                from dlio_benchmark.storage.s3_torch_storage import S3PyTorchConnectorStorage\n",
        "                return S3PyTorchConnectorStorage(namespace, framework)\n",
    ),
)

_INSERTIONS = (STORAGE_TYPE, BRANCH, DROP_IN_BRANCH)


@dataclass(frozen=True)
class Change:
    """One file that is written or removed.

    Attributes:
        path: the file.
        content: its new content; None removes the file.
        stamp: the file whose time and mode it gets, as a copy would.
    """

    path: Path
    content: bytes | None
    stamp: Path | None = None


# Content...


def read(path: Path) -> bytes:
    """The content of a file.

    Raises:
        S3dlioError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise from_os_error(error, str(path), "read") from error


def text(content: bytes) -> str:
    """The content of a file as text. `data` turns the text into the same bytes, even if they are not UTF-8."""
    return content.decode("utf-8", "surrogateescape")


def data(content: str) -> bytes:
    """The bytes of a text that `text` returned."""
    return content.encode("utf-8", "surrogateescape")


def lines_of(content: str) -> list[str]:
    """The lines as the program patch sees them: only a line feed ends a line."""
    return re.findall(r"[^\n]*\n|[^\n]+", content)


def without_blocks(content: str) -> str:
    """The text of a file of DLIO, without the lines that were inserted."""
    for insertion in _INSERTIONS:
        for end in ("\n", "\r\n"):
            content = content.replace("".join(_with_ends(insertion.block, end)), "", 1)
    return content


def _with_ends(block: Iterable[str], like: str) -> list[str]:
    """The lines, with the line end of another line."""
    return [line.replace("\n", "\r\n") for line in block] if like.endswith("\r\n") else list(block)


# Changes to make...


def added(path: Path, content: bytes) -> list[Change]:
    """Add a file of s3dlio."""
    if not os.path.lexists(path):
        return [Change(path, content)]
    if (found := read(path)) != content:
        refuse(path, "there is another file of this name; remove it first", text(content), text(found))
    return []


def replaced(path: Path, content: bytes) -> list[Change]:
    """Replace a file of DLIO by a file of s3dlio."""
    found = read(path)
    return [] if found == content else [*_kept(path, found), Change(path, content)]


def inserted(package: Path, insertion: Insertion) -> list[Change]:
    """Insert lines into a file."""
    path = package / insertion.file
    content = text(read(path))
    lines = lines_of(content)
    start = next((number for number, line in enumerate(lines) if line.rstrip() == insertion.scope), len(lines))
    end = next((number for number in range(start + 1, len(lines)) if lines[number].startswith("class ")), len(lines))
    scope = lines[start:end]
    anchors = [number for number in range(start, end) if lines[number].rstrip("\r\n") == insertion.anchor]
    expected = f"{insertion.scope}\n{insertion.anchor}\n"
    if len(anchors) != 1:
        refuse(path, "it was edited where s3dlio inserts its lines; undo the edit first", expected, "".join(scope))
    at = anchors[0] + 1
    block = _with_ends(insertion.block, lines[anchors[0]])
    if "".join(block) in "".join(scope):
        return []
    if insertion.by_hand and any(re.match(insertion.by_hand, line) for line in scope):
        return []
    if insertion.mark in "".join(scope):
        refuse(
            path,
            "the lines that s3dlio inserted were edited; undo the edit first",
            expected + "".join(insertion.block),
            "".join(scope),
        )
    changed = data("".join([*lines[:at], *block, *lines[at:]]))
    return [*_kept(path, data(without_blocks(content))), Change(path, changed)]


def _kept(path: Path, original: bytes) -> list[Change]:
    """Keep a copy of the original beside a file."""
    backup = path.with_name(path.name + BACKUP)
    if not os.path.lexists(backup):
        return [Change(backup, original, stamp=path)]
    if (found := read(backup)) != original:
        refuse(backup, "it is not the original of the file beside it; move it away first", text(original), text(found))
    return []


def restored(path: Path) -> list[Change]:
    """Remove all lines that were inserted into a file."""
    content = text(read(path))
    original = without_blocks(content)
    for insertion in _INSERTIONS:
        if not insertion.by_hand and insertion.mark in original:
            refuse(
                path,
                "the lines that s3dlio inserted were edited; undo the edit first",
                "".join(insertion.block),
                content,
            )
    backup = path.with_name(path.name + BACKUP)
    if not backup.is_file():
        return [Change(path, data(original))] if original != content else []
    if (kept := read(backup)) == data(original):
        return [*([Change(path, kept, stamp=backup)] if original != content else []), Change(backup, None)]
    if original != content:
        why = f"it was edited after the installation; to keep the edit remove {backup}, to drop it restore that file"
        refuse(path, why, text(kept), original)
    return []


def removed(path: Path, content: bytes, needed: bool) -> list[Change]:
    """Remove a file of s3dlio that was installed with this content, and restore the file of DLIO that it replaced.

    With `needed`, DLIO needs a file of this name.
    """
    backup = path.with_name(path.name + BACKUP)
    found = read(path) if path.is_file() else None
    if found is not None and found != content and b"s3dlio.integrations.dlio" in found:
        refuse(path, "it was edited after the installation; remove it first", text(content), text(found))
    if backup.is_file() and found in (None, content, kept := read(backup)):
        return [*([Change(path, kept, stamp=backup)] if found != kept else []), Change(backup, None)]
    if found != content:
        return []
    if needed:
        raise ConfigurationError(f"cannot restore {path}: {backup} does not exist; copy the file from DLIO's source")
    return [Change(path, None)]


def refuse(path: Path, why: str, expected: str, found: str) -> NoReturn:
    """Raise an error that shows the expected and the actual content."""
    wanted, actual = ([line.rstrip("\r\n") for line in lines_of(content)] for content in (expected, found))
    difference = "\n".join(difflib.unified_diff(wanted, actual, "expected", str(path), lineterm=""))
    raise EditedError(f"{path}: {why}; nothing was changed", difference)


def as_patch(package: Path, change: Change) -> str:
    """A change as part of a patch, for `patch -p1` in the folder that holds the package."""
    assert change.content is not None
    name = f"{package.name}/{change.path.relative_to(package).as_posix()}"
    exists = change.path.is_file()
    difference = difflib.unified_diff(
        lines_of(text(read(change.path))) if exists else [],
        lines_of(text(change.content)),
        f"a/{name}" if exists else "/dev/null",
        f"b/{name}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in difference)


# Changing files...


def make(changes: list[Change]) -> None:
    """Make all changes, or none.

    Everything that takes space or may be refused happens first, under temporary names. After that, files are only
    renamed or removed. If this fails too, the files that were changed by then are restored.

    Raises:
        S3dlioError: of the class that fits the failed system call. Every file is unchanged.
    """
    new: dict[Path, Path] = {}
    old: dict[Path, Path] = {}
    begun: list[Path] = []
    doing = Path()
    try:
        for change in changes:
            doing = change.path
            _prepare(change, new, old)
        for change in changes:
            doing = change.path
            begun.append(doing)
            if doing in new:
                os.replace(new[doing], doing)
            else:
                doing.unlink()
    except BaseException as error:
        _roll_back(begun, old)
        if isinstance(error, OSError):
            raise from_os_error(error, str(doing), "change") from error
        raise
    finally:
        for temporary in (*new.values(), *old.values()):
            temporary.unlink(missing_ok=True)


def _prepare(change: Change, new: dict[Path, Path], old: dict[Path, Path]) -> None:
    """Write the new content and a copy of the old content to temporary files, which `new` and `old` then name."""
    path = change.path
    if path.is_file():
        old[path] = _temporary(path)
        shutil.copy2(path, old[path])
    if change.content is not None:
        new[path] = _temporary(path)
        _write(change, new[path])


def _roll_back(begun: list[Path], old: dict[Path, Path]) -> None:
    """Restore files that may have been changed: the old content, or no file if there was none."""
    for path in reversed(begun):
        if path in old:
            os.replace(old[path], path)
        elif path.is_file():
            path.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".s3dlio-tmp-{secrets.token_hex(8)}")


def _write(change: Change, temporary: Path) -> None:
    assert change.content is not None
    temporary.write_bytes(change.content)
    if change.stamp is not None:
        shutil.copystat(change.stamp, temporary)
    elif change.path.is_file():
        shutil.copymode(change.path, temporary)
