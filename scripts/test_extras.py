"""Test the extras as people install them: `python scripts/test_extras.py [--torch] [--changed] [EXTRA …]`.

There are at most three environments, each made anew in .venv-extras: `engines` for the extras without torch, `torch`,
and `cluster`. Each holds only the chosen extras and pytest, under the pins of constraints-dev.txt. `pip check` and what
must be true of the default run in it once. Then, for each extra, tests/extras/test_EXTRA.py runs, and the contract of
the engines that the extra brings. Constants of that file say what it needs:

WEIGHTS: names of the catalog, which are pulled first.
TORCH = True: the extra runs only if it is named or --torch is given.
NAMED = True: the extra has an environment of its own, and runs only if it is named.
NEEDS: packages that only the tests use.
CONTRACT: engines that must keep the contract, in place of all of the extra's, as "tts:piper".
FREE: packages whose pins are left out, because the extra requires other versions.
FILES: globs of the sources that the extra's tests are about, for --changed.

--changed chooses the extras whose FILES or tests changed since the newest commit that is more than a day older than
HEAD. If there is no such commit, or a file changed that all extras share, all extras without torch run.
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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "extras"
FOLDER = ROOT / ".venv-extras"
BIN = "Scripts" if os.name == "nt" else "bin"
TOOLS = ("pytest", "pytest-rerunfailures", "pytest-timeout", "pytest-xdist", "hypothesis")
ALWAYS = ("tests/unit/test_registry.py", "tests/unit/test_weights_catalog.py")
CONSTANTS = {"WEIGHTS", "TORCH", "NEEDS", "CONTRACT", "FREE", "NAMED", "FILES"}
DAY_S = 86_400
SHARED = (
    "constraints-dev.txt",
    "pyproject.toml",
    "scripts/test_extras.py",
    "src/chinwag/audio/*",
    "src/chinwag/engines/*.py",
    "src/chinwag/weights/*",
    "tests/conftest.py",
    "tests/engines/*contract.py",
)
"""Globs of what all extras depend on."""

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
    files: tuple[str, ...] = ()

    @property
    def environment(self) -> str:
        """Name of the environment that this extra shares with others."""
        return self.name if self.named else "torch" if self.torch else "engines"


class Failed(Exception):
    """A step of an extra's test did not go well."""


