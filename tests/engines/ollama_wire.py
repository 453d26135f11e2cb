"""Ollama's wire over real HTTP, line by line: /api/tags, /api/show, /api/generate, /api/chat and /api/pull."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from engines.chat_servers import ChatServer, Connection, Handler, serving


def tag(name: str, family: str, size: int) -> dict[str, Any]:
    return {
        "name": name, "model": name, "modified_at": "2026-08-01T10:11:12.131415161+02:00", "size": size,
        "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
        "details": {"parent_model": "", "format": "gguf", "family": family, "families": [family],
                    "parameter_size": "3.2B", "quantization_level": "Q4_K_M"},
    }  # fmt: skip


TAGS = {"models": [
    tag("gpt-oss:120b-cloud", "gptoss", 384),
    tag("nomic-embed-text:latest", "nomic-bert", 274302450),
    tag("llama3.2:latest", "llama", 2019393189),
    tag("qwen3:4b", "qwen3", 2620788019),
]}  # fmt: skip
CAPABILITIES = {
    "gpt-oss:120b-cloud": ["completion", "tools", "thinking"],
    "nomic-embed-text:latest": ["embedding"],
    "llama3.2:latest": ["completion", "tools"],
    "qwen3:4b": ["completion", "tools", "thinking"],
}


def line(content: str, **more: Any) -> bytes:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    data = {"model": "llama3.2", "created_at": "2026-08-01T08:00:00.0Z", "message": message, "done": False, **more}
    return json.dumps(data).encode() + b"\n"


def done(reason: str = "stop") -> bytes:
    return line(
        "", done=True, done_reason=reason, total_duration=4883583458, load_duration=1334875, prompt_eval_count=26,
        prompt_eval_duration=342546000, eval_count=3, eval_duration=4535599000,
    )  # fmt: skip


def streams(*lines: bytes, ends: bool = True) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.begin("application/x-ndjson")
        for data in lines:
            await connection.piece(data)
        if ends:
            await connection.end()

    return handler


async def hangs(connection: Connection) -> None:
    await connection.begin("application/x-ndjson")
    await asyncio.sleep(60)


async def counts(connection: Connection) -> None:
    """Counts to twenty, or as far as it may."""
    most = connection.body["options"]["num_predict"]
    await connection.begin("application/x-ndjson")
    for number in range(min(most, 20)):
        await connection.piece(line(f"{number + 1} "))
        await asyncio.sleep(0.01)
    await connection.piece(done("stop" if most > 20 else "length"))
    await connection.end()


@asynccontextmanager
async def ollama(
    chat: Handler, tags: Any = None, old: bool = False, pull: Handler | None = None
) -> AsyncIterator[ChatServer]:
    """Ollama with these models, or TAGS'; one that was pulled well is there afterwards. old: before 0.6.4."""
    there = json.loads(json.dumps(TAGS if tags is None else tags))

    async def route(connection: Connection) -> None:
        if connection.path == "/api/tags":
            await connection.answer(there)
        elif connection.path == "/api/show":
            name = connection.body["model"]
            shown: dict[str, Any] = {"details": tag(name, "llama", 1)["details"], "model_info": {}}
            able = CAPABILITIES.get(name, ["completion"])
            await connection.answer(shown if old else {**shown, "capabilities": able})
        elif connection.path == "/api/generate":
            await connection.answer({"model": "m", "created_at": "2026-08-01T08:00:00Z", "response": "", "done": True})
        elif connection.path == "/api/pull" and pull is not None:
            name = connection.body["model"]
            there["models"].append(tag(name if ":" in name else f"{name}:latest", "llama", 1))
            await pull(connection)
        else:
            await chat(connection)

    async with serving(route) as server:
        yield server
