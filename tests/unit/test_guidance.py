"""Every way an engine fails to load: one sentence and the next step, the same wherever it is told.

In the terminal, for the page, in `chinwag doctor`, and as an `error` event of a change while a conversation goes on.
"""

from __future__ import annotations

import asyncio
import errno
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from virtual_time import at_once
from wire import Client

from chinwag.cli import doctor, serve
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, FakeTurnJudge, FakeVad, FakeVoice
from chinwag.engines.protocols import EngineOptions
from chinwag.errors import EngineError, WeightsError
from chinwag.runtime.engine_switching import EngineSwitch
from chinwag.runtime.runtime import Runtime
from chinwag.weights import Store

pytestmark = pytest.mark.unit

KINDS: dict[str, Any] = {
    "vad": FakeVad, "turn": FakeTurnJudge, "stt": FakeTranscriber, "llm": FakeChat, "tts": FakeVoice,
}  # fmt: skip

FAULTS: dict[str, tuple[Exception, str, str]] = {
    "not installed": (
        EngineError("It is not installed: there is no parrot.", "Install it: pip install 'chinwag[parrot]'.", "parrot"),
        "It is not installed: there is no parrot.",
        "Install it: pip install 'chinwag[parrot]'.",
    ),
    "no weights": (
        WeightsError("The weights of parrot are not on this machine.", "Run: chinwag models pull parrot."),
        "The weights of parrot are not on this machine.",
        "Run: chinwag models pull parrot.",
    ),
    "a wrong sha": (
        WeightsError("The weights of parrot are damaged: a.onnx has the sha256 b.", "Run: chinwag models pull parrot."),
        "The weights of parrot are damaged: a.onnx has the sha256 b.",
        "Run: chinwag models pull parrot.",
    ),
    "disk full": (
        OSError(errno.ENOSPC, "No space left on device"),
        "The tts engine parrot cannot be loaded: the disk is full.",
        "Free some space and try again.",
    ),
    "no memory": (
        MemoryError(),
        "The tts engine parrot cannot be loaded: there is too little memory (MemoryError).",
        "Close other programs, or choose a smaller engine or model.",
    ),
    "no memory, as onnxruntime says it": (
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        "there is too little memory ([ONNXRuntimeError]",
        "Close other programs, or choose a smaller engine or model.",
    ),
    "no memory on the GPU": (
        RuntimeError("CUDA failed with error out of memory"),
        "the GPU has too little memory (CUDA failed with error out of memory).",
        'choose a smaller engine or model, or set tts.device = "cpu".',
    ),
    "a driver that does not fit": (
        RuntimeError("CUDA driver version is insufficient for CUDA runtime version"),
        "The tts engine parrot cannot use the GPU: CUDA driver version is insufficient for CUDA runtime version.",
        'Set tts.device = "cpu", or update the driver: `nvidia-smi` shows its version.',
    ),
    "a library of CUDA is missing": (
        RuntimeError("Library libcublas.so.12 is not found or cannot be loaded"),
        "cannot use the GPU: Library libcublas.so.12 is not found",
        "nvidia-smi",
    ),
    "a server that is down": (
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        "The tts engine parrot cannot reach its server: [Errno 111] Connection refused.",
        "Start that server, or correct tts.base_url.",
    ),
    "a server that says nothing": (
        TimeoutError("timed out"),
        "The tts engine parrot cannot reach its server: timed out.",
        "Start that server, or correct tts.base_url.",
    ),
    "half an installation": (
        ImportError("cannot import name 'squawk' from 'parrot'"),
        "The tts engine parrot cannot be loaded: cannot import name 'squawk' from 'parrot'.",
        "Install what it needs: `chinwag engines` shows the command.",
    ),
    "anything else": (
        ValueError("expected 3 tensors, got 2\n  at line 7\n  at line 9"),
        "The tts engine parrot could not be loaded: expected 3 tensors, got 2.",
        "Run chinwag doctor to find out why.",
    ),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The voice engine fails so; message and fix as they are to be."""
    error, message, fix = FAULTS[request.param]

    class Parrot(FakeVoice):
        name = "parrot"

        @classmethod
        def load(cls, options: EngineOptions) -> Any:
            raise error

    def found(task: str, name: str) -> Any:
        return Parrot if name == "parrot" else KINDS[task]

    monkeypatch.setattr(registry, "find", found)
    monkeypatch.setattr(registry, "lookup", found)
    monkeypatch.setattr(registry, "names", lambda task: ["fake", "parrot"])
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    return message, fix


def settings(folder: Path, tts: str = "parrot") -> Config:
    named = {task: {"engine": "fake"} for task in ("vad", "turn", "stt", "llm")}
    return Config.model_validate({**named, "tts": {"engine": tts}, "weights": {"folder": folder}})


async def test_when_the_server_starts(fault: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message, fix = fault
    host, told = Runtime(settings(tmp_path)), io.StringIO()
    await host.start()
    shown = host.status()
    assert shown["stage"] == "failed"
    assert message in shown["error"]["message"]
    assert fix in shown["error"]["fix"]
    assert shown["engines"]["tts"]["state"] == "failed"
    monkeypatch.setattr(serve, "console", Console(file=told, width=60))
    await serve._print_when_ready(host, "http://localhost:8000", serve._to_terminal)
    assert message in told.getvalue()
    assert fix in told.getvalue(), "on one line, with its brackets"
    await host.close()


async def test_as_the_doctor_says_it(fault: tuple[str, str], tmp_path: Path) -> None:
    message, fix = fault
    config = settings(tmp_path)
    checks = {check.name: check async for check in doctor.check_engines(config, Store(config.weights))}
    check = checks["tts: parrot"]
    assert check.state == "fault"
    assert message in check.detail
    assert fix in check.fix


async def test_while_a_conversation_goes_on(fault: tuple[str, str], tmp_path: Path) -> None:
    message, fix = fault
    host = Runtime(settings(tmp_path, "fake"))
    await host.start()
    assert host.stage == "ready", host.error
    switch = EngineSwitch(host)
    client = Client(Fakes(), extended=True, engine_selector=switch)
    switch.connection = client.connection
    running = asyncio.create_task(client.connection.run())
    try:
        await asyncio.sleep(0)
        client.send("chinwag.engines.update", engines={"tts": {"engine": "parrot"}})
        error = (await client.quiet_until("error"))["error"]
        assert (error["code"], error["event_id"]) == ("engine_not_changed", "mine_1")
        assert message in error["message"]
        assert fix in error["message"]
        assert not client.all("chinwag.engines.updated")
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await switch.close()
        await host.close()