def main(arguments: list[str] | None = None) -> int:
    """Test those that are named, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description="Test the extras as people install them.")
    parser.add_argument("--torch", action="store_true", help="also those that need torch")
    parser.add_argument("--changed", action="store_true", help="only those whose files changed lately")
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
    selected = chosen(found, wanted, torch=asked.torch)
    if asked.changed:
        paths = changed_files()
        print("Base of the change is unknown." if paths is None else f"{len(paths)} files changed.", flush=True)
        selected = affected(selected, paths)
    verdicts: dict[str, str] = {}
    for environment in dict.fromkeys(extra.environment for extra in selected):
        members = [extra for extra in selected if extra.environment == environment]
        verdicts |= test_environment(environment, members)
    print(f"\n{closing(found, verdicts)}", flush=True)
    return int(any("FAILED" in verdict for verdict in verdicts.values()))


def discover(folder: Path) -> dict[str, Extra]:
    """The extras that have tests, by name. Their modules are read, not imported: what they import is not here."""
    found = {}
    for path in sorted(folder.glob("test_*.py")):
        constants = {
            target.id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in CONSTANTS
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
            constants.get("FILES", ()),
        )
    return found


def chosen(found: dict[str, Extra], wanted: list[str], *, torch: bool) -> list[Extra]:
    """Those that are named; without names all, those that need torch only where that is asked for."""
    usual = [extra for extra in found.values() if not extra.named and (torch or not extra.torch)]
    return [found[name] for name in wanted] or usual


def affected(extras: list[Extra], paths: list[str] | None) -> list[Extra]:
    """Those whose files are among the changed paths; all of them if the paths are unknown or concern every extra."""
    if paths is None or any(PurePosixPath(path).match(shared) for path in paths for shared in SHARED):
        return extras
    return [
        extra
        for extra in extras
        if any(
            PurePosixPath(path).match(pattern)
            for path in paths
            for pattern in (f"tests/extras/{extra.tests.name}", *extra.files)
        )
    ]


def changed_files() -> list[str] | None:
    """Paths that differ from the newest commit that is more than a day older than HEAD; None if there is none."""
    head = _git("show", "-s", "--format=%ct", "HEAD")
    base = _git("rev-list", "-1", f"--before={int(head) - DAY_S}", "HEAD") if head else ""
    return _git("diff", "--name-only", base).splitlines() if base else None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def closing(found: dict[str, Extra], verdicts: dict[str, str]) -> str:
    """What became of each, in one line."""
    left = dict.fromkeys(found, "not run")
    left |= {extra.name: "not run, needs torch (TORCH=1)" for extra in found.values() if extra.torch}
    left |= {extra.name: f"not run unless named (ARGS={extra.name})" for extra in found.values() if extra.named}
    return "Extras: " + "; ".join(f"{name} {verdict}" for name, verdict in {**left, **verdicts}.items()) + "."


def test_environment(name: str, extras: list[Extra]) -> dict[str, str]:
    """Make the environment of these extras and run their tests in it; a verdict for each."""
    print(f"\n== environment {name}: chinwag[{','.join(extra.name for extra in extras)}]", flush=True)
    place, verdicts = FOLDER / name, dict[str, str]()
    began = time.monotonic()
    try:
        python = make_environment(place, extras)
        for extra in extras:
            print(f"\n== chinwag[{extra.name}]", flush=True)
            began = time.monotonic()
            try:
                test(extra, python)
                verdicts[extra.name] = f"passed in {time.monotonic() - began:.0f} s"
            except Failed as failure:
                verdicts[extra.name] = f"FAILED ({failure}) in {time.monotonic() - began:.0f} s"
    except Failed as failure:
        verdicts = {extra.name: f"FAILED ({failure}) in {time.monotonic() - began:.0f} s" for extra in extras}
    finally:
        if os.environ.get("CI"):  # it holds some GB; at a desk it is of use afterwards
            shutil.rmtree(place, ignore_errors=True)
    return verdicts


def make_environment(place: Path, extras: list[Extra]) -> Path:
    """Install the extras, check what must be true of any installation, pull weights; the interpreter. Raises Failed."""
    python, uv = place / BIN / "python", (sys.executable, "-m", "uv")
    _run("make an environment", *uv, "venv", "--clear", "--quiet", "--python", sys.executable, place)
    pins = place / "pins.txt"
    pins.write_text(without((ROOT / "constraints-dev.txt").read_text("utf-8"), _all(e.free for e in extras)), "utf-8")
    into: list[str | Path] = ["--python", python, "--constraint", pins]
    wanted = f"{ROOT}[{','.join(extra.name for extra in extras)}]"
    _run("install", *uv, "pip", "install", "--quiet", *into, "-e", wanted, *TOOLS, *_all(e.needs for e in extras))
    _run("pip check", python, "-m", "pip", "check", "--disable-pip-version-check")
    if weights := _all(extra.weights for extra in extras):
        _run("pull the weights", python, "-m", "chinwag", "models", "pull", *weights)
    _run("tests of the default", python, "-m", "pytest", "-q", *ALWAYS)
    return python


def test(extra: Extra, python: Path) -> None:
    """Run what belongs to the extra. Raises Failed."""
    _run("its tests", python, "-m", "pytest", "-q", extra.tests)
    engines = _engines(python, extra.name) if extra.contract is None else extra.contract
    if engines:
        narrowed = {"CHINWAG_CONTRACT": ",".join(engines)}
        _run("the contract", python, "-m", "pytest", "-q", "tests/engines/test_contract.py", **narrowed)


def _all(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The members of all groups, each once."""
    return tuple(dict.fromkeys(member for group in groups for member in group))


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
