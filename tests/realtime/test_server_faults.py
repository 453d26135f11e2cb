"""Faults of a real server, its child, its weights and its network; docs/reliability.md lists them all."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from broken_line import relay
from serving import Server, serving
from websockets.asyncio.client import ClientConnection, connect

from chinwag.config import WeightsSettings
from chinwag.engines.llm.requantize import SUFFIX
from chinwag.web import lan

pytestmark = pytest.mark.realtime

MODEL = "qwen2.5-coder-0.5b"


async def until(socket: ClientConnection, *kinds: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        async for message in socket:
            event: dict[str, Any] = json.loads(message)
            if event["type"] in kinds:
                return event
    raise AssertionError(f"the socket closed before {kinds}")


async def asked(socket: ClientConnection, words: str = "What is the capital of France?") -> dict[str, Any]:
    """How the answer to a typed question ended."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}
    await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
    response = {"output_modalities": ["text"], "max_output_tokens": 20}
    await socket.send(json.dumps({"type": "response.create", "response": response}))
    done: dict[str, Any] = (await until(socket, "response.done"))["response"]
    return done


def child(server: Server) -> psutil.Process:
    (one,) = psutil.Process(server.process.pid).children()
    return one


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open cannot be damaged there")
async def test_a_child_that_is_killed_or_hangs_and_weights_that_are_damaged(tmp_path: Path) -> None:
    """One conversation lives through all of it; what the line that was cut left is let go meanwhile."""
    for name in ("silero-vad", "smart-turn", "moonshine-tiny-en", MODEL):
        (tmp_path / name).mkdir()
        for file in (WeightsSettings().folder / name).iterdir():
            if file.is_file():
                (tmp_path / name / file.name).symlink_to(file)
    env = {"CHINWAG_WEIGHTS__FOLDER": str(tmp_path), "CHINWAG_LLM__TIMEOUT_S": "20", "CHINWAG_SERVER__RESUME_S": "0"}
    with serving("--offline", "--llm", "embedded", env=env) as server:
        await asyncio.to_thread(server.wait, "ready")
        async with relay(urlsplit(server.url).port or 0) as (line, port), connect(server.realtime) as socket:
            await until(socket, "session.created")
            cut = await connect(f"ws://127.0.0.1:{port}/v1/realtime")
            await until(cut, "session.created")
            assert server.status()["sessions"] == 2
            line.cut()
            cut_at = time.monotonic()

            child(server).kill()
            assert (await asked(socket))["status"] in ("failed", "completed")  # it may be noticed before it is asked
            assert (await asked(socket))["status"] == "completed"

            hung = child(server)
            hung.suspend()
            failed = await asked(socket)
            assert failed["status"] == "failed"
            assert (await asked(socket))["status"] == "completed"
            assert not hung.is_running()

            whole = next((tmp_path / MODEL).glob(f"*{SUFFIX}"))
            damaged = tmp_path / "damaged"
            damaged.write_bytes(b"not a model")
            os.replace(damaged, whole)
            child(server).kill()
            failed = await asked(socket)
            if failed["status"] == "completed":  # the old file was still in the child's memory
                failed = await asked(socket)
            assert failed["status"] == "failed"
            assert failed["status_details"]["error"]["code"] == "response_failed"
            assert server.status()["stage"] == "ready", "the server is up all the same"
            whole.unlink()
            whole.symlink_to(WeightsSettings().folder / MODEL / whole.name)
            assert (await asked(socket))["status"] == "completed"

            while server.status()["sessions"] > 1:  # by the socket's own pings, 20 s and 20 s
                assert time.monotonic() - cut_at < 120
                await asyncio.sleep(0.5)
            cut.transport.abort()
        assert not [line for line in server.lines if "Traceback" in line]


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """A server that is up at once, as it has no weights to load."""
    return {"CHINWAG_WEIGHTS__FOLDER": str(tmp_path / "none")}


def test_the_address_behind_a_trusted_proxy_counts_and_no_other(empty: dict[str, str]) -> None:
    env = {**empty, "CHINWAG_SERVER__REQUESTS_PER_MINUTE": "5"}
    for trusted, counted in (("127.0.0.1", True), ("10.9.9.9", False)):
        with serving("--offline", env={**env, "CHINWAG_SERVER__TRUSTED_PROXIES": trusted}) as server:
            url = server.url.replace("localhost", "127.0.0.1") + "/healthz"

            def answers(told: str, url: str = url) -> list[int]:
                return [httpx.get(url, headers={"X-Forwarded-For": told}).status_code for _ in range(7)]

            first = answers("203.0.113.7")
            assert (429 in first) is counted
            assert (429 in answers("198.51.100.1, 203.0.113.7")) is counted, "what a client wrote itself is no address"
            assert 429 not in answers("203.0.113.8")[:5]
            assert httpx.get(url).status_code == 200


def test_https_with_a_certificate_of_ones_own_and_no_plain_http(empty: dict[str, str], tmp_path: Path) -> None:
    made = lan.certificate(tmp_path, [])
    env = {
        **empty,
        "CHINWAG_SERVER__API_KEYS": "a-key-of-the-server",
        "CHINWAG_SERVER__TLS_CERT": str(made.file),
        "CHINWAG_SERVER__TLS_KEY": str(made.key),
    }
    with serving("--offline", "--host", "0.0.0.0", env=env) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(made.file))
        with httpx.Client(verify=trust, base_url=server.url) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/models").status_code == 401
            assert "server" not in client.get("/").headers
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https", "http") + "/healthz")
