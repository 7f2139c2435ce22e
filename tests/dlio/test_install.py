# SPDX-License-Identifier: Apache-2.0
"""The installers change files of DLIO, keep their line ends, refuse, fail and uninstall as documented.

They run on a copy of the DLIO in use, and on a small tree with what only the main branch has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import s3dlio
from s3dlio.dlio.check.dlio_package import ENUMERATIONS, FACTORY
from s3dlio.dlio.install import edits
from s3dlio.integrations import dlio
from tests.cli.command import run as run_command
from tests.dlio.checkouts import TORCH_STORAGE, contents, copied, like_main, line_ends
from tests.processes import in_forked_child


def like_main_with_crlf(folder: Path) -> Path:
    return like_main(folder, "\r\n")


@pytest.fixture(params=[copied, like_main, like_main_with_crlf])
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param is copied:
        request.getfixturevalue("dlio")
    made: Path = request.param(tmp_path / "checkout")
    return made


def option_1(path: Path) -> None:
    dlio.install_s3dlio_storage(path, patch=True)


def both(path: Path) -> None:
    option_1(path)
    dlio.install_dropin_replacement(path)


def both_the_other_way_round(path: Path) -> None:
    dlio.install_dropin_replacement(path)
    option_1(path)


Install = Callable[[Path], None]
INSTALLS = [
    dlio.install_s3dlio_storage,
    option_1,
    dlio.install_dropin_replacement,
    both,
    both_the_other_way_round,
]


def difference(before: dict[str, tuple[bytes, int, int]], package: Path) -> set[str]:
    after = contents(package)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


# Install and uninstall...


@pytest.mark.parametrize("install", INSTALLS)
def test_installing_twice_changes_nothing_and_uninstalling_restores_every_byte(package: Path, install: Install) -> None:
    before = contents(package)
    install(package)
    installed = contents(package)
    assert installed != before
    install(package)
    assert contents(package) == installed
    dlio.uninstall(package)
    assert contents(package) == before
    dlio.uninstall(package)
    assert contents(package) == before


def test_option_1_changes_two_files_and_adds_one(package: Path) -> None:
    before = contents(package)
    option_1(package)
    assert difference(before, package) == {
        "storage/s3dlio_storage.py",
        ENUMERATIONS,
        f"{ENUMERATIONS}.original.bak",
        FACTORY,
        f"{FACTORY}.original.bak",
    }
    for name in (ENUMERATIONS, FACTORY):
        assert line_ends((package / name).read_bytes()) == line_ends(before[name][0])
        assert (package / f"{name}.original.bak").read_bytes() == before[name][0]


def test_option_1_without_patch_copies_the_file_and_prints_the_steps(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(package)
    dlio.install_s3dlio_storage(package)
    assert difference(before, package) == {"storage/s3dlio_storage.py"}
    printed = capsys.readouterr().out
    assert f"{package}/{ENUMERATIONS}" in printed
    assert "\n    S3DLIO = 's3dlio'\n" in printed
    assert f"{package}/{FACTORY}" in printed
    assert "\n        elif storage_type == StorageType.S3DLIO:\n" in printed
    assert "storage_type=s3dlio" in printed
    option_1(package)
    capsys.readouterr()
    dlio.install_s3dlio_storage(package)
    assert "by hand" not in capsys.readouterr().out


def test_option_2_replaces_the_file_and_nothing_else(tmp_path: Path) -> None:
    package = like_main(tmp_path)
    before = contents(package)
    dlio.install_dropin_replacement(package)
    replaced = package / "storage" / "s3_torch_storage.py"
    assert difference(before, package) == {
        "storage/s3_torch_storage.py",
        "storage/s3_torch_storage.py.original.bak",
    }
    assert replaced.read_text() == Path(dlio.get_storage_file_path()).read_text()
    assert "s3torchconnector" not in replaced.read_text()
    os.rename(f"{replaced}.original.bak", replaced)
    assert contents(package) == before


def test_option_2_adds_what_a_dlio_lacks_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = like_main(tmp_path)
    (package / "storage" / "s3_torch_storage.py").unlink()
    factory = package / FACTORY
    branch = r"            from .* import S3PyTorch\w+\n            return S3PyTorch\w+"
    factory.write_text(re.sub(branch, "            return S3Storage", factory.read_text()))
    before = contents(package)
    dlio.install_dropin_replacement(package)
    assert difference(before, package) == {
        "storage/s3_torch_storage.py",
        FACTORY,
        f"{FACTORY}.original.bak",
    }
    assert "has no storage/s3_torch_storage.py to replace" in capsys.readouterr().out
    assert "s3_torch_storage import S3PyTorchConnectorStorage" in factory.read_text()
    dlio.uninstall(package)
    assert contents(package) == before


@pytest.mark.parametrize("named", ["checkout", "package", "installed"])
def test_a_dlio_may_be_named_in_three_ways(tmp_path: Path, named: str) -> None:
    package = like_main(tmp_path)
    (package / "__init__.py").touch()
    before = contents(package)
    paths = {"checkout": [tmp_path], "package": [package], "installed": []}[named]
    # In a new process, which has not imported another DLIO.
    for command in ("install", "uninstall"):
        done = run_command("dlio", command, *paths, PYTHONPATH=str(tmp_path))
        assert f"{package}/storage/s3dlio_storage.py" in done.lines[-5 if command == "install" else -1]
        assert ("storage/s3dlio_storage.py" in contents(package)) == (command == "install")
    assert contents(package) == before


def test_a_folder_without_dlio_is_refused(tmp_path: Path) -> None:
    for call in (*INSTALLS, dlio.generate_patch, dlio.uninstall):
        with pytest.raises(s3dlio.ConfigurationError, match=f"{tmp_path} is not a DLIO: expected the folder"):
            call(tmp_path)


# The patch...


def test_the_patch_does_what_the_installer_does(package: Path, tmp_path: Path, patch_program: str) -> None:
    twin = Path(shutil.copytree(package, tmp_path / "twin" / package.name))
    before = contents(package)
    file = tmp_path / "dlio_s3dlio.patch"
    dlio.generate_patch(package, output_file=file)
    assert contents(package) == before
    for again in ("patching file dlio_benchmark/common/enumerations.py", "Reversed (or previously applied)"):
        with file.open("rb") as patch:
            done = subprocess.run(
                [patch_program, "-p1", "--forward", "--reject-file=-"],
                cwd=package.parent,
                stdin=patch,
                capture_output=True,
                text=True,
                check=False,
            )
        assert again in done.stdout, done
    option_1(twin)
    patched = {name: content for name, (content, _, _) in contents(package).items() if not name.endswith(".orig")}
    installed = {name: content for name, (content, _, _) in contents(twin).items() if not name.endswith(".bak")}
    assert patched == installed
    with pytest.raises(s3dlio.ConfigurationError, match="there is nothing to patch"):
        dlio.generate_patch(package, output_file=file)
    dlio.uninstall(package)
    assert {name: content for name, (content, _, _) in contents(package).items()} == {
        name: content for name, (content, _, _) in before.items()
    }


# Refusals...


def changed(path: Path, old: str, new: str) -> None:
    content = path.read_bytes().decode()
    assert old in content
    path.write_bytes(content.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    ("name", "old", "new", "shown"),
    [
        (ENUMERATIONS, "    S3 = 's3'", "    S3 = 'simple'", "+    S3 = 'simple'"),
        (ENUMERATIONS, "    S3 = 's3'", "    S3 = 's3'\n    S3DLIO = 'mine'", "+    S3DLIO = 'mine'"),
        (ENUMERATIONS, "class StorageType(Enum)", "class StorageType(str, Enum)", "-class StorageType(Enum):"),
        (FACTORY, "framework=None)", "framework)", "+    def get_storage(storage_type, namespace, framework):"),
    ],
)
@pytest.mark.parametrize("install", [option_1, dlio.generate_patch])
def test_a_dlio_that_was_edited_is_refused_with_the_difference(
    package: Path, monkeypatch: pytest.MonkeyPatch, install: Install, name: str, old: str, new: str, shown: str
) -> None:
    changed(package / name, old, new)
    before = contents(package.parent)
    monkeypatch.chdir(package.parent)
    with pytest.raises(s3dlio.ConfigurationError) as raised:
        install(package)
    message = str(raised.value)
    assert message.startswith(f"{package / name}: ")
    assert shown in message.splitlines()
    assert contents(package.parent) == before


def test_another_file_of_the_same_name_is_refused_with_the_difference(package: Path) -> None:
    for name in ("storage/s3dlio_storage.py", f"{FACTORY}.original.bak"):
        (package / name).write_text("print('mine')\n")
        before = contents(package)
        with pytest.raises(s3dlio.ConfigurationError, match=r"(?m)^\+print\('mine'\)$"):
            option_1(package)
        assert contents(package) == before
        (package / name).unlink()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (FACTORY, "            return S3dlioStorage(", "            return Mine("),
        (FACTORY, "class StorageFactory", "class Elsewhere: pass\nclass StorageFactory"),
        ("storage/s3dlio_storage.py", "__all__", "print('mine')\n__all__"),
        ("storage/s3_torch_storage.py", "__all__", "print('mine')\n__all__"),
    ],
)
def test_edited_changes_are_not_uninstalled(package: Path, name: str, old: str, new: str) -> None:
    both(package)
    changed(package / name, old, new)
    before = contents(package)
    with pytest.raises(s3dlio.ConfigurationError, match="edited") as raised:
        dlio.uninstall(package)
    assert any(line.startswith("+") for line in str(raised.value).splitlines()[3:])
    assert contents(package) == before


def test_without_backups_edits_are_removed_and_a_replaced_file_cannot_be_restored(tmp_path: Path) -> None:
    package = like_main(tmp_path)
    before = contents(package)
    both(package)
    for backup in package.rglob("*.original.bak"):
        backup.unlink()
    with pytest.raises(s3dlio.ConfigurationError, match=r"cannot restore .*s3_torch_storage\.py: .* does not exist"):
        dlio.uninstall(package)
    (package / "storage" / "s3_torch_storage.py").write_text(TORCH_STORAGE)
    dlio.uninstall(package)
    assert {name: content for name, (content, _, _) in contents(package).items()} == {
        name: content for name, (content, _, _) in before.items()
    }


def test_steps_done_by_hand_are_recognized_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = like_main(tmp_path)
    changed(package / ENUMERATIONS, "    S3 = 's3'\n", "    S3 = 's3'\n    S3DLIO = \"s3dlio\"  # mine\n")
    before = contents(package)
    option_1(package)
    assert f"{ENUMERATIONS}.original.bak" not in contents(package)
    capsys.readouterr()
    dlio.uninstall(package)
    assert contents(package) == before
    assert 'enumerations.py, line 6: S3DLIO = "s3dlio"  # mine' in capsys.readouterr().out


# Failures...


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="s3dlio-install-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("install", [option_1, dlio.install_dropin_replacement])
def test_a_refused_write_changes_nothing(public_folder: Path, install: Install) -> None:
    package = like_main(public_folder)
    (package / "common").chmod(0o777)
    before = contents(public_folder)

    def as_another_user() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        else:
            (package / "storage").chmod(0o555)
        with pytest.raises(PermissionError, match=r"cannot change .*/storage/.*: Permission denied"):
            install(package)

    in_forked_child(as_another_user)
    (package / "storage").chmod(0o755)
    assert contents(public_folder) == before


def test_a_failure_in_the_middle_is_rolled_back(tmp_path: Path) -> None:
    package = like_main(tmp_path)
    before = contents(package)
    in_the_way = package / "in-the-way"
    in_the_way.mkdir()
    factory = package / FACTORY
    changes = [
        edits.Change(package / "new.py", b"new"),
        edits.Change(factory, b"changed"),
        edits.Change(package / ENUMERATIONS, None),
        edits.Change(in_the_way, b"it cannot be"),
        edits.Change(package / "storage" / "later.py", b"later"),
    ]
    with pytest.raises(s3dlio.S3dlioError, match=f"cannot change {in_the_way}: it is a folder"):
        edits.make(changes)
    assert contents(package) == before


def test_a_folder_named_like_the_backup_is_an_error_before_anything_changes(tmp_path: Path) -> None:
    package = like_main(tmp_path)
    backup = package / "storage" / "s3_torch_storage.py.original.bak"
    backup.mkdir()
    before = contents(package)
    with pytest.raises(s3dlio.S3dlioError, match=f"cannot read {backup}: it is a folder"):
        dlio.install_dropin_replacement(package)
    assert contents(package) == before


# The command...


def test_the_command_installs_and_uninstalls_both_options(tmp_path: Path) -> None:
    package = like_main(tmp_path)
    before = contents(package)
    installed = run_command("dlio", "install", tmp_path)
    assert (installed.status, installed.err) == (0, "")
    assert f"s3dlio: wrote {package}/storage/s3dlio_storage.py" in installed.lines
    replaced = run_command("dlio", "install", tmp_path, "--drop-in")
    assert f"s3dlio: wrote {package}/storage/s3_torch_storage.py.original.bak" in replaced.lines
    assert run_command("dlio", "install", tmp_path).lines == [f"s3dlio: nothing to change in {package}"]
    assert run_command("dlio", "uninstall", tmp_path).status == 0
    assert contents(package) == before


def test_the_command_shows_the_difference_above_its_error(tmp_path: Path) -> None:
    package = like_main(tmp_path)
    changed(package / ENUMERATIONS, "    S3 = 's3'", "    S3 = 'simple'")
    refused = run_command("dlio", "install", tmp_path)
    assert (refused.status, refused.out) == (1, b"")
    *shown, last = refused.err.splitlines()
    assert shown[:2] == ["--- expected", f"+++ {package / ENUMERATIONS}"]
    assert "+    S3 = 'simple'" in shown
    assert last == (
        f"s3dlio: {package / ENUMERATIONS}: it was edited where s3dlio inserts its lines; "
        "undo the edit first; nothing was changed"
    )
