"""The Ollama adapter against Ollama's wire."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from engines.chat_servers import ChatServer, Connection, Handler, serving
from engines.ollama_wire import done, hangs, line, ollama, streams, tag

from chinwag.config import LlmSettings
from chinwag.engines.llm.auto import resolve_auto
from chinwag.engines.llm.ollama import OllamaChat, _how_to_start, detect, pull
from chinwag.engines.protocols import Delta, EngineOptions, Message, Usage
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

HELLO: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def settings(server: ChatServer, **more: Any) -> LlmSettings:
    return LlmSettings(**{"engine": "ollama", "base_url": server.address, "timeout_s": 5, **more})


@asynccontextmanager
async def chatting(handler: Handler, **more: Any) -> AsyncIterator[tuple[OllamaChat, ChatServer]]:
    async with ollama(handler) as server:
        chat = await asyncio.to_thread(OllamaChat.load, EngineOptions(settings(server, **more)))
        try:
            yield chat, server
        finally:
            await chat.close()
            await chat.close()


async def answer(chat: OllamaChat, **more: Any) -> list[Delta]:
    async with aclosing(chat.chat(HELLO, **more)) as deltas:
        return [delta async for delta in deltas]


async def test_it_chooses_a_chat_model_of_this_machine_and_streams() -> None:
    async with chatting(streams(line("Hel"), line("lo."), done())) as (chat, server):
        assert chat.model == "llama3.2:latest"
        assert [asked.body["model"] for asked in server.asked if asked.path == "/api/generate"] == ["llama3.2:latest"]
        assert await answer(chat, max_tokens=40) == [
            Delta("Hel"), Delta("lo."), Delta(finish_reason="stop", usage=Usage(26, 0, 3))
        ]  # fmt: skip
        body = server.asked[-1].body
        assert body["messages"] == HELLO
        assert body["stream"] is True
        assert body["keep_alive"] == "30m"
        assert body["options"] == {"temperature": 0.6, "num_predict": 40}
        assert "think" not in body


async def test_thinking_is_switched_off_and_what_comes_of_it_is_not_said() -> None:
    lines = line("", message={"thinking": "secret"}), line("<think>sec"), line("ret</think>\n\nFour."), done("length")
    async with chatting(streams(*lines), model="qwen3:4b") as (chat, server):
        said = await answer(chat)
        assert "".join(delta.text for delta in said) == "Four."
        assert said[-1].finish_reason == "length"
        assert server.asked[-1].body["think"] is False


async def test_a_model_may_be_named_without_its_tag() -> None:
    async with chatting(streams(done()), model="llama3.2") as (chat, _):
        assert chat.model == "llama3.2:latest"


async def refused(connection: Connection) -> None:
    await connection.answer({"error": "model 'llama3.2:latest' not found"}, 404)


async def broken(connection: Connection) -> None:
    await connection.answer({"error": "llama runner process has terminated: exit status 2"}, 500)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (refused, r"has no llama3.2:latest.*`ollama pull llama3.2:latest`"),
        (broken, r"runner process has terminated"),
        (streams(line("Hel"), ends=False), "broke off"),
        (streams(line("Hel")), "broke off"),
        (streams(line("Hel"), b'{"error": "out of memory"}\n'), "out of memory"),
        (streams(b"<html>\n"), "no JSON"),
    ],
)
async def test_every_fault_is_told_with_a_way_out(handler: Handler, message: str) -> None:
    async with chatting(handler) as (chat, _):
        with pytest.raises(EngineError, match=message) as failure:
            await answer(chat)
        assert failure.value.fix
        assert failure.value.engine == "ollama"


async def test_silence_is_given_up_and_closing_hangs_up() -> None:
    async with chatting(hangs, timeout_s=0.3) as (chat, server):
        with pytest.raises(EngineError, match=r"sent nothing for 0.3 s"):
            await answer(chat)
        await asyncio.wait_for(server.hung_up.wait(), 5)
    async with chatting(hangs) as (chat, server):
        task = asyncio.create_task(answer(chat))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.hung_up.wait(), 5)


async def test_prefill_reads_the_prompt_gives_way_to_a_chat_and_never_raises() -> None:
    begun = asyncio.Event()

    async def handler(connection: Connection) -> None:
        if connection.body["options"]["num_predict"] == 1:
            begun.set()
            await hangs(connection)
        await streams(line("Yes."), done())(connection)

    async with chatting(handler) as (chat, server):
        task = asyncio.create_task(chat.prefill(HELLO, cache_key="a"))
        await asyncio.wait_for(begun.wait(), 5)
        assert server.asked[-1].body["messages"] == HELLO
        async with aclosing(chat.chat(HELLO, cache_key="a")) as deltas:
            assert (await anext(deltas)).text == "Yes."
        await asyncio.wait_for(task, 5)
        await asyncio.wait_for(server.hung_up.wait(), 5)
    async with chatting(broken) as (chat, _):
        await chat.prefill(HELLO, cache_key="a")


async def test_what_is_missing_is_named_at_the_start() -> None:
    async with ollama(refused) as server:
        with pytest.raises(EngineError, match=r"has no mistral.*ollama pull mistral"):
            await asyncio.to_thread(OllamaChat.load, EngineOptions(settings(server, model="mistral")))
    with pytest.raises(EngineError, match=r"does not answer at http://127.*ollama serve"):
        await asyncio.to_thread(OllamaChat.load, EngineOptions(settings(server)))
    only_cloud = {"models": [tag("gpt-oss:120b-cloud", "gptoss", 384)]}
    async with ollama(refused, only_cloud) as server:
        with pytest.raises(EngineError, match="no chat model"):
            await asyncio.to_thread(OllamaChat.load, EngineOptions(settings(server)))


def layers(*lines: dict[str, Any]) -> Handler:
    return streams(*[json.dumps(line).encode() + b"\n" for line in lines])


PULLED = layers(
    {"status": "pulling manifest"},
    {"status": "pulling dde5aa3fc5ff", "digest": "sha256:dde5", "total": 2_000_000, "completed": 500_000},
    {"status": "pulling dde5aa3fc5ff", "digest": "sha256:dde5", "total": 2_000_000, "completed": 2_000_000},
    {"status": "verifying sha256 digest"},
    {"status": "success"},
)


async def test_a_missing_model_is_fetched_on_request_with_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with ollama(refused, pull=PULLED) as server:
        wanted = settings(server, model="mistral", options={"pull": True})
        chat = await asyncio.to_thread(OllamaChat.load, EngineOptions(wanted))
        assert chat.model == "mistral:latest"
        await chat.close()
        assert [asked.body["model"] for asked in server.asked if asked.path == "/api/pull"] == ["mistral"]
        assert "Ollama fetches mistral: 2 of 2 MB" in caplog.text
        told = await asyncio.to_thread(lambda: list(pull(settings(server), "phi4")))
        assert told[1] == ("pulling dde5aa3fc5ff", 500_000, 2_000_000)
        assert told[-1][0] == "success"


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (layers({"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}),
         r"cannot fetch mistral: pull model manifest.*ollama.com/library"),
        (layers({"status": "pulling manifest"}), "broke off while it fetched mistral.*continues"),
        (layers({"error": "write: no space left on device"}), "no space left.*disk"),
    ],
)  # fmt: skip
async def test_a_pull_that_fails_is_told(handler: Handler, message: str) -> None:
    async with ollama(refused, pull=handler) as server:
        with pytest.raises(EngineError, match=message):
            await asyncio.to_thread(lambda: list(pull(settings(server), "mistral")))


async def test_chinwag_models_pull_has_ollama_fetch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ollama(refused, pull=PULLED) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        done = await asyncio.to_thread(
            lambda: subprocess.run(
                [sys.executable, "-m", "chinwag", "models", "pull", "ollama:mistral"],
                capture_output=True, text=True, check=False,
            )
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ollama mistral: pulling manifest" in done.stderr
    assert "ollama mistral: success" in done.stderr


async def test_a_name_nearly_right_is_told() -> None:
    async with ollama(refused) as server:
        with pytest.raises(EngineError, match=r"has no llama3.1.*mean llama3.2"):
            await asyncio.to_thread(OllamaChat.load, EngineOptions(settings(server, model="llama3.1")))


@pytest.mark.parametrize(
    ("where", "system", "installed", "how"),
    [
        ("127.0.0.1:11434", "linux", True, "systemctl start ollama"),
        ("127.0.0.1:11434", "linux", False, "Install it"),
        ("127.0.0.1:11434", "darwin", True, "Ollama app"),
        ("http://127.0.0.1:11434", "win32", True, "Start menu"),
        ("http://10.0.0.7:11434", "linux", True, "OLLAMA_HOST=0.0.0.0"),
    ],
)
def test_how_to_start_it_is_said_for_this_system(
    where: str, system: str, installed: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/ollama" if installed else None)
    assert how in _how_to_start(where)


async def test_detect_finds_what_load_would_take() -> None:
    async with ollama(refused) as server:
        assert await detect(settings(server)) == "llama3.2:latest"
        assert await detect(settings(server, base_url=f"{server.address}/v1")) == "llama3.2:latest"
        assert await detect(settings(server, model="qwen3:4b")) == "qwen3:4b"
        assert await detect(settings(server, model="mistral")) is None
        assert await resolve_auto(settings(server)) == "ollama"
        assert await resolve_auto(settings(server, model="/models/mine.gguf")) == "embedded"
    assert await detect(settings(server)) is None
    assert await resolve_auto(settings(server)) == "embedded"
    async with ollama(refused, old=True) as server:
        assert await detect(settings(server)) == "llama3.2:latest"
    async with ollama(refused, {"models": [tag("gpt-oss:120b-cloud", "gptoss", 384)]}) as server:
        assert await resolve_auto(settings(server)) == "embedded"
    async with serving(hangs) as server:
        assert await detect(settings(server), 0.2) is None


async def test_the_usual_address_is_asked_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ollama(refused) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address.removeprefix("http://"))
        assert await detect(LlmSettings()) == "llama3.2:latest"
