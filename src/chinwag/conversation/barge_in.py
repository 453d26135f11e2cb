"""Who has the floor: what becomes of speech while a reply is being heard, and of a silence that nobody ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from chinwag.conversation.response import Response
from chinwag.language import split_words
from chinwag.listening.overlap import InterruptionMode, Overlap, judge_overlap
from chinwag.listening.turn import SpeechProgress

Outcome = Literal["interrupts", "passing"]

UNDECIDED_S = 4.0
"""Nothing stays undecided for longer, whatever an engine does: what has words by then interrupts, the rest passes."""

AROUND = 12
"""Words to either side of the place that is being heard in which an echo's words are looked for."""


@dataclass
class _Doubt:
    reply: Response
    speech: SpeechProgress
    over: asyncio.TimerHandle


class BargeIn:
    """Lowers the reply when somebody speaks, until it is known what that was.

    decided: is told once for each doubt, in a step of its own or within `heard`.
    """

    def __init__(self, decided: Callable[[Outcome], None]) -> None:
        self._decided = decided
        self._doubt: _Doubt | None = None
        self._quiet: asyncio.TimerHandle | None = None

    @property
    def doubtful(self) -> bool:
        """Somebody speaks while a reply is heard, and it is not known yet what for."""
        return self._doubt is not None

    def doubt(self, reply: Response) -> None:
        """Somebody began to speak."""
        self.settle()
        over = asyncio.get_running_loop().call_later(UNDECIDED_S, self._too_long)
        self._doubt = _Doubt(reply, SpeechProgress("", 0.0, 0.0, 0.0), over)
        reply.duck(low=True)

    def heard(self, speech: SpeechProgress, mode: InterruptionMode, *, echoes: bool) -> None:
        """More of it; may decide. echoes: the reply comes back into the microphone."""
        doubt = self._doubt
        if doubt is None:
            return
        doubt.speech = speech
        if not doubt.reply.audible:  # it has ended meanwhile: what they say now is not said over it
            self._decide("interrupts" if speech.text or not speech.settled else "passing")
            return
        words = _around(doubt.reply) if echoes else ""
        overlap = Overlap(
            speech.text, speech.spoken_s, speech.silence_s, speech.confidence, words, final=speech.settled
        )
        verdict = judge_overlap(overlap, mode)
        if verdict != "undecided":
            self._decide(verdict)

    def close(self, speech_ended: bool) -> Outcome:
        """It has to be decided now. speech_ended: they took it for a whole turn."""
        doubt = self._doubt
        outcome: Outcome = "interrupts" if doubt and speech_ended and doubt.speech.text else "passing"
        self._decide(outcome)
        return outcome

    def settle(self) -> None:
        """Forget the doubt, as something else has decided."""
        if self._doubt:
            self._doubt.over.cancel()
            self._doubt = None

    # --- silence ---------------------------------------------------------------------------------------------

    def wait_for_speech(self, after_s: float, act: Callable[[], None]) -> None:
        """Call that once so much time has passed without `speech_came`."""
        self.speech_came()
        self._quiet = asyncio.get_running_loop().call_later(after_s, act)

    def speech_came(self) -> None:
        """The silence is over."""
        if self._quiet:
            self._quiet.cancel()
            self._quiet = None

    def end(self) -> None:
        """The conversation is over: nothing of this will be decided."""
        self.settle()
        self.speech_came()

    # --- within ----------------------------------------------------------------------------------------------

    def _too_long(self) -> None:
        if self._doubt:
            self._decide("interrupts" if self._doubt.speech.text else "passing")

    def _decide(self, outcome: Outcome) -> None:
        doubt = self._doubt
        if doubt is None:
            return
        self.settle()
        if outcome == "passing":
            doubt.reply.duck(low=False)
        self._decided(outcome)


def _around(reply: Response) -> str:
    """The reply's words near the place that is being heard."""
    words, heard = split_words(reply.text), len(split_words(reply.heard_text))
    return "".join(words[max(0, heard - AROUND) : heard + AROUND])
