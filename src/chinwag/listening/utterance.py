"""The turn that is being heard: its sound, its words, and what is thought of its silence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.protocols import Ending, Transcript, Utterance
from chinwag.listening.endpointing.features import word_key
from chinwag.listening.endpointing.model import Evidence
from chinwag.listening.turn import SpeechProgress
from chinwag.listening.vad import SpeechTracker

FAILED = Transcript("", final=True, until=0, confidence=0.0)
"""Stands for the words of a turn that no engine could tell."""


@dataclass(eq=False)
class Pause:
    """A silence, and what is thought of it; where they go on, another takes its place and this counts no more.

    began: sample of the last sound. asked: for the final words. judged: how often the judge was asked. ear: what it
    said. wait_s: the silence that ends the turn. drafted: it was told to be a likely end.
    """

    began: int = 0
    asked: bool = False
    words: Transcript | None = None
    words_at: float = 0.0
    judged: int = 0
    judging: asyncio.Task[None] | None = None
    ear: float | None = None
    wait_s: float | None = None
    drafted: bool = False


@dataclass(eq=False)
class SoFar:
    """The turn so far. started, worded: samples at which it began and at which live words were last asked for.

    words, worded_at: the newest words, and when they were first heard as they are. sense: of which words the session
    has told what the model thinks. drafted: to which words an answer was begun. closed: the client
    has said where it ends, and nobody else ends it now. release_engine: ends the hold on the utterance's transcriber.
    """

    utterance: Utterance
    release_engine: Callable[[], None]
    speech: SpeechTracker
    started: int
    worded: int
    sound: deque[Audio] = field(default_factory=deque)
    wording: asyncio.Task[None] | None = None
    words: Transcript | None = None
    worded_at: float = 0.0
    sense: tuple[str, Ending | None] = "", None
    drafted: str = ""
    pause: Pause = field(default_factory=Pause)
    closed: bool = False

    def pcm(self) -> Samples:
        """Its sound in one piece."""
        return np.concatenate([frame.pcm for frame in self.sound]) if self.sound else np.zeros(0, np.float32)

    def silence_s(self, now: int) -> float:
        """Since the last sound of the voice."""
        return (now - self.speech.voice_end) / LISTEN_RATE

    @property
    def newest(self) -> Transcript | None:
        """The words: those of the silence, else the live ones."""
        return self.pause.words or self.words

    def hear_words(self, transcript: Transcript, at: float) -> None:
        """Newer words."""
        if self.words is None or word_key(self.words.text) != word_key(transcript.text):
            self.worded_at = at
        self.words = transcript

    @property
    def language(self) -> str | None:
        """In which the newest words were said, as far as the transcriber can tell."""
        return self.newest.language if self.newest and self.newest.text else None

    @property
    def key(self) -> str:
        """Of the newest words, see `form.word_key`."""
        return word_key(self.newest.text) if self.newest else ""

    @property
    def sensed(self) -> bool:
        """The session has told of these very words what the model thinks."""
        return self.newest is not None and self.sense[0] == self.key

    def looks(self, language: str | None, *, ear: bool = True) -> Evidence:
        """All that is known of the words and of the silence behind them."""
        words = self.newest or FAILED
        expected = self.sense[1] if self.sensed else None
        return Evidence(
            text=words.text,
            sure=words.confidence,
            sense=expected.sentence if expected else None,
            whole=expected.turn if expected else None,
            ear=self.pause.ear if ear else None,
            language=language,
        )

    def as_speech(self, now: int) -> SpeechProgress:
        """As the session is told of it."""
        words = self.newest or FAILED
        return SpeechProgress(
            text=words.text,
            confidence=words.confidence,
            spoken_s=(self.speech.voice_end - self.speech.started) / LISTEN_RATE,
            silence_s=self.silence_s(now),
            settled=self.pause.words is not None,
        )

    def take_up(self, later: SoFar) -> None:
        """What was heard after this had been taken for finished belongs to it."""
        end = self.sound[-1].end
        for frame in later.sound:
            if frame.start >= end:
                self.sound.append(frame)
                self.utterance.push(frame)
        self.speech.voice_end = later.speech.voice_end
        self.pause = Pause()
