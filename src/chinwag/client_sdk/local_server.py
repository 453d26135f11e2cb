"""A server of one's own on a free port, for `talk` and `bench` where none was named."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from chinwag.client_sdk.call import CallError, realtime_url

STARTUP_TIMEOUT = 60.0
"""Seconds without any progress before a starting server is given up."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server. startup_s: from starting the process to `ready`."""

    url: str
    startup_s: float


def status_url(url: str) -> str:
    """The address of /api/status on the server whose wire is at `url`."""
    parts = urlsplit(realtime_url(url))
    return urlunsplit(({"ws": "http", "wss": "https"}[parts.scheme], parts.netloc, "/api/status", "", ""))


async def fetch_status(url: str, api_key: str | None = None) -> dict[str, Any] | None:
    """What /api/status says on the server of that wire; None where there is no such thing."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answer = await client.get(status_url(url), headers=headers)
            told = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return told if isinstance(told, dict) else None


@contextlib.asynccontextmanager
async def local_server(tell: Callable[[str], None], **settings: str) -> AsyncGenerator[LocalServer, None]:
    """Start `chinwag serve` on a free port, wait until it is ready, and stop it at the end.

    settings: for its environment. tell: is given a line on what is happening, such as the progress of a download.
    Raises CallError with the server's last words where it does not get ready.
    """
    port = free_port()
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    with _orderly_end(), tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chinwag", "serve", "--host", "127.0.0.1", "--port", str(port),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **settings, "CHINWAG_SERVER__AUTH": "off"},  # on loopback, for this one caller
        )  # fmt: skip
        try:
            await _started(url, process, log, tell)
            yield LocalServer(url, time.perf_counter() - began)
        finally:
            await _stop(process)


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM unwind the program instead of ending it at once, so that the server is not left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """A TCP port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_ready(url: str, tell: Callable[[str], None], api_key: str | None = None) -> None:
    """Wait while a running server loads. One that does not tell its state is taken as ready.

    Raises CallError where it failed to load, or makes no progress.
    """
    patience = _Patience(tell)
    while (status := await fetch_status(url, api_key)) and not _is_ready(status):
        patience.look(status, "")
        await asyncio.sleep(0.2)


async def _started(url: str, process: asyncio.subprocess.Process, log: IO[str], tell: Callable[[str], None]) -> None:
    patience = _Patience(tell)
    while not _is_ready(status := await fetch_status(url)):
        if process.returncode is not None:
            raise CallError(
                f"The server ended with {process.returncode} while starting. It said last:\n{_tail(log)}",
                "See what is wrong with: chinwag doctor",
            )
        patience.look(status, f" It said last:\n{_tail(log)}")
        await asyncio.sleep(0.1)


def _is_ready(status: dict[str, Any] | None) -> bool:
    if status and status["stage"] == "failed":
        error = status.get("error") or {}
        raise CallError(f"The server could not start: {error.get('message')}", str(error.get("fix") or ""))
    return status is not None and status["stage"] == "ready"


class _Patience:
    """Tells each step of a starting server once, and gives up when there was none for long."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._last, self._moved = tell, "", time.monotonic()

    def look(self, status: dict[str, Any] | None, more: str) -> None:
        now = _progress(status)
        if now != self._last:
            self._last, self._moved = now, time.monotonic()
            self._tell(now)
        elif time.monotonic() - self._moved > STARTUP_TIMEOUT:
            raise CallError(
                f"The server made no progress for {STARTUP_TIMEOUT:.0f} s ({now}).{more}",
                "See what is wrong with: chinwag doctor",
            )


def _progress(status: dict[str, Any] | None) -> str:
    if status is None:
        return "starting a server"
    weights = status.get("weights") or {}
    if status["stage"] == "fetching" and weights.get("total"):
        return f"fetching weights: {weights['done'] // 10**6} of {weights['total'] // 10**6} MB"
    loading = [task for task, engine in status.get("engines", {}).items() if engine["state"] != "ready"]
    return f"loading {', '.join(loading)}" if loading else "starting a server"


def _tail(log: IO[str]) -> str:
    log.seek(0)
    return "\n".join(log.read().splitlines()[-12:]) or "(nothing)"


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()
