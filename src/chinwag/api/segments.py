"""Cut long audio at its pauses, and transcribe each segment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, join
from chinwag.engines.protocols import Engines

BEGINS, GOES_ON = 0.5, 0.35
"""Speech probabilities that begin and continue a segment: Silero's own hysteresis."""
PAUSE_S = 0.6
"""Silence that ends a segment: longer than the pauses inside a sentence."""
AROUND_S = 0.3
"""Audio added before and after the speech, so that no soft onset is lost."""
LONGEST_S = 25.0
"""A segment without a pause is cut at its quietest point after its middle; STT models accept up to 30 s."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A transcribed segment; times in seconds. confidence: mean token probability; speech: mean speech probability."""

    start: float
    end: float
    text: str
    confidence: float
    speech: float


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """A segment of audio with its mean speech probability."""

    audio: Audio
    speech: float


class Segmenter:
    """Cuts audio into segments. frame: samples of a frame."""

    def __init__(self, frame: int) -> None:
        self._around = round(AROUND_S * LISTEN_RATE / frame)
        self._pause = round(PAUSE_S * LISTEN_RATE / frame)
        self._longest = round(LONGEST_S * LISTEN_RATE / frame)
        self._frames: list[tuple[Audio, float]] = []
        self._speaking = False
        self._quiet = 0

    def push(self, frame: Audio, speech: float) -> SpeechSegment | None:
        """Append a frame with its speech probability; return a segment that has ended."""
        self._frames.append((frame, speech))
        if not self._speaking:
            self._speaking, self._quiet = speech >= BEGINS, 0
            if not self._speaking:
                self._frames = self._frames[-self._around :]
            return None
        self._quiet = 0 if speech >= GOES_ON else self._quiet + 1
        if self._quiet >= self._pause:
            self._speaking = False
            return self._cut(len(self._frames) - self._quiet + self._around)
        if len(self._frames) >= self._longest:
            middle = self._longest // 2
            chances = np.convolve([chance for _, chance in self._frames], np.ones(3) / 3, "same")
            return self._cut(middle + int(np.argmin(chances[middle:])) + 1)
        return None

    def finish(self) -> SpeechSegment | None:
        """Return the last segment at the end of the audio."""
        return self._cut(len(self._frames)) if self._speaking else None

    def _cut(self, count: int) -> SpeechSegment:
        cut, self._frames = self._frames[:count], self._frames[count:]
        return SpeechSegment(join([frame for frame, _ in cut]), float(np.mean([chance for _, chance in cut])))


async def transcribe_segments(
    engines: Engines, pieces: AsyncIterator[Audio], language: str | None
) -> AsyncGenerator[Segment, None]:
    """Yield each segment that has words once it is transcribed. pieces: consecutive audio at 16 kHz."""
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
    await utterance.partial()  # most of the work, at low priority, so that live sessions go first
    heard = await utterance.finish()
    if not heard.text:
        return None
    start, end = cut.audio.start / LISTEN_RATE, cut.audio.end / LISTEN_RATE
    return Segment(start, end, heard.text, heard.confidence, cut.speech)
