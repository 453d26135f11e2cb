"""Settings, events and results of a listener."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chinwag.audio import Audio
from chinwag.engines.protocols import Message
from chinwag.listening.endpointing.policy import Endpointer


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Settings of a listener.

    automatic: the listener detects turns; if False, the client commits them.
    padding_s: seconds of audio included from before the onset of speech.
    detector: what tells the end of a turn: all there is, or the ear's judge alone as it is commonly used.
    language: BCP 47 tag; None: the transcriber detects it.
    """

    automatic: bool = True
    threshold: float = 0.5
    padding_s: float = 0.3
    endpointer: Endpointer = field(default_factory=Endpointer)
    language: str | None = None
    partial_every_s: float = 0.16
    detector: Literal["all", "ear"] = "all"

    def restarts(self, before: ListenerSettings) -> bool:
        """Return whether a change from `before` to these settings discards the current utterance."""
        return (self.language, self.automatic) != (before.language, before.automatic)


@dataclass(frozen=True, slots=True)
class SpeechProgress:
    """The current utterance so far.

    text: its words so far. confidence: of them, 0 to 1. spoken_s: from its onset to its last sound. silence_s: since.
    settled: the text covers all speech of the utterance.
    """

    text: str
    confidence: float
    spoken_s: float
    silence_s: float
    settled: bool = False


@dataclass(frozen=True, slots=True)
class EndpointingEstimate:
    """What was thought of a silence. speech_end: sample of the last sound. silence_s: how long it was by then.

    finished: P(they have finished); None where nothing could tell. wait_s: the silence that ends the turn.
    looks: what it was made of, by name.
    """

    speech_end: int
    silence_s: float
    end_probability: float | None
    wait_s: float
    evidence: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A finished turn. started, ended: samples of the listening stream, ended being the last that sounded.

    ended_at, decided_at, transcript_at: seconds of the loop's clock: its last sound came in, it was decided that the
    turn had ended, its final words were known. worded_at: when its words were first heard as they are.
    failed: the speech could not be transcribed. item_id: of the client's commit; None: the listener ended the turn.
    """

    text: str
    audio: Audio
    started: int
    ended: int
    ended_at: float
    decided_at: float
    transcript_at: float
    text_stable_at: float
    failed: bool = False
    item_id: str | None = None


class ListenerEvents(Protocol):
    """Callbacks of a listener. Each call is one synchronous step of the session."""

    def speech_started(self, at: int, *, continues: bool, immediate: bool) -> bool:
        """Speech began at that sample.

        goes_on: soon after a turn was taken for finished. at_once: so soon after its last sound that it hardly is
        anything else.

        True has the listener take both for one turn.
        """

    def speech_progressed(self, speech: SpeechProgress) -> None:
        """Receive the utterance after another frame of speech."""

    def partial_transcript(self, speech: SpeechProgress) -> None:
        """The words of the utterance, anew; it calls `Listener.receive_model_evidence` in turn."""

    def likely_end(self, text: str) -> None:
        """The text may be the whole utterance: a draft response can start."""

    def endpointing_estimated(self, estimate: EndpointingEstimate) -> None:
        """Receive a new estimate of whether the silence ends the turn."""

    def turn_ended(self, turn: Turn) -> None:
        """The turn has ended."""

    def listening_failed(self, message: str, engine: str = "") -> None:
        """An engine failed. The listener continues without its result."""

    def response_heard_at(self) -> float | None:
        """When the last reply had been heard, seconds of the loop's clock; None while it still is, or was not."""

    def prompt_before_turn(self) -> Sequence[Message]:
        """Return the messages of the conversation before this turn."""
