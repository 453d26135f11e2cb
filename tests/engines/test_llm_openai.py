"""The OpenAI-compatible adapter against servers that behave well and badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from engines.chat_servers import ChatServer, Connection, Handler, serving

from chinwag.config import LlmSettings
from chinwag.engines.llm.openai_compatible import OpenAIChat
from chinwag.engines.protocols import Delta, EngineOptions, Message, Usage
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

HELLO: list[Message] = [{"role": "user", "content": "Hello"}]
MODELS = {
    "object": "list",
    "data": [{"id": name, "object": "model", "created": 0, "owned_by": "me"} for name in ("tiny", "big")],
}


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {"role": "assistant", "content": content, **more.pop("delta", {})}
    data = {
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more,
    }  # fmt: skip
    return f"data: {json.dumps(data)}\n\n".encode()


USAGE = chunk(choices=[], usage={
    "prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 8},
})  # fmt: skip
DONE = b"data: [DONE]\n\n"


def streams(*pieces: bytes, ends: bool = True) -> Handler:
    async def handler(connection: Connection) -> None:
        await connection.begin("text/event-stream")
        for piece in pieces:
            await connection.piece(piece)
        if ends:
            await connection.end()

    return handler


def refuses(status: int, message: str = "no", retry_after: str = "", **more: Any) -> Handler:
    async def handler(connection: Connection) -> None:
        headers = {"Retry-After": retry_after} if retry_after else {}
        await connection.answer({"error": {"message": message, "type": "x", "code": None, **more}}, status, headers)

    return handler


async def hangs(connection: Connection) -> None:
    await connection.begin("text/event-stream")
    await connection.piece(chunk("", delta={"reasoning_content": "hm"}))
    await asyncio.sleep(60)


@asynccontextmanager
async def chatting(handler: Handler, **settings: Any) -> AsyncIterator[tuple[OpenAIChat, ChatServer]]:
    async def route(connection: Connection) -> None:
        if connection.path == "/v1/models":
            await connection.answer(MODELS)
        else:
            await handler(connection)

    async with serving(route) as server:
        wanted = LlmSettings(**{"engine": "openai", "base_url": f"{server.address}/v1", "timeout_s": 5, **settings})
        chat = await asyncio.to_thread(OpenAIChat.load, EngineOptions(wanted))
        server.asked.clear()
        try:
            yield chat, server
        finally:
            await chat.close()
            await chat.close()


async def answer(chat: OpenAIChat, **more: Any) -> list[Delta]:
    async with aclosing(chat.chat(HELLO, **more)) as deltas:
        return [delta async for delta in deltas]


async def test_it_streams_and_counts() -> None:
    async with chatting(streams(chunk("Hel"), chunk("lo."), chunk(finish="stop"), USAGE, DONE), api_key="k") as (
        chat,
        server,
    ):
        assert chat.model == "tiny"
        assert await answer(chat, max_tokens=50) == [
            Delta("Hel"), Delta("lo."), Delta(finish_reason="stop", usage=Usage(12, 8, 3))
        ]  # fmt: skip
        asked = server.asked[0]
        assert asked.headers["authorization"] == "Bearer k"
        assert asked.body == {
            "model": "tiny", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True},
            "temperature": 0.6, "max_tokens": 50,
        }  # fmt: skip


async def test_the_limit_is_told_and_the_model_is_the_one_set() -> None:
    async with chatting(streams(chunk("A"), chunk(finish="length"), DONE), model="big") as (chat, server):
        assert (await answer(chat))[-1] == Delta(finish_reason="length", usage=Usage())
        assert server.asked[0].body["model"] == "big"
        assert server.asked[0].body["max_tokens"] == 300


async def test_thinking_is_never_said() -> None:
    pieces = [
        chunk("", delta={"reasoning_content": "secret"}),
        chunk("<thi"), chunk("nk>sec"), chunk("ret</thin"), chunk("k>\n\n"), chunk("Five <"), chunk(" six."),
        chunk(finish="stop"), DONE,
    ]  # fmt: skip
    async with chatting(streams(*pieces)) as (chat, _):
        assert "".join(delta.text for delta in await answer(chat)) == "Five < six."


@pytest.mark.parametrize(
    ("model", "pieces"),
    [
        ("tiny", [chunk("", delta={"reasoning": "secret"}), chunk("Five.")]),
        ("tiny", [chunk("", delta={"content": [{"type": "thinking", "thinking": [{"text": "secret"}]}]}),
                  chunk("", delta={"content": [{"type": "text", "text": "Five."}]})]),
        ("deepseek-r1", [chunk("sec"), chunk("ret</thi"), chunk("nk>\n\nFive.")]),
        ("deepseek-r1", [chunk("", delta={"reasoning_content": "secret"}), chunk("Five.")]),
        ("gpt-oss", [chunk("<|chan"), chunk("nel|>analysis<|message|>secret<|end|><|start|>assi"),
                     chunk("stant<|channel|>fin"), chunk("al<|message|>Five.<|return|>")]),
    ],
)  # fmt: skip
async def test_thinking_is_never_said_in_whatever_shape_it_comes(model: str, pieces: list[bytes]) -> None:
    async with chatting(streams(*pieces, chunk(finish="stop"), DONE), model=model) as (chat, _):
        assert "".join(delta.text for delta in await answer(chat)) == "Five."


@pytest.mark.parametrize(
    ("handler", "message", "fix"),
    [
        (refuses(401), "does not accept the key", "llm.api_key"),
        (refuses(403, "not for you"), "not for you", "llm.api_key"),
        (refuses(404, "model gone"), "does not know the model tiny: model gone", "llm.model"),
        (refuses(429, "slow down"), "slow down", "Wait a little"),
        (refuses(429, "slow down", retry_after="17"), "slow down", "Wait 17 s"),
        (refuses(429, "You exceeded your quota", code="insufficient_quota"), "has no credit left", "plan"),
        (refuses(402, "Insufficient credits"), "has no credit left: Insufficient credits", "plan"),
        (refuses(400, "prompt: 9000 tokens", code="context_length_exceeded"), "too long", "llm.context_tokens"),
        (refuses(400, "This model's maximum context is 8192 tokens"), "too long", "llm.context_tokens"),
        (refuses(413, "no"), "too long", "llm.context_tokens"),
        (refuses(500, "oops"), r"failed \(500\): oops", "log"),
        (refuses(503, "loading"), r"failed \(503\)", "log"),
        (refuses(400, "bad field"), "bad field", "llm.model"),
        (refuses(400, "request exceeds the available context size"), "too long", "llm.context_tokens"),
        (streams(chunk("Hel"), ends=False), "broke off", "log"),
        (streams(chunk("Hel")), "broke off", "log"),
        (streams(b"data: {not json\n\n"), "not JSON", "/v1"),
        (streams(b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory", "log"),
        (streams(b"<html>hello</html>"), "broke off", "log"),
    ],
)  # fmt: skip
async def test_every_fault_is_told_with_a_way_out(handler: Handler, message: str, fix: str) -> None:
    async with chatting(handler) as (chat, server):
        with pytest.raises(EngineError, match=message) as failure:
            await answer(chat)
        assert fix in failure.value.fix
        assert failure.value.engine == "openai"
        assert len(server.asked) == 1  # no second try


async def test_text_before_a_cut_has_been_given() -> None:
    cut = streams(chunk("One "), chunk("two"), ends=False)
    async with chatting(cut) as (chat, _), aclosing(chat.chat(HELLO)) as deltas:
        assert (await anext(deltas)).text == "One "
        assert (await anext(deltas)).text == "two"
        with pytest.raises(EngineError, match="broke off"):
            await anext(deltas)


async def test_a_server_without_a_word_is_given_up() -> None:
    async with chatting(hangs, timeout_s=0.2) as (chat, server):
        with pytest.raises(EngineError, match=r"sent nothing for 0.2 s.*llm.timeout_s"):
            await answer(chat)
        await asyncio.wait_for(server.hung_up.wait(), 5)


async def test_closing_hangs_up_at_once() -> None:
    async def endless(connection: Connection) -> None:
        await connection.begin("text/event-stream")
        while True:
            await connection.piece(chunk("la "))
            await asyncio.sleep(0.01)

    async with chatting(endless) as (chat, server):
        async with aclosing(chat.chat(HELLO)) as deltas:
            assert (await anext(deltas)).text.strip() == "la"
        await asyncio.wait_for(server.hung_up.wait(), 5)
        server.hung_up.clear()
        task = asyncio.create_task(answer(chat))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.hung_up.wait(), 5)


async def test_a_field_the_model_refuses_is_left_out() -> None:
    good = streams(chunk("Yes."), chunk(finish="stop"), DONE)

    async def picky(connection: Connection) -> None:
        for name in ("temperature", "max_tokens"):
            if name in connection.body:
                await refuses(400, f"{name} is not supported", param=name, code="unsupported_parameter")(connection)
                return
        await good(connection)

    async with chatting(picky) as (chat, server):
        assert (await answer(chat))[0].text == "Yes."
        assert server.asked[-1].body["max_completion_tokens"] == 300
        count = len(server.asked)
        assert (await answer(chat))[0].text == "Yes."
        assert len(server.asked) == count + 1  # it remembers


async def test_two_conversations_do_not_mix() -> None:
    async def echo(connection: Connection) -> None:
        await connection.begin("text/event-stream")
        for _ in range(5):
            await connection.piece(chunk(connection.body["messages"][0]["content"]))
            await asyncio.sleep(0.01)
        await connection.piece(chunk(finish="stop") + DONE)
        await connection.end()

    async with chatting(echo) as (chat, _):

        async def ask(word: str) -> str:
            async with aclosing(chat.chat([{"role": "user", "content": word}])) as deltas:
                return "".join([delta.text async for delta in deltas])

        assert list(await asyncio.gather(ask("a"), ask("b"))) == ["aaaaa", "bbbbb"]


async def test_a_server_that_is_not_there() -> None:
    async with serving(hangs) as server:
        address = server.address
    settings = LlmSettings(base_url=f"{address}/v1")
    with pytest.raises(EngineError, match="cannot be reached") as failure:
        await asyncio.to_thread(OpenAIChat.load, EngineOptions(settings))
    assert "Start it" in failure.value.fix


async def test_a_server_that_dies_between_turns() -> None:
    async with chatting(hangs) as (chat, server):
        dead = EngineOptions(LlmSettings(base_url=server.address, model="x", timeout_s=2))
    async with serving(refuses(404)) as server:
        dead.settings.base_url = f"{server.address}/v1"
        chat = await asyncio.to_thread(OpenAIChat.load, dead)  # it has no list of models, but one is set
    with pytest.raises(EngineError, match="cannot be reached"):
        await answer(chat)
    await chat.close()


async def test_no_key_is_sent_to_a_server_that_is_not_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nor asked for through a proxy
    async with chatting(streams(chunk("Hi"), chunk(finish="stop"), DONE)) as (chat, server):
        await answer(chat)
        assert "secret" not in str(server.asked[0].headers)


def test_openai_without_a_key_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError, match=r"neither a key nor.*llm.api_key.*llm.base_url"):
        OpenAIChat.load(EngineOptions(LlmSettings()))
