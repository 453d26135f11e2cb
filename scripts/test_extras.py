"""Test each extra as its user has it: `python scripts/test_extras.py [--torch] [EXTRA …]`.

For every tests/extras/test_EXTRA.py an environment of its own is made with `chinwag[EXTRA]` and little else, the
weights that its WEIGHTS names are fetched, and its tests are run there, with those of the registry. A module with
TORCH = True is left out, unless --torch is given or it is named.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venv-extras"
TESTERS = ("pytest", "pytest-timeout", "hypothesis")
ALWAYS = ("tests/unit/test_registry.py", "tests/unit/test_weights_catalog.py")
"""What must be true of the default whatever else is installed."""


@dataclass(frozen=True)
class Extra:
    """One extra of pyproject.toml, and what its tests say of it."""

    name: str
    tests: Path
    weights: tuple[str, ...]
    torch: bool


def main() -> int:
    """Returns the exit status: 1 where any extra's tests failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--torch", action="store_true", help="also those that need torch")
    parser.add_argument("extras", nargs="*", help="only these")
    asked = parser.parse_args()
    extras = {extra.name: extra for extra in found()}
    if unknown := [name for name in asked.extras if name not in extras]:
        print(f"There are no tests for {unknown[0]}. There are: {', '.join(extras)}.", file=sys.stderr)
        return 2
    chosen = [extra for extra in extras.values() if extra.name in asked.extras or not asked.extras]
    told: list[tuple[str, str]] = []
    for extra in chosen:
        if extra.torch and not (asked.torch or asked.extras):
            told.append((extra.name, "left out: it needs torch (TORCH=1)"))
            continue
        began = time.perf_counter()
        what = run(extra)
        told.append((extra.name, f"{what} in {time.perf_counter() - began:.0f} s"))
    print()
    for name, what in told:
        print(f"chinwag[{name}]: {what}")
    return int(any(what.startswith("failed") for _, what in told))


def found() -> list[Extra]:
    """Those that have tests, by name."""
    extras = []
    for tests in sorted((ROOT / "tests" / "extras").glob("test_*.py")):
        said = _constants(tests)
        weights = said.get("WEIGHTS", ())
        extras.append(Extra(tests.stem.removeprefix("test_"), tests, weights, bool(said.get("TORCH"))))
    return extras


def run(extra: Extra) -> str:
    """Make the environment, fetch, test; "passed", or what failed."""
    place = ENVIRONMENTS / extra.name
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    quick = {"UV_LINK_MODE": "copy"}
    pins = ["-c", str(ROOT / "constraints.txt")]
    target = ["--python", str(python)]
    steps: list[tuple[str, list[str]]] = [
        ("the installation", [*uv, "pip", "install", *target, *pins, "-e", f"{ROOT}[{extra.name}]", *TESTERS]),
        ("pip check", [*uv, "pip", "check", *target]),
        ("the download", [str(python), "-m", "chinwag", "models", "pull", *extra.weights]),
        ("the tests", [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(extra.tests), *ALWAYS]),
    ]
    if not python.exists():
        steps.insert(0, ("the environment", [*uv, "venv", "--python", sys.executable, str(place)]))
    print(f"\n== chinwag[{extra.name}]", flush=True)
    for what, command in steps:
        if subprocess.run(command, cwd=ROOT, env={**os.environ, **quick}, check=False).returncode:
            return f"failed at {what}"
    return "passed"


def _constants(path: Path) -> dict[str, Any]:
    """The module's literal constants; it may not be importable here."""
    said: dict[str, Any] = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                said[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return said


if __name__ == "__main__":
    raise SystemExit(main())
