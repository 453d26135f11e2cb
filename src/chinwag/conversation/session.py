"""One conversation between a client and the engines.

Every method is one synchronous step on the event loop, so events of the listener, the client and the responses never
interleave. The session knows no engine's internals and no socket, and runs at virtual time in tests.

Its parts: the turn handler (what the listener hears), the responder (when a response begins), the response scheduler
(which response is drafted, active or queued) and the items of the conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from chinwag.audio import Audio, to_listen_rate
from chinwag.audio.gain import DUCKED
from chinwag.conversation.events import (
    CancelReason,
    Event,
    ResponseAudio,
    ResponseDucked,
    ResponseEnded,
    ResponseEvent,
    ResponseUnducked,
    ToolCallStarted,
    ToolCallWritten,
)
from chinwag.conversation.history import History, Item, MessageItem, prompt_budget
from chinwag.conversation.items import ConversationItems
from chinwag.conversation.responder import Responder
from chinwag.conversation.response import Response
from chinwag.conversation.responses import ResponseScheduler
from chinwag.conversation.settings import SessionSettings
from chinwag.conversation.state import SessionState
from chinwag.conversation.tool_items import McpItem
from chinwag.conversation.turns import TurnHandler
from chinwag.engines.protocols import Engines
from chinwag.errors import EngineError, Refused
from chinwag.ids import new_id
from chinwag.listening.listener import MAX_BUFFER_S
from chinwag.speech.synthesis import OTHER_ENGINE_HINT, supports_language, unsupported_language_message

MIN_COMMIT_S = 0.1
"""OpenAI's server refuses to commit less audio than this."""


