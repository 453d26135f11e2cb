"""Function calls on the wire: what the client is told of them, what it may answer, and what the model then reads."""

from __future__ import annotations

from typing import Any

import pytest
from wire import Client, connected, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.conversation.generation import DRAFT_TOKENS
from chinwag.engines.fake import FakeCalls, FakeChat, Fakes, loud

pytestmark = pytest.mark.unit

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"type": "function", "name": "clock"}
PATIENT = {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}}
PARIS = FakeCalls((("get_weather", '{"city": "Paris"}'),))


def calling(*answers: str | FakeCalls) -> Fakes:
    return Fakes(llm=FakeChat(turns=list(answers)))


def offer(client: Client, *tools: dict[str, Any], **session: Any) -> None:
    client.send("session.update", session={"type": "realtime", "tools": list(tools), **session})
    assert client.told[-1]["type"] == "session.updated", client.told[-1]


def answer(client: Client, call_id: str, output: str) -> None:
    client.send("conversation.item.create", item={"type": "function_call_output", "call_id": call_id, "output": output})


async def test_a_spoken_question_calls_a_function_and_its_result_is_spoken() -> None:
    fakes = calling(PARIS, "It is sunny.")
    async with connected(fakes) as client:
        offer(client, WEATHER)
        await client.play(loud(1.0))
        done = await client.quiet_until("response.done")
        at = client.kinds().index("response.created")
        assert client.kinds()[at:] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        (call,) = done["response"]["output"]
        assert (call["type"], call["name"], call["arguments"]) == ("function_call", "get_weather", '{"city": "Paris"}')
        assert done["response"]["status"] == call["status"] == "completed"
        deltas = client.all("response.function_call_arguments.delta")
        assert "".join(delta["delta"] for delta in deltas) == call["arguments"]
        assert len(deltas) >= 1
        assert {delta["call_id"] for delta in deltas} == {call["call_id"]}
        spoken = client.all("input_audio_buffer.speech_started")[0]["item_id"]
        added = client.all("conversation.item.added")[-1]
        assert (added["previous_item_id"], added["item"]["id"], added["item"]["arguments"]) == (spoken, call["id"], "")
        assert fakes.tts.spoken == [], "a call is never spoken"

        answer(client, call["call_id"], '{"sky": "sunny"}')
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        assert fakes.tts.spoken == ["It is sunny."]
        assert fakes.llm.prompts[-1][-2:] == [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": call["call_id"],
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                    }
                ],
            },
            {"role": "tool", "content": '{"sky": "sunny"}', "tool_call_id": call["call_id"]},
        ]
        assert fakes.llm.offered_tools[-1] == ["get_weather"]
        await client.play(loud(0.6))
        await client.quiet_until("response.done", 3)
        roles = [message["role"] for message in fakes.llm.prompts[-1]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


async def test_several_calls_come_beside_words_and_each_has_its_index() -> None:
    both = FakeCalls((("get_weather", '{"city": "Paris"}'), ("clock", "")), text="Let me look.")
    fakes = calling(both, "Sunny at noon.")
    async with connected(fakes) as client:
        offer(client, WEATHER, CLOCK)
        await client.play(loud(1.0))
        response = (await client.quiet_until("response.done"))["response"]
        assert [item["type"] for item in response["output"]] == ["message", "function_call", "function_call"]
        assert set(fakes.tts.spoken) == {"Let me look."}
        indexes = {e["item"]["id"]: e["output_index"] for e in client.all("response.output_item.added")}
        assert [indexes[item["id"]] for item in response["output"]] == [0, 1, 2]
        for event in client.told:
            if "item_id" in event and "output_index" in event:
                assert event["output_index"] == indexes[event["item_id"]]
        one, other = response["output"][1:]
        assert other["arguments"] == "{}", "no arguments are an empty object"
        answer(client, other["call_id"], "noon")
        answer(client, one["call_id"], "sunny")
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        asked, first, second = fakes.llm.prompts[-1][-3:]
        assert asked["content"] == "Let me look."
        assert [call["id"] for call in asked["tool_calls"]] == [one["call_id"], other["call_id"]]
        assert (first["content"], second["content"]) == ("sunny", "noon"), "in the order of the calls"


async def test_nothing_is_told_of_drafted_calls_before_one_is_adopted() -> None:
    fakes = calling(PARIS)
    fakes.llm.first_token_s = fakes.llm.token_s = 0.001
    async with connected(fakes) as client:
        offer(client, WEATHER, audio=PATIENT)
        await client.play(loud(1.0))
        await client.play(silence(0.6, WIRE_RATE))
        drafts = len(fakes.llm.prompts)
        assert drafts > 1
        assert fakes.llm.called == drafts, "each made its call"
        told = [event["type"] for event in client.told]
        assert not [kind for kind in told if kind.startswith("response.") or kind == "input_audio_buffer.committed"]
        done = await client.quiet_until("response.done")
        assert [item["type"] for item in done["response"]["output"]] == ["function_call"]
        assert len(fakes.llm.prompts) == drafts, "the last one was adopted"
        assert len(client.all("response.output_item.added")) == 1, "and the others have left no trace"
        assert len(list(client.connection.session.history)) == 3


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "clock"}, {"type": "function", "function": {"name": "clock"}}),
    ],
)
async def test_the_choice_reaches_the_model(choice: Any, asked: Any) -> None:
    fakes = calling("Fine.")
    async with connected(fakes) as client:
        offer(client, WEATHER, CLOCK, tool_choice=choice)
        client.send("conversation.item.create", item=user("Hello"))
        client.send("response.create")
        await client.quiet_until("response.done")
        assert fakes.llm.tool_choices == [asked]
        assert fakes.llm.offered_tools == [["get_weather", "clock"]]


