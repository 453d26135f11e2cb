"""Speech synthesis of a clause, in frames for the wire."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from chinwag.audio import WIRE_RATE, Audio, Resampler
from chinwag.engines.protocols import Voice
from chinwag.language import language_name, primary_subtag
from chinwag.speech.trim import pause_after, trim_silence

FRAME = WIRE_RATE // 25
"""Samples of one frame on the wire, 40 ms: short enough to stop soon, long enough for a small overhead."""

CHARACTERS_PER_SECOND, WIDE_PER_SECOND = 15, 6
"""Usual pace of speech, in letters and in Chinese or Japanese characters."""

OTHER_ENGINE_HINT = "Set another tts.engine: `chinwag engines` lists the languages of each."


@dataclass(frozen=True, slots=True)
class Style:
    """Style of speech.

    voice: name of one of the engine's voices; None for its default. speed: 1.0 is the voice's own pace. language: BCP
    47; None for the voice's own. If the voice does not speak it, another of the engine's voices does.
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
    names = ", ".join(language_name(tag) for tag in voice.languages)
    return f"The voice engine {voice.name} speaks {names}, not {language_name(language)}."


def choose_voice(voice: Voice, style: Style) -> str | None:
    """Return the requested voice, or one that speaks the language if the requested one does not."""
    suitable = voice.languages.get(primary_subtag(style.language), ())
    return style.voice if not suitable or style.voice in suitable else suitable[0]


async def synthesise(voice: Voice, clause: str, style: Style) -> AsyncGenerator[Audio, None]:
    """Synthesise a clause: trimmed audio at 24 kHz in frames of 40 ms; the last frame may be shorter."""
    samples, voice_name = 0, choose_voice(voice, style)
    async with (
        aclosing(voice.speak(clause, voice=voice_name, speed=style.speed, language=style.language)) as pieces,
        aclosing(_resample(pieces, voice.rate)) as resampled,
        aclosing(trim_silence(resampled, pause_after(clause))) as audio,
    ):
        async for piece in audio:
            for begin in range(0, len(piece.pcm), FRAME):
                frame = Audio(piece.pcm[begin : begin + FRAME], WIRE_RATE, samples)
                samples += len(frame.pcm)
                yield frame


async def _resample(pieces: AsyncIterator[Audio], rate: int) -> AsyncGenerator[Audio, None]:
    resampler = Resampler(rate, WIRE_RATE)
    start = 0
    async for piece in pieces:
        out = resampler.push(Audio(piece.pcm, rate, start))
        start += len(piece.pcm)
        if len(out.pcm):
            yield out
    tail = resampler.push(Audio(_NO_SAMPLES, rate, start), last=True)
    if len(tail.pcm):
        yield tail


_NO_SAMPLES = Audio.from_pcm16(b"").pcm
