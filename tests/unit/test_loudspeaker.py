"""A call's sound at virtual time: what leaves when, what was heard of it, and what the client is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from chinwag.audio import WIRE_RATE, Audio, Samples, silence
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import FakeChat, Fakes, loud
from chinwag.errors import Refused
from chinwag.realtime.connection import Connection
from chinwag.realtime.session_config import Defaults
from chinwag.realtime.track import FRAME, JITTER_BUFFER_S, SEND_AHEAD_S, PlayoutTrack

pytestmark = pytest.mark.unit

LONG = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))


class Caller:
    """Sends a frame and takes a frame every 20 ms."""

    def __init__(self, fakes: Fakes, extended: bool) -> None:
        self.told: list[tuple[float, dict[str, Any]]] = []
        self.heard: list[Samples] = []
        self.say: list[Audio] = []
        self.queued: list[float] = []
        self._loop = asyncio.get_running_loop()
        defaults = Defaults(SessionSettings(instructions="Be brief."), "fake-llm", "fake-stt", ("one", "two"))
        self.connection = Connection(
            fakes.engines(), defaults, self._take, by_track=True, extended=extended, longest_message=1_000_000
        )
        assert self.connection.playout_track
        self.loudspeaker: PlayoutTrack = self.connection.playout_track

    def _take(self, message: Any) -> None:
        self.told.append((self._loop.time(), json.loads(json.dumps(message))))

    async def talk(self) -> None:
        quiet = silence(0.02, WIRE_RATE)
        while True:
            frame = quiet
            if self.say:
                frame = Audio(self.say[0].pcm[:FRAME], WIRE_RATE)
                self.say[0] = Audio(self.say[0].pcm[FRAME:], WIRE_RATE)
                if not len(self.say[0].pcm):
                    self.say.pop(0)
            self.connection.append_audio(frame)
            self.heard.append(self.loudspeaker.next_frame())
            self.queued.append(self.loudspeaker.queued_s)
            await asyncio.sleep(0.02)

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.told if event["type"] == kind]

    def at(self, kind: str) -> float:
        return next(at for at, event in self.told if event["type"] == kind)

    def place(self, kind: str) -> int:
        return [event["type"] for _, event in self.told].index(kind)

    async def until(self, happened: Callable[[], Any], limit_s: float = 60.0) -> None:
        for _ in range(round(limit_s / 0.02)):
            if happened():
                return
            await asyncio.sleep(0.02)
        raise AssertionError([event["type"] for _, event in self.told])

    def send(self, kind: str, **fields: Any) -> None:
        self.connection.receive_text(json.dumps({"type": kind, **fields}))

    @property
    def sound(self) -> Samples:
        return np.concatenate(self.heard)

    def ask(self) -> None:
        content = [{"type": "input_text", "text": "Well?"}]
        self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        self.send("response.create")


@asynccontextmanager
async def on_the_line(fakes: Fakes | None = None, *, extended: bool = False) -> AsyncIterator[Caller]:
    caller = Caller(fakes or Fakes(), extended)
    tasks = [asyncio.create_task(caller.connection.run()), asyncio.create_task(caller.talk())]
    await asyncio.sleep(0)
    try:
        yield caller
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_answer_leaves_whole_and_in_time_and_is_told_around_its_events() -> None:
    async with on_the_line() as caller:
        caller.say.append(loud(1.0))
        await caller.until(lambda: caller.all("output_audio_buffer.stopped"))
        assert not caller.all("response.output_audio.delta")
        started, stopped = caller.all("output_audio_buffer.started"), caller.all("output_audio_buffer.stopped")
        (done,) = caller.all("response.done")
        assert [e["response_id"] for e in started + stopped] == [done["response"]["id"]] * 2
        assert (
            caller.place("response.content_part.added")
            < caller.place("output_audio_buffer.started")
            < caller.place("response.done")
            < caller.place("output_audio_buffer.stopped")
        )
        reply = caller.connection.session.last_response
        assert reply
        loud_places = np.flatnonzero(np.abs(caller.sound) > 0.4)
        gaps = np.diff(loud_places)
        assert gaps.max() < 0.02 * WIRE_RATE, "it has no hole"
        seconds = caller.at("output_audio_buffer.stopped") - caller.at("output_audio_buffer.started")
        assert seconds == pytest.approx(reply.playout.sent / WIRE_RATE, abs=0.06), "real time, nothing ahead of it"
        assert max(caller.queued) <= SEND_AHEAD_S + 0.06, "and next to nothing queued"
        assert reply.playout.played < reply.playout.sent, "the last of it is on its way"
        await asyncio.sleep(JITTER_BUFFER_S + 0.05)
        assert reply.playout.played == reply.playout.sent


async def test_what_was_heard_is_what_left_less_what_is_on_its_way() -> None:
    async with on_the_line(Fakes(llm=FakeChat(LONG)), extended=True) as caller:
        caller.ask()
        await caller.until(lambda: caller.all("output_audio_buffer.started"))
        caller.send("chinwag.playout", delay_ms="soon")
        assert caller.all("error")[0]["error"]["param"] == "delay_ms"
        caller.send("chinwag.playout", delay_ms=250)
        caller.loudspeaker.network_delay_s = 0.05
        await asyncio.sleep(2.0)
        reply = caller.connection.session.last_response
        assert reply
        left = np.flatnonzero(np.abs(caller.sound) > 0.4)
        assert reply.playout.played / WIRE_RATE == pytest.approx(2.0 - 0.3, abs=0.05)
        assert (left[-1] - left[0]) / WIRE_RATE == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("extended", [False, True])
async def test_an_interruption_empties_the_queue_at_once(extended: bool) -> None:
    async with on_the_line(Fakes(llm=FakeChat(LONG)), extended=extended) as caller:
        caller.ask()
        await caller.until(lambda: caller.all("output_audio_buffer.started"))
        await asyncio.sleep(1.5)
        caller.say.append(loud(3.0))
        await caller.until(lambda: caller.all("output_audio_buffer.cleared"))
        frames = len(caller.heard)
        assert caller.at("output_audio_buffer.cleared") - caller.at("input_audio_buffer.speech_started") <= 0.021
        assert caller.place("input_audio_buffer.speech_started") < caller.place("output_audio_buffer.cleared")
        await asyncio.sleep(0.3)
        assert np.abs(np.concatenate(caller.heard[frames:])).max() == 0, "silence, for as long as they speak"
        cut = caller.heard[frames - 1]
        assert np.abs(cut[FRAME // 4 :]).max() == 0
        reply = caller.connection.session.last_response
        assert reply
        left = int(np.sum(np.abs(caller.sound) > 0)) / WIRE_RATE
        truncated = caller.all("conversation.item.truncated")[0]
        assert truncated["item_id"] == reply.item_id
        on_its_way = JITTER_BUFFER_S if extended else 0.0  # the page silences itself, a stock client cannot
        assert truncated["audio_end_ms"] / 1000 == pytest.approx(left - on_its_way, abs=0.045)
        assert reply.playout.played * 1000 // WIRE_RATE == pytest.approx(truncated["audio_end_ms"], abs=1)


async def test_somebody_speaking_lowers_what_is_queued_at_once() -> None:
    async with on_the_line(Fakes(llm=FakeChat(LONG))) as caller:
        caller.ask()
        await caller.until(lambda: caller.all("output_audio_buffer.started"))
        await asyncio.sleep(1.0)
        reply = caller.connection.session.last_response
        assert reply
        reply.duck(low=True)
        place = len(caller.heard)
        await asyncio.sleep(0.1)
        reply.duck(low=False)
        await asyncio.sleep(0.1)
        peaks = [float(np.abs(frame).max()) for frame in caller.heard[place + 1 : place + 10]]
        assert peaks[0] < 0.11  # the ramp is over within the first frame, whatever had been queued
        assert peaks[-1] > 0.4
        inner = np.concatenate(caller.heard[place - 2 : place + 2])
        jumps = np.abs(np.abs(inner[1:]) - np.abs(inner[:-1]))
        assert jumps[(np.abs(inner[1:]) > 0.01)].max() < 0.05, "a ramp, no step"


async def test_the_client_may_clear_and_cancel() -> None:
    async with on_the_line(Fakes(llm=FakeChat(LONG))) as caller:
        caller.send("output_audio_buffer.clear")  # nothing sounds: nothing happens
        assert not caller.all("error")
        caller.ask()
        await caller.until(lambda: caller.all("output_audio_buffer.started"))
        await asyncio.sleep(1.0)
        caller.send("output_audio_buffer.clear")
        (cleared,) = caller.all("output_audio_buffer.cleared")
        (done,) = caller.all("response.done")
        assert cleared["response_id"] == done["response"]["id"]
        assert done["response"]["status"] == "cancelled"
        await asyncio.sleep(0.04)
        assert np.abs(caller.heard[-1]).max() == 0
        caller.ask()
        await caller.until(lambda: len(caller.all("output_audio_buffer.started")) == 2)
        await asyncio.sleep(0.5)
        caller.send("response.cancel")
        await asyncio.sleep(0.04)
        assert len(caller.all("output_audio_buffer.cleared")) == 2
        assert np.abs(caller.heard[-1]).max() == 0


async def test_a_session_to_begin_with_and_one_that_cannot_be() -> None:
    async with on_the_line() as caller:
        caller.connection.configure({"type": "realtime", "instructions": "Only rhymes.", "audio": {}})
        assert caller.connection.session.settings.instructions == "Only rhymes."
        assert caller.connection.session.settings.send_ahead_s == SEND_AHEAD_S
        assert caller.connection.session.settings.client_ducks
        with pytest.raises(Refused):
            caller.connection.configure({"audio": {"output": {"voice": "nobody"}}})


async def test_a_full_buffer_is_told_once() -> None:
    async with on_the_line() as caller:
        caller.connection.configure({"audio": {"input": {"turn_detection": None}}})
        for _ in range(40):
            await asyncio.sleep(0.1)  # the listener takes it meanwhile
            caller.connection.append_audio(loud(30.0))
        assert [event["error"]["code"] for event in caller.all("error")] == ["input_audio_buffer_full"]
