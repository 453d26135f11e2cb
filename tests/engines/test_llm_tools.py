"""Tools through every chat model: against servers that speak the wires, and the real embedded one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import pytest
from engines import ollama_wire as ollama
from engines import test_llm_openai as openai
from engines.contract import loaded
from engines.test_llm_embedded import asks
from engines.test_llm_ollama import chatting as ollama_chatting

from chinwag.config import LlmSettings
from chinwag.engines.llm.bare_calls import BareCall, calls_as_text
from chinwag.engines.llm.calls import CallReader
from chinwag.engines.llm.embedded import EmbeddedChat
from chinwag.engines.protocols import CallDelta, ChatModel, Delta, Message
from chinwag.errors import EngineError
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS

pytestmark = pytest.mark.engines


def tool(name: str, described: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": described, "parameters": schema}}


WEATHER = tool("get_weather", "The weather in a city.", city={"type": "string", "description": "Name of the city"})
CLOCK = tool("current_time", "The current date and time where the server is.")
NOTE = tool("add_note", "Keep a note for the user.", text={"type": "string", "description": "what to remember"})
SYSTEM: Message = {"role": "system", "content": DEFAULT_INSTRUCTIONS}
NOTES = [
    NOTE,
    tool("list_notes", "Read all notes that were kept for the user."),
    tool("forget_note", "Forget the notes that hold these words.", text={"type": "string"}),
]
ASKED = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
LATER: list[Message] = [
    asks("What is the weather in Paris?"),
    {"role": "assistant", "content": "", "tool_calls": [ASKED]},
    {"role": "tool", "content": '{"temperature_c": 21, "sky": "sunny"}', "tool_call_id": "call_1"},
]


async def answer(chat: ChatModel, messages: list[Message], *tools: Mapping[str, Any], **more: Any) -> list[Delta]:
    async with aclosing(chat.chat(messages, tools=tools, **more)) as deltas:
        return [delta async for delta in deltas]


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def calls(deltas: list[Delta]) -> list[tuple[str, Any]]:
    """Each call's name and arguments, put together as a session does."""
    found: list[tuple[str, str]] = []
    for piece in (delta.call for delta in deltas if delta.call):
        if piece.index == len(found):
            assert piece.name
            assert piece.call_id
            found.append((piece.name, ""))
        name, arguments = found[piece.index]
        found[piece.index] = name, arguments + piece.arguments
    return [(name, json.loads(arguments or "{}")) for name, arguments in found]


# --- OpenAI-compatible ---------------------------------------------------------------------------------------------


def piece(index: int | None, arguments: str = "", name: str | None = None, call_id: str | None = None) -> bytes:
    made = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return openai.chunk(None, delta={"tool_calls": [made]})


END = openai.chunk(finish="tool_calls"), openai.USAGE, openai.DONE


@pytest.mark.parametrize(
    "pieces",
    [
        # OpenAI, vLLM: in pieces, held together by the index alone
        [piece(0, "", "get_weather", "a"), piece(0, '{"city":'), piece(0, ' "Paris"}'),
         piece(1, "", "current_time", "b"), piece(1, "{}")],
        # both at once
        [piece(0, "", "get_weather", "a"), piece(1, "", "current_time", "b"), piece(0, '{"city": "Paris"}'),
         piece(1, "{}")],
        # llama.cpp, Gemini: each whole, every one under index 0
        [piece(0, '{"city": "Paris"}', "get_weather", "a"), piece(0, "{}", "current_time", "b")],
        # and without ids
        [piece(0, '{"city": "Paris"}', "get_weather"), piece(0, "{}", "current_time")],
        # the id comes first, the name with the next piece, the id again with each
        [piece(0, "", None, "a"), piece(0, '{"city"', "get_weather", "a"), piece(0, ': "Paris"}', None, "a"),
         piece(1, "", "current_time", "b")],
    ],
)  # fmt: skip
async def test_calls_come_as_servers_send_them(pieces: list[bytes]) -> None:
    async with openai.chatting(openai.streams(openai.chunk("One moment. "), *pieces, *END)) as (chat, server):
        said = await answer(chat, openai.HELLO, WEATHER, CLOCK)
        assert text(said) == "One moment. "
        assert calls(said) == [("get_weather", {"city": "Paris"}), ("current_time", {})]
        ids = [delta.call.call_id for delta in said if delta.call and delta.call.call_id]
        assert len(set(ids)) == 2
        assert said[-1].finish_reason == "tool_calls"
        assert server.asked[0].body["tools"] == [WEATHER, CLOCK]
        assert "tool_choice" not in server.asked[0].body


