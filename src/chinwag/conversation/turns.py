"""Handles what the listener hears: speech, partial transcripts, likely ends and turns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.conversation.barge_in import BargeIn, InputDiscarded, TurnTaken
from chinwag.conversation.events import (
    EndpointingEstimated,
    ErrorOccurred,
    InputCommitted,
    Interrupted,
    ItemAdded,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
    TurnRetracted,
)
from chinwag.conversation.history import MessageItem
from chinwag.conversation.prefill import Prefiller
from chinwag.conversation.responder import Responder
from chinwag.conversation.response import Response
from chinwag.conversation.responses import ResponseScheduler
from chinwag.conversation.state import SessionState
from chinwag.engines.protocols import Message
from chinwag.ids import new_id
from chinwag.listening.listener import Listener
from chinwag.listening.turn import EndpointingEstimate, SpeechProgress, Turn
from chinwag.text.prompt import instructions_for

SILENT_COMMANDS = ("stop", "wait")
"""Commands that are obeyed without a response."""


@dataclass(frozen=True)
class _LastTurn:
    """The turn that ended last, and the response to it."""

    item_id: str
    response: Response | None


class TurnHandler:
    """Turns what the listener hears into items, responses and interruptions. It is the session's `ListenerEvents`."""

    def __init__(self, state: SessionState, scheduler: ResponseScheduler, responder: Responder) -> None:
        self._state, self._scheduler, self._responder = state, scheduler, responder
        self._barge_in = BargeIn(self._interrupt, self._dismiss_speech)
        self._speech_started_at = 0
        self._last_turn: _LastTurn | None = None
        # the loop between listener and model that `prefill` explains
        engines = state.engines
        self.listener = Listener(engines, state.settings.listening, self)
        self.prefiller = Prefiller(
            engines, state.history, state.session_id, self.listener.receive_model_evidence, scheduler.releasing_model
        )

    def close(self) -> None:
        """The session has ended: decide nothing more."""
        self._barge_in.close()

    # --- the listener's events -------------------------------------------------------------------------------

    def speech_started(self, at: int, *, continues: bool, immediate: bool) -> bool:
        """Speech began at this sample of the listening stream. Returns True if the last turn goes on with it.

        Speech over a response ducks it until the speech is judged, or interrupts it at once.
        """
        self._responder.idle_timer.cancel()
        self._state.speech_item_id, self._speech_started_at = new_id("item"), at
        last, audible, settings = self._last_turn, self._scheduler.audible, self._state.settings
        response = last.response if last else None
        unheard = response is None or not (response.heard_text or response.tool_calls)
        # a client that creates its responses itself may have used the turn already
        if continues and last and settings.create_response and unheard and response is self._scheduler.last:
            self._retract(last)
            return True
        too_early = immediate and last is not None and audible is response
        if audible and settings.interruption == "words" and not too_early:
            self._barge_in.start(audible)
        elif settings.interruption == "off":
            self._announce_speech()
        else:
            self._announce_speech("early_answer" if too_early else "answer")
        return False

    def speech_progressed(self, speech: SpeechProgress) -> None:
        """Another frame of the utterance was heard."""
        self._state.engines.load.mark_active(self._state.session_id)
        echoes = self.listener.echo_gate.lag is not None
        self._barge_in.progress(speech, self._state.settings.interruption, echoes=echoes)

    def partial_transcript(self, speech: SpeechProgress) -> None:
        """Pass the words so far to the client, and prefill the prompt with them."""
        self.speech_progressed(speech)
        state = self._state
        if not speech.text or not state.speech_item_id or self._barge_in.undecided:
            return
        state.emit(PartialTranscript(state.speech_item_id, speech.text))
        if not self._scheduler.active and (speech.settled or state.engines.load.prefills):
            self._scheduler.discard_draft(unless_for=speech.text)
            self.prefiller.request(speech.text, self._responder.options(), awaited=speech.settled)

    def likely_end(self, text: str) -> None:
        """The turn may have ended: begin a draft response."""
        settings = self._state.settings
        drafts = settings.drafts and self._state.engines.load.drafts
        if not (drafts and settings.create_response and settings.listening.automatic):
            return
        if (
            self._scheduler.active
            or self._responder.transcriber.pending
            or self._barge_in.undecided
            or self._scheduler.find_command(text) in SILENT_COMMANDS
        ):
            return
        self._scheduler.draft_response(text, self._responder.options())

    def endpointing_estimated(self, estimate: EndpointingEstimate) -> None:
        """Pass an estimate of the turn's end to the client."""
        if not (item_id := self._state.speech_item_id):  # the client has cleared or committed the utterance
            return
        values = (estimate.silence_s, estimate.end_probability, estimate.wait_s, estimate.evidence)
        self._state.emit(EndpointingEstimated(item_id, _ms(estimate.speech_end), *values))

    def turn_ended(self, turn: Turn) -> None:
        """Make the turn an item, and respond to it."""
        if turn.item_id:
            self._responder.transcriber.complete(turn.item_id, turn.text, turn.audio, failed=turn.failed)
            return
        if self._barge_in.undecided and "dismiss" in self._barge_in.handle(TurnTaken()):
            return
        state, scheduler, responder = self._state, self._scheduler, self._responder
        item_id, state.speech_item_id = state.speech_item_id or new_id("item"), ""
        state.emit(SpeechStopped(item_id, _ms(turn.ended)))
        silent = scheduler.find_command(turn.text) in SILENT_COMMANDS
        responder.report_unspoken_language()
        self._add_item(MessageItem(item_id, "user", turn.text, turn.audio, spoken=True))
        responder.transcriber.emit_transcript(item_id, turn.text, turn.audio, failed=turn.failed)
        responder.allow_reminder()
        if turn.text and state.settings.create_response and not silent:
            response = responder.respond_to_turn(item_id, turn)
            self._last_turn = _LastTurn(item_id, response) if response else None
            return
        scheduler.skip_turn()
        self._last_turn = _LastTurn(item_id, scheduler.last)
        if silent:
            responder.stop_tool_follow_up()
        elif not turn.text:  # a cough
            responder.wait_for_user()
            responder.respond_to_tool_results()

    def listening_failed(self, message: str, engine: str = "") -> None:
        """Report a failed engine of the listener; the session goes on."""
        self._state.emit(ErrorOccurred("hearing_failed", message, engine))

    def response_heard_at(self) -> float | None:
        """Loop time at which the last response was heard to its end; None if it is audible or has no audio."""
        response = self._scheduler.last
        ended = response is not None and response.playout.sent and not response.audible
        return response.playout.ends_at if response and ended else None

    def prompt_before_turn(self) -> Sequence[Message]:
        """The prompt of the conversation before the utterance under way."""
        instructions = instructions_for(self._state.settings.instructions, self._responder.language)
        return self._state.history.prompt(instructions)

    # --- the client's commit and clear -----------------------------------------------------------------------

    def commit(self, rest: Audio) -> None:
        """Make the audio heard so far an item; its transcript follows. rest: the last of that audio (16 kHz)."""
        if self._barge_in.undecided:  # the client takes the speech for a turn
            self._barge_in.handle(TurnTaken(committed=True))
        state = self._state
        item_id, spoke = state.speech_item_id or new_id("item"), bool(state.speech_item_id)
        if spoke:
            state.emit(SpeechStopped(item_id, state.received_audio_ms))
        state.speech_item_id = ""
        self._scheduler.skip_turn()
        self.listener.append_audio(rest)
        self.listener.commit(item_id)
        self._responder.transcriber.expect(item_id)
        self._add_item(MessageItem(item_id, "user", "", spoken=True))

    def discard_input(self) -> None:
        """Forget the utterance under way."""
        self._barge_in.handle(InputDiscarded())
        self._state.speech_item_id = ""
        self._scheduler.skip_turn()

    # --- interruptions ---------------------------------------------------------------------------------------

    def _announce_speech(self, interrupted: Interrupted = "") -> None:
        """Report that the user speaks. interrupted: which response is stopped by it."""
        audible = interrupted == "unheard_answer" or self._scheduler.audible
        speech_ms = _ms(self._speech_started_at)
        self._state.emit(SpeechStarted(self._state.speech_item_id, speech_ms, interrupted if audible else ""))
        if interrupted and self._scheduler.last:
            self._responder.forget_waiting_turn()
            self._scheduler.last.stop("turn_detected")
            self.listener.echo_gate.stop_playback(asyncio.get_running_loop().time())

    def _interrupt(self) -> None:
        self._announce_speech("answer")

    def _dismiss_speech(self) -> None:
        """The speech over a response was no interruption."""
        self._state.speech_item_id = ""
        self.listener.discard_utterance()
        self._responder.wait_for_user()
        self._responder.respond_to_tool_results()

    def _retract(self, last: _LastTurn) -> None:
        """Take the last turn back: the user goes on before anything of the response was heard."""
        self._last_turn = None
        self._announce_speech("unheard_answer")
        if self._state.history.remove(last.item_id):
            self.prefiller.forget()
            self._state.emit(TurnRetracted(last.item_id))

    def _add_item(self, item: MessageItem) -> None:
        previous_id = self._state.history.add(item)
        self._state.emit(InputCommitted(item.item_id, previous_id))
        self._state.emit(ItemAdded(item.item_id, previous_id))


def _ms(sample: int) -> int:
    return max(0, sample) * 1000 // LISTEN_RATE
