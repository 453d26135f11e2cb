"""Remake constraints.txt and those beside it: `python scripts/pin.py [--upgrade]`.

Every version is pinned with the registry's hashes, for all platforms and Python 3.11 to 3.13 at once (uv's
universal resolution), and no address is written. uv is fetched into a folder that is thrown away afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"://|@ |--(?:extra-)?index|--find-links|^-[ifer]\b|^\.{0,2}/", re.MULTILINE)
HEADER = "# Made by `make constraints` from pyproject.toml: pins for all platforms. Do not edit.\n"

PINS = {
    "constraints.txt": (),
    "constraints-full.txt": ("languages", "moonshine", "piper", "postgres", "sherpa"),
    "constraints-dev.txt": ("dev",),
}
"""Files by name, with the extras that each pins. The first is the others' measure."""

ALONE = {"constraints-cuda.txt": "cuda"}
"""Files with the packages of one extra and nothing else, to be installed on top of another."""


def main() -> int:
    """Write the files; returns the exit status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    # an install runs nothing unpinned: the build backend and what it wants for `-e` are pinned as well
    build = [*project["build-system"]["requires"], "editables"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        binaries = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
        everything: list[str | Path] = ["pyproject.toml", _list(place / "build.in", build)]
        for name, extras in PINS.items():
            chosen = [word for extra in extras for word in ("--extra", extra)]
            same = ["-c", str(ROOT / "constraints.txt")] if extras else []
            _compile(binaries / "uv", place, name, [*everything, *chosen, *same])
        for name, extra in ALONE.items():
            wanted = project["project"]["optional-dependencies"][extra]
            _compile(binaries / "uv", place, name, [_list(place / f"{extra}.in", wanted)])
    return 0


def _list(file: Path, requirements: list[str]) -> Path:
    file.write_text("\n".join(requirements) + "\n", "utf-8")
    return file


def _compile(uv: Path, place: Path, name: str, inputs: list[str | Path]) -> None:
    target = place / name
    if (ROOT / name).exists() and "--upgrade" not in sys.argv:
        target.write_bytes((ROOT / name).read_bytes())
    # a machine's own uv settings (mirrors, local folders) are kept out of what is written
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_"))}
    options = (
        "--no-config --universal --python-version 3.11 --generate-hashes"
        " --no-emit-index-url --no-annotate --no-header --quiet"
    )
    subprocess.run(
        [uv, "pip", "compile", *inputs, *options.split(), "-o", target],
        check=True,
        cwd=ROOT,
        env=clean,
        stdout=subprocess.DEVNULL,
    )
    text = target.read_text("utf-8")
    if found := ADDRESS.search(text):
        raise SystemExit(f"{name} would carry an address or a path near {text[found.start() :][:80]!r}.")
    (ROOT / name).write_text(HEADER + text, "utf-8")
    print(f"{name}: {text.count('==')} packages")


if __name__ == "__main__":
    sys.exit(main())
