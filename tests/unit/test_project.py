"""The project's own files: pins whole and without addresses, and no place of anybody's machine in what is kept."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PINS = ("constraints.txt", "constraints-dev.txt", "constraints-full.txt", "constraints-cuda.txt")
ALONE = ("constraints-cuda.txt",)
"""Of one extra's packages, to be installed on top of another's."""
# written apart, so that this file does not hold what it looks for
HOSTS = [name + ".org" for name in ("py" + "pi", "files.python" + "hosted", "registry.npm" + "js")]
PLACES = re.compile(r"(?<![\w.])/(?:root|home/\w|Users/\w|opt/(?:wheels|pypi)|work/main|tmp/w\b)")


def kept_files() -> list[Path]:
    """What a clone would hold: tracked files, and those about to be; everything where this is no git checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    folders = ("src", "tests", "scripts", "benchmarks", "research", "docs", ".ci")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]


def pins(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Each package of a constraints file with its requirements and how many hashes each has."""
    found: dict[str, list[tuple[Requirement, int]]] = {}
    for entry in (ROOT / name).read_text("utf-8").replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.startswith("#"):
            continue
        requirement = Requirement(entry.split("--hash")[0].strip())
        found.setdefault(canonicalize_name(requirement.name), []).append((requirement, entry.count("--hash=sha256:")))
    return found


@pytest.mark.parametrize("name", PINS)
def test_every_pin_is_exact_and_hashed_and_has_no_address(name: str) -> None:
    found = pins(name)
    assert len(found) > 40 or name in ALONE
    for requirements in found.values():
        for requirement, hashes in requirements:
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
            assert requirement.url is None
            assert hashes >= 1, requirement
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"://|--find-links|index-url|^-|file:|^\s*/", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("constraints.txt", None),
        ("constraints-dev.txt", None),
        ("constraints-dev.txt", "dev"),
        ("constraints-full.txt", None),
        ("constraints-full.txt", "whisper"),
        ("constraints-full.txt", "kokoro"),
        ("constraints-full.txt", "postgres"),
        ("constraints-cuda.txt", "cuda"),
    ],
)
def test_the_pins_keep_to_the_ranges_of_the_project(name: str, extra: str | None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = pins(name)
    for wanted in map(Requirement, project["optional-dependencies"][extra] if extra else project["dependencies"]):
        there = found.get(canonicalize_name(wanted.name))
        assert there, f"{wanted.name} is not in {name}: run make constraints"
        for requirement, _ in there:
            assert wanted.specifier.contains(str(requirement.specifier)[2:]), f"{wanted}: run make constraints"


@pytest.mark.parametrize("other", ["constraints-dev.txt", "constraints-full.txt"])
def test_the_files_pin_the_same_versions(other: str) -> None:
    beside = pins(other)
    for name, requirements in pins("constraints.txt").items():
        assert [str(one) for one, _ in beside[name]] == [str(one) for one, _ in requirements]


def test_no_registry_and_no_place_of_a_machine_is_written_down() -> None:
    wrong = []
    for path in kept_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found = [host for host in HOSTS if host in text] + PLACES.findall(text)
        if found and path != Path(__file__).resolve():
            wrong.append(f"{path.relative_to(ROOT)}: {found}")
    assert not wrong


def test_the_setup_script_refuses_a_python_it_does_not_know() -> None:
    fake = "import runpy, sys; sys.version_info = (3, 9, 1, 'final', 0); sys.argv = ['setup.py']"
    ran = subprocess.run(
        [sys.executable, "-c", f"{fake}; runpy.run_path({str(ROOT / 'scripts' / 'setup.py')!r}, run_name='__main__')"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert ran.returncode == 1
    assert "3.11, 3.12 and 3.13" in ran.stderr
    assert "apt install" in ran.stderr
