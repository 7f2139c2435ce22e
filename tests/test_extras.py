# SPDX-License-Identifier: Apache-2.0
"""Optional packages are extras, and without one the error names the command that installs it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from s3dlio.auth.aws.credentials import CredentialSource
from s3dlio.auth.azure.credentials import EntraToken
from s3dlio.dlio import report
from s3dlio.dlio.run import launcher
from s3dlio.errors import ConfigurationError

SOURCES = Path(__file__).parents[1] / "src" / "s3dlio"

# DLIO cannot be a requirement (see pyproject.toml), TensorFlow is DLIO's choice, and type checkers bring the last one.
WITHOUT_EXTRA = {"dlio_benchmark", "tensorflow", "typing_extensions"}


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Make the import of a module fail, as if it were not installed."""
    monkeypatch.setitem(sys.modules, module, None)


def test_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "botocore.session")
    with pytest.raises(ConfigurationError, match=r"needs botocore, .*; run pip install 's3dlio\[aws\]'") as caught:
        CredentialSource(profile="team").current()
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set" in str(caught.value)
    assert "S3DLIO_NO_SIGN=1" in str(caught.value)


def test_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "azure.identity")
    with pytest.raises(
        ConfigurationError, match=r"needs azure-identity, .*; run pip install 's3dlio\[azure\]'"
    ) as caught:
        EntraToken().authorize("GET", "/container/key", "", [], 0)
    assert "AZURE_STORAGE_ACCOUNT_KEY" in str(caught.value)
    assert "S3DLIO_NO_SIGN=1" in str(caught.value)


@pytest.mark.parametrize(("module", "package"), [("matplotlib", "matplotlib"), ("yaml", "PyYAML")])
def test_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, package: str) -> None:
    hide(monkeypatch, module)
    with pytest.raises(ConfigurationError, match=rf"a report needs {package}, .*; run pip install 's3dlio\[report\]'"):
        report.write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_dlio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hide(monkeypatch, "dlio_benchmark")
    assert launcher.run([]) == 2
    errors = capsys.readouterr().err
    assert "pip install 's3dlio[dlio]'" in errors
    assert "pip install --no-deps dlio-benchmark" in errors


def imported() -> Iterator[tuple[str, str]]:
    """Every module outside s3dlio and the standard library that a file imports, with that file."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                if (top := name.partition(".")[0]) not in {"s3dlio", *sys.stdlib_module_names}:
                    yield top, str(path.relative_to(SOURCES))


def test_every_imported_package_is_a_dependency_or_in_an_extra() -> None:
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in requires("s3dlio") or []}
    distributions = packages_distributions()
    unknown = {
        (module, path)
        for module, path in imported()
        if module not in WITHOUT_EXTRA and module in distributions
        if declared.isdisjoint(name.lower() for name in distributions[module])
    }
    assert unknown == set()