async def test_choice_and_history_go_to_the_server_as_they_are() -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    async with openai.chatting(openai.streams(openai.chunk("Sunny."), openai.chunk(finish="stop"), openai.DONE)) as (
        chat,
        server,
    ):
        for choice in ("required", "none", named):
            await answer(chat, LATER, WEATHER, tool_choice=choice)
        assert [asked.body["tool_choice"] for asked in server.asked] == ["required", "none", named]
        assert server.asked[0].body["messages"] == LATER


async def test_a_call_behind_which_the_server_says_stop_is_a_call() -> None:
    whole = piece(0, "{}", "current_time", "a"), openai.chunk(finish="stop"), openai.DONE
    async with openai.chatting(openai.streams(*whole)) as (chat, _):
        assert (await answer(chat, openai.HELLO, CLOCK))[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (404, "No endpoints found that support tool use"),
        (500, "tools param requires --jinja flag"),
    ],
)
async def test_a_server_that_takes_no_tools_says_what_to_do(status: int, message: str) -> None:
    async with openai.chatting(openai.refuses(status, message)) as (chat, _):
        with pytest.raises(EngineError, match="takes no tools") as failure:
            await answer(chat, openai.HELLO, CLOCK)
        assert message in failure.value.message
        assert "session.tools" in failure.value.fix
        with pytest.raises(EngineError) as plain:
            await answer(chat, openai.HELLO)
        assert "takes no tools" not in plain.value.message


def test_a_piece_without_a_name_waits_for_it() -> None:
    reader = CallReader()
    assert reader.read(0, "a", "", '{"x"') is None
    assert reader.read(0, "", "f", ":1}") == CallDelta(0, "a", "f", '{"x":1}')


# --- Ollama --------------------------------------------------------------------------------------------------------


def made(*called: tuple[str, dict[str, Any]]) -> bytes:
    asked = [{"function": {"name": name, "arguments": arguments}} for name, arguments in called]
    return ollama.line("", message={"tool_calls": asked})


async def test_ollamas_calls_come_whole_and_their_arguments_as_objects() -> None:
    lines = made(("get_weather", {"city": "Köln"}), ("current_time", {})), made(("current_time", {})), ollama.done()
    async with ollama_chatting(ollama.streams(*lines)) as (chat, server):
        said = await answer(chat, LATER, WEATHER, CLOCK)
        assert calls(said) == [("get_weather", {"city": "Köln"}), ("current_time", {}), ("current_time", {})]
        assert said[-1].finish_reason == "tool_calls"
        body = server.asked[-1].body
        assert [one["function"]["name"] for one in body["tools"]] == ["get_weather", "current_time"]
        assert body["tools"][0]["function"]["parameters"]["required"] == ["city"]
        assert body["messages"][1]["tool_calls"] == [
            {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
        ]
        told = {"role": "tool", "content": LATER[2]["content"], "tool_name": "get_weather"}
        assert body["messages"][2] == told


async def test_ollama_without_tools_for_this_model_and_without_force() -> None:
    async def refuses(connection: Any) -> None:
        await connection.answer({"error": "registry.ollama.ai/library/llama3.2 does not support tools"}, 400)

    async with ollama_chatting(refuses) as (chat, server):
        with pytest.raises(EngineError, match=r"llama3.2:latest cannot call tools.*ollama pull"):
            await answer(chat, LATER, CLOCK)
        with pytest.raises(EngineError, match="Set tool_choice to 'auto'"):
            await answer(chat, LATER, CLOCK, tool_choice="required")
        with pytest.raises(EngineError):
            await answer(chat, LATER, CLOCK, tool_choice="none")
        assert not server.asked[-1].body.get("tools")


# --- the embedded model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "said", "name"),
    [
        (["Hello", " there."], "Hello there.", None),
        (['{"na', 'me": "get_', 'weather", "arguments": {}}'], "", "get_weather"),
        (["Let me look.\n", "<tool_", 'call>\n{"name": "clock"'], "Let me look.", "clock"),
        (["```json\n", '{ "name" : "clock"'], "", "clock"),
        (["One < two, ", "and {x} is a set."], "One < two, and {x} is a set.", None),
        (["A {" + "x" * 100], "A {" + "x" * 100, None),
    ],
)
def test_a_call_that_is_written_as_text_is_found_and_not_said(pieces: list[str], said: str, name: str | None) -> None:
    bare = BareCall()
    out = "".join(bare.feed(one) for one in pieces)
    assert (out + bare.end()).strip() == said
    assert bare.name == name


