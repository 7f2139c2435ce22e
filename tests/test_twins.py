# SPDX-License-Identifier: Apache-2.0
"""Every async twin has the parameters, the overloads and the result of its verb, and every docstring stands alone."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import s3dlio
from s3dlio import aio, api

FUNCTIONS = {name: getattr(s3dlio, name) for name in s3dlio.__all__ if inspect.isfunction(getattr(s3dlio, name))}
VERBS = sorted(name for name, function in FUNCTIONS.items() if function.__module__ == api.__name__)
TWINS = sorted(name for name, function in FUNCTIONS.items() if function.__module__ == aio.__name__)
# Verbs without a twin. `presign` and the iterators that a loop would have to wait for are left to threads.
ALONE = {"get_many_iter", "is_prefix", "list_iter", "presign"}
OTHER_NAMES = {"list": "list_objects"}


def signatures(module: str, name: str) -> list[tuple[str, str]]:
    """(parameters, result) of a function as written: of each overload, then of the function itself."""
    tree = ast.parse(Path(module).read_text())
    found = [
        (ast.unparse(node.args).replace("api.", ""), ast.unparse(node.returns) if node.returns else "")
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    assert found, name
    return found


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_has_the_parameters_the_overloads_and_the_result_of_its_verb(twin: str) -> None:
    verb = twin.removesuffix("_async")
    expected = [
        (parameters, f"Async{result}" if result.startswith("Iterator[") else result)
        for parameters, result in signatures(api.__file__, OTHER_NAMES.get(verb, verb))
    ]
    assert signatures(aio.__file__, twin) == expected


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_is_awaited_or_iterated_over(twin: str) -> None:
    function = FUNCTIONS[twin]
    result = signatures(aio.__file__, twin)[-1][1]
    assert inspect.iscoroutinefunction(function) is not result.startswith("AsyncIterator[")


def test_every_verb_has_a_twin_except_those_named_here() -> None:
    assert {name.removesuffix("_async") for name in TWINS} | ALONE == set(VERBS)


@pytest.mark.parametrize("name", [*VERBS, *TWINS])
def test_a_docstring_stands_alone(name: str) -> None:
    function = FUNCTIONS[name]
    text = inspect.getdoc(function) or ""
    summary, _, rest = text.partition("\n")
    assert summary.endswith(".")
    arguments = rest.partition("Args:\n")[2].partition("\n\n")[0]
    documented = [line.strip().partition(":")[0] for line in arguments.splitlines() if line[:8].strip()]
    assert documented == list(inspect.signature(function).parameters)
    assert ("Returns:" in text) is (inspect.signature(function).return_annotation != "None")
    assert "\nRaises:\n    " in text
    assert f"s3dlio.{name}(" in text.partition("\nExample:\n    >>> ")[2]
