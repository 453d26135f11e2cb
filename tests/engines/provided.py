"""The engines that are to keep the contract, and for those that need a server, one on loopback.

CHINWAG_CONTRACT="tts:kokoro,stt:whisper" names them, a third party's as well as ours; without it, all that are
installed. Settings come from the environment, as for a server: CHINWAG_TTS__OPTIONS and so on.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from engines.contract import options
from engines.ollama_wire import counts, ollama
from serving import serving

from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.llm.embedded import EmbeddedChat, _model_path
from chinwag.engines.llm.llama_server import LlamaServer
from chinwag.engines.protocols import TASKS, Engine, Task
from chinwag.engines.stt.moonshine import read_vocabulary
from chinwag.weights import Store

Named = tuple[Task, str]

MAY_LOAD_S = 600
"""Weights may have to be fetched."""


def engines(*tasks: Task) -> list[Named]:
    """Those that are asked for, or all that are installed. Raises EngineError for one that is not there."""
    asked = os.environ.get("CHINWAG_CONTRACT", "")
    if asked:
        parted = [item.strip().partition(":") for item in asked.split(",")]
        every = [(cast(Task, task), name) for task, _, name in parted]
        for task, name in every:
            registry.find(task, name)
    else:
        every = [(task, name) for task in TASKS for name in registry.names(task)]
        every = [(task, name) for task, name in every if not registry.missing_modules(registry.lookup(task, name))]
    return [(task, name) for task, name in every if task in (tasks or TASKS)]


@asynccontextmanager
async def provided(task: Task, name: str) -> AsyncIterator[tuple[type[Engine], Any]]:
    """The engine's class and settings that it can be loaded with."""
    settings = getattr(Config(), task).model_copy(update={"engine": name})
    if task == "llm":
        settings = settings.model_copy(update={"temperature": 0.0, "slots": 2})
    async with (_SERVERS | _MODELS).get((task, name), _none)() as where:
        yield registry.find(task, name), settings.model_copy(update=where)


@asynccontextmanager
async def _none() -> AsyncIterator[dict[str, Any]]:
    yield {}


@asynccontextmanager
async def _llama_cpp() -> AsyncIterator[dict[str, Any]]:
    """llama.cpp's own server with the embedded model's weights."""
    settings, key = Config().llm, secrets.token_urlsafe(16)
    path = _model_path(await options(EmbeddedChat, settings))
    wanted = {"path": str(path), "key": key, "slots": 2, "context_tokens": 2048, "threads": 0}
    server = await asyncio.to_thread(LlamaServer, wanted)
    try:
        yield {"base_url": f"{server.address}/v1", "api_key": key}
    finally:
        await asyncio.to_thread(server.close)


@asynccontextmanager
async def _ollama() -> AsyncIterator[dict[str, Any]]:
    async with ollama(counts) as server:
        yield {"base_url": server.address}


@asynccontextmanager
async def _sherpa() -> AsyncIterator[dict[str, Any]]:
    """Its own models are on the hub alone; it runs Moonshine's real weights as well."""
    with TemporaryDirectory() as folder:
        yield {"model": str(moonshine_for_sherpa(Path(folder))), "options": {"languages": ["en"]}}


def moonshine_for_sherpa(folder: Path) -> Path:
    """Moonshine tiny as sherpa-onnx wants it: its own files, and the vocabulary as text."""
    here = Store(Config().weights).folder("moonshine-tiny-en")
    for name in ("encoder_model.ort", "decoder_model_merged.ort"):
        (folder / name).symlink_to(here / name)
    tokens = read_vocabulary(here / "tokenizer.bin")
    lines = (f"{base64.b64encode(token).decode()}\t{number}\n" for number, token in enumerate(tokens))
    (folder / "tokens.txt").write_text("".join(lines), "ascii")
    return folder


_OPEN = ExitStack()


@functools.cache
def _other_chinwag() -> str:
    server = _OPEN.enter_context(serving())
    server.wait("ready")
    return server.url.replace("localhost", "127.0.0.1")


@asynccontextmanager
async def _chinwag() -> AsyncIterator[dict[str, Any]]:
    """Another chinwag with its usual engines, started once for all."""
    yield {"base_url": f"{await asyncio.to_thread(_other_chinwag)}/v1"}


def close() -> None:
    """End what was started for all tests."""
    _other_chinwag.cache_clear()
    _OPEN.close()


_SERVERS: dict[Named, Callable[[], AbstractAsyncContextManager[dict[str, Any]]]] = {
    ("llm", "openai"): _llama_cpp,
    ("llm", "ollama"): _ollama,
    ("stt", "openai"): _chinwag,
    ("tts", "openai"): _chinwag,
}


@asynccontextmanager
async def _moonshine_streaming() -> AsyncIterator[dict[str, Any]]:
    """Its streaming models are on its makers' server alone; the library runs the tiny one of the catalog as well."""
    yield {"model": str(Store(Config().weights).folder("moonshine-tiny-en"))}


@asynccontextmanager
async def _piper() -> AsyncIterator[dict[str, Any]]:
    """RealtimeTTS's engine that needs no program of the system and no account."""
    yield {"model": "piper"}


@asynccontextmanager
async def _coqui() -> AsyncIterator[dict[str, Any]]:
    """Its weights are on its makers' servers: a small VITS, made at random, which speaks no English."""
    from extras.made_coqui import vits

    with TemporaryDirectory() as folder:
        yield {"model": str(vits(Path(folder), "pt"))}


_MODELS: dict[Named, Callable[[], AbstractAsyncContextManager[dict[str, Any]]]] = {
    ("stt", "moonshine-streaming"): _moonshine_streaming,
    ("stt", "sherpa"): _sherpa,
    ("tts", "realtimetts"): _piper,
    ("tts", "coqui"): _coqui,
}


def has_server(named: Named) -> bool:
    """Whether it asks a server, which may take any model's name."""
    return named in _SERVERS