def test_a_small_model_is_told_in_words() -> None:
    told = calls_as_text([SYSTEM, *LATER])
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert all("tool_calls" not in message for message in told)
    assert "The result of get_weather is" in told[-1]["content"]


async def test_the_embedded_model_calls_and_answers_with_what_came_of_it() -> None:
    async with loaded(EmbeddedChat, LlmSettings(slots=1, temperature=0)) as chat:
        weather = await answer(chat, [SYSTEM, asks("What is the weather in Paris?")], WEATHER, cache_key="a")
        assert calls(weather) == [("get_weather", {"city": "Paris"})]
        assert text(weather) == ""
        assert weather[-1].finish_reason == "tool_calls"
        assert weather[-1].usage
        hello = await answer(chat, [SYSTEM, asks("Hello, how are you?")], WEATHER, cache_key="a")
        assert not calls(hello)
        assert text(hello)
        told = await answer(chat, [SYSTEM, *LATER], WEATHER, cache_key="a")
        assert not calls(told)
        assert "21" in text(told)
        assert "{" not in text(told)


async def test_the_embedded_model_can_be_made_to_call_and_keeps_to_the_schema() -> None:
    async with loaded(EmbeddedChat, LlmSettings(slots=1, temperature=0)) as chat:
        question = [SYSTEM, asks("Please note that I need milk.")]
        chosen = await answer(chat, question, CLOCK, *NOTES, cache_key="a", tool_choice="required")
        ((name, arguments),) = calls(chosen)
        assert name == "add_note"
        assert "milk" in arguments["text"]
        named = {"type": "function", "function": {"name": "current_time"}}
        assert calls(await answer(chat, question, CLOCK, NOTE, cache_key="a", tool_choice=named)) == [
            ("current_time", {})
        ]
        colour = tool("paint", "Paint the house.", colour={"type": "string", "enum": ["red", "blue"]})
        ((_, painted),) = calls(await answer(chat, question, colour, cache_key="a", tool_choice="required"))
        assert painted["colour"] in ("red", "blue")
        assert not calls(await answer(chat, question, CLOCK, NOTE, cache_key="a", tool_choice="none"))


async def test_a_prompt_with_tools_is_read_ahead_of_the_chat() -> None:
    async with loaded(EmbeddedChat, LlmSettings(slots=1, temperature=0)) as chat:
        await chat.prefill([SYSTEM, asks("What is the weather in")], cache_key="a", tools=[WEATHER])
        said = await answer(chat, [SYSTEM, asks("What is the weather in Paris?")], WEATHER, cache_key="a")
        usage = said[-1].usage
        assert usage
        assert usage.cached_tokens >= usage.input_tokens - 16
