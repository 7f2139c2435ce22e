# SPDX-License-Identifier: Apache-2.0
"""DLIO's storage interface: one test for each behavior that DLIO relies on."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import s3dlio

pytestmark = pytest.mark.usefixtures("dlio")

Make = Callable[..., Any]


@pytest.fixture
def make() -> Iterator[Make]:
    """Creates a storage as DLIO does: from a namespace, and the storage root in the configuration."""
    from dlio_benchmark.utils.config import ConfigArguments
    from dlio_benchmark.utils.utility import DLIOMPI

    from s3dlio.dlio.run.storage import S3dlioStorage

    DLIOMPI.reset()
    DLIOMPI.get_instance().set_parent_values(0, 1)

    def make(root: str, namespace: str | None = None) -> Any:
        ConfigArguments.get_instance().storage_root = root
        return S3dlioStorage(root if namespace is None else namespace, "pytorch")

    yield make
    ConfigArguments.reset()
    DLIOMPI.reset()


@pytest.fixture(params=["file", "direct"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path}"


def put(root: str, *keys: str) -> None:
    for key in keys:
        s3dlio.put_bytes(f"{root}/{key}", key.encode())


# Names


@pytest.mark.parametrize(
    ("root", "id", "uri"),
    [
        ("s3://bucket/prefix", "data/train/a.npz", "s3://bucket/prefix/data/train/a.npz"),
        ("s3://bucket/prefix/", "data/train", "s3://bucket/prefix/data/train"),
        ("s3://bucket", "data", "s3://bucket/data"),
        ("s3://bucket/prefix", "./data/train/", "s3://bucket/prefix/data/train"),
        ("s3://bucket/prefix", "/data", "s3://bucket/prefix/data"),
        ("s3://bucket/prefix", "", "s3://bucket/prefix"),
        ("s3://bucket/prefix", "s3://other/key/", "s3://other/key/"),
        ("s3://bucket/prefix", "gs://other/./key", "gs://other/./key"),
        ("file:///mnt/data", "train/*/*.npz", "file:///mnt/data/train/*/*.npz"),
        # An absolute path is unchanged, as in DLIO's own file storage.
        ("file:///mnt/data", "/elsewhere/a", "file:///elsewhere/a"),
        ("direct:///mnt/data", "/elsewhere/a", "direct:///elsewhere/a"),
    ],
)
def test_an_id_has_one_uri_and_a_uri_is_unchanged(make: Make, root: str, id: str, uri: str) -> None:
    storage = make(root)
    assert storage.get_uri(id) == uri
    assert storage.get_uri(storage.get_uri(id)) == uri


def test_a_relative_root_is_a_folder_of_this_machine(make: Make) -> None:
    assert make("./").get_uri("data") == f"file://{os.getcwd()}/data"
    assert make("storage").get_namespace() == f"file://{os.getcwd()}/storage"


@pytest.mark.parametrize(
    ("folder", "uri"),
    [
        ("checkpoints/unet3d", "s3://bucket/prefix/checkpoints/unet3d"),
        ("./checkpoints", "s3://bucket/prefix/checkpoints"),
        ("az://container/checkpoints", "az://container/checkpoints"),
    ],
)
def test_a_checkpoint_folder_lies_below_the_storage_root(make: Make, folder: str, uri: str) -> None:
    assert make("s3://bucket/prefix", folder).get_namespace() == uri


def test_the_basename_is_the_last_segment(make: Make) -> None:
    assert make("s3://bucket").get_basename("s3://bucket/train/a.npz") == "a.npz"


def test_ids_are_not_local_paths(make: Make) -> None:
    assert make("file:///mnt").islocalfs() is False


# Folders


def test_folders_are_made_with_their_parents_and_may_exist(make: Make, root: str, tmp_path: Path) -> None:
    storage = make(f"{root}/a/b")
    assert storage.create_namespace(exist_ok=True)
    assert storage.create_node("data/train/", exist_ok=True)
    assert storage.create_node("data/train/", exist_ok=True)
    assert (tmp_path / "a/b/data/train").is_dir()


def test_a_node_is_a_file_a_directory_or_none(make: Make, root: str) -> None:
    from dlio_benchmark.common.enumerations import MetadataType

    put(root, "data/train/0/a.npz")
    storage = make(root)
    assert storage.get_node("data/train/0/a.npz") is MetadataType.FILE
    assert storage.get_node("data/train/0") is MetadataType.DIRECTORY
    assert storage.get_node(f"{root}/data/train/") is MetadataType.DIRECTORY
    assert storage.get_node("data/tra") is None


def test_walking_gives_the_names_of_the_children_alone(make: Make, root: str) -> None:
    put(root, "data/train/a.npz", "data/train/b.npz", "data/train/0/c.npz", "data/train2/d.npz")
    storage = make(root)
    assert storage.walk_node("data/train") == ["0", "a.npz", "b.npz"]
    assert storage.walk_node(f"{root}/data/train/") == ["0", "a.npz", "b.npz"]


def test_walking_a_missing_folder_gives_nothing(make: Make, root: str) -> None:
    assert make(root).walk_node("data/valid") == []


def test_walking_a_pattern_gives_uris(make: Make, root: str) -> None:
    put(
        root,
        "data/train/0/a.npz",
        "data/train/1/b.NPZ",
        "data/train/1/c.npy",
        "data/train/1/d.npz.tmp",
        "data/train/1/.e.npz",
        "data/train/1/deep/f.npz",
        "data/train/g.npz",
        "data/train2/0/h.npz",
    )
    matches = [f"{root}/data/train/0/a.npz", f"{root}/data/train/1/b.NPZ"]
    assert make(root).walk_node("data/train/*/*.npz", use_pattern=True) == matches
    assert make("s3://elsewhere").walk_node(f"{root}/data/train/*/*.npz", use_pattern=True) == matches


def test_a_pattern_takes_dots_literally(make: Make, root: str) -> None:
    put(root, "data/train/0/a.npz", "data/train/0/anpz")
    assert make(root).walk_node("data/train/*/*.npz", use_pattern=True) == [f"{root}/data/train/0/a.npz"]


@pytest.mark.parametrize("use_pattern", [False, True])
def test_a_listing_that_fails_raises(make: Make, use_pattern: bool) -> None:
    with pytest.raises(s3dlio.InvalidURIError):
        make("bogus://bucket").walk_node("train/*/*.npz" if use_pattern else "train", use_pattern=use_pattern)


def test_deleting_a_folder_deletes_all_below_it_and_nothing_beside(make: Make, root: str) -> None:
    put(root, "data/a", "data/b/c", "data2/d")
    assert make(root).delete_node("data")
    assert s3dlio.list(root, recursive=True) == [f"{root}/data2/d"]


def test_deleting_a_file_deletes_that_file(make: Make, root: str) -> None:
    put(root, "data/a", "data/ab")
    assert make(root).delete_node("data/a")
    assert s3dlio.list(f"{root}/data") == [f"{root}/data/ab"]


# Objects


def test_data_comes_back_whole_and_in_parts(make: Make, root: str) -> None:
    storage = make(root)
    storage.put_data("data/a", b"0123456789")
    assert storage.get_data("data/a") == b"0123456789"
    assert storage.get_data(f"{root}/data/a", None) == b"0123456789"
    assert storage.get_data("data/a", None, 2, 3) == b"234"
    assert storage.get_data("data/a", None, offset=8) == b"89"
    assert storage.get_data("data/a", None, length=3) == b"012"


def test_a_part_of_an_object_cannot_be_written(make: Make, root: str) -> None:
    storage = make(root)
    with pytest.raises(ValueError, match="an object can only be written whole"):
        storage.put_data("data/a", b"0123456789", offset=4)
    with pytest.raises(ValueError, match="an object can only be written whole"):
        storage.put_data("data/a", b"0123456789", length=4)
    storage.put_data("data/a", b"0123456789", 0, 10)
    assert storage.get_data("data/a") == b"0123456789"


def test_a_file_is_an_object_and_not_a_folder(make: Make, root: str) -> None:
    put(root, "data/a")
    storage = make(root)
    assert storage.isfile("data/a") is True
    assert storage.isfile("data") is False
    assert storage.isfile("data/b") is False


# The object itself


def test_building_one_touches_nothing(make: Make, tmp_path: Path) -> None:
    make(f"file://{tmp_path}/root", "checkpoints")
    make("s3://no-such-bucket-anywhere/prefix")
    assert list(tmp_path.iterdir()) == []


def test_pickling_carries_the_root_and_not_the_configuration(make: Make, root: str) -> None:
    from dlio_benchmark.utils.config import ConfigArguments

    put(root, "checkpoints/a")
    storage = make(root, "checkpoints")
    pickled = pickle.dumps(storage)
    ConfigArguments.get_instance().storage_root = "s3://changed"
    copy = pickle.loads(pickled)
    assert copy.walk_node("") == ["a"]
    assert ConfigArguments.get_instance().storage_root == "s3://changed"
    assert len(pickled) < 1000


def test_a_relative_checkpoint_folder_is_made_and_written_below_the_root(make: Make, root: str, tmp_path: Path) -> None:
    storage = make(root, "checkpoints/unet3d")
    assert storage.create_namespace(exist_ok=True)
    assert storage.create_node("global_epoch1_step2", exist_ok=True)
    assert (tmp_path / "checkpoints/unet3d/global_epoch1_step2").is_dir()
    put(root, "checkpoints/unet3d/global_epoch1_step2/model.pt")
    assert storage.walk_node("global_epoch1_step2") == ["model.pt"]


def test_it_works_in_a_forked_child_after_it_was_used(make: Make, root: str) -> None:
    put(root, "data/a")
    storage = make(root)
    assert storage.get_data("data/a") == b"data/a"
    child = os.fork()
    if child == 0:
        read = storage.get_data("data/a") == b"data/a" and storage.walk_node("data") == ["a"]
        os._exit(0 if read else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert storage.get_data("data/a") == b"data/a"


def test_building_one_opens_nothing(make: Make) -> None:
    make("s3://bucket")
    before = sorted(os.listdir("/proc/self/fd"))
    storages = [make("s3://bucket/prefix") for _ in range(1000)]
    assert len(storages) == 1000
    assert sorted(os.listdir("/proc/self/fd")) == before
