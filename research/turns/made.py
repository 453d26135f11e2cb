"""Made points: Kokoro voices say texts.txt, stop where a bar is, at several levels and in several rooms."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples, join
from chinwag.config import TtsSettings
from chinwag.engines.protocols import Voice
from chinwag.engines.tts.kokoro import KokoroVoice
from research.turns.points import Point, Sound, load

TEXTS = Path(__file__).with_name("texts.txt")
VOICES = ("af_sarah", "am_puck", "bf_alice", "bm_lewis", "af_nova", "am_liam", "af_sky", "am_onyx")
"""None of them speaks in the benchmark."""

SPEEDS = (0.9, 1.0, 1.1)
LEVELS_DBFS, ROOMS_DBFS = (-32.0, -18.0), (-75.0, -45.0)
SILENT = 10 ** (-45 / 20)
"""Amplitude below which nobody speaks, against the loudest sample."""


def texts() -> list[tuple[str, list[str]]]:
    """What the speaker was asked, and the turn's parts."""
    lines = (line.strip() for line in TEXTS.read_text("utf-8").splitlines())
    turns = [line.rpartition(">") for line in lines if line and not line.startswith("#")]
    return [(asked.strip(), [part.strip() for part in turn.split("|")]) for asked, _, turn in turns]


async def made() -> AsyncIterator[Sound]:
    """Every end, every pause and, where a turn has none, a place in its middle."""
    voice = await load(KokoroVoice, TtsSettings(engine="kokoro", voice="", speed=1.0))
    try:
        for place, (asked, parts) in enumerate(texts()):
            rng = np.random.default_rng(place)
            async for sound in _turn(voice, place, asked, parts, rng):
                yield sound
    finally:
        await voice.close()


async def _turn(
    voice: Voice, place: int, asked: str, parts: list[str], rng: np.random.Generator
) -> AsyncIterator[Sound]:
    speaker = VOICES[place % len(VOICES)]
    name = f"made-{place:03d}-{speaker}"
    speed = SPEEDS[place % len(SPEEDS)]
    pieces = [await _say(voice, part, speaker, speed) for part in parts]
    level = 10 ** (rng.uniform(*LEVELS_DBFS) / 20) / float(np.sqrt(np.mean(np.concatenate(pieces) ** 2)))
    room_level = 10 ** (min(rng.uniform(*ROOMS_DBFS), 20 * np.log10(level) - 12) / 20)

    def room(samples: int) -> Samples:
        return rng.normal(0.0, room_level, samples).astype(np.float32)

    said = room(LISTEN_RATE // 5)
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        spoken = np.clip(piece * level, -1.0, 1.0) + room(len(piece))
        if len(pieces) == 1 and len(piece) > 1.2 * LISTEN_RATE:
            cut = _between_words(piece)
            before = np.concatenate([said, spoken[:cut]])
            yield Sound(Point("cut", name, False, None, asked), before, room(LISTEN_RATE // 2))
        said = np.concatenate([said, spoken])
        source = "two" if not last and parts[number][-1] in ".?!" else "made"
        yield Sound(Point(source, name, last, None, asked), said, room(LISTEN_RATE // 2))
        said = np.concatenate([said, room(round(rng.uniform(0.3, 1.2) * LISTEN_RATE))])


async def _say(voice: Voice, text: str, speaker: str, speed: float) -> Samples:
    """At 16 kHz from its first to its last audible sample. Who stops to think does not let the voice fall."""
    if re.search(r"\w$", text):
        text += ","
    language = "en-GB" if speaker.startswith("b") else "en-US"
    async with aclosing(voice.speak(text, voice=speaker, speed=speed, language=language)) as stream:
        pcm = join([piece async for piece in stream]).resampled(LISTEN_RATE).pcm
    loud = np.flatnonzero(np.abs(pcm) > SILENT * np.abs(pcm).max())
    return pcm[loud[0] : loud[-1] + 1]


def _between_words(pcm: Samples) -> int:
    """The quietest 20 ms from 40 to 80 % of the way."""
    hop = LISTEN_RATE // 50
    energy = np.square(pcm[: len(pcm) // hop * hop]).reshape(-1, hop).mean(axis=1)
    first, last = int(0.4 * len(energy)), int(0.8 * len(energy))
    return (first + int(energy[first:last].argmin())) * hop
