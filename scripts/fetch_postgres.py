"""Find PostgreSQL's programs for the tests, or get them; prints their folder. Exits 1 with a next step where it cannot.

As root they are installed by apt-get; else Debian's packages are unpacked into the user's cache, which needs no rights.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/latest/bin",
)
NEEDED = ("initdb", "pg_ctl", "postgres")
UNPACKED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chinwag" / "postgres"
HELP = (
    "No PostgreSQL was found, and none could be installed. Install its server (Debian and Ubuntu: apt-get install "
    "postgresql, macOS: brew install postgresql), or set CHINWAG_POSTGRES to the folder of initdb and pg_ctl, and run "
    "this again."
)


def find() -> Path | None:
    """The first folder with all that is needed: CHINWAG_POSTGRES, the PATH, then the usual places, the newest first."""
    return next((path for path in _candidates() if all(_runs(path / name) for name in NEEDED)), None)


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("CHINWAG_POSTGRES"):
        yield Path(chosen)
        return  # a wrong choice must not be passed over in silence
    if found := shutil.which("pg_ctl"):
        yield Path(found).resolve().parent
    for pattern in (*PLACES, f"{UNPACKED}/usr/lib/postgresql/*/bin"):
        yield from sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)


def _runs(program: Path) -> bool:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, check=False, env=environment(program.parent))
    except OSError:
        return False
    return told.returncode == 0


def environment(folder: Path) -> dict[str, str]:
    """What the programs of that folder are run with: unpacked ones find the libraries beside them."""
    if not folder.is_relative_to(UNPACKED):
        return dict(os.environ)
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, UNPACKED.glob("usr/lib/*-linux-gnu")))}


def install() -> None:
    """Get it from Debian's packages."""
    if not shutil.which("apt-get"):
        return
    if os.geteuid() == 0:
        _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"])
        return
    told = subprocess.run(["apt-cache", "depends", "postgresql"], capture_output=True, text=True, check=False).stdout
    packages = [*re.findall(r"Depends: (postgresql-\d+)", told)[:1], "libpq5"]
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if _run(["apt-get", "download", *packages], cwd=folder):
            for package in Path(folder).glob("*.deb"):
                _run(["dpkg", "-x", str(package), str(UNPACKED)])


def _run(command: list[str], cwd: str | None = None) -> bool:
    print("Running:", " ".join(command), file=sys.stderr)
    return subprocess.run(command, stdout=sys.stderr, check=False, cwd=cwd).returncode == 0


def main() -> int:
    """Find or install, and print."""
    found = find()
    if found is None and (chosen := os.environ.get("CHINWAG_POSTGRES")):
        print(f"CHINWAG_POSTGRES names {chosen}, which has no initdb, pg_ctl and postgres that run.", file=sys.stderr)
        return 1
    if found is None:
        install()
        found = find()
    if found is None:
        print(HELP, file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
