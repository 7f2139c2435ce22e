# SPDX-License-Identifier: Apache-2.0
"""Every block of the README and of every page of docs/ runs, and what they list is complete."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import s3dlio
from s3dlio.cli import app
from tests.docs import environment
from tests.docs.harness import CHECKOUT, run_page
from tests.docs.messages import is_quoted_right, messages, quotes

AT_THE_TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(CHECKOUT / name for name in AT_THE_TOP), *sorted((CHECKOUT / "docs").rglob("*.md"))]


# A page that needs a server -> the fixture that starts it, and what the page says of it -> what holds.
SERVERS: dict[str, tuple[str, Callable[[Any], dict[str, str]]]] = {
    "api.md": (
        "seaweedfs",
        lambda server: {
            "your_key": server.access_key,
            "your_secret": server.secret_key,
            "http://minio:9000": server.url,
            "my-bucket": "bucket-of-the-api",
        },
    ),
    "azure.md": (
        "azurite",
        lambda server: {
            "your_account": server.account,
            "your_key": server.key,
            "http://127.0.0.1:10000": server.url.removesuffix(f"/{server.account}"),
        },
    ),
    "gcs.md": ("fake_gcs", lambda server: {"http://localhost:4443": server.url}),
    "s3.md": (
        "seaweedfs",
        lambda server: {
            "your_key": server.access_key,
            "your_secret": server.secret_key,
            "http://minio:9000": server.url,
            "my-bucket": "bucket-of-the-page",  # the guide's tests fill the other one
            **{f"http://node{number}:9000": server.url for number in (1, 2, 3)},
        },
    ),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    more: dict[str, str] = {}
    if page.name in SERVERS:
        fixture, substitutions = SERVERS[page.name]
        more = substitutions(request.getfixturevalue(fixture))
    run_page(page, tmp_path, more)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


def test_the_table_of_variables_is_up_to_date() -> None:
    page = environment.PAGE.read_text(encoding="utf-8")
    assert page == environment.updated(page), "run: python -m tests.docs.environment"


def test_every_public_name_is_documented() -> None:
    page = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [name for name in s3dlio.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_every_signature_in_the_api_page_is_that_of_the_function() -> None:
    page = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
    written = re.findall(r"`(\w+)(\([^`]*\))`", "\n".join(re.findall(r"^(?:- )?`\w+\(.*\)`$", page, re.MULTILINE)))
    assert written
    for name, signature in written:
        actual = inspect.signature(getattr(s3dlio, name))
        bare = actual.replace(
            parameters=[each.replace(annotation=inspect.Parameter.empty) for each in actual.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
        assert signature.replace('"', "'") == str(bare), name


def test_the_api_page_shows_the_arguments_of_every_call() -> None:
    page = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
    calls = [name for name in s3dlio.__all__ if inspect.isfunction(getattr(s3dlio, name))]
    assert [name for name in calls if not name.endswith("_async") and f"`{name}(" not in page] == []


def test_every_message_in_a_troubleshooting_section_is_quoted_right() -> None:
    source = messages((CHECKOUT / "src").rglob("*.py"))
    quoted = [(page.name, quote) for page in PAGES for quote in quotes(page.read_text(encoding="utf-8"))]
    assert {name for name, _ in quoted} == {"azure.md", "dlio.md", "gcs.md", "s3.md"}
    assert [(name, quote) for name, quote in quoted if not is_quoted_right(quote, source)] == []


def test_every_command_and_option_is_documented() -> None:
    page = (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8")

    def missing(command: Any, name: str) -> list[str]:
        options = [f"{name} {option}" for parameter in command.params for option in parameter.opts]
        lacking = [text for text in options if (option := text.rpartition(" ")[2])[0] == "-" and option not in page]
        if not hasattr(command, "commands"):
            return lacking + ([] if name in page else [name])
        return lacking + [text for key, child in command.commands.items() for text in missing(child, f"{name} {key}")]

    assert missing(app.command(), "s3dlio") == []
