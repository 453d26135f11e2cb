"""Long sound cut at its silences, and each piece transcribed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, join
from chinwag.engines.protocols import Engines

BEGINS, GOES_ON = 0.5, 0.35
"""P(speech) that begins a segment, and that keeps it going: Silero's own hysteresis."""
PAUSE_S = 0.6
"""Silence that ends a segment: longer than the pauses inside a sentence."""
AROUND_S = 0.3
"""Sound kept in front of and behind the speech, so that no soft onset is lost."""
LONGEST_S = 25.0
"""A segment without a pause is cut at its quietest place behind its middle; recognisers are made for up to 30 s."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Words and where they are, in seconds. confidence: mean probability of the tokens; speech: mean P(speech)."""

    start: float
    end: float
    text: str
    confidence: float
    speech: float


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """A stretch with speech in it."""

    audio: Audio
    speech: float


class Segmenter:
    """Give it the sound frame by frame with each one's P(speech); a stretch comes back where one has ended."""

    def __init__(self, frame: int) -> None:
        self._around = round(AROUND_S * LISTEN_RATE / frame)
        self._pause = round(PAUSE_S * LISTEN_RATE / frame)
        self._longest = round(LONGEST_S * LISTEN_RATE / frame)
        self._held: list[tuple[Audio, float]] = []
        self._speaking = False
        self._quiet = 0

    def push(self, frame: Audio, speech: float) -> SpeechSegment | None:
        """Take the next frame."""
        self._held.append((frame, speech))
        if not self._speaking:
            self._speaking, self._quiet = speech >= BEGINS, 0
            if not self._speaking:
                self._held = self._held[-self._around :]
            return None
        self._quiet = 0 if speech >= GOES_ON else self._quiet + 1
        if self._quiet >= self._pause:
            self._speaking = False
            return self._cut(len(self._held) - self._quiet + self._around)
        if len(self._held) >= self._longest:
            middle = self._longest // 2
            chances = np.convolve([chance for _, chance in self._held], np.ones(3) / 3, "same")
            return self._cut(middle + int(np.argmin(chances[middle:])) + 1)
        return None

    def finish(self) -> SpeechSegment | None:
        """The sound has ended."""
        return self._cut(len(self._held)) if self._speaking else None

    def _cut(self, count: int) -> SpeechSegment:
        taken, self._held = self._held[:count], self._held[count:]
        return SpeechSegment(join([frame for frame, _ in taken]), float(np.mean([chance for _, chance in taken])))


async def transcribe_segments(
    engines: Engines, pieces: AsyncIterator[Audio], language: str | None
) -> AsyncGenerator[Segment, None]:
    """The segments that have words, as they are heard. pieces: at 16 kHz, one behind the other."""
    ear, cutter, size = engines.vad.open(), Segmenter(engines.vad.frame), engines.vad.frame
    rest = Audio(np.zeros(0, np.float32), LISTEN_RATE)
    async for piece in pieces:
        sound = join([rest, piece])
        whole = len(sound.pcm) // size * size
        for place in range(0, whole, size):
            frame = Audio(sound.pcm[place : place + size], LISTEN_RATE, sound.start + place)
            if (cut := cutter.push(frame, await ear.feed(frame))) and (segment := await _words(engines, cut, language)):
                yield segment
        rest = Audio(sound.pcm[whole:], LISTEN_RATE, sound.start + whole)
    if len(rest.pcm):
        last = Audio(np.pad(rest.pcm, (0, size - len(rest.pcm))), LISTEN_RATE, rest.start)
        if (cut := cutter.push(last, await ear.feed(last))) and (segment := await _words(engines, cut, language)):
            yield segment
    if (cut := cutter.finish()) and (segment := await _words(engines, cut, language)):
        yield segment


async def _words(engines: Engines, cut: SpeechSegment, language: str | None) -> Segment | None:
    utterance = engines.stt.open(language)
    utterance.push(cut.audio)
    await utterance.partial()  # most of the work, at the priority of what can wait: a conversation goes first
    heard = await utterance.finish()
    if not heard.text:
        return None
    start, end = cut.audio.start / LISTEN_RATE, cut.audio.end / LISTEN_RATE
    return Segment(start, end, heard.text, heard.confidence, cut.speech)