async def test_a_response_may_have_tools_of_its_own() -> None:
    fakes = calling("Fine.", "Fine.", "Fine.")
    async with connected(fakes) as client:
        offer(client, WEATHER)
        response: dict[str, Any]
        for response in ({"tools": [CLOCK], "tool_choice": "required"}, {"tools": []}, {}):
            client.send("conversation.item.create", item=user("Hello"))
            client.send("response.create", response=response)
            await client.quiet_until("response.done", len(fakes.llm.prompts) + 1)
        assert fakes.llm.offered_tools == [["clock"], [], ["get_weather"]]
        assert fakes.llm.tool_choices == ["required", "auto", "auto"]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"tools": [{"type": "function", "name": "no spaces"}]}, "session.tools.0.name"),
        ({"tools": [{"type": "function"}]}, "session.tools.0.name"),
        ({"tools": [WEATHER, {**CLOCK, "parameters": {"type": "string"}}]}, "session.tools.1.parameters"),
        ({"tools": [CLOCK, CLOCK]}, "session.tools"),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "name": "weather"}}, "session.tool_choice"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1:1/mcp"}]},
         "session.tools.0.server_url"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "file:///etc"}]}, "session.tools.0.server_url"),
        ({"tools": [{"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"}]}, "session.tools.0"),
        ({"tools": [{"type": "magic", "name": "f"}]}, "session.tools.0"),
    ],
)  # fmt: skip
async def test_tools_that_cannot_be_are_refused_and_the_old_ones_stay(session: dict[str, Any], param: str) -> None:
    async with connected() as client:
        offer(client, WEATHER)
        before = client.connection.session.settings
        error = client.refused("session.update", session={"type": "realtime", **session})
        assert error["param"].startswith(param), error
        assert client.connection.session.settings == before


async def test_a_result_needs_a_call_and_comes_once() -> None:
    async with connected(calling(PARIS)) as client:
        offer(client, WEATHER)
        client.send("conversation.item.create", item=user("Weather?"))
        client.send("response.create")
        call = (await client.quiet_until("response.done"))["response"]["output"][0]
        wrong = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
        error = client.refused("conversation.item.create", item=wrong)
        assert (error["code"], error["param"]) == ("invalid_tool_call_id", "item.call_id")
        answer(client, call["call_id"], "sunny")
        again = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        assert "already" in client.refused("conversation.item.create", item=again)["message"]
        client.send("conversation.item.retrieve", item_id=client.all("conversation.item.done")[-1]["item"]["id"])
        assert client.told[-1]["item"]["output"] == "sunny"


