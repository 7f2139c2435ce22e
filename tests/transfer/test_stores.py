# SPDX-License-Identifier: Apache-2.0
"""A call uses a store with the settings in force, and finds what a store with these settings knows already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import s3dlio
from s3dlio import settings
from s3dlio.runtime.run import run
from s3dlio.settings import Settings
from s3dlio.stores import new_store
from s3dlio.stores.base import Store
from s3dlio.transfer.stores import Stores, store_for
from s3dlio.uri import parse
from tests.processes import in_forked_child
from tests.threads import side_by_side

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:9/a"}
CLOUDS = pytest.mark.parametrize("scheme", ["s3", "az", "gs"])


@pytest.fixture(autouse=True)
def _credentials() -> None:
    os.environ.update(KEYS)


@CLOUDS
def test_calls_share_a_store_while_no_setting_changes(scheme: str) -> None:
    store = store_for(scheme)
    assert store.settings is settings.current()
    assert store_for(scheme) is store


@CLOUDS
def test_a_changed_variable_is_obeyed_by_the_next_call(scheme: str) -> None:
    before = store_for(scheme)
    os.environ["S3DLIO_RETRIES"] = "3"
    after = store_for(scheme)
    assert after is not before
    assert (_settings(before).retries, _settings(after).retries) == (8, 3)


def test_a_setting_from_code_is_obeyed_by_the_next_call() -> None:
    before = store_for("s3")
    try:
        s3dlio.configure(retries=3)
        assert _settings(store_for("s3")).retries == 3
    finally:
        s3dlio.configure(retries=None)
    assert _settings(store_for("s3")) == _settings(before)


def test_threads_with_different_settings_find_their_stores_again() -> None:
    """A store knows credentials and regions, which cost requests."""
    others = [Settings(retries=number) for number in range(8)]

    def in_turn() -> list[Store]:
        found = []
        for other in others:
            with settings.held(other):
                found.append(store_for("s3"))
        return found

    first = in_turn()
    assert len(set(map(id, first))) == len(others)
    assert in_turn() == first


def test_the_number_of_stores_that_are_kept_is_bounded() -> None:
    kept = store_for("s3")
    for number in range(100):
        with settings.held(Settings(retries=number)):
            store_for("s3")
    assert store_for("s3") is not kept


def test_threads_that_begin_at_the_same_time_share_a_store() -> None:
    now = Settings(retries=99)
    found: list[Store] = []

    def look() -> None:
        with settings.held(now):
            found.append(store_for("s3"))

    side_by_side([look] * 8)
    assert set(map(id, found)) == {id(found[0])}


def test_a_forked_child_makes_its_own_store() -> None:
    before = store_for("s3")

    def look() -> None:
        assert store_for("s3") is not before

    in_forked_child(look)


def test_a_call_looks_up_a_store_once() -> None:
    stores = Stores()
    store = stores["s3"]
    os.environ["S3DLIO_RETRIES"] = "3"
    assert stores["s3"] is store
    assert store_for("s3") is not store


@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_a_file_store_looks_up_settings_for_a_write_only(scheme: str, tmp_path: Path) -> None:
    looked = 0
    uri = parse(f"{scheme}://{tmp_path}/object")

    def look() -> Settings:
        nonlocal looked
        looked += 1
        return settings.current()

    store = new_store(scheme, look)
    run(store.put(uri, memoryview(b"content")))
    looked, of_write = 0, looked
    assert of_write > 0
    assert bytes(run(store.get(uri))) == b"content"
    assert run(store.stat(uri))["size"] == 7
    assert looked == 0


def _settings(store: Store) -> Settings:
    assert store.settings is not None
    return store.settings
