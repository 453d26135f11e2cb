"""`chinwag bench interrupt`, `turns` and `python -m benchmarks conversation` against a server that follows a script."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import LOUD, Scripted, scripted
from websockets.asyncio.server import ServerConnection

from benchmarks import conversation, corpora
from chinwag.audio import WIRE_RATE, Audio
from chinwag.bench import corpus, interrupt, talker, turns, yielding

pytestmark = pytest.mark.realtime


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talker, "REST", 0.2)
    monkeypatch.setattr(talker, "ANSWER_TIMEOUT", 1.5)
    monkeypatch.setattr(interrupt, "WHEN", (0.3,))
    monkeypatch.setattr(interrupt, "AFTER", 0.2)
    monkeypatch.setattr(interrupt, "WORDS_WITHIN", 0.3)
    monkeypatch.setattr(yielding, "YIELD_WITHIN", 1.0)
    monkeypatch.setattr(interrupt, "YIELD_WITHIN", 1.0)


def sound(kind: corpus.Kind, seconds: float) -> corpus.Recording:
    pcm = np.zeros(round((seconds + 0.2) * WIRE_RATE), np.float32)
    pcm[WIRE_RATE // 10 : -WIRE_RATE // 10] = 0.3
    truth = corpus.Truth(text="tone", speech_start_ms=100, speech_end_ms=100 + seconds * 1000, kind=kind)
    return corpus.Recording(name=kind, audio=Audio(pcm, WIRE_RATE), truth=truth)


class Speaker:
    """Answers response.create with 2.3 s of noise, a tenth of a second ahead.

    Ducks at loud sound; when that has lasted 300 ms it is an interruption, when it ends sooner it was none.
    """

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = socket.request.path if socket.request else ""
        self.received: list[str] = []
        self.echo = 0.0

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def reply(self) -> None:
        where = {"response_id": "r", "item_id": "a"}
        await self.send("response.created", response={"id": "r"})
        noise = (np.random.default_rng(1).standard_normal(round(2.3 * WIRE_RATE)) * 0.1).astype(np.float32)
        for place in range(0, len(noise), 960):
            delta = base64.b64encode(Audio(noise[place : place + 960], WIRE_RATE).to_pcm16()).decode()
            await self.send("response.output_audio.delta", delta=delta, **where)
            await asyncio.sleep(0.04 if place > 2400 else 0)
        await self.send("response.done", response={"id": "r", "status": "completed"})

    async def listen(self) -> None:
        await self.send("session.created", session={})
        reply: asyncio.Task[None] | None = None
        loud = 0
        async for message in self.socket:
            event = json.loads(message)
            self.received.append(event["type"])
            if event["type"] == "response.create":
                reply = asyncio.create_task(self.reply())
            if event["type"] != "input_audio_buffer.append" or reply is None or reply.done():
                continue
            pcm = Audio.from_pcm16(base64.b64decode(event["audio"])).pcm
            self.echo = max(self.echo, float(np.sqrt(np.mean(pcm**2))))
            if np.abs(pcm).mean() < 4 * LOUD:
                if loud:
                    await self.send("chinwag.resume", response_id="r", item_id="a")
                loud = 0
                continue
            loud += 1
            if loud == 1:
                await self.send("chinwag.duck", response_id="r", item_id="a")
            elif loud == 15:
                reply.cancel()
                await asyncio.gather(reply, return_exceptions=True)
                await self.send("input_audio_buffer.speech_started", item_id="u")
                await self.send("response.done", response={"id": "r", "status": "cancelled"})
                heard = "conversation.item.input_audio_transcription.completed"
                await self.send(heard, item_id="u", transcript="tone")
        if reply:
            reply.cancel()
            await asyncio.gather(reply, return_exceptions=True)


async def test_both_kinds_of_client_are_measured_at_their_ear() -> None:
    calls: list[Speaker] = []

    async def handler(socket: ServerConnection) -> None:
        calls.append(Speaker(socket))
        await calls[-1].listen()

    recordings = [sound("interruption", 0.6), sound("backchannel", 0.2), sound("noise", 0.2)]
    seen: list[tuple[str, str]] = []
    async with scripted(handler=handler) as (url, _):
        result = await interrupt.run(
            url, recordings, 4, on_trial=lambda client, trial: seen.append((client, trial["kind"]))
        )
    kinds = ["interruption", "backchannel", "interruption", "echo"]
    assert seen == [(client, kind) for client in ("page", "stock") for kind in kinds]
    page, stock = result, result["stock"]
    for figures in (page, stock):
        assert (figures["failed"], figures["void"]) == (0, 0), figures["per_trial"]
        assert (figures["yield_rate"], figures["interruption_wer"]) == (1.0, 0.0)
        assert (figures["backchannel_ignored_rate"], figures["echo_ignored_rate"]) == (1.0, 1.0)
        assert figures["resumed_correctly_rate"] == 1.0
    # the page was ducked before it was stopped, the stock client knew of nothing
    assert page["yield_ms"]["p50"] < page["stopped_ms"]["p50"]
    assert [trial["ducks"] for trial in page["per_trial"]] == [1, 1, 1, 0]
    assert [trial["ducks"] for trial in stock["per_trial"]] == [0, 0, 0, 0]
    assert all("chinwag=events" in call.path for call in calls[:4])
    assert not any("chinwag" in call.path for call in calls[4:])
    assert any("chinwag.playback" in call.received for call in calls[:4])
    assert not any("chinwag.playback" in call.received for call in calls[4:])
    # the reply came back into the microphone 12 dB lower than it was
    for call in (calls[3], calls[7]):
        assert call.echo == pytest.approx(0.1 * 10 ** (-12 / 20), rel=0.15)


async def test_a_trial_in_which_nothing_is_answered_has_failed_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interrupt, "ANSWER_WITHIN", 0.3)
    async with scripted() as (url, _):
        result = await interrupt.run(url, [sound("interruption", 0.4)], 2)
    assert result["failed"] == 2
    assert result["yield_rate"] == 0.0
    errors = [trial["error"] for trial in result["per_trial"]]
    assert "no answer" in errors[0]
    assert "the corpus has no backchannel" in errors[1]


async def test_three_detectors_hold_three_conversations_and_a_refused_one_is_told() -> None:
    def tone(server: Scripted) -> Any:
        return server.answer(quiet=0, loud=0.2)

    async def handler(socket: ServerConnection) -> None:
        server = Scripted(socket, tone)
        calls.append(server)
        if len(calls) == 3:
            await server.send("session.created", session={})
            await server.send("error", error={"message": "Unknown event type 'chinwag.detector'."})
            await socket.wait_closed()
            return
        await server.listen()

    calls: list[Scripted] = []
    recording = sound("turn", 0.4)
    recording.truth.pauses_ms = [(200, 300)]
    async with scripted(handler=handler) as (url, _):
        result = await turns.run(url, [recording], 1)
    updates = [[event["session"] for event in call.received if event["type"] == "session.update"] for call in calls[:2]]
    assert "audio" not in updates[0][0]
    assert updates[1][0]["audio"]["input"]["turn_detection"] == {"type": "server_vad", "silence_duration_ms": 800}
    assert updates[0][0]["instructions"] == updates[1][0]["instructions"]
    assert result["chinwag"]["cut_in_rate"] == 0.0
    assert result["chinwag"]["voice_to_voice_ms"]["p50"] >= 200
    assert result["silence_800"]["delay_at_5pct_ms"] == 100.0  # the pause of the recording is so long
    assert "chinwag.detector" in result["smart_turn"]["error"]


async def test_the_scripted_conversation_is_recorded_from_both_sides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = (
        corpora.ScriptLine("tone"),
        corpora.ScriptLine("tone", (), "mm-hmm", 0.1),
        corpora.ScriptLine("tone", (), "wait", 0.1),
    )
    monkeypatch.setattr(conversation, "SCRIPT", script)

    async def tone(server: Scripted) -> None:
        await server.answer(quiet=0, loud=0.5)

    recordings = [sound("turn", 0.4), sound("turn", 0.4), sound("turn", 0.4), sound("backchannel", 0.2)]
    recordings.append(sound("interruption", 0.4))
    for recording, name in zip(recordings, ("line-0", "line-1", "line-2", "mm-hmm", "wait"), strict=True):
        recording.name = name
    async with scripted(tone) as (url, _):
        told = await conversation.run(url, recordings, tmp_path / "c.wav")
    assert [turn["kind"] for turn in told["turns"]] == ["turn", "turn", "backchannel", "turn", "interruption"]
    assert all(turn["error"] is None for turn in told["turns"])
    assert told["turns"][0]["voice_to_voice_ms"] >= 200
    assert len(told["person"]) == 5
    assert len(told["answer"]) >= 3
    # the recording lasts as long as the conversation, and the person is in it where the story says
    data = np.frombuffer((tmp_path / "c.wav").read_bytes()[58:], np.uint8).reshape(-1, 2)
    assert len(data) == pytest.approx(told["seconds"] * 16_000, abs=2)
    quiet = {0xFF, 0x7F}  # the zeros of mu-law
    for begin, end in told["answer"]:
        assert not quiet >= set(data[round((begin + 0.05) * 16_000) : round((end - 0.05) * 16_000), 1].tolist())
    begin, end = told["person"][0]
    loud = data[round((begin + 0.02) * 16_000) : round((end - 0.02) * 16_000), 0]
    assert np.all(loud < 0xA0)  # beyond a tenth of full scale
