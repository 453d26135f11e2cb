"""Barge-in: speech over a response first ducks it, and stops it once the speech proves to be an interruption.

`next_state` holds all rules as a pure function. `BargeIn` runs it: it owns the timer and applies the effects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chinwag.conversation.response import Response
from chinwag.language import split_words
from chinwag.listening.overlap import InterruptionMode, Overlap, judge_overlap
from chinwag.listening.turn import SpeechProgress

UNDECIDED_S = 4.0
"""An overlap is decided after this time at the latest: speech with words interrupts, any other is dismissed."""

ECHO_WORDS = 12
"""Words before and after the playout position that an echo may consist of."""


@dataclass(frozen=True, slots=True)
class NoOverlap:
    """Nothing is to be decided."""


@dataclass(frozen=True, slots=True)
class Overlapping:
    """The user speaks over a ducked response. speech: what was heard of it so far."""

    speech: SpeechProgress


BargeInState: TypeAlias = NoOverlap | Overlapping


@dataclass(frozen=True, slots=True)
class OverlapStarted:
    """The user begins to speak over a response."""


@dataclass(frozen=True, slots=True)
class OverlapProgressed:
    """More of the speech was heard.

    audible: the response still sounds. response_text: the response's words near its playout position, if its sound
    comes back into the microphone.
    """

    speech: SpeechProgress
    mode: InterruptionMode
    audible: bool
    response_text: str = ""


@dataclass(frozen=True, slots=True)
class TurnTaken:
    """The speech ended as a turn (`committed`: because the client said so)."""

    committed: bool = False


@dataclass(frozen=True, slots=True)
class OverlapTimedOut:
    """The overlap has lasted for UNDECIDED_S."""


@dataclass(frozen=True, slots=True)
class InputDiscarded:
    """The client cleared the input, or changed how the listener hears it."""


BargeInEvent: TypeAlias = OverlapStarted | OverlapProgressed | TurnTaken | OverlapTimedOut | InputDiscarded
Effect = Literal["duck", "unduck", "interrupt", "dismiss"]
DUCK: tuple[Effect, ...] = ("duck",)
INTERRUPT: tuple[Effect, ...] = ("interrupt",)
DISMISS: tuple[Effect, ...] = ("unduck", "dismiss")


def next_state(state: BargeInState, event: BargeInEvent) -> tuple[BargeInState, tuple[Effect, ...]]:
    """Return the state after an event, and the effects to apply in order."""
    match state, event:
        case _, OverlapStarted():
            return Overlapping(SpeechProgress("", 0.0, 0.0, 0.0)), DUCK
        case Overlapping(), OverlapProgressed(speech, mode, audible, response_text):
            match _verdict(speech, mode, audible, response_text):
                case "interrupts":
                    return NoOverlap(), INTERRUPT
                case "passing":
                    return NoOverlap(), DISMISS
                case "undecided":
                    return Overlapping(speech), ()
        case Overlapping(), TurnTaken(committed=True):
            return NoOverlap(), INTERRUPT
        case Overlapping(speech), TurnTaken() | OverlapTimedOut():
            return NoOverlap(), INTERRUPT if speech.text else DISMISS
        case Overlapping(), InputDiscarded():
            return NoOverlap(), DISMISS
    return state, ()


def _verdict(
    speech: SpeechProgress, mode: InterruptionMode, audible: bool, response_text: str
) -> Literal["undecided", "interrupts", "passing"]:
    if not audible:  # the response has ended meanwhile: this speech is no longer over it
        return "interrupts" if speech.text or not speech.settled else "passing"
    overlap = Overlap(
        speech.text, speech.spoken_s, speech.silence_s, speech.confidence, response_text, final=speech.settled
    )
    return judge_overlap(overlap, mode)


class BargeIn:
    """Runs `next_state` for one session.

    interrupt: called when an overlap is an interruption. dismiss: called when it is not. One of them is called for each
    overlap, unless another overlap begins or the session ends.
    """

    def __init__(self, interrupt: Callable[[], None], dismiss: Callable[[], None]) -> None:
        self._interrupt, self._dismiss = interrupt, dismiss
        self._state: BargeInState = NoOverlap()
        self._response: Response | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def undecided(self) -> bool:
        """An overlap is under way, and its meaning is not known yet."""
        return isinstance(self._state, Overlapping)

    def start(self, response: Response) -> None:
        """Begin an overlap with this response."""
        self.close()
        self._response = response
        self._timer = asyncio.get_running_loop().call_later(UNDECIDED_S, self.handle, OverlapTimedOut())
        self.handle(OverlapStarted())

    def progress(self, speech: SpeechProgress, mode: InterruptionMode, *, echoes: bool) -> None:
        """Judge the speech heard so far. echoes: the response's sound comes back into the microphone."""
        if self.undecided and (response := self._response):
            text = _text_near_playout(response) if echoes and response.audible else ""
            self.handle(OverlapProgressed(speech, mode, response.audible, text))

    def handle(self, event: BargeInEvent) -> tuple[Effect, ...]:
        """Move to the next state and apply the effects. Returns them."""
        self._state, effects = next_state(self._state, event)
        response = self._response
        if not self.undecided:
            self.close()
        for effect in effects:
            match effect:
                case "duck" | "unduck":
                    assert response is not None
                    response.duck(low=effect == "duck")
                case "interrupt":
                    self._interrupt()
                case "dismiss":
                    self._dismiss()
        return effects

    def close(self) -> None:
        """Drop an undecided overlap without an effect, and stop the timer."""
        self._state, self._response = NoOverlap(), None
        if self._timer:
            self._timer.cancel()
            self._timer = None


def _text_near_playout(response: Response) -> str:
    words, heard = split_words(response.text), len(split_words(response.heard_text))
    return "".join(words[max(0, heard - ECHO_WORDS) : heard + ECHO_WORDS])
