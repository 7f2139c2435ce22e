# SPDX-License-Identifier: Apache-2.0
"""The rooms of DLIO's integration import each other as `s3dlio.dlio` says in its first lines, and no other way."""

from __future__ import annotations

import re

import pytest

import s3dlio.dlio
from tests.test_layers import MODULES, imports

PREFIX = "dlio."
# A row of the table: the room, an arrow, and the rooms that it may import, or "nothing".
_ROW = re.compile(r"^    (\w+) +→ ((?:\w+, )*\w+)  ", re.MULTILINE)
MAY_IMPORT = {room: set(others.split(", ")) - {"nothing"} for room, others in _ROW.findall(s3dlio.dlio.__doc__ or "")}


def room(module: str) -> str:
    return module.removeprefix(PREFIX).partition(".")[0]


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in MODULES if name.startswith(PREFIX)} == MAY_IMPORT.keys()


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith(PREFIX)))
def test_a_room_imports_only_the_rooms_that_it_may(name: str) -> None:
    others = {room(imported) for imported in imports(name) if imported.startswith(PREFIX)}
    assert others - {room(name)} <= MAY_IMPORT[room(name)]


def test_no_rooms_import_each_other_in_a_circle() -> None:
    order: list[str] = []
    while ready := [room for room in MAY_IMPORT if room not in order and MAY_IMPORT[room] <= set(order)]:
        order += ready
    assert set(order) == MAY_IMPORT.keys()
