"""Spoken conversations over WebRTC with the real engines: the official client signals, aiortc talks."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from lossy import relay
from rtc import Caller, calling
from serving import Server
from speech import speech

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.opus import FRAME
from chinwag.bench.metrics import word_errors, words
from chinwag.client_sdk.webrtc import Peer
from chinwag.transport.rtc.tracks import OutgoingTrack, opus_only

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]  # starting a server counts

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
STORY = "Tell me a long story about an old ship."


async def places(server: Server, number: int, within_s: float) -> None:
    for _ in range(round(within_s * 10)):
        if server.status()["sessions"] == number:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(server.status())


async def test_a_spoken_turn_is_heard_and_answered_by_sound(server: Server) -> None:
    session = {"type": "realtime", "instructions": "Answer in one short sentence.", "audio": {"output": {"speed": 1.2}}}
    async with calling(server.realtime, session) as caller:
        created = caller.all("session.created")[0]["session"]
        assert created["instructions"] == "Answer in one short sentence."
        assert created["audio"]["output"]["speed"] == 1.2
        caller.say(speech("What is the capital of France?"))
        done = await caller.until("response.done")
        await caller.until("output_audio_buffer.stopped")
        await asyncio.sleep(0.2)
        assert {"capital", "france"} <= set(words(caller.all(TRANSCRIBED)[0]["transcript"]))
        assert "paris" in words(done["response"]["output"][0]["content"][0]["transcript"])
        assert not caller.all("response.output_audio.delta")
        kinds = caller.kinds()
        order = ["response.content_part.added", "output_audio_buffer.started", "response.done"]
        assert [kind for kind in kinds if kind in [*order, "output_audio_buffer.stopped"]] == [
            *order,
            "output_audio_buffer.stopped",
        ]
        assert not [kind for kind in kinds if kind.startswith("chinwag.")]
        begun = caller.times[caller.events.index(caller.all("output_audio_buffer.started")[0])]
        sound = caller.sound(begun)
        assert np.abs(sound.pcm).max() > 0.05
        frames = [at for at, _ in caller.heard if at >= begun]
        assert len(frames) * 0.02 == pytest.approx(frames[-1] - frames[0], abs=0.1), "in real time, no burst"


def _silences(heard: list[tuple[float, float]], until: float) -> float:
    """Seconds of the stretches without sound that are longer than any between two words."""
    loud = [at for at, peak in heard if peak > 0.01 and at <= until]
    return sum(after - before for before, after in pairwise(loud) if after - before > 0.2)


async def test_an_interruption_is_silent_at_once_and_the_history_ends_at_the_ear(server: Server) -> None:
    async with calling(server.realtime) as caller:
        caller.say(speech(STORY))
        started = await caller.until("output_audio_buffer.started")
        begun = caller.times[caller.events.index(started)]
        await asyncio.sleep(3.0)
        caller.say(speech("But what is the capital of France?"))
        cleared = await caller.until("output_audio_buffer.cleared")
        silent_from = caller.times[caller.events.index(cleared)]
        done = await caller.until("response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        assert cleared["response_id"] == started["response_id"] == done["response"]["id"]
        truncated = await caller.until("conversation.item.truncated")
        await caller.until("output_audio_buffer.started", 2)
        heard = [(at, np.abs(audio.pcm).max()) for at, audio in caller.heard if begun <= at]
        last = max(at for at, peak in heard if peak > 0.01 and at < silent_from + 0.5)
        assert last - silent_from < 0.08
        # what the server says was heard is what did come out here, less where it waited for the answer's next clause
        said_s, waited_s = truncated["audio_end_ms"] / 1000, _silences(heard, last)
        assert last - begun - waited_s - 0.15 <= said_s <= last - begun + 0.15
        caller.send("conversation.item.retrieve", item_id=truncated["item_id"])
        kept = (await caller.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        cut = truncated["item_id"]
        deltas = [e for e in caller.all("response.output_audio_transcript.delta") if e["item_id"] == cut]
        assert kept
        assert "".join(event["delta"] for event in deltas).startswith(kept)


async def test_typed_turn_hang_up_and_what_the_client_asked_for(server: Server) -> None:
    async with calling(server.realtime, query={"chinwag": "events", "model": "chinwag"}) as caller:
        content = [{"type": "input_text", "text": "What is the capital of France?"}]
        caller.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        caller.send("response.create")
        caller.send("nothing.known", event_id="mine")
        assert (await caller.until("error"))["error"]["event_id"] == "mine"
        await caller.until("output_audio_buffer.started")
        assert server.status()["sessions"] == 1
        address = server.realtime.replace("ws", "http", 1)
        answer = await asyncio.to_thread(httpx.post, f"{address}/calls/{caller.call_id}/hangup")
        assert answer.status_code == 200
        await places(server, 0, 2)
        await asyncio.wait_for(caller.peer.closed.wait(), 5)
        answer = await asyncio.to_thread(httpx.post, f"{address}/calls/{caller.call_id}/hangup")
        assert answer.status_code == 404


async def test_a_caller_that_hangs_up_and_one_that_vanishes_free_their_places(server: Server) -> None:
    async with calling(server.realtime):
        await places(server, 1, 1)
    await places(server, 0, 3)
    code = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[2])\n"
        "from rtc import calling\n"
        "async def main():\n"
        "    async with calling(sys.argv[1]):\n"
        "        print('up', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    tests = str(Path(__file__).parents[1])
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, server.realtime, tests, stdout=pipe)
    assert process.stdout
    assert await process.stdout.readline() == b"up\n"
    await places(server, 1, 1)
    process.kill()  # no word of farewell
    await process.wait()
    await places(server, 0, 20)


SENTENCES = (
    "What is the capital of France?",
    "I would like to book a table for four people on Friday evening.",
    "Can you tell me a short joke about a dog?",
    "My brother lives in a small house near the river.",
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [25, pytest.param(300, marks=pytest.mark.long)])
async def test_a_lossy_link(server: Server, seconds: float) -> None:
    """5 % loss and 60 ms of jitter both ways."""
    session = {"type": "realtime", "instructions": "Answer in one short sentence."}
    async with relay() as link, calling(server.realtime, session, relayed=link) as caller:
        link.loss, link.jitter_s = 0.05, 0.06
        began, turns = asyncio.get_running_loop().time(), 0
        while asyncio.get_running_loop().time() - began < seconds:
            caller.say(speech(SENTENCES[turns % len(SENTENCES)]))
            turns += 1
            await caller.until("output_audio_buffer.stopped", turns)
            await asyncio.sleep(1.0)
        errors, count = 0, 0
        for number, told in enumerate(caller.all(TRANSCRIBED)):
            wrong, length = word_errors(SENTENCES[number % len(SENTENCES)], told["transcript"])
            errors, count = errors + wrong, count + length
        slips = _slips(caller)
        delays = _delays(caller)
        print(f"{turns} turns, {link.lost} of {link.carried} packets lost, words wrong {errors} of {count}")
        print("server's clock against ours, ms:", [round(1000 * (slip - slips[0])) for slip in slips])
        print("voice to voice, ms:", [round(1000 * delay) for delay in delays])
        print("incoming, lost and late:", caller.peer.incoming.buffer.lost, caller.peer.incoming.buffer.late)
        assert 0.03 < link.lost / link.carried < 0.07
        assert turns >= 3
        assert errors <= 0.15 * count
        half = len(delays) // 2
        # without anything in place of what was lost it would be 5 % of the time; a laden machine speaks late by as much
        assert abs(np.median(slips[half:]) - np.median(slips[:half])) < 0.5, "time does not slip"
        if turns >= 20:  # fewer tell of what else the machine does
            assert np.median(delays[half:]) < np.median(delays[:half]) + 0.4, "nor does a delay grow"
        third = len(caller.behind) // 3
        assert np.median(caller.behind[-third:]) < np.median(caller.behind[:third]) + 0.05
        assert np.median(caller.behind) < 0.15


def _slips(caller: Caller) -> list[float]:
    """Where the server put each end of speech in its input, less when it was, in seconds; a constant is no slip."""
    told = [event["audio_end_ms"] / 1000 for event in caller.all("input_audio_buffer.speech_stopped")]
    return [at - end for at, end in zip(told, caller.spoken_at, strict=True)]


def _delays(caller: Caller) -> list[float]:
    """From the end of each speech to the first sound after it."""
    loud = [at for at, audio in caller.heard if np.abs(audio.pcm).max() > 0.01]
    return [next(at for at in loud if at > end) - end for end in caller.spoken_at]


async def test_the_way_itself_takes_half_a_frame_and_the_codec() -> None:
    """Two peers without engines: from a sound's being there to its first sample at the other ear."""
    loop, wanted = asyncio.get_running_loop(), list[float]()
    left, heard = list[float](), list[float]()

    def frame() -> Samples:
        if not wanted:
            return np.zeros(FRAME, np.float32)
        wanted.clear()
        left.append(loop.time())
        return np.asarray(0.5 * np.sin(np.arange(FRAME) * 0.3), np.float32)

    def hear(audio: Audio) -> None:
        loud = np.flatnonzero(np.abs(audio.pcm) > 0.05)
        if len(loud):
            heard.append(loop.time() + int(loud[0]) / WIRE_RATE)

    caller = Peer(lambda: np.zeros(FRAME, np.float32), hear, lambda _: None)
    server = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    opus_only(server.addTransceiver(OutgoingTrack(frame), "sendrecv"))
    try:
        await server.setRemoteDescription(RTCSessionDescription(await caller.offer(), "offer"))
        await server.setLocalDescription()
        await caller.accept(server.localDescription.sdp)
        await asyncio.wait_for(caller.opened.wait(), 10)
        waits, ways = [], []
        for number in range(20):
            await asyncio.sleep(0.1 + number / 1000)
            heard.clear()
            asked = loop.time()
            wanted.append(asked)
            await asyncio.sleep(0.1)
            waits.append(1000 * (left[-1] - asked))
            ways.append(1000 * (heard[0] - left[-1]))
        print(f"waits for its frame {np.median(waits):.1f} ms, on its way {np.median(ways):.1f} ms")
        assert np.median(waits) < 20
        assert np.median(ways) < 20
    finally:
        await caller.close()
        await server.close()
