"""The echo gate in front of Silero, with real voices: hibari replies, Kokoro interrupts."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engines.contract import loaded, speech
from loudspeaker_and_room import loudspeaker_and_room

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, Samples, join
from chinwag.engines.tts.kokoro import KokoroVoice
from chinwag.engines.vad.silero import SileroVad
from chinwag.listening.echo import EchoGate

pytestmark = pytest.mark.engines

REPLY = (
    "Paris is the capital of France. It lies on the river Seine, and about two million people live there."
    " Would you like to hear more about its museums, or rather about the food?"
)
QUESTION = "Sorry, but what about the weather there?"
FRAME, ONSET_FRAMES = 512, 3
LEVEL_DBFS = -20
AT_S = 5.0
"""The person breaks in."""


def level(pcm: Samples, dbfs: float) -> Samples:
    loud = pcm[np.abs(pcm) > 0.01 * np.abs(pcm).max()]
    return np.asarray(pcm * (10 ** (dbfs / 20) / np.sqrt(np.mean(loud**2))), np.float32)


async def kokoro() -> Samples:
    async with loaded(KokoroVoice, SimpleNamespace(voice="")) as voice, aclosing(voice.speak(QUESTION)) as stream:
        pcm = join([piece async for piece in stream]).resampled(LISTEN_RATE).pcm
    loud = np.flatnonzero(np.abs(pcm) > 0.02 * np.abs(pcm).max())
    return pcm[loud[0] : loud[-1]]


def onsets(chances: list[float]) -> list[float]:
    """Seconds at which three frames of voice in a row have been heard, half a second of quiet between."""
    found, run, quiet = [], 0, 99
    for place, chance in enumerate(chances):
        run, quiet = (run + 1, quiet) if chance >= 0.5 else (0, quiet + 1)
        if run == ONSET_FRAMES:
            if quiet > 15:
                found.append((place + 1) * FRAME / LISTEN_RATE)
            quiet = 0
    return found


async def heard(vad: Any, mic: Samples, wire: Samples, *, gated: bool) -> list[float]:
    stream, gate, sent, chances = vad.open(), EchoGate(), 0, []
    for begin in range(0, len(mic) - FRAME + 1, FRAME):
        now = (begin + FRAME) / LISTEN_RATE
        while sent < len(wire) and 1.0 + sent / WIRE_RATE < now + 0.3:
            gate.add_playback(Audio(wire[sent : sent + 960], WIRE_RATE, sent), 1.0 + sent / WIRE_RATE)
            sent += 960
        frame = Audio(mic[begin : begin + FRAME], LISTEN_RATE, begin)
        chance = await stream.feed(frame)
        chances.append(chance * (1 - gate.echo_probability(frame, now + 0.02)) if gated else chance)
    return chances


@pytest.mark.parametrize("room", [False, True])
async def test_the_reply_from_the_loudspeaker_is_no_speech_and_a_person_over_it_is(room: bool) -> None:
    question = level(await asyncio.create_task(kokoro()), -23)
    async with loaded(SileroVad) as vad:
        said = level(speech(REPLY).pcm, LEVEL_DBFS)
        wire = Audio(said, LISTEN_RATE).resampled(WIRE_RATE).pcm
        echo = level(loudspeaker_and_room(said) if room else said, LEVEL_DBFS - 12)
        mic = np.random.default_rng(0).normal(0, 0.001, len(said) + 2 * LISTEN_RATE).astype(np.float32)
        mic[round(1.08 * LISTEN_RATE) :][: len(echo)] += echo
        alone = mic.copy()
        mic[round(AT_S * LISTEN_RATE) :][: len(question)] += question

        assert len(onsets(await heard(vad, alone, wire, gated=False))) >= 2, "the echo would be taken for speech"
        assert onsets(await heard(vad, alone, wire, gated=True)) == []

        gated = await heard(vad, mic, wire, gated=True)
        ungated = await heard(vad, mic, wire, gated=False)
        begun = onsets(gated)
        assert begun
        assert AT_S <= begun[0] < AT_S + 0.3
        begin, end = round(AT_S * 31.25), round((AT_S + len(question) / LISTEN_RATE) * 31.25)
        let_through = [
            passed > 0.35 for passed, plain in zip(gated[begin:end], ungated[begin:end], strict=True) if plain > 0.5
        ]
        share = float(np.mean(let_through))
        print(f"room {room}: noticed after {begun[0] - AT_S:.2f} s, {share:.0%} of the person's frames let through")
        assert share > 0.7
