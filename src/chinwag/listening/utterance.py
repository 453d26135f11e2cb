"""State of the current utterance: its audio, its transcript and its current pause."""

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

FAILED_TRANSCRIPT = Transcript("", final=True, until=0, confidence=0.0)
"""Stands for the transcript of a turn that the engine failed to transcribe. Compare by identity."""


@dataclass(eq=False)
class Pause:
    """A silence within an utterance. If the user speaks again, a new Pause replaces it.

    started: sample of the last sound. final_requested: the final transcript was requested.
    transcript, transcript_at: the final transcript and the time at which it came, in seconds of the loop's clock.
    audio_checks: how often the audio model was asked. audio_task: its latest request.
    ear: the audio model's end-of-turn probability. wait_s: the silence that ends the turn.
    likely_end_sent: the session was notified of a likely end after the final transcript was there.
    """

    started: int = 0
    final_requested: bool = False
    transcript: Transcript | None = None
    transcript_at: float = 0.0
    audio_checks: int = 0
    audio_task: asyncio.Task[None] | None = None
    ear: float | None = None
    wait_s: float | None = None
    likely_end_sent: bool = False


@dataclass(eq=False)
class UtteranceState:
    """The current utterance.

    utterance: the transcriber's stream. release_engine: ends the lease of that transcriber.
    started, partial_requested_at: samples at which it began and at which a partial transcript was last requested.
    transcript: the newest one. text_stable_at: when its words first came, in seconds of the loop's clock.
    prediction: the key of the words that the language model has read, and the ending that it expects.
    drafted_key: key of the words to which a response was drafted.
    closed: the client has committed or cleared it, so the listener does not end it.
    """

    utterance: Utterance
    release_engine: Callable[[], None]
    speech: SpeechTracker
    started: int
    partial_requested_at: int
    frames: deque[Audio] = field(default_factory=deque)
    partial_task: asyncio.Task[None] | None = None
    transcript: Transcript | None = None
    text_stable_at: float = 0.0
    prediction: tuple[str, Ending | None] = "", None
    drafted_key: str = ""
    pause: Pause = field(default_factory=Pause)
    closed: bool = False

    def pcm(self) -> Samples:
        """Return all samples of the utterance at 16 kHz."""
        return np.concatenate([frame.pcm for frame in self.frames]) if self.frames else np.zeros(0, np.float32)

    def silence_s(self, now: int) -> float:
        """Seconds since the last sound of the voice."""
        return (now - self.speech.voice_end) / LISTEN_RATE

    def seconds_since_partial_request(self, now: int) -> float:
        """Seconds of audio since a partial transcript was last requested."""
        return (now - self.partial_requested_at) / LISTEN_RATE

    @property
    def newest_transcript(self) -> Transcript | None:
        """The final transcript of the pause if there is one, else the newest partial one."""
        return self.pause.transcript or self.transcript

    def set_transcript(self, transcript: Transcript, at: float) -> None:
        """Store a newer transcript. at: seconds of the loop's clock."""
        if self.transcript is None or word_key(self.transcript.text) != word_key(transcript.text):
            self.text_stable_at = at
        self.transcript = transcript

    @property
    def language(self) -> str | None:
        """Language of the newest transcript if the transcriber names one."""
        return self.newest_transcript.language if self.newest_transcript and self.newest_transcript.text else None

    @property
    def text_key(self) -> str:
        """`word_key` of the newest transcript."""
        return word_key(self.newest_transcript.text) if self.newest_transcript else ""

    @property
    def predicted(self) -> bool:
        """Whether the language model's prediction is for the newest transcript."""
        return self.newest_transcript is not None and self.prediction[0] == self.text_key

    def evidence(self, language: str | None, *, ear: bool = True) -> Evidence:
        """Return the evidence for an end of turn. ear: include the audio model's probability."""
        transcript = self.newest_transcript or FAILED_TRANSCRIPT
        expected = self.prediction[1] if self.predicted else None
        return Evidence(
            text=transcript.text,
            sure=transcript.confidence,
            sense=expected.sentence if expected else None,
            whole=expected.turn if expected else None,
            ear=self.pause.ear if ear else None,
            language=language,
        )

    def progress(self, now: int) -> SpeechProgress:
        """Return the state that the session receives."""
        transcript = self.newest_transcript or FAILED_TRANSCRIPT
        return SpeechProgress(
            text=transcript.text,
            confidence=transcript.confidence,
            spoken_s=(self.speech.voice_end - self.speech.started) / LISTEN_RATE,
            silence_s=self.silence_s(now),
            settled=self.pause.transcript is not None,
        )

    def append_continuation(self, later: UtteranceState) -> None:
        """Append the audio of a later utterance that continues this one."""
        end = self.frames[-1].end
        for frame in later.frames:
            if frame.start >= end:
                self.frames.append(frame)
                self.utterance.push(frame)
        self.speech.voice_end = later.speech.voice_end
        self.pause = Pause()
