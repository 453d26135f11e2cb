"""Start a local server on a free port, for `talk` and `bench` without --url."""

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

from chinwag.client_sdk.client import ClientError, realtime_url

STARTUP_TIMEOUT_S = 60.0
"""Seconds without progress after which a starting server is stopped."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server. startup_s: from starting the process to `ready`."""

    url: str
    startup_s: float


def status_url(url: str) -> str:
    """Return the URL of /api/status on the server whose Realtime endpoint is at `url`."""
    parts = urlsplit(realtime_url(url))
    return urlunsplit(({"ws": "http", "wss": "https"}[parts.scheme], parts.netloc, "/api/status", "", ""))


async def fetch_status(url: str, api_key: str | None = None) -> dict[str, Any] | None:
    """Return the server's /api/status, or None if it cannot be fetched."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answer = await client.get(status_url(url), headers=headers)
            told = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return told if isinstance(told, dict) else None


@contextlib.asynccontextmanager
async def local_server(on_progress: Callable[[str], None], **settings: str) -> AsyncGenerator[LocalServer, None]:
    """Start `chinwag serve` on a free port, wait until it is ready, and stop it at the end.

    settings: environment variables of the server. on_progress: gets a line for each step, such as a download.
    Raises ClientError with the server's last output if it does not get ready.
    """
    port = free_port()
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    with _orderly_end(), tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chinwag", "serve", "--host", "127.0.0.1", "--port", str(port),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **settings, "CHINWAG_SERVER__AUTH": "off"},  # on loopback, for this one client
        )  # fmt: skip
        try:
            await _started(url, process, log, on_progress)
            yield LocalServer(url, time.perf_counter() - began)
        finally:
            await _stop(process)


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """Make SIGTERM unwind the program, so that the server is stopped too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_ready(url: str, on_progress: Callable[[str], None], api_key: str | None = None) -> None:
    """Wait while a running server loads. A server without /api/status counts as ready.

    Raises ClientError if loading failed or makes no progress.
    """
    patience = StartupWatchdog(on_progress)
    while (status := await fetch_status(url, api_key)) and not _is_ready(status):
        patience.check(status, "")
        await asyncio.sleep(0.2)


async def _started(url: str, process: asyncio.subprocess.Process, log: IO[str], tell: Callable[[str], None]) -> None:
    patience = StartupWatchdog(tell)
    while not _is_ready(status := await fetch_status(url)):
        if process.returncode is not None:
            raise ClientError(
                f"The server ended with {process.returncode} while starting. It said last:\n{_tail(log)}",
                "See what is wrong with: chinwag doctor",
            )
        patience.check(status, f" It said last:\n{_tail(log)}")
        await asyncio.sleep(0.1)


def _is_ready(status: dict[str, Any] | None) -> bool:
    if status and status["stage"] == "failed":
        error = status.get("error") or {}
        raise ClientError(f"The server could not start: {error.get('message')}", str(error.get("fix") or ""))
    return status is not None and status["stage"] == "ready"


class StartupWatchdog:
    """Reports each step of a starting server once, and gives up if there is no new step for too long."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._last, self._moved = tell, "", time.monotonic()

    def check(self, status: dict[str, Any] | None, more: str) -> None:
        """Report a new step. Raises ClientError after STARTUP_TIMEOUT_S without one; `more` is added to its message."""
        now = _progress(status)
        if now != self._last:
            self._last, self._moved = now, time.monotonic()
            self._tell(now)
        elif time.monotonic() - self._moved > STARTUP_TIMEOUT_S:
            raise ClientError(
                f"The server made no progress for {STARTUP_TIMEOUT_S:.0f} s ({now}).{more}",
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