async def test_a_call_and_its_result_go_together_when_items_are_deleted() -> None:
    fakes = calling("Fine.", "Fine.", "Fine.")
    async with connected(fakes) as client:
        client.send("conversation.item.create", item=user("Weather?"))
        call = {"type": "function_call", "id": "c", "call_id": "call_1", "name": "get_weather", "arguments": "{broken"}
        client.send("conversation.item.create", item=call)
        client.send("conversation.item.create", item=user("Are you there?"))
        client.send("response.create")
        await client.quiet_until("response.done")
        await client.play(silence(1.0, WIRE_RATE))
        made = fakes.llm.prompts[-1]
        assert [m["role"] for m in made] == ["system", "user", "assistant", "tool", "user"]
        assert made[3]["content"] == "There is no result yet."
        assert made[2]["tool_calls"][0]["function"]["arguments"] == '{"not_json": "{broken"}', "servers read it"
        output = {"type": "function_call_output", "id": "r", "call_id": "call_1", "output": "sunny"}
        client.send("conversation.item.create", item=output)
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        roles = [m["role"] for m in fakes.llm.prompts[-1]]
        assert roles == ["system", "user", "assistant", "tool", "user", "assistant", "system"]
        assert fakes.llm.prompts[-1][3]["content"] == "There is no result yet.", "what was read is not written anew"
        assert fakes.llm.prompts[-1][-1]["content"] == "The result of get_weather({broken) has come: sunny"
        client.send("conversation.item.delete", item_id="c")
        client.send("conversation.item.create", item=user("And now?"))
        client.send("response.create")
        await client.quiet_until("response.done", 3)
        assert "tool" not in [m["role"] for m in fakes.llm.prompts[-1]]
        assert "sunny" not in str(fakes.llm.prompts[-1]), "no result without its call"


async def test_an_interrupted_call_is_incomplete_and_is_forgotten() -> None:
    long = FakeCalls((("get_weather", '{"city": "' + "x" * 40 + '"}'),))
    fakes = calling(long, "Fine.")
    fakes.llm.token_s = 1.0
    async with connected(fakes) as client:
        offer(client, WEATHER)
        client.send("conversation.item.create", item=user("Weather?"))
        client.send("response.create")
        await client.quiet_until("response.output_item.added")
        client.send("response.cancel")
        done = await client.quiet_until("response.done")
        (item,) = done["response"]["output"]
        assert (done["response"]["status"], item["status"]) == ("cancelled", "incomplete")
        assert client.all("response.function_call_arguments.done")
        fakes.llm.token_s = 0.03
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        assert [m["role"] for m in fakes.llm.prompts[-1]] == ["system", "user"]


async def test_a_barge_in_keeps_the_call_and_the_result_is_known_later() -> None:
    fakes = calling(PARIS, "Where were we?", "It is sunny.")
    async with connected(fakes) as client:
        offer(client, WEATHER)
        await client.play(loud(1.0))
        call = (await client.quiet_until("response.done"))["response"]["output"][0]
        await client.play(loud(1.0))
        await client.quiet_until("response.done", 2)
        assert [m["role"] for m in fakes.llm.prompts[-1]] == ["system", "user", "assistant", "tool", "user"]
        assert fakes.llm.prompts[-1][3]["content"] == "There is no result yet."
        answer(client, call["call_id"], "sunny")
        client.send("response.create")
        await client.quiet_until("response.done", 3)
        assert fakes.llm.prompts[-1][-1]["content"] == 'The result of get_weather({"city": "Paris"}) has come: sunny'


async def test_a_long_written_answer_is_not_cut_by_the_drafts_limit() -> None:
    words = " ".join(["word"] * (DRAFT_TOKENS + 20)) + "."
    fakes = calling(words, words)
    fakes.llm.first_token_s = fakes.llm.token_s = 0.001
    async with connected(fakes) as client:
        offer(client, WEATHER, output_modalities=["text"], audio=PATIENT)
        await client.play(loud(1.0))
        done = await client.quiet_until("response.done")
        assert done["response"]["output"][0]["content"][0]["text"] == words
