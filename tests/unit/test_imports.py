"""No module of the package imports itself through others, imports for type checkers included."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

SRC = Path(__file__).resolve().parents[2] / "src"


def imports() -> dict[str, set[str]]:
    """Each module with the modules that it imports."""
    files = {}
    for file in (SRC / "chinwag").rglob("*.py"):
        parts = file.relative_to(SRC).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    graph: dict[str, set[str]] = {}
    for module, file in files.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= (submodules & files.keys()) or {node.module}
        graph[module] = (names & files.keys()) - {module}
    return graph


def test_there_is_no_import_cycle() -> None:
    graph = imports()
    assert len(graph) > 150
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")
