"""Tools in spoken conversations: the official client, the real engines, real MCP servers, a real socket."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mcp_serving import PROGRAM, http_server
from official import Caller, calling, loudness
from serving import Server, serving
from speech import speech

from chinwag.bench.metrics import words

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]  # starting a server counts

TOKEN = "let me in"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def market() -> Iterator[str]:
    with http_server(TOKEN) as url:
        yield url


@pytest.fixture(scope="module")
def tooled(tmp_path_factory: pytest.TempPathFactory, market: str) -> Iterator[Server]:
    """A server with tools of its own: the time, and a shop that is an MCP server on stdio."""
    folder = tmp_path_factory.mktemp("tools")
    (folder / "chinwag.toml").write_text(
        f"""
[tools]
enabled = ["time"]
client_mcp = ["{market}"]

[[tools.mcp]]
name = "shop"
command = {json.dumps(sys.executable)}
args = [{json.dumps(PROGRAM)}]
allowed_tools = ["get_price"]
""",
        "utf-8",
    )
    with serving("--llm", "embedded", cwd=folder) as running:
        running.wait("ready")
        yield running


def of(kind: str) -> Callable[[Any], bool]:
    return lambda event: event.item.type == kind


async def answered(caller: Caller, times: int) -> str:
    """What was said in the last of so many responses."""
    done = await caller.until("response.done", times)
    assert done.response.status == "completed", done.response.status_details
    (message,) = [item for item in done.response.output if item.type == "message"]
    return str(message.content[0].transcript or message.content[0].text)


async def update(caller: Caller, **session: Any) -> None:
    before = len(caller.all("session.updated"))
    asked: Any = {"type": "realtime", **session}
    await caller.connection.session.update(session=asked)
    await caller.until("session.updated", before + 1)


async def ask(caller: Caller, text: str, **response: Any) -> None:
    content: Any = [{"type": "input_text", "text": text}]
    await caller.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await caller.connection.response.create(response=response or {})  # type: ignore[arg-type]


async def test_a_spoken_question_is_answered_with_what_the_clients_function_gave(tooled: Server) -> None:
    async with calling(tooled.realtime) as caller:
        await update(caller, tools=[WEATHER], tool_choice={"type": "function", "name": "get_weather"})
        caller.say(speech("What is the weather in Paris?"))
        done = await caller.until("response.done")
        (call,) = done.response.output
        assert (call.type, call.name) == ("function_call", "get_weather")
        assert json.loads(call.arguments)["city"] == "Paris"
        deltas = caller.all("response.function_call_arguments.delta")
        assert len(deltas) > 1, "they are streamed"
        assert "".join(delta.delta for delta in deltas) == call.arguments
        assert not caller.all("response.output_audio.delta"), "and not spoken"
        await caller.until("response.output_audio.delta")  # the function takes its time
        filler = caller.all("response.created")[-1].response.id
        output = json.dumps({"temperature": 21, "sky": "sunny"})
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        await caller.connection.conversation.item.create(item=result)
        await caller.connection.response.create(response={"tool_choice": "none"})
        said = await answered(caller, 3)
        assert {"21", "sunny"} & set(words(said)), said
        assert loudness(caller.sound(filler)) > 0.05
        assert loudness(caller.sound(caller.all("response.done")[-1].response.id)) > 0.05
        assert not caller.all("error")


async def test_the_server_knows_the_time_by_a_tool_of_its_own(tooled: Server) -> None:
    async with calling(tooled.realtime) as caller:
        caller.say(speech("What time is it?"))
        done = await caller.until("conversation.item.done", where=of("mcp_call"))
        call = done.item
        assert (call.server_label, call.name, call.error) == ("chinwag", "current_time", None)
        said = await answered(caller, 2)
        assert set(words(call.output)) & set(words(said)), (call.output, said)
        assert loudness(caller.sound(caller.all("response.done")[-1].response.id)) > 0.05


async def test_a_configured_mcp_server_on_stdio_is_asked(tooled: Server) -> None:
    async with calling(tooled.realtime) as caller:
        await update(caller, output_modalities=["text"], tool_choice={"type": "mcp", "server_label": "shop"})
        await ask(caller, "What is the price of the lamp?")
        call = (await caller.until("conversation.item.done", where=of("mcp_call"))).item
        assert (call.server_label, call.name) == ("shop", "get_price")
        assert "seven euros" in call.output
        assert caller.all("response.mcp_call.completed")
        assert "seven" in words(await answered(caller, 2))


async def test_a_client_sends_this_server_nowhere_it_was_not_allowed_to(tooled: Server, market: str) -> None:
    elsewhere = f"{market}/../../status"
    async with calling(tooled.realtime) as caller:
        for number, url in enumerate((elsewhere, tooled.url, market.replace("127.0.0.1", "127.0.0.2")), 1):
            tool: Any = {"type": "mcp", "server_label": "other", "server_url": url}
            await caller.connection.session.update(session={"type": "realtime", "tools": [tool]})
            refused = await caller.until("error", number)
            assert refused.error.code == "mcp_server_not_allowed"
            assert "client_mcp" in refused.error.message


async def test_leave_is_asked_and_a_call_that_fails_is_told(tooled: Server, market: str) -> None:
    tool = {"type": "mcp", "server_label": "market", "server_url": market, "allowed_tools": ["get_price", "die"]}
    choice = {"type": "mcp", "server_label": "market", "name": "get_price"}
    async with calling(tooled.realtime) as caller:
        await update(caller, tools=[{**tool, "authorization": "wrong"}])
        await caller.until("mcp_list_tools.failed")
        await update(caller, tools=[{**tool, "authorization": TOKEN}], tool_choice=choice, output_modalities=["text"])
        await caller.until("mcp_list_tools.completed")
        listed = (await caller.until("conversation.item.done", where=of("mcp_list_tools"))).item
        assert [one.name for one in listed.tools] == ["get_price", "die"]
        await ask(caller, "What is the price of the cup?")
        request = (await caller.until("conversation.item.done", where=of("mcp_approval_request"))).item
        assert (request.server_label, request.name) == ("market", "get_price")
        assert not caller.all("response.mcp_call.in_progress")
        leave: Any = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
        await caller.connection.conversation.item.create(item=leave)
        call = (await caller.until("conversation.item.done", where=of("mcp_call"))).item
        assert call.approval_request_id == request.id
        assert "seven euros" in call.output
        assert "seven" in words(await answered(caller, 2))
        await update(
            caller,
            tools=[{**tool, "authorization": TOKEN, "require_approval": "never"}],
            tool_choice={**choice, "name": "die"},
        )
        await caller.until("mcp_list_tools.completed", 2)
        await ask(caller, "End the server.")
        await caller.until("response.mcp_call.failed")
        failed = (await caller.until("conversation.item.done", 2, where=of("mcp_call"))).item
        assert failed.error
        await caller.until("response.done", 4)
        await ask(caller, "What is the capital of France?", tools=[], tool_choice="none")
        assert "paris" in words(await answered(caller, 5)), "the conversation lives"
