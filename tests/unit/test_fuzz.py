"""Whatever a client sends, the server neither breaks nor falls silent: a real turn works afterwards."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import json
import random
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_time import VirtualTimeLoop
from wire import Client, connected, user

from chinwag.audio import WIRE_RATE, Audio, silence
from chinwag.engines.fake import Fakes, loud
from chinwag.realtime.client_events import CLIENT_EVENTS

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]  # on a slow machine

LENGTH = 100


def base(audio: Audio) -> str:
    return base64.b64encode(audio.to_pcm16()).decode()


LOUD, QUIET, NOISE = loud(0.1), silence(0.1, WIRE_RATE), Audio(np.tile([0.4, -0.4], 1200).astype(np.float32), WIRE_RATE)
SERVER_VAD = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200, "idle_timeout_ms": 5000}
OLD = "$an item or response it was told of"

WHOLE: dict[str, Any] = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "max_output_tokens": "inf",
    "truncation": "auto",
    "prompt": None,
    "include": None,
    "tools": [],
    "tool_choice": "auto",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm"},
            "turn_detection": {"type": "semantic_vad"},
            "transcription": {"model": "any", "language": "en"},
            "noise_reduction": {"type": "far_field"},
        },
        "output": {"format": {"type": "audio/pcm"}, "voice": "one", "speed": 1.0},
    },
}
"""What makes a session talk again, whatever it was told."""


VALID: list[dict[str, Any]] = [
    {"type": "input_audio_buffer.append", "audio": base(LOUD)},
    {"type": "input_audio_buffer.append", "audio": base(NOISE)},
    {"type": "input_audio_buffer.append", "audio": base(QUIET)},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {"type": "response.create"},
    {
        "type": "response.create",
        "response": {"conversation": "none", "input": [user("Sum up.")], "metadata": {"a": "b"}},
    },
    {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": OLD}], "instructions": "Be."}},
    {"type": "response.create", "response": {"output_modalities": ["text"], "max_output_tokens": 3}},
    {"type": "response.cancel"},
    {"type": "response.cancel", "response_id": OLD},
    {"type": "conversation.item.create", "item": user("Hello there.")},
    {"type": "conversation.item.create", "item": user("First.", id="first"), "previous_item_id": "root"},
    {
        "type": "conversation.item.create",
        "previous_item_id": OLD,
        "item": {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": base(LOUD)}]},
    },
    {"type": "conversation.item.delete", "item_id": OLD},
    {"type": "conversation.item.retrieve", "item_id": OLD},
    {"type": "conversation.item.truncate", "item_id": OLD, "content_index": 0, "audio_end_ms": 40},
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": SERVER_VAD}}}},
    {
        "type": "session.update",
        "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}, "transcription": None}}},
    },
    {"type": "session.update", "session": {"audio": {"output": {"format": {"type": "audio/pcma"}, "speed": 1.2}}}},
    {"type": "session.update", "session": {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}}},
    {"type": "session.update", "session": {"instructions": "Rhyme.", "max_output_tokens": 5, "tracing": "auto"}},
    {"type": "session.update", "session": WHOLE},
    {"type": "chinwag.playback", "item_id": OLD, "played_ms": 100},
    {"type": "chinwag.detector", "detector": "ear"},
]
JUNK: list[Any] = [
    None, True, False, 0, -1, 3, 10**30, -(10**30), 1e308, float("nan"), float("inf"), "", "x", "x" * 5000, "\ud800",
    "\0", "AAA=", [], {}, [[]], [None], {"type": None}, {"type": "message"}, {"a": {"b": []}}, "none", "auto",
]  # fmt: skip


def places(message: Any) -> list[tuple[Any, ...]]:
    """Paths to everything in it."""
    inside = message.items() if isinstance(message, dict) else enumerate(message) if isinstance(message, list) else ()
    return [(key, *rest) for key, value in inside for rest in [(), *places(value)]]


def broken(message: dict[str, Any], path: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    """With one field replaced, or taken away."""
    message = copy.deepcopy(message)
    *way, last = path
    holder: Any = message
    for key in way:
        holder = holder[key]
    if junk == "none" and isinstance(holder, dict):
        del holder[last]
    else:
        holder[last] = junk
    return message


FIELDS_OF_ALL = [(message, path) for message in VALID for path in places(message)]

JSON = st.recursive(st.sampled_from(JUNK), lambda inner: st.lists(inner, max_size=3), max_leaves=4)
NEARLY = st.builds(
    lambda field, junk: broken(field[0], field[1], junk), st.sampled_from(FIELDS_OF_ALL), st.sampled_from(JUNK)
)
FIELDS = ("session", "item", "response", "audio", "item_id", "event_id", "previous_item_id")
STRANGE = st.fixed_dictionaries(
    {"type": st.sampled_from([*CLIENT_EVENTS, "no.such", 5])}, optional=dict.fromkeys(FIELDS, JSON)
)
CUT = st.builds(lambda message, at: json.dumps(message)[:at], st.sampled_from(VALID), st.integers(0, 60))
MESSAGE = st.one_of(
    st.sampled_from(VALID), st.sampled_from(VALID[:4]), NEARLY, NEARLY, STRANGE, JSON, CUT, st.binary(max_size=64),
    st.floats(0, 0.6).map(lambda seconds: ("wait", seconds)),
)  # fmt: skip


class Fuzzed:
    """Sends anything to one session."""

    def __init__(self, client: Client) -> None:
        self.client, self.sent = client, 0

    async def send(self, message: Any) -> None:
        if isinstance(message, tuple):
            await asyncio.sleep(message[1])
            return
        self.sent += 1
        if isinstance(message, bytes):
            self.client.connection.receive_bytes(message)
        elif isinstance(message, str):
            self.client.connection.receive_text(message)
        else:
            text = json.dumps(message)
            self.client.connection.receive_text(text.replace(OLD, self._old()))

    def _old(self) -> str:
        for event in reversed(self.client.told):
            for name in ("item_id", "response_id"):
                if name in event:
                    return str(event[name])
        return "first"

    async def talks(self) -> None:
        """It answers a spoken turn like any other."""
        client = self.client
        client.send("input_audio_buffer.clear")
        client.send("session.update", session=WHOLE)
        assert client.told[-1]["type"] == "session.updated", client.told[-1]
        client.send("response.cancel")
        await client.play(silence(0.5, WIRE_RATE))
        client.send("response.cancel")
        await client.play(silence(1.0, WIRE_RATE))
        before = {event["response"]["id"] for event in client.all("response.created")}
        await client.play(loud(0.6))
        for _ in range(500):
            for event in client.told:
                if event["type"] == "response.done" and event["response"]["id"] not in before:
                    response = event["response"]
                    if response["conversation_id"]:
                        assert response["status"] == "completed", response
                        assert response["output"][0]["content"][0]["transcript"], response
                        return
            await client.play(silence(0.04, WIRE_RATE))
        raise AssertionError(f"it does not answer any more; told {client.kinds()[-20:]}")


@pytest.mark.parametrize(("least", "examples"), [(1_000, 12), pytest.param(10_000, 115, marks=pytest.mark.long)])
def test_whatever_is_sent_the_next_turn_is_answered(least: int, examples: int) -> None:
    total = 0

    async def session(messages: list[Any]) -> None:
        nonlocal total
        async with connected(extended=True) as client:
            fuzzed = Fuzzed(client)
            for message in messages:
                await fuzzed.send(message)
            total += fuzzed.sent
            await fuzzed.talks()

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(MESSAGE, min_size=LENGTH, max_size=LENGTH))
    def converse(messages: list[Any]) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(session(messages))

    converse()
    assert total >= least, total


async def test_every_field_is_broken_in_every_way() -> None:
    async with connected(extended=True) as client:
        fuzzed = Fuzzed(client)
        for message, path in FIELDS_OF_ALL:
            for junk in JUNK:
                await fuzzed.send(broken(message, path, junk))
            await asyncio.sleep(0.1)
            client.send("input_audio_buffer.clear")
        assert fuzzed.sent > 1500
        await fuzzed.talks()


async def test_memory_stays_flat() -> None:
    """One session that is sent thousands of messages, and whose items are deleted, is no bigger in the end."""
    chance, fakes = random.Random(0), Fakes()
    sizes: list[int] = []
    async with connected(fakes) as client:
        fuzzed = Fuzzed(client)
        tracemalloc.start()
        try:
            for _ in range(8):
                for _ in range(100):
                    nearly = broken(*chance.choice(FIELDS_OF_ALL), chance.choice(JUNK))
                    await fuzzed.send(chance.choice([chance.choice(VALID), nearly]))
                    await asyncio.sleep(0.02)
                await fuzzed.talks()
                for entry in list(client.connection.session.history):
                    client.send("conversation.item.delete", item_id=entry.item_id)
                for notes in (client.told, fakes.llm.prompts, fakes.llm.prefilled, fakes.tts.spoken):
                    notes.clear()
                gc.collect()
                # what the fake voice made for the reply given last is as long as that reply happened to be
                ours = [tracemalloc.Filter(True, "*chinwag/*"), tracemalloc.Filter(False, "*engines/fake.py")]
                kept = tracemalloc.take_snapshot().filter_traces(ours)
                sizes.append(sum(trace.size for trace in kept.traces))
        finally:
            tracemalloc.stop()
    assert max(sizes[-2:]) < max(sizes[2:5]) + 80_000, sizes
