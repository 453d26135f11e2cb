"""Has a clause spoken, in frames for the wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from chinwag.audio import WIRE_RATE, Audio, Resampler
from chinwag.engines.protocols import Voice
from chinwag.speak.trim import pause_after, trimmed

FRAME = WIRE_RATE // 25
"""Samples of one frame on the wire: 40 ms, so that a cut or a pause comes soon and the overhead stays small."""

CHARACTERS_PER_SECOND = 15
"""A usual pace of English speech; a guess that stands until a clause's sound is complete."""


@dataclass(frozen=True, slots=True)
class Style:
    """How to speak. voice: a name the engine knows, or None for its own; speed: 1.0 is the voice's pace."""

    voice: str | None = None
    speed: float = 1.0
    language: str | None = None


async def frames(voice: Voice, clause: str, style: Style) -> AsyncGenerator[Audio, None]:
    """The clause's sound at 24 kHz, trimmed, in frames of 40 ms (the last may be shorter), counted from 0."""
    made = 0
    async with (
        aclosing(voice.speak(clause, voice=style.voice, speed=style.speed, language=style.language)) as pieces,
        aclosing(_at_wire_rate(pieces, voice.rate)) as resampled,
        aclosing(trimmed(resampled, pause_after(clause))) as sound,
    ):
        async for piece in sound:
            for place in range(0, len(piece.pcm), FRAME):
                frame = Audio(piece.pcm[place : place + FRAME], WIRE_RATE, made)
                made += len(frame.pcm)
                yield frame


async def _at_wire_rate(pieces: AsyncIterator[Audio], rate: int) -> AsyncGenerator[Audio, None]:
    resampler = Resampler(rate, WIRE_RATE)
    start = 0
    async for piece in pieces:
        out = resampler.push(Audio(piece.pcm, rate, start))
        start += len(piece.pcm)
        if len(out.pcm):
            yield out
    tail = resampler.push(Audio(_NOTHING, rate, start), last=True)
    if len(tail.pcm):
        yield tail


_NOTHING = Audio.from_pcm16(b"").pcm
