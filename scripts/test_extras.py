"""Test every extra as people get it: `python scripts/test_extras.py [--torch] [EXTRA …]`.

For each tests/extras/test_EXTRA.py an environment is made anew in .venv-extras/EXTRA with nothing but chinwag[EXTRA]
and pytest, under the pins of constraints-dev.txt. `pip check` runs in it, then that file with what must be true of the
default whatever else is installed, then the contract of the engines that the extra brings. The file's constants say
what it needs: WEIGHTS, names of the catalog that are pulled first; TORCH = True, which keeps it back unless it is named
or --torch is given; NAMED = True, which keeps it back unless it is named; NEEDS, packages that the tests alone use;
CONTRACT, the engines that are to keep the contract in place of all of the extra's, as "tts:piper"; FREE, packages
whose pins are left out, as the extra wants others.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "extras"
FOLDER = ROOT / ".venv-extras"
BIN = "Scripts" if os.name == "nt" else "bin"
TOOLS = ("pytest", "pytest-timeout", "hypothesis")
ALWAYS = ("tests/unit/test_registry.py", "tests/unit/test_weights_catalog.py")

ENGINES_OF = """
import sys
from chinwag.engines import registry
for task in registry.TASKS:
    for name in registry.names(task):
        if registry.lookup(task, name).about.extra == sys.argv[1]:
            print(f"{task}:{name}")
"""


@dataclass(frozen=True)
class Extra:
    """An extra with its tests."""

    name: str
    tests: Path
    weights: tuple[str, ...] = ()
    torch: bool = False
    needs: tuple[str, ...] = ()
    contract: tuple[str, ...] | None = None
    free: tuple[str, ...] = ()
    named: bool = False


class Failed(Exception):
    """A step of an extra's test did not go well."""


def main(arguments: list[str] | None = None) -> int:
    """Test those that are named, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description="Test each extra in an environment of its own.")
    parser.add_argument("--torch", action="store_true", help="also those that need torch")
    parser.add_argument("extras", nargs="*", help="only these")
    asked = parser.parse_args(arguments)
    wanted: list[str] = asked.extras
    found = discover(TESTS)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    if unknown := [name for name in wanted if name not in found]:
        print(f"There is no tests/extras/test_{unknown[0]}.py. There are: {', '.join(found)}.", file=sys.stderr)
        return 2
    if orphans := [name for name in found if name not in declared]:
        print(f"tests/extras/test_{orphans[0]}.py is for no extra of pyproject.toml.", file=sys.stderr)
        return 2
    told: dict[str, str] = {}
    for extra in chosen(found, wanted, torch=asked.torch):
        print(f"\n== chinwag[{extra.name}]", flush=True)
        began = time.monotonic()
        try:
            test(extra)
            told[extra.name] = "passed"
        except Failed as failure:
            told[extra.name] = f"FAILED ({failure})"
        told[extra.name] += f" in {time.monotonic() - began:.0f} s"
    print(f"\n{closing(found, told)}", flush=True)
    return int(any("FAILED" in verdict for verdict in told.values()))


def discover(folder: Path) -> dict[str, Extra]:
    """The extras that have tests, by name. Their modules are read, not imported: what they import is not here."""
    found = {}
    for path in sorted(folder.glob("test_*.py")):
        constants = {
            target.id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in {"WEIGHTS", "TORCH", "NEEDS", "CONTRACT", "FREE", "NAMED"}
        }
        name = path.stem.removeprefix("test_")
        found[name] = Extra(
            name,
            path,
            constants.get("WEIGHTS", ()),
            constants.get("TORCH", False),
            constants.get("NEEDS", ()),
            constants.get("CONTRACT"),
            constants.get("FREE", ()),
            constants.get("NAMED", False),
        )
    return found


def chosen(found: dict[str, Extra], wanted: list[str], *, torch: bool) -> list[Extra]:
    """Those that are named; without names all, those that need torch only where that is asked for."""
    usual = [extra for extra in found.values() if not extra.named and (torch or not extra.torch)]
    return [found[name] for name in wanted] or usual


def closing(found: dict[str, Extra], told: dict[str, str]) -> str:
    """What became of each, in one line."""
    left = {extra.name: "not run, needs torch (TORCH=1)" for extra in found.values() if extra.torch}
    left |= {extra.name: f"not run unless named (ARGS={extra.name})" for extra in found.values() if extra.named}
    return "Extras: " + "; ".join(f"{name} {verdict}" for name, verdict in {**left, **told}.items()) + "."


def test(extra: Extra) -> None:
    """Make the environment and run what belongs to the extra. Raises Failed."""
    place = FOLDER / extra.name
    python, uv = place / BIN / "python", (sys.executable, "-m", "uv")
    try:
        _run("make an environment", *uv, "venv", "--clear", "--quiet", "--python", sys.executable, place)
        pins = place / "pins.txt"
        pins.write_text(without((ROOT / "constraints-dev.txt").read_text("utf-8"), extra.free), "utf-8")
        into: list[str | Path] = ["--python", python, "--constraint", pins]
        _run("install", *uv, "pip", "install", "--quiet", *into, "-e", f"{ROOT}[{extra.name}]", *TOOLS, *extra.needs)
        _run("pip check", python, "-m", "pip", "check", "--disable-pip-version-check")
        if extra.weights:
            _run("pull its weights", python, "-m", "chinwag", "models", "pull", *extra.weights)
        _run("its tests", python, "-m", "pytest", "-q", extra.tests, *ALWAYS)
        engines = _engines(python, extra.name) if extra.contract is None else extra.contract
        if engines:
            narrowed = {"CHINWAG_CONTRACT": ",".join(engines)}
            _run("the contract", python, "-m", "pytest", "-q", "tests/engines/test_contract.py", **narrowed)
    finally:
        if os.environ.get("CI"):  # each holds a few hundred MB; at a desk they are of use afterwards
            shutil.rmtree(place, ignore_errors=True)


def without(pins: str, free: tuple[str, ...]) -> str:
    """The pins, one a line without their hashes, but for those of the packages that are named."""
    lines = (line.removesuffix(" \\").strip() for line in pins.splitlines() if "==" in line and line[0] not in " #")
    return "".join(f"{line}\n" for line in lines if line.partition("==")[0] not in free)


def _engines(python: Path, extra: str) -> tuple[str, ...]:
    """What the extra is the extra of, as the registry of that environment has it."""
    listed = subprocess.run([python, "-c", ENGINES_OF, extra], stdout=subprocess.PIPE, text=True, check=False)
    if listed.returncode:
        raise Failed("list its engines")
    return tuple(listed.stdout.split())


def _run(what: str, *command: str | Path, **variables: str) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **variables})
    if done.returncode:
        raise Failed(what)


if __name__ == "__main__":
    sys.exit(main())
