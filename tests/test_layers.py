# SPDX-License-Identifier: Apache-2.0
"""Every module imports only from the layers below its own, and no modules import each other in a circle.

All imports count: those inside functions, those for annotations alone, and those by a name in a string.
`docs/architecture.md` says what each layer is for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "s3dlio"

# From the top to the bottom. Modules of one layer that are not in the same package do not import each other, but for
# the integrations, where the command imports DLIO's.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("integrations",),
    ("dlio",),
    ("__init__",),
    ("aio",),
    ("api", "diagnostics"),
    ("transfer",),
    ("stores",),
    ("auth",),
    ("objects",),
    ("http",),
    ("memory", "runtime"),
    ("settings",),
    ("log", "types", "uri", "loading"),
    ("errors",),
    ("redaction", "_version", "environment", "forks", "descriptors", "tuning"),
)
RANKS = {name: -rank for rank, layer in enumerate(LAYERS) for name in layer}
# The modules of s3dlio that an integration may import in addition to the package itself, the public API.
SHARED = ("diagnostics", "settings", "log", "types", "uri", "errors", "redaction", "_version", "forks")
INTEGRATIONS = ("__main__", "cli", "integrations", "dlio")


def module_name(path: Path) -> str:
    """The dotted name below `s3dlio`; "__init__" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


# The files in `installable` are copied into DLIO: they belong to another program.
MODULES = {module_name(path): path for path in ROOT.rglob("*.py") if path.parent.name != "installable"}


def imports(name: str) -> Iterator[str]:
    """The modules of s3dlio that a module imports, each as often as it does."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{name}: relative imports are not used here"
            wanted = [
                whole if whole.removeprefix("s3dlio.") in MODULES else node.module
                for whole in (f"{node.module}.{alias.name}" for alias in node.names)
            ]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            wanted = [node.value] if node.value.removeprefix("s3dlio.") in MODULES and "." in node.value else []
        else:
            continue
        for full in wanted:
            if full == "s3dlio":
                yield "__init__"
            elif full.startswith("s3dlio."):
                yield full.removeprefix("s3dlio.")


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def package(name: str) -> str:
    return name.partition(".")[0]


def climbs(name: str, imported: str) -> bool:
    """Whether an import goes up, or to the side."""
    if package(name) == package(imported):
        return False
    return RANKS[package(imported)] >= RANKS[package(name)]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import each other, directly or not (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_every_module_has_a_layer() -> None:
    assert {package(name) for name in MODULES} - RANKS.keys() == set()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    assert [imported for imported in imports(name) if climbs(name, imported)] == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) in INTEGRATIONS))
def test_integrations_use_the_public_api(name: str) -> None:
    known = {"__init__", *SHARED, *INTEGRATIONS}
    assert [imported for imported in imports(name) if package(imported) not in known] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {one for one in imports(name) if one in MODULES} - {name, "__init__"} for name in MODULES}
    assert circles(graph) == []


LONGEST = 60  # lines of a function: what fits on a screen


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_function_fits_on_a_screen(name: str) -> None:
    functions = (node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {node.name: (node.end_lineno or node.lineno) + 1 - node.lineno for node in functions}
    assert {function: length for function, length in lengths.items() if length > LONGEST} == {}


# Packages that are given their settings as arguments; and the functions that would look them up.
GIVEN = ("stores", "auth", "objects", "http", "memory", "runtime")
LOOK_UP = ("current", "held", "configure")


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) in GIVEN))
def test_settings_are_looked_up_at_the_api_alone(name: str) -> None:
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ImportFrom) and node.module == "s3dlio"
        for alias in node.names
        if alias.name == "settings"
    }
    found = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
        if node.attr in LOOK_UP
    ]
    assert found == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) in ("http", "memory", "runtime")))
def test_what_is_below_objects_knows_no_settings_and_no_environment(name: str) -> None:
    assert [imported for imported in imports(name) if package(imported) == "settings"] == []
    assert [node for node in ast.walk(tree(name)) if isinstance(node, ast.Attribute) and node.attr == "environ"] == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) != "objects"))
def test_what_a_batch_has_begun_stays_in_objects(name: str) -> None:
    assert [node for node in ast.walk(tree(name)) if isinstance(node, ast.Name) and node.id == "Begun"] == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_forks_registers_what_happens_at_a_fork(name: str) -> None:
    found = [node for node in ast.walk(tree(name)) if isinstance(node, ast.Attribute)]
    assert any(node.attr == "register_at_fork" for node in found) is (name == "forks")


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}}) == [["b", "c"]]
