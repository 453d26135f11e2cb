"""Growing utterances for models that transcribe whole pieces: buffer, cuts, joined text, repetition loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.faults import require_rate
from chinwag.engines.protocols import Transcript
from chinwag.engines.worker import Priority
from chinwag.errors import EngineError

SHORTEST = LISTEN_RATE // 10
"""Shortest sound that can contain a word, in samples."""
SILENT_PEAK = 3e-4
"""Peak below which sound is digital silence: ten steps of 16-bit samples."""

_WINDOW = LISTEN_RATE // 5
_HOP = LISTEN_RATE // 50


class GrowingSound:
    """Samples of an utterance in one array that doubles when it is full.

    Views stay valid while sound is added: written samples never change.
    """

    def __init__(self) -> None:
        self._pcm = np.empty(4 * LISTEN_RATE, np.float32)
        self.length = 0
        self.until = 0
        """The listening stream's index after the last sample."""

    def push(self, audio: Audio) -> None:
        """Append sound."""
        end = self.length + len(audio.pcm)
        if end > len(self._pcm):
            grown = np.empty(max(end, 2 * len(self._pcm)), np.float32)
            grown[: self.length] = self._pcm[: self.length]
            self._pcm = grown
        self._pcm[self.length : end] = audio.pcm
        self.length, self.until = end, audio.end

    def view(self, start: int, end: int) -> Samples:
        """Return the samples from `start` up to `end` without a copy; the first sample pushed is 0."""
        return self._pcm[start:end]


def ctranslate2_device(wanted: str, engine: str) -> str:
    """Return "cuda" or "cpu" for a device setting ("auto", "cpu" or "cuda"). Raises EngineError if CUDA is missing."""
    if wanted == "cpu":
        return "cpu"
    import ctranslate2  # a dependency of faster-whisper; does not import torch

    available = ctranslate2.get_cuda_device_count() > 0
    if wanted == "cuda" and not available:
        fix = "Set stt.device = cpu, or install NVIDIA's driver with CUDA 12 and cuDNN 9 (`nvidia-smi -L` lists GPUs)."
        raise EngineError(f"The engine {engine} finds no CUDA device.", fix, engine)
    return "cuda" if available else "cpu"


def quietest(pcm: Samples, after: int, before: int, tail: int) -> int:
    """Return where to cut: the middle of the quietest 200 ms between `after` and `before`.

    tail: samples that must be left behind the cut. All in samples at 16 kHz; pcm is longer than `before`.
    """
    last = max(min(before, len(pcm) - tail), after + _WINDOW)
    energy = np.concatenate(([0.0], np.cumsum(np.square(pcm[after:last], dtype=np.float64))))
    starts = np.arange(0, max(len(energy) - _WINDOW, 1), _HOP)
    ends = np.minimum(starts + _WINDOW, len(energy) - 1)
    return after + int(starts[np.argmin(energy[ends] - energy[starts])]) + _WINDOW // 2


def join_text(before: str, after: str) -> str:
    """Join the texts of two pieces of one utterance that were transcribed separately.

    A transcriber ends each piece with a full stop. If the second text begins in lower case, it continues the first
    text's sentence, and that full stop is removed.
    """
    if not before or not after:
        return before or after
    if after[0].islower() and before.endswith(".") and not before.endswith("..."):
        before = before[:-1]
    return f"{before} {after}"


def loop_begins(tokens: Sequence[int]) -> int | None:
    """Return how many tokens to keep if they end in a loop: up to the end of its first round. None without a loop."""
    period = looping(tokens)
    if not period:
        return None
    kept = len(tokens)
    while kept > period and tokens[kept - 1] == tokens[kept - 1 - period]:
        kept -= 1
    return kept


def looping(tokens: Sequence[int]) -> int:
    """Return the period of the loop that `tokens` end in; 0 if they end in none.

    A person may repeat a phrase three times. A loop is a token repeated 12 times, or a phrase repeated 4 times.
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
        """Mean probability of the tokens, 0 to 1."""
        ...

    def __add__(self, other: Self) -> Self:
        """Join the results of two pieces."""
        ...


W = TypeVar("W", bound=PieceText)


class PiecewiseUtterance(ABC, Generic[W]):
    """One utterance of an engine that transcribes whole pieces.

    pieces: longest piece that is transcribed whole; a longer utterance is cut at its quietest place. Earliest place
    of a cut; least sound left behind it. All in samples. nothing: the result for silence.
    """

    def __init__(self, engine: str, pieces: tuple[int, int, int], nothing: W) -> None:
        self._name, self._pieces, self._nothing = engine, pieces, nothing
        self._sound = GrowingSound()
        self._settled, self._settled_result, self._settled_until = "", nothing, 0
        self._finishing = 0
        self._last = Transcript("", final=False, until=0)
        self._transcribed = 0

    @abstractmethod
    async def _transcribe_piece(self, pcm: Samples, start: int, priority: Priority) -> W | None:
        """Transcribe a piece that begins at sample `start`; None if a partial transcript yields to a final one."""

    @abstractmethod
    def _text_of(self, result: W) -> str:
        """Return the text of a result."""

    @property
    def _language(self) -> str | None:
        """The spoken language, if known."""
        return None

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        require_rate(audio, self._name)
        self._sound.push(audio)

    async def partial(self) -> Transcript:
        """Return the partial transcript; the previous one while a final transcript is computed."""
        transcript = await self._transcribe(Priority.LATER) if not self._finishing else None
        return transcript or self._last

    async def finish(self) -> Transcript:
        """Return the final transcript; costs nothing if no sound was added since the last partial one."""
        self._finishing += 1
        try:
            transcript = await self._transcribe(Priority.NOW)
        finally:
            self._finishing -= 1
        assert transcript is not None
        return replace(transcript, final=True)

    def _must_yield(self, priority: Priority) -> bool:
        return priority is Priority.LATER and self._finishing > 0

    async def _transcribe(self, priority: Priority) -> Transcript | None:
        """Transcribe all sound so far; None if a partial transcript yielded to a final one."""
        length, until = self._sound.length, self._sound.until
        if length == self._transcribed:
            return self._last
        whole, least, tail = self._pieces
        while length - self._settled_until > whole:
            start = self._settled_until
            cut = start + quietest(self._sound.view(start, length), least, whole, tail)
            result = await self._transcribe_unless_silent(start, cut, priority)
            if result is None:
                return None
            if self._settled_until == start:  # otherwise another call has settled this piece
                self._settled = join_text(self._settled, self._text_of(result))
                self._settled_result += result
                self._settled_until = cut
        settled, before = self._settled, self._settled_result
        result = await self._transcribe_unless_silent(self._settled_until, length, priority)
        if result is None:
            return None
        text = join_text(settled, self._text_of(result))
        transcript = Transcript(text, False, until, (before + result).confidence, self._language if text else None)
        if length > self._transcribed:
            self._last, self._transcribed = transcript, length
        return transcript

    async def _transcribe_unless_silent(self, start: int, end: int, priority: Priority) -> W | None:
        pcm = self._sound.view(start, end)
        if len(pcm) < SHORTEST or np.abs(pcm).max() < SILENT_PEAK:
            return self._nothing
        return await self._transcribe_piece(pcm, start, priority)
