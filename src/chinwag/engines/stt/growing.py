"""What a transcriber that hears whole pieces needs for sound that goes on: a buffer, a place to cut, a seam, loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.protocols import Transcript
from chinwag.engines.worker import Priority
from chinwag.errors import EngineError

SHORTEST = LISTEN_RATE // 10
"""Sound that is shorter holds no word."""
SILENT_PEAK = 3e-4
"""What never gets louder than ten steps of 16-bit sound is digital silence."""

_WINDOW = LISTEN_RATE // 5
_HOP = LISTEN_RATE // 50


class GrowingSound:
    """Samples pushed so far, in one array that doubles when it is full.

    A view stays true while more is pushed: samples once written never change.
    """

    def __init__(self) -> None:
        self._pcm = np.empty(4 * LISTEN_RATE, np.float32)
        self.length = 0
        self.until = 0
        """The listening stream's index after the last sample."""

    def push(self, audio: Audio) -> None:
        """Add a piece at the end."""
        end = self.length + len(audio.pcm)
        if end > len(self._pcm):
            grown = np.empty(max(end, 2 * len(self._pcm)), np.float32)
            grown[: self.length] = self._pcm[: self.length]
            self._pcm = grown
        self._pcm[self.length : end] = audio.pcm
        self.length, self.until = end, audio.end

    def view(self, start: int, end: int) -> Samples:
        """Samples from `start` up to `end`, counted from the first one pushed; not copied."""
        return self._pcm[start:end]


def quietest(pcm: Samples, after: int, before: int, tail: int) -> int:
    """Where to cut: the middle of the quietest 200 ms that lies `after`..`before`, with `tail` samples left behind it.

    All in samples; pcm is longer than `before` and at 16 kHz.
    """
    last = max(min(before, len(pcm) - tail), after + _WINDOW)
    energy = np.concatenate(([0.0], np.cumsum(np.square(pcm[after:last], dtype=np.float64))))
    starts = np.arange(0, max(len(energy) - _WINDOW, 1), _HOP)
    ends = np.minimum(starts + _WINDOW, len(energy) - 1)
    return after + int(starts[np.argmin(energy[ends] - energy[starts])]) + _WINDOW // 2


def join_text(before: str, after: str) -> str:
    """Join two pieces of one utterance that were heard apart.

    The transcriber takes each piece for sentences of their own: where the second plainly goes on with the first's
    sentence (it begins in lower case), the full stop between them is its invention and goes.
    """
    if not before or not after:
        return before or after
    if after[0].islower() and before.endswith(".") and not before.endswith("..."):
        before = before[:-1]
    return f"{before} {after}"


def loop_begins(tokens: Sequence[int]) -> int | None:
    """Tokens to keep where a decoder is caught in a loop at the end of them: up to the end of its first round."""
    period = looping(tokens)
    if not period:
        return None
    kept = len(tokens)
    while kept > period and tokens[kept - 1] == tokens[kept - 1 - period]:
        kept -= 1
    return kept


def looping(tokens: Sequence[int]) -> int:
    """The period of a loop that the decoder is caught in at the end of `tokens`, else 0.

    A person may say a thing three times; a token repeated a dozen times, or a phrase four, is the model's doing.
    """
    for period in range(1, 17):
        span = max(4 * period, 12)
        tail = tokens[-span:]
        if len(tail) == span and tail[period:] == tail[:-period]:
            return period
    return 0


class PieceText(Protocol):
    """The text of one piece, in an engine's own form."""

    @property
    def confidence(self) -> float:
        """Mean probability of its tokens."""
        ...

    def __add__(self, other: Self) -> Self:
        """Join the results of two pieces."""
        ...


W = TypeVar("W", bound=PieceText)


class PiecewiseUtterance(ABC, Generic[W]):
    """One utterance on its way to words, heard in one piece as long as it is short.

    pieces: samples up to which it is; a longer one is cut at its quietest place, not before the second, so that the
    third is left. nothing: the words of silence.
    """

    def __init__(self, engine: str, pieces: tuple[int, int, int], nothing: W) -> None:
        self._name, self._pieces, self._nothing = engine, pieces, nothing
        self._sound = GrowingSound()
        self._settled, self._settled_words, self._settled_until = "", nothing, 0
        self._finishing = 0
        self._last = Transcript("", final=False, until=0)
        self._heard = 0

    @abstractmethod
    async def _words(self, pcm: Samples, start: int, priority: Priority) -> W | None:
        """The words of a piece that begins at that sample; None where a partial is to give way to a finish."""

    @abstractmethod
    def _text_of(self, words: W) -> str:
        """As they are written."""

    @property
    def _language(self) -> str | None:
        """Of what was heard, as far as that is known."""
        return None

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        if audio.rate != LISTEN_RATE:
            message = f"The engine {self._name} hears {LISTEN_RATE} samples a second, not {audio.rate}."
            raise EngineError(message, "Resample first.", self._name)
        self._sound.push(audio)

    async def partial(self) -> Transcript:
        """The words so far; those of the last time where a `finish` comes between."""
        heard = await self._hear(Priority.LATER) if not self._finishing else None
        return heard or self._last

    async def finish(self) -> Transcript:
        """The final words; free where nothing was pushed since the last partial."""
        self._finishing += 1
        try:
            heard = await self._hear(Priority.NOW)
        finally:
            self._finishing -= 1
        assert heard is not None
        return replace(heard, final=True)

    def _gives_way(self, priority: Priority) -> bool:
        return priority is Priority.LATER and self._finishing > 0

    async def _hear(self, priority: Priority) -> Transcript | None:
        """None where a partial gave way to a finish."""
        length, until = self._sound.length, self._sound.until
        if length == self._heard:
            return self._last
        whole, least, tail = self._pieces
        while length - self._settled_until > whole:
            start = self._settled_until
            cut = start + quietest(self._sound.view(start, length), least, whole, tail)
            words = await self._piece(start, cut, priority)
            if words is None:
                return None
            if self._settled_until == start:  # else another call settled it meanwhile
                self._settled = join_text(self._settled, self._text_of(words))
                self._settled_words += words
                self._settled_until = cut
        settled, before = self._settled, self._settled_words
        words = await self._piece(self._settled_until, length, priority)
        if words is None:
            return None
        text = join_text(settled, self._text_of(words))
        transcript = Transcript(text, False, until, (before + words).confidence, self._language if text else None)
        if length > self._heard:
            self._last, self._heard = transcript, length
        return transcript

    async def _piece(self, start: int, end: int, priority: Priority) -> W | None:
        pcm = self._sound.view(start, end)
        if len(pcm) < SHORTEST or np.abs(pcm).max() < SILENT_PEAK:
            return self._nothing
        return await self._words(pcm, start, priority)
