"""A real server in a process of its own."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_S = 240.0
"""Weights that are missing are fetched by the first server of a test run."""


@dataclass
class Server:
    """url: of the page, as it was printed. lines: what it has printed so far."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    @property
    def realtime(self) -> str:
        return self.url.replace("http", "ws").replace("localhost", "127.0.0.1") + "/v1/realtime"

    def status(self, key: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        address = self.url.replace("localhost", "127.0.0.1") + "/api/status"
        answer: dict[str, Any] = httpx.get(address, headers=headers).json()
        return answer

    def wait(self, *stages: str) -> dict[str, Any]:
        """The status, once it is at one of the stages."""
        until = time.monotonic() + START_S
        while (status := self.status())["stage"] not in stages:
            assert time.monotonic() < until, status
            assert "failed" in stages or status["stage"] != "failed", status["error"]
            time.sleep(0.1)
        return status


@contextmanager
def serving(
    *flags: str, env: dict[str, str] | None = None, cwd: Path | None = None, python: str = sys.executable
) -> Iterator[Server]:
    """Start `chinwag serve` on a free port; the page is up, the engines may still load."""
    process = start(*flags, "--port", "0", env=env, cwd=cwd, python=python)
    lines: list[str] = []
    printed: queue.Queue[str | None] = queue.Queue()
    assert process.stdout

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip())
            printed.put(line)
        printed.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield Server(process, _address(printed, lines), lines)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)
        process.stdout.close()


def start(
    *flags: str, env: dict[str, str] | None = None, cwd: Path | None = None, python: str = sys.executable
) -> subprocess.Popen[str]:
    """The bare process, its two outputs as one. LLM "auto" must not find a developer's own Ollama.

    The model writes what it thinks likeliest: at its usual temperature it now and then refuses what a test asks for.
    """
    usual = {"OLLAMA_HOST": "http://127.0.0.1:9", "CHINWAG_LLM__TEMPERATURE": "0", "COLUMNS": "200"}
    usual["CHINWAG_SERVER__MAX_SESSIONS"] = "8"  # what else this machine is at would have it turn tests away
    environment = {**os.environ, **usual, **(env or {})}
    command = [python, "-m", "chinwag", "serve", *flags]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environment, cwd=cwd,
    )  # fmt: skip


def _address(printed: queue.Queue[str | None], lines: list[str]) -> str:
    while (line := printed.get(timeout=60)) is not None:
        if found := re.search(r"page is up: (https?://[^\s\"]+)", line):
            return found[1]
    raise AssertionError("the server ended: " + "\n".join(lines))
