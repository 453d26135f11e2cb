"""Decides when a response begins, and with which options.

A response begins when a turn has ended, when the client asks for one, when tool results are there, or after a long
silence. It waits for transcripts that are missing, for tool calls that run, and for the active response to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chinwag.conversation.events import CancelReason, ErrorOccurred, IdleTimeoutReached, ResponseEnded
from chinwag.conversation.history import History, Item, MessageItem, prompt_budget
from chinwag.conversation.idle_timer import IdleTimer
from chinwag.conversation.response import Response
from chinwag.conversation.responses import ResponseScheduler
from chinwag.conversation.settings import ResponseOptions, SessionSettings
from chinwag.conversation.state import SessionState
from chinwag.conversation.tools import ToolRunner
from chinwag.conversation.transcription import ItemTranscriber
from chinwag.errors import Refused
from chinwag.ids import new_id
from chinwag.language import language_name
from chinwag.listening.turn import Turn
from chinwag.speech.synthesis import OTHER_ENGINE_HINT, supports_language, unsupported_language_message
from chinwag.text.fillers import translate_filler
from chinwag.text.prompt import SILENCE_PROMPT, instructions_for

MAX_OUT_OF_BAND = 4
"""Out-of-band responses that a client may have under way."""

MAX_TOOL_ROUNDS = 8
"""Responses in a row that may end in tool calls the server runs; the last one has to be text."""


@dataclass(frozen=True)
class _Request:
    """A response that the client asks for. context: items to respond to in place of the conversation."""

    settings: SessionSettings
    tag: Any
    context: Sequence[Item] | None
    out_of_band: bool

    @property
    def untranscribed(self) -> list[MessageItem]:
        """Items of the context that are audio without a transcript."""
        items = (item for item in self.context or () if isinstance(item, MessageItem))
        return [item for item in items if item.audio and not item.heard_text]


class Responder:
    """Starts responses. heard_language: the language that the user speaks, if it is known."""

    def __init__(
        self, state: SessionState, scheduler: ResponseScheduler, heard_language: Callable[[], str | None]
    ) -> None:
        self._state, self._scheduler, self._heard_language = state, scheduler, heard_language
        self.transcriber = ItemTranscriber(state.engines.stt, state.history, state.emit)
        self.tool_runner = ToolRunner(state.history, state.emit, self)
        self.idle_timer = IdleTimer()
        self._reminded = False
        self._turn_waiting = False
        self._tool_results_waiting = False
        self._tool_rounds = 0
        self._last_settings = state.settings
        self._deferred: asyncio.Task[None] | None = None
        self._deferred_out_of_band: set[asyncio.Task[None]] = set()
        self._reported_languages: set[str] = set()

    @property
    def busy(self) -> bool:
        """A response is active, or waits for transcripts or tool calls."""
        return bool(self._scheduler.active or self._deferred)

    @property
    def at_rest(self) -> bool:
        """No response sounds or is to come."""
        scheduler = self._scheduler
        responding = scheduler.audible or scheduler.pending or scheduler.out_of_band_count
        return not (responding or self._deferred or self.transcriber.pending)

    # --- options ---------------------------------------------------------------------------------------------

    def options(self, settings: SessionSettings | None = None) -> ResponseOptions:
        """The options of a response that begins now. settings: of this response, in place of the session's."""
        settings = settings or self._state.settings
        tools, tool_choice = self.tool_runner.tools_for(settings.tools)
        voice = settings.style.voice
        if voice not in self._state.engines.tts.voices:  # it was chosen for another engine
            voice = None
        return ResponseOptions(
            instructions=instructions_for(settings.instructions, self.language),
            style=replace(settings.style, voice=voice, language=self.language),
            audio=settings.audio,
            max_tokens=settings.max_tokens,
            send_ahead_s=settings.send_ahead_s,
            client_ducks=settings.client_ducks,
            tools=tools,
            tool_choice=tool_choice,
        )

    @property
    def language(self) -> str | None:
        """The language of responses: the user's, or one the voice speaks if it does not speak the user's."""
        heard, voice = self._heard_language(), self._state.engines.tts
        if not self._state.settings.audio or supports_language(voice, heard):
            return heard
        return next(iter(voice.languages))

    def report_unspoken_language(self) -> None:
        """Report once for each language that the voice does not speak it, and which one it speaks instead."""
        heard, voice = self._heard_language(), self._state.engines.tts
        if heard is None or heard in self._reported_languages or self.language == heard:
            return
        self._reported_languages.add(heard)
        reason, spoken = unsupported_language_message(voice, heard), language_name(self.language)
        message = f"{reason} You are answered in {spoken}. {OTHER_ENGINE_HINT}"
        self._state.emit(ErrorOccurred("language_not_spoken", message))

    def forget_reported_languages(self) -> None:
        """Report languages anew: the voice has changed."""
        self._reported_languages.clear()

    # --- responses to turns ----------------------------------------------------------------------------------

    def respond_to_turn(self, item_id: str, turn: Turn) -> Response | None:
        """Respond to a turn in the history; None if it has to wait for the active response to end."""
        if self.busy:  # interruptions are off
            self._turn_waiting = True
            self._scheduler.skip_turn()
            return None
        self._tool_rounds, self._tool_results_waiting, self._last_settings = 0, False, self._state.settings
        return self._scheduler.respond_to_turn(item_id, turn, self.options())

    def forget_waiting_turn(self) -> None:
        """The user speaks again: the next turn is answered together with the one that waits."""
        self._turn_waiting = False
        self._scheduler.discard_queued()

    def stop_tool_follow_up(self) -> None:
        """Do not respond to the tool calls that run now."""
        self.tool_runner.ignore_running_calls()
        self._tool_results_waiting = False

    def greet(self) -> None:
        """Speak the greeting."""
        self._scheduler.respond(self.options(), preamble=self._state.settings.greeting, calls_model=False)

    # --- responses that the client asks for ------------------------------------------------------------------

    def create_response(
        self, settings: SessionSettings | None, tag: Any, context: Sequence[Item] | None, *, out_of_band: bool
    ) -> None:
        """See `Session.create_response`."""
        request = _Request(settings or self._state.settings, tag, context, out_of_band)
        if out_of_band:
            if self._scheduler.out_of_band_count + len(self._deferred_out_of_band) >= MAX_OUT_OF_BAND:
                message = f"{MAX_OUT_OF_BAND} responses outside of the conversation are under way."
                raise Refused("too_many_responses", message, "Wait until one of them is done, or cancel it.")
        else:
            pending = self._scheduler.pending
            if pending or self._deferred:
                raise Refused(
                    "conversation_already_has_active_response",
                    f"Conversation already has an active response in progress: {pending and pending.response_id}.",
                    "Wait until the response is finished before creating a new one, or cancel it.",
                )
            self._tool_rounds = 0
        waits_for_tools = self.tool_runner.running and not out_of_band
        if not (self.transcriber.pending or request.untranscribed or waits_for_tools):
            self._respond(request)
            return
        task = self._state.tasks.start(self._respond_later(request, request.untranscribed))
        if out_of_band:
            self._deferred_out_of_band.add(task)
            task.add_done_callback(self._deferred_out_of_band.discard)
        else:
            self._deferred = task

    def cancel_response(self, reason: CancelReason, response_id: str | None) -> bool:
        """See `Session.cancel_response`."""
        in_conversation = (self._scheduler.active, self._scheduler.pending)
        if response_id and response_id not in {response.response_id for response in in_conversation if response}:
            return self._scheduler.cancel_out_of_band(response_id)
        self._turn_waiting = self._tool_results_waiting = False
        had_calls, had_pending = self.tool_runner.ignore_running_calls(), self._scheduler.pending is not None
        self._scheduler.discard_queued()
        if self._deferred:
            self._deferred.cancel()
            self._deferred = None
            return True
        if response := self._scheduler.active:
            response.stop(reason)
            return True
        return had_calls or had_pending

    async def _respond_later(self, request: _Request, untranscribed: Sequence[MessageItem]) -> None:
        """Respond when all transcripts and tool results are there."""
        if self.transcriber.pending:
            await self.transcriber.wait_for_all()
        for item in untranscribed:
            assert item.audio is not None
            language = self._state.settings.listening.language
            item.heard_text = item.heard_text or await self.transcriber.transcribe(item.audio, language) or ""
        if not request.out_of_band:
            await self.tool_runner.wait_for_calls()
            self._deferred, self._turn_waiting = None, False
        self._respond(request)

    def _respond(self, request: _Request) -> None:
        options = replace(self.options(request.settings), tag=request.tag)
        if request.out_of_band:  # its tool calls would not be run
            options = replace(options, tools=(), tool_choice="auto")
        else:
            self._tool_results_waiting, self._last_settings = False, request.settings
        if request.context is None and not request.out_of_band:
            self._scheduler.respond(options)
            return
        history = self._state.history
        if request.context is not None:
            history = History(prompt_budget(self._state.settings.context_tokens, options.max_tokens))
            for item in request.context:
                history.add(item)
        messages = history.prompt(options.instructions, reserved=options.tools_size)
        if request.out_of_band:
            self._scheduler.respond_out_of_band(messages, options)
        else:
            self._scheduler.respond_to_messages(messages, options)

    # --- what follows a response -----------------------------------------------------------------------------

    def on_response_ended(self, event: ResponseEnded) -> None:
        """Respond to what has waited for the response to end, or wait for the user."""
        if self._deferred:  # the deferred response covers everything
            return
        if self._turn_waiting:
            self._turn_waiting = False
            self._respond(_Request(self._state.settings, None, None, out_of_band=False))
        elif self._tool_results_waiting:
            self.respond_to_tool_results()
        elif (response := self._scheduler.last) and response.response_id == event.response_id:
            self.wait_for_user()

    def wait_for_user(self) -> None:
        """After the last response was heard, and a silence of `idle_s` follows, ask the user once."""
        response, idle_s = self._scheduler.last, self._state.settings.idle_s
        if response and idle_s is not None and not self._reminded and response.status == "completed":
            self.idle_timer.start(response.playout.ahead_s + idle_s, self._remind)

    def allow_reminder(self) -> None:
        """A turn has ended: the next long silence gets a reminder again."""
        self._reminded = False

    def _remind(self) -> None:
        if self.busy or self._state.speech_item_id or self.tool_runner.busy:
            return
        self._reminded = True
        now_ms, idle_ms = self._state.received_audio_ms, round((self._state.settings.idle_s or 0) * 1000)
        self._state.emit(IdleTimeoutReached(new_id("item"), max(0, now_ms - idle_ms), now_ms))
        self._scheduler.respond(replace(self.options(), tools=(), tool_choice="auto"), hint=SILENCE_PROMPT)

    # --- tools -----------------------------------------------------------------------------------------------

    def on_tool_results(self) -> None:
        """Respond to the results: all tool calls that the server ran have ended."""
        self._tool_results_waiting = True
        self.respond_to_tool_results()

    def respond_to_tool_results(self) -> None:
        """Have the model respond to waiting tool results, unless the user speaks or another response comes first."""
        if not self._tool_results_waiting or self._scheduler.pending or self._deferred or self._state.speech_item_id:
            return
        self._tool_results_waiting = False
        self._tool_rounds += 1
        if self._tool_rounds > MAX_TOOL_ROUNDS:
            return
        choice = "none" if self._tool_rounds == MAX_TOOL_ROUNDS else "auto"  # a required call was made already
        self._scheduler.respond(replace(self.options(self._last_settings), tool_choice=choice))

    def say_filler(self, text: str, *, for_client: bool) -> bool:
        """Speak a filler while a tool result is awaited.

        for_client: the client runs the tool. Returns False if the user or a response is heard, if responses are
        written, or if the client starts all responses itself.
        """
        settings, state = self._last_settings, self._state
        if state.speech_item_id or self._scheduler.audible or not settings.audio:
            return False
        if for_client and not (state.settings.create_response and state.settings.listening.automatic):
            return False
        self._scheduler.say_filler(translate_filler(text, self.language), self.options(settings))
        return True
