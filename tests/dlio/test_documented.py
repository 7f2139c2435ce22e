# SPDX-License-Identifier: Apache-2.0
"""DLIO and s3dlio accept the configurations in docs/dlio.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3dlio.dlio.run import options
from s3dlio.dlio.run.readers import FORMATS
from s3dlio.settings import Settings
from s3dlio.uri import parse
from tests.docs.harness import Block, blocks

_PAGE = Path(__file__).parents[2] / "docs" / "dlio.md"
_CONFIGURATIONS = [block for block in blocks(_PAGE.read_text(encoding="utf-8")) if block.kind == "yaml"]


@pytest.mark.usefixtures("dlio")
@pytest.mark.parametrize("block", _CONFIGURATIONS, ids=lambda block: str(block.line))
def test_a_configuration_of_the_page_is_valid(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.setenv(name, "a2V5")
    configuration = OmegaConf.create(block.text)
    storage = configuration["storage"]
    assert storage["storage_type"] == "s3dlio"
    parse(storage["storage_root"])
    settings = options.settings_of(storage.get("storage_options", {}))
    parsers = {field.name: field.metadata["parse"] for field in Settings.__dataclass_fields__.values()}
    for name, value in settings.items():
        parsers[name](str(value))
    assert configuration.get("dataset", {}).get("format", "npz") in FORMATS


def test_the_page_has_configurations() -> None:
    assert len(_CONFIGURATIONS) >= 8