class Session:
    """A conversation between one client and the engines.

    emit: gets all events, at once and in order; it must not block and must not raise.
    """

    def __init__(self, engines: Engines, settings: SessionSettings, emit: Callable[[Event], None]) -> None:
        self.id = new_id("sess")
        self.history = History(prompt_budget(settings.context_tokens, settings.max_tokens), settings.history_share)
        self._state = SessionState(self.id, engines, settings, self.history, emit)
        self._scheduler = ResponseScheduler(engines, self.history, self.id, self._on_response_event)
        self._responder = Responder(self._state, self._scheduler, lambda: self.language)
        self._turns = TurnHandler(self._state, self._scheduler, self._responder)
        self._listener, self._prefiller = self._turns.listener, self._turns.prefiller
        self._tool_runner = self._responder.tool_runner
        self._to_listen_rate = to_listen_rate()
        self.items = ConversationItems(
            self.history, self._tool_runner, emit, self._transcribe_item, self._prefiller.forget
        )
        """The conversation's items, for the client to add, read and delete."""

    async def run(self) -> None:
        """Run the conversation until cancelled. All its work ends with it."""
        self._tool_runner.set_offer(self.settings.tools)
        self._prefiller.request("", self._responder.options())
        self.greet()
        try:
            await self._listener.run()
        finally:
            if last := self.last_response:
                last.playout.stop()  # the rest of it is not heard
            self._turns.close()
            self._responder.idle_timer.cancel()
            await self._prefiller.close()
            await self._scheduler.close()
            await self._tool_runner.close()
            await self._state.tasks.close()

    def drain(self) -> None:
        """End the active response, or the one to the turn under way, after its sentence."""
        self._scheduler.drain()

    def greet(self) -> None:
        """Speak the greeting, if there is one and the conversation is still empty."""
        empty = all(isinstance(item, McpItem) for item in self.history)
        if self.settings.greeting and empty and not self._responder.busy and not self._state.speech_item_id:
            self._responder.greet()

    # --- what the client reads -------------------------------------------------------------------------------

    @property
    def settings(self) -> SessionSettings:
        """The current settings; `update` changes them."""
        return self._state.settings

    @property
    def at_rest(self) -> bool:
        """The user is silent, and no response sounds or is to come."""
        return not self._state.speech_item_id and self._responder.at_rest

    @property
    def active_response(self) -> Response | None:
        """The response that is under way."""
        return self._scheduler.active

    @property
    def last_response(self) -> Response | None:
        """The response that began last, whether it has ended or not."""
        return self._scheduler.last

    def find_response(self, response_id: str) -> Response | None:
        """The last response or an out-of-band one, by its id."""
        last = self.last_response
        return last if last and last.response_id == response_id else self._scheduler.find_out_of_band(response_id)

    @property
    def language(self) -> str | None:
        """The language that the user speaks; None if it is not known."""
        return self._listener.language

    @property
    def received_audio_ms(self) -> int:
        """How much audio the client has sent, in ms."""
        return self._state.received_audio_ms

    # --- what the client asks --------------------------------------------------------------------------------

    def append_audio(self, audio: Audio) -> None:
        """Add audio of the client, 24 kHz. Raises Refused if the buffer that the client commits itself is full."""
        if self._listener.buffer_full:
            raise Refused(
                "input_audio_buffer_full",
                f"The input audio buffer holds {MAX_BUFFER_S} seconds, and more is refused.",
                "Commit or clear it.",
            )
        self._listener.append_audio(self._to_listen_rate.push(audio))
        self._state.received_samples += len(audio.pcm)

    def commit(self) -> None:
        """Make the buffered audio an item now. Raises Refused if there is almost none."""
        buffered_s = self._listener.buffered_s
        if buffered_s < MIN_COMMIT_S:
            raise Refused(
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least "
                f"{MIN_COMMIT_S * 1000:.0f}ms of audio, but buffer only has {buffered_s * 1000:.2f}ms of audio.",
                "Append sound first, or let the server find the turns.",
            )
        self._turns.commit(self._to_listen_rate.flush())

    def clear(self) -> None:
        """Forget the audio that is not an item yet."""
        self._turns.discard_input()
        self._listener.append_audio(self._to_listen_rate.flush())
        self._listener.clear()

    def create_response(
        self,
        settings: SessionSettings | None = None,
        tag: Any = None,
        *,
        context: Sequence[Item] | None = None,
        out_of_band: bool = False,
    ) -> None:
        """Begin a response, once missing transcripts and running tool calls are there.

        settings: of this response alone. tag: a value to find again with the response. context: items to respond to in
        place of the conversation. out_of_band: the response is no part of the conversation.
        Raises Refused if another response is under way, or too many out-of-band ones are.
        """
        self._responder.create_response(settings, tag, context, out_of_band=out_of_band)

    def cancel_response(self, reason: CancelReason = "client_cancelled", response_id: str | None = None) -> bool:
        """Stop the active response and what would follow, or the one of that id. Returns False if there is none."""
        return self._responder.cancel_response(reason, response_id)

    def stop_at(self, since: float) -> None:
        """Stop the response: the client has heard it up to this loop time and no further."""
        if (last := self.last_response) and last.playout.ends_at > since:
            last.playout.stop(since)
        self.cancel_response()

    def update(self, settings: SessionSettings) -> None:
        """Change the settings. Raises EngineError if an engine cannot do what they ask."""
        before = self.settings
        if settings.listening.language != before.listening.language:
            _check_language(self._state.engines, settings)
        self._state.settings = settings
        self.history.history_share = settings.history_share
        if settings.listening != before.listening:
            if settings.listening.restarts(before.listening):
                self._turns.discard_input()
            self._listener.update_settings(settings.listening)
        if settings.tools != before.tools:
            self._tool_runner.set_offer(settings.tools)
        prompt_start = settings.instructions, settings.tools, settings.listening.language
        if prompt_start != (before.instructions, before.tools, before.listening.language):
            self._scheduler.discard_draft()
            self._prefiller.forget()
            self._prefiller.request("", self._responder.options())

    def change_engines(self, engines: Engines, settings: SessionSettings) -> None:
        """Use other engines from the next utterance and the next response on.

        Raises EngineError if they do not hear or speak the set language; then nothing has changed.
        """
        _check_language(engines, settings)
        before, self._state.engines = self._state.engines, engines
        if engines.stt is not before.stt:
            self._listener.change_engines(engines)
            self._responder.transcriber.transcriber = engines.stt
        if engines.tts is not before.tts:
            self._responder.forget_reported_languages()
        self._scheduler.change_engines(engines)
        self._prefiller.change_engines(engines)
        self.update(settings)
        self._prefiller.request("", self._responder.options())

    def _transcribe_item(self, item: MessageItem, audio: Audio) -> None:
        """Find the transcript of audio that the client added; the next response waits for it."""
        transcriber = self._responder.transcriber
        transcriber.expect(item.item_id)
        self._state.tasks.start(transcriber.transcribe_item(item, audio, self.settings.listening.language))

    # --- events of responses ---------------------------------------------------------------------------------

    def _on_response_event(self, event: ResponseEvent) -> None:
        """Handle each event of a response, in the conversation or out of band, and pass it on."""
        in_conversation = not self._scheduler.find_out_of_band(event.response_id)
        emit = self._state.emit
        match event:
            case ResponseAudio():
                if traced := self._scheduler.trace_first_audio(event.response_id):
                    emit(traced)
                self._expect_echo(event)
                emit(event)
            case ResponseDucked() | ResponseUnducked():
                if self.settings.client_ducks:  # otherwise its audio is sent at that volume
                    gain = DUCKED if isinstance(event, ResponseDucked) else 1.0
                    self._listener.echo_gate.set_gain(gain, asyncio.get_running_loop().time())
                emit(event)
            case ToolCallStarted():
                if in_conversation:
                    self._scheduler.add_tool_call(event.item_id)
                emit(event)
            case ToolCallWritten():
                emit(event)
                self._tool_runner.start_call(event.item_id)
            case ResponseEnded():
                if in_conversation:
                    self._scheduler.shrink_prompt_if_too_long()
                emit(event)
                self._responder.on_response_ended(event)
            case _:
                emit(event)

    def _expect_echo(self, event: ResponseAudio) -> None:
        """Let the echo gate know what the client plays, and when."""
        response = self.last_response
        if response and response.response_id == event.response_id:
            starts_at = asyncio.get_running_loop().time() + response.playout.ahead_s - event.audio.seconds
            self._listener.echo_gate.add_playback(event.audio, starts_at)


def _check_language(engines: Engines, settings: SessionSettings) -> None:
    """Raise EngineError if the engines do not hear or speak the set language."""
    language = settings.listening.language
    engines.stt.open(language)
    if settings.audio and not supports_language(engines.tts, language):
        raise EngineError(unsupported_language_message(engines.tts, str(language)), OTHER_ENGINE_HINT, engines.tts.name)
