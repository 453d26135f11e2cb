"""A real PostgreSQL for the tests, in a folder of its own, reached through a socket there alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fetch_postgres import environment

SCRIPT = Path(__file__).parents[1] / "scripts" / "fetch_postgres.py"


@dataclass(frozen=True)
class Postgres:
    """A running server. url: of a database, as store.url takes it. stop, start: at once, and again."""

    address: str
    stop: Callable[[], None]
    start: Callable[[], None]

    def url(self, database: str = "postgres") -> str:
        return self.address.format(database)


@contextmanager
def postgres() -> Iterator[Postgres]:
    found = subprocess.run([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 0, "there is no PostgreSQL to test with: see above for how to get one"
    programs = Path(found.stdout.strip())
    place = Path(tempfile.mkdtemp(prefix="chinwag-pg-"))
    who: dict[str, Any] = {}
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(place, "nobody")
        who = {"user": "nobody", "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(place / "data"), *arguments]
        ran = subprocess.run(
            command, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, env=environment(programs), **who,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout

    try:
        run("initdb", "-U", "chinwag", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-k {place} -c listen_addresses='' -c fsync=off -c max_connections=20"
        start = partial(run, "pg_ctl", "-o", options, "-l", str(place / "log"), "-w", "start")
        stop = partial(run, "pg_ctl", "-m", "immediate", "-w", "stop")
        start()
        try:
            yield Postgres(f"postgresql://chinwag@/{{}}?host={place}", stop, start)
        finally:
            stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)
