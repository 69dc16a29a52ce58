"""The rule of dependency: rooms import only rooms that stand to their right, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "mmunlearner"
LAYERS = (
    {"__main__"},
    {"cli"},
    {"web"},
    {"run"},
    {"report", "audit", "teaching"},
    {"unlearn"},
    {"saliency", "methods", "evaluate"},
    {"batches"},
    {"models"},
    {"data"},
    {"core"},
    {"config", "errors"},
    {"option_types"},
)
"""From the command line down; rooms of one layer do not know each other."""
TORCH_FREE = {"config", "option_types", "errors", "core", "data", "report", "cli"}
"""Rooms that import no torch when they are imported, so that light commands stay light."""
FLOOR = {room: number for number, layer in enumerate(LAYERS) for room in layer}


def imports(file: Path, *, at_import: bool = False) -> Iterator[str]:
    """Yield the dotted names that a module imports; with `at_import` only those that importing it runs."""
    todo: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not (at_import and (typing_only or lazy)):
            todo += ast.iter_child_nodes(node)


@pytest.fixture(scope="module")
def modules(repository: Path) -> dict[str, Path]:
    """Dotted name within the package -> file."""
    package = repository / "src" / PACKAGE
    files = {file.relative_to(package).with_suffix(""): file for file in package.rglob("*.py")}
    return {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def inner(name: str) -> str:
    """`mmunlearner.data.load` -> `data.load`; empty for other packages and for the package itself."""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else ""


def test_every_module_stands_in_a_room_of_the_list(modules: dict[str, Path]) -> None:
    assert {room_of(module) for module in modules} <= {*FLOOR, "__init__"}


def test_rooms_import_only_rooms_below_them(modules: dict[str, Path]) -> None:
    wrong = [
        f"{module} -> {target}"
        for module, file in modules.items()
        if (room := room_of(module)) in FLOOR
        for name in imports(file)
        if (target := inner(name))
        and (below := room_of(target)) != room
        and below in FLOOR
        and FLOOR[below] <= FLOOR[room]
    ]
    assert wrong == []


def test_no_module_is_part_of_a_circle(modules: dict[str, Path]) -> None:
    """Packages' own `__init__` aside: it hands out what its modules hold."""

    def target(name: str) -> str:
        return name if name in modules else name.rpartition(".")[0]

    graph = {
        module: {t for name in imports(file) if (t := target(inner(name))) in modules and not packaged(modules[t])}
        for module, file in modules.items()
        if not packaged(file)
    }
    try:
        TopologicalSorter(graph).prepare()
        circle = []
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def packaged(file: Path) -> bool:
    return file.name == "__init__.py"


def test_light_rooms_import_no_torch(modules: dict[str, Path]) -> None:
    heavy = ("torch", "transformers", "accelerate", "peft", "safetensors.torch")
    wrong = [
        f"{module} -> {name}"
        for module, file in modules.items()
        if room_of(module) in TORCH_FREE
        for name in imports(file, at_import=True)
        if name.startswith(tuple(f"{package}." for package in heavy)) or name in heavy
    ]
    assert wrong == []


def test_benchmarks_are_named_in_their_own_room_alone(modules: dict[str, Path]) -> None:
    names = {file.stem for file in (modules["data.benchmarks"].parent).glob("*.py")} - {"__init__", "rows", "people"}
    named = [
        f"{module}: {node.value}"
        for module, file in modules.items()
        if not module.startswith(("data.benchmarks", "data.load"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert named == []
