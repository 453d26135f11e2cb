"""Make .venv ready: `python scripts/setup.py` to run Chinwag, with `--dev` to work on it.

Needs nothing but the standard library of Python 3.11 to 3.13. Does its work again only when pyproject.toml,
the constraints, the interpreter or the folder have changed since.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
BASE: str = getattr(sys, "_base_executable", sys.executable)  # not .venv's own python, which may be thrown away


def main() -> int:
    """Make what is missing; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", action="store_true", help="also install what the tests and checks need")
    dev = parser.parse_args().dev
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return _fail(
            f"Chinwag runs on Python 3.11, 3.12 and 3.13; this is {sys.version.split()[0]}.",
            "Install one (Debian, Ubuntu: sudo apt install python3.12 python3.12-venv) and try again.",
        )
    stamp = VENV / "chinwag-setup"
    marks = stamp.read_text("utf-8").split() if stamp.is_file() and PYTHON.exists() else []
    if _mark("constraints-dev.txt") in marks or (not dev and _mark("constraints.txt") in marks):
        return 0
    try:
        pip = _pip()
        pins = ["constraints-dev.txt" if dev else "constraints.txt"]
        print(f"Installing what {pins[0]} pins into .venv (once; a minute or two) …", flush=True)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "install", *quiet, "--require-hashes", "-r", str(ROOT / pins[0])])
        # the build tool is among the pins, so this step fetches nothing
        _run([*pip, "install", *quiet, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    except _NoPip:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return _fail(
            f"{BASE} has no pip, neither for a virtual environment nor of its own.",
            f"Debian, Ubuntu: sudo apt install python{version}-venv. Elsewhere: install Python together with pip"
            " from your system's package manager. Then try again.",
        )
    except subprocess.CalledProcessError as error:
        return _fail(
            f"The installation stopped: {' '.join(map(str, error.cmd[:6]))} … ended with {error.returncode}.",
            "What it said is above. Most often the package index cannot be reached: look at the network and at"
            " pip's own settings (pip config list), then try again.",
        )
    stamp.write_text(_mark(pins[0]) + "\n", "utf-8")
    return 0


class _NoPip(Exception):
    """There is no way to a pip here."""


def _pip() -> list[str]:
    """Make the virtual environment and return the command of a pip that installs into it."""
    shown = [str(PYTHON), "-m", "pip"]
    if _usable():
        if subprocess.run([*shown, "--version"], capture_output=True, check=False).returncode == 0:
            return shown
        return [BASE, "-m", "pip", "--python", str(PYTHON)]
    if VENV.exists():
        print("The .venv here is broken, was moved or is of another Python: making it anew.", flush=True)
        shutil.rmtree(VENV)
    print(f"Making .venv with {BASE} …", flush=True)
    if importlib.util.find_spec("ensurepip"):
        made = subprocess.run([BASE, "-m", "venv", str(VENV)], capture_output=True, check=False)
        if made.returncode == 0:
            return shown
        shutil.rmtree(VENV, ignore_errors=True)
    # Debian without python3-venv has the module, but no pip to put in: the system's own pip can install into it
    if importlib.util.find_spec("venv") and importlib.util.find_spec("pip"):
        _run([BASE, "-m", "venv", "--without-pip", str(VENV)])
        return [BASE, "-m", "pip", "--python", str(PYTHON)]
    raise _NoPip


def _usable() -> bool:
    """Whether .venv is one of this Python's version that was made at this very place."""
    try:
        told = (VENV / "pyvenv.cfg").read_text("utf-8")
    except OSError:
        return False
    version = f"version = {sys.version_info.major}.{sys.version_info.minor}."
    return PYTHON.exists() and version in told and str(VENV) in told


def _mark(pins: str) -> str:
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for name in ("pyproject.toml", pins, "scripts/setup.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _fail(message: str, fix: str) -> int:
    print(f"{message}\n{fix}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
