"""What the server runs itself: calls that take long, fail, are interrupted, or need the client's leave."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from wire import Client, connected, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.conversation.responder import MAX_TOOL_ROUNDS
from chinwag.conversation.settings import SessionSettings
from chinwag.conversation.tool_calls import ToolCallAssembler
from chinwag.engines.fake import FakeCalls, FakeChat, Fakes, loud
from chinwag.engines.protocols import CallDelta
from chinwag.tools.tool import FillerSettings, Tool, ToolError

pytestmark = pytest.mark.unit

LOOK = FakeCalls((("look", '{"where": "here"}'),))
FILLER = FillerSettings(("One moment.", "Nearly there."), 0.7)


class Own:
    """A source of one tool that takes so long, and then gives or raises that."""

    def __init__(self, result: str | Exception = "found", takes_s: float = 0.0, **more: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.ended = 0

        async def run(arguments: dict[str, Any]) -> str:
            self.asked.append(arguments)
            await asyncio.sleep(takes_s)
            self.ended += 1
            if isinstance(result, Exception):
                raise result
            return result

        self._tools = (Tool("look", "Look somewhere.", run=run, server="chinwag", server_name="look", **more),)

    def tools(self) -> tuple[Tool, ...]:
        return self._tools


def serving(own: Own, *answers: str | FakeCalls, filler: FillerSettings = FILLER) -> tuple[Fakes, Any]:
    def setup(usual: SessionSettings) -> SessionSettings:
        return replace(usual, tools=replace(usual.tools, own=own, filler=filler))

    return Fakes(llm=FakeChat(turns=list(answers))), setup


async def ask(client: Client) -> None:
    client.send("conversation.item.create", item=user("Where is it?"))
    client.send("response.create")


def said(client: Client) -> list[str]:
    """The transcripts of the responses that are over, in their order."""
    items = [item for done in client.all("response.done") for item in done["response"]["output"]]
    return [item["content"][0]["transcript"] for item in items if item["type"] == "message"]


def roles(fakes: Fakes) -> list[str]:
    return [message["role"] for message in fakes.llm.prompts[-1]]


async def test_the_server_runs_its_own_tool_and_the_answer_goes_on_by_itself() -> None:
    own = Own()
    fakes, setup = serving(own, LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        await client.play(loud(1.0))
        await client.quiet_until("response.done", 2)
        assert own.asked == [{"where": "here"}]
        at = client.kinds().index("response.created")
        assert client.kinds()[at : at + 13] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.mcp_call_arguments.delta",
            "response.mcp_call_arguments.done",
            "response.output_item.done",
            "response.mcp_call.in_progress",
            "response.done",
            "response.mcp_call.completed",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
        ]
        item = client.all("conversation.item.done")[1]["item"]
        assert (item["type"], item["server_label"], item["name"]) == ("mcp_call", "chinwag", "look")
        assert (item["output"], item["error"]) == ("found", None)
        assert said(client) == ["It is here."]
        assert roles(fakes) == ["system", "user", "assistant", "tool"]
        assert fakes.llm.prompts[-1][-1]["content"] == "found"


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (ToolError("No such place.", "Name another."), "tool_execution_error", "No such place. Name another."),
        (ToolError("Refused.", kind="protocol_error", code=-32000), "protocol_error", "Refused."),
        (RuntimeError("boom"), "tool_execution_error", "It failed unexpectedly: boom."),
    ],
)
async def test_a_tool_that_fails_is_told_and_the_model_answers_all_the_same(
    fault: Exception, kind: str, told: str
) -> None:
    fakes, setup = serving(Own(fault), LOOK, "I could not look.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 2)
        assert client.all("response.mcp_call.failed")
        error = client.all("conversation.item.done")[1]["item"]["error"]
        assert (error["type"], error["message"]) == (kind, told)
        assert fakes.llm.prompts[-1][-1]["content"] == f"Error: {told}"
        assert said(client) == ["I could not look."]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("dance", "{}", "There is no tool called dance. There are: look."),
        ("look", '{"where": ', "not valid JSON"),
        ("look", "[1]", "no JSON object"),
    ],
)
async def test_a_call_that_cannot_be_run_comes_back_to_the_model(name: str, arguments: str, told: str) -> None:
    own = Own()
    fakes, setup = serving(own, FakeCalls(((name, arguments),)), "Sorry.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 2)
        assert not own.asked
        assert told in fakes.llm.prompts[-1][-1]["content"]
        assert said(client) == ["Sorry."]


async def test_a_model_that_only_calls_is_stopped() -> None:
    own = Own()
    fakes, setup = serving(own, *[LOOK] * (MAX_TOOL_ROUNDS + 5))
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", MAX_TOOL_ROUNDS + 1)
        await client.play(silence(2.0, WIRE_RATE))
        assert fakes.llm.tool_choices == ["auto"] * MAX_TOOL_ROUNDS + ["none"]
        assert len(client.all("response.done")) == MAX_TOOL_ROUNDS + 1


async def test_a_forced_call_is_forced_once() -> None:
    fakes, setup = serving(Own(), LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        client.send("session.update", session={"type": "realtime", "tool_choice": {"type": "function", "name": "look"}})
        await ask(client)
        await client.quiet_until("response.done", 2)
        assert fakes.llm.tool_choices == [{"type": "function", "function": {"name": "look"}}, "auto"]


# --- no dead air ---------------------------------------------------------------------------------------------------


async def test_a_quick_tool_needs_no_filler() -> None:
    fakes, setup = serving(Own(takes_s=0.6), LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 2)
        assert said(client) == ["It is here."]


async def test_a_slow_tool_is_covered_by_a_few_words_that_the_model_never_sees() -> None:
    fakes, setup = serving(Own(takes_s=3.0), LOOK, "It is here.", "Yes.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.mcp_call.in_progress")
        began = asyncio.get_running_loop().time()
        await client.quiet_until("response.output_audio.delta")
        assert 0.7 <= asyncio.get_running_loop().time() - began <= 0.9
        await client.quiet_until("response.done", 3)
        assert said(client) == ["One moment.", "It is here."]
        await client.play(silence(2.0, WIRE_RATE))
        await client.play(loud(0.6))
        await client.quiet_until("response.done", 4)
        assert "moment" not in str(fakes.llm.prompts[-1])
        assert roles(fakes) == ["system", "user", "assistant", "tool", "assistant", "user"]


async def test_a_tool_that_takes_very_long_is_covered_again() -> None:
    fakes, setup = serving(Own(takes_s=12.0), LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 4)
        assert said(client) == ["One moment.", "Nearly there.", "It is here."]


async def test_the_filler_is_cut_off_as_the_answer_is_ready() -> None:
    long = FillerSettings(("This will take a good while, so please be patient with me.",), 0.7)
    fakes, setup = serving(Own(takes_s=1.2), LOOK, "It is here.", filler=long)
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 3)
        filler, answer = client.all("response.created")[1:]
        order = [event["type"] for event in client.told if "response" in event]
        assert order == ["response.created", "response.done"] * 3, "one is over before the next begins"
        sound = [e for e in client.all("response.output_audio.delta") if e["response_id"] == filler["response"]["id"]]
        assert 0.3 < len(sound) * 0.04 < 1.5, "of three seconds"
        first = next(e for e in client.all("response.output_audio.delta")
                     if e["response_id"] == answer["response"]["id"])  # fmt: skip
        assert first
        last = np.frombuffer(base64.b64decode(sound[-1]["delta"]), "<i2") / 32768
        assert abs(last[-200:]).max() < 0.01 < abs(last[:100]).max(), "it is faded, and does not click"


async def test_no_phrases_no_filler() -> None:
    fakes, setup = serving(Own(takes_s=3.0), LOOK, "It is here.", filler=FillerSettings())
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 2)
        assert said(client) == ["It is here."]


async def test_a_written_conversation_has_no_filler() -> None:
    fakes, setup = serving(Own(takes_s=3.0), LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        await ask(client)
        await client.quiet_until("response.done", 2)
        assert not client.all("response.output_audio.delta")


CLIENTS: dict[str, Any] = {"type": "function", "name": "fetch"}


@pytest.mark.parametrize(("manual", "for_clients", "spoken"), [(False, True, 1), (False, False, 0), (True, True, 0)])
async def test_a_client_that_takes_long_is_covered_where_the_server_may_speak_unasked(
    manual: bool, for_clients: bool, spoken: int
) -> None:
    filler = replace(FILLER, for_clients=for_clients)
    fakes, setup = serving(Own(), FakeCalls((("fetch", "{}"),)), "Here you are.", filler=filler)
    async with connected(fakes, setup=setup) as client:
        turns: dict[str, Any] = {"audio": {"input": {"turn_detection": None}}} if manual else {}
        client.send("session.update", session={"type": "realtime", "tools": [CLIENTS], **turns})
        await ask(client)
        call = (await client.quiet_until("response.done"))["response"]["output"][0]
        await client.play(silence(1.2, WIRE_RATE))
        fillers = len(client.all("response.created")) - 1
        assert fillers == spoken
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}
        client.send("conversation.item.create", item=result)
        client.send("response.create")
        assert client.told[-1]["type"] != "error", "what is said in passing is in nobody's way"
        await client.quiet_until("response.done", 2 + fillers)
        assert said(client)[-1] == "Here you are."
        assert roles(fakes) == ["system", "user", "assistant", "tool"]


async def test_two_response_creates_during_a_filler_are_one_too_many() -> None:
    fakes, setup = serving(Own(), FakeCalls((("fetch", "{}"),)), "Here you are.")
    async with connected(fakes, setup=setup) as client:
        client.send("session.update", session={"type": "realtime", "tools": [CLIENTS]})
        await ask(client)
        await client.quiet_until("response.output_audio.delta")
        client.send("response.create")
        assert client.refused("response.create")["code"] == "conversation_already_has_active_response"
        client.send("response.cancel")
        await client.play(silence(2.0, WIRE_RATE))
        assert len(client.all("response.created")) == 2, "what was to follow is gone with it"


# --- interruptions -------------------------------------------------------------------------------------------------


async def test_who_speaks_while_a_tool_runs_is_answered_and_then_told() -> None:
    own = Own(takes_s=6.0)
    fakes, setup = serving(own, LOOK, "Still looking.", "It is here.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done", 2)  # the call, and the filler
        await client.play(loud(1.0))
        await client.quiet_until("response.done", 3)
        assert fakes.llm.prompts[-1][3]["content"] == "There is no result yet."
        await client.quiet_until("response.done", 4)
        assert own.ended == 1, "it was not run twice, and not cancelled"
        assert said(client) == ["One moment.", "Still looking.", "It is here."]
        assert fakes.llm.prompts[-1][-1]["content"] == 'The result of look({"where": "here"}) has come: found'


async def test_a_result_that_comes_while_they_speak_waits_for_their_turn() -> None:
    fakes, setup = serving(Own(takes_s=1.0), LOOK, "It is here.", filler=FillerSettings())
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done")
        await client.play(silence(0.5, WIRE_RATE))
        await client.play(loud(1.5))
        assert client.all("response.mcp_call.completed")
        await client.quiet_until("response.done", 2)
        await client.play(silence(2.0, WIRE_RATE))
        assert said(client) == ["It is here."], "one answer for both"
        assert "found" in str(fakes.llm.prompts[-1])


async def test_stop_ends_the_filler_and_what_would_have_followed() -> None:
    own = Own(takes_s=4.0)
    fakes, setup = serving(own, LOOK, "It is here.")
    fakes.stt.words = ["stop"] + ["x"] * 50
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.output_audio.delta", 10)
        await client.play(loud(0.3))
        await client.play(silence(6.0, WIRE_RATE))
        assert own.ended == 1
        assert len(client.all("response.created")) == 2, "the call and the filler"


async def test_a_cancelled_answer_is_not_given_after_the_tool() -> None:
    own = Own(takes_s=2.0)
    fakes, setup = serving(own, LOOK, "It is here.", filler=FillerSettings())
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done")
        client.send("response.cancel")
        assert client.told[-1]["type"] != "error"
        await client.play(silence(4.0, WIRE_RATE))
        assert own.ended == 1
        assert len(client.all("response.created")) == 1
        assert client.refused("response.cancel")["code"] == "response_cancel_not_active"


async def test_a_response_asked_for_while_a_tool_runs_waits_for_it() -> None:
    fakes, setup = serving(Own(takes_s=2.0), LOOK, "It is here.", filler=FillerSettings())
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done")
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        await client.play(silence(2.0, WIRE_RATE))
        assert said(client) == ["It is here."]
        assert roles(fakes) == ["system", "user", "assistant", "tool"]


async def test_there_is_one_response_at_a_time_whatever_comes_while_a_tool_runs() -> None:
    fakes, setup = serving(Own(takes_s=14.0), LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        await client.quiet_until("response.done")
        client.send("response.create")  # waits for the tool
        await client.quiet_until("response.output_audio.delta")
        await client.play(loud(1.0))  # and so does what is said over the filler
        await client.play(silence(20.0, WIRE_RATE))
        order = [event["type"] for event in client.told if event["type"] in ("response.created", "response.done")]
        assert order == ["response.created", "response.done"] * 4
        assert said(client)[-2:] == ["Nearly there.", "It is here."], "one answer for both"


async def test_nothing_is_told_of_a_call_behind_its_end() -> None:
    told: list[Any] = []
    calling = ToolCallAssembler("r", (), told.append)
    calling.open()
    calling.add_delta(CallDelta(0, "call_1", "look"))
    calling.end(complete=False)
    before = len(told)
    calling.add_delta(CallDelta(0, arguments="{}"))
    calling.add_delta(CallDelta(1, "call_2", "look"))
    assert len(told) == before
    assert [call.status for call in calling.calls] == ["incomplete"]


async def test_a_deleted_call_is_not_run_on() -> None:
    own = Own(takes_s=2.0)
    fakes, setup = serving(own, LOOK, "It is here.", filler=FillerSettings())
    async with connected(fakes, setup=setup) as client:
        await ask(client)
        item = (await client.quiet_until("response.done"))["response"]["output"][0]
        client.send("conversation.item.delete", item_id=item["id"])
        await client.play(silence(4.0, WIRE_RATE))
        assert own.ended == 0
        assert len(client.all("response.created")) == 1


async def test_who_goes_on_after_a_call_was_made_does_not_have_it_made_twice() -> None:
    own = Own(takes_s=5.0)
    fakes, setup = serving(own, LOOK, "Yes.", filler=FillerSettings())
    async with connected(fakes, setup=setup) as client:
        await client.play(loud(1.0))
        await client.quiet_until("response.mcp_call.in_progress")
        await client.play(loud(0.6))
        await client.quiet_until("response.done", 2)
        assert len(own.asked) == 1
        assert not client.all("conversation.item.deleted"), "what was acted on is not taken back"


# --- leave ---------------------------------------------------------------------------------------------------------


async def asked_for_leave(client: Client) -> dict[str, Any]:
    await ask(client)
    (item,) = (await client.quiet_until("response.done"))["response"]["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("mcp_approval_request", "look", '{"where": "here"}')
    assert not client.all("response.mcp_call_arguments.delta")
    return dict(item)


async def test_a_call_that_needs_leave_waits_for_it() -> None:
    own = Own(needs_approval=True)
    fakes, setup = serving(own, LOOK, "It is here.")
    async with connected(fakes, setup=setup) as client:
        request = await asked_for_leave(client)
        await client.play(silence(3.0, WIRE_RATE))
        assert not own.asked
        answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
        client.send("conversation.item.create", item=answer)
        await client.quiet_until("response.done", 2)
        assert own.asked
        item = client.all("conversation.item.done")[3]["item"]
        assert (item["type"], item["approval_request_id"], item["output"]) == ("mcp_call", request["id"], "found")
        assert said(client) == ["It is here."]
        assert client.refused("conversation.item.create", item=answer)["code"] == "item_not_found"


async def test_a_call_that_is_not_allowed_is_not_made_and_the_model_knows_why() -> None:
    own = Own(needs_approval=True)
    fakes, setup = serving(own, LOOK, "As you like.")
    async with connected(fakes, setup=setup) as client:
        request = await asked_for_leave(client)
        answer = {"approval_request_id": request["id"], "approve": False, "reason": "Too dear."}
        client.send("conversation.item.create", item={"type": "mcp_approval_response", "id": "mine", **answer})
        await client.quiet_until("response.done", 2)
        assert not own.asked
        assert fakes.llm.prompts[-1][-1]["content"] == "The user did not allow this call. Too dear."
        assert said(client) == ["As you like."]
        client.send("conversation.item.retrieve", item_id="mine")
        assert client.told[-1]["item"]["reason"] == "Too dear."
