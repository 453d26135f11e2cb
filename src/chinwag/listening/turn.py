"""What a listener is told and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chinwag.audio import Audio
from chinwag.engines.protocols import Message
from chinwag.listening.endpointing.policy import Endpointer


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """How to listen.

    automatic: the listener finds the turns; else the client commits them.
    padding_s: sound kept from before the speech began.
    detector: what tells the end of a turn: all there is, or the ear's judge alone as it is commonly used.
    language: BCP 47; None where it is to be heard.
    """

    automatic: bool = True
    threshold: float = 0.5
    padding_s: float = 0.3
    endpointer: Endpointer = field(default_factory=Endpointer)
    language: str | None = None
    partial_every_s: float = 0.16
    detector: Literal["all", "ear"] = "all"

    def restarts(self, before: ListenerSettings) -> bool:
        """Whether what was being said is forgotten where this takes the place of that."""
        return (self.language, self.automatic) != (before.language, before.automatic)


@dataclass(frozen=True, slots=True)
class SpeechProgress:
    """What is being said, as far as it was heard.

    text: its words so far. confidence: of them, 0 to 1. spoken_s: from its onset to its last sound. silence_s: since.
    settled: the words hold all that sounded.
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
    failed: the words could not be recognised. token: what the client's commit was given, if it was one.
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
    """What a listener tells. Each call is one synchronous step of the session."""

    def speech_started(self, at: int, *, continues: bool, immediate: bool) -> bool:
        """Speech began at that sample.

        goes_on: soon after a turn was taken for finished. at_once: so soon after its last sound that it hardly is
        anything else.

        True has the listener take both for one turn.
        """

    def speech_progressed(self, speech: SpeechProgress) -> None:
        """Another frame of it."""

    def partial_transcript(self, speech: SpeechProgress) -> None:
        """The words of the utterance, anew; the session answers with `sensed`."""

    def likely_end(self, text: str) -> None:
        """These may be all the words."""

    def endpointing_estimated(self, estimate: EndpointingEstimate) -> None:
        """What is thought of the silence."""

    def turn_ended(self, turn: Turn) -> None:
        """They have finished."""

    def listening_failed(self, message: str, engine: str = "") -> None:
        """An engine failed; listening goes on as well as it can."""

    def response_heard_at(self) -> float | None:
        """When the last reply had been heard, seconds of the loop's clock; None while it still is, or was not."""

    def prompt_before_turn(self) -> Sequence[Message]:
        """The conversation before this utterance."""
