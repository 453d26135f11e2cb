"""Synthesis of a clause, in frames for the wire."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from chinwag.audio import WIRE_RATE, Audio, Resampler
from chinwag.engines.protocols import Voice
from chinwag.language import language_name, primary_subtag
from chinwag.speech.trim import pause_after, trimmed

FRAME = WIRE_RATE // 25
"""Samples of one frame on the wire: 40 ms, so that a cut or a pause comes soon and the overhead stays small."""

CHARACTERS_PER_SECOND, WIDE_PER_SECOND = 15, 6
"""A usual pace of speech: of letters, and of Chinese and Japanese characters."""


OTHER_ENGINE_HINT = "Set another tts.engine: `chinwag engines` lists the languages of each."


@dataclass(frozen=True, slots=True)
class Style:
    """How to speak.

    voice: a name the engine knows, or None for its own. speed: 1.0 is the voice's pace. language: BCP 47; another of
    the engine's voices speaks it where this one does not. None: the voice's own.
    """

    voice: str | None = None
    speed: float = 1.0
    language: str | None = None


def estimate_duration_s(clause: str) -> float:
    """Estimate the duration of a clause in seconds, for use until its audio is complete."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in clause)
    return wide / WIDE_PER_SECOND + (len(clause) - wide) / CHARACTERS_PER_SECOND


def supports_language(voice: Voice, language: str | None) -> bool:
    """Return whether the engine speaks the language (BCP 47; None: any)."""
    return not language or not voice.languages or primary_subtag(language) in voice.languages


def unsupported_language_message(voice: Voice, language: str) -> str:
    """Return the message for a language that the engine does not speak."""
    known = ", ".join(language_name(one) for one in voice.languages)
    return f"The voice engine {voice.name} speaks {known}, not {language_name(language)}."


def choose_voice(voice: Voice, style: Style) -> str | None:
    """Return the requested voice, or one that speaks the language if the requested one does not."""
    fitting = voice.languages.get(primary_subtag(style.language), ())
    return style.voice if not fitting or style.voice in fitting else fitting[0]


async def synthesise(voice: Voice, clause: str, style: Style) -> AsyncGenerator[Audio, None]:
    """The clause's sound at 24 kHz, trimmed, in frames of 40 ms (the last may be shorter), counted from 0."""
    made, named = 0, choose_voice(voice, style)
    async with (
        aclosing(voice.speak(clause, voice=named, speed=style.speed, language=style.language)) as pieces,
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
