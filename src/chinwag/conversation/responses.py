"""The response scheduler: which response of a session is drafted, active, queued or out of band."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chinwag.audio import LISTEN_RATE
from chinwag.conversation.events import ResponseEvent, TurnTraced
from chinwag.conversation.history import History
from chinwag.conversation.response import Response
from chinwag.conversation.settings import ResponseOptions
from chinwag.engines.protocols import Engines, Message
from chinwag.errors import PromptTooLong
from chinwag.ids import new_id
from chinwag.listening.endpointing.features import word_key
from chinwag.listening.turn import Turn
from chinwag.tasks import TaskSet
from chinwag.text.commands import Command, find_command

DRAFTS = 6
"""Draft responses in one turn. A user who pauses more often gets a response when the turn has ended."""


@dataclass(frozen=True)
class _Draft:
    user_text: str
    response: Response


@dataclass(frozen=True)
class _TracedTurn:
    """A turn whose response has not sounded yet."""

    item_id: str
    turn: Turn
    response: Response


class ResponseScheduler:
    """Keeps at most one active response, one queued and one draft. Others may be out of band.

    cache_key: names the session in the model's cache. emit: gets the events of all responses.
    """

    def __init__(
        self, engines: Engines, history: History, cache_key: str, emit: Callable[[ResponseEvent], None]
    ) -> None:
        self._engines, self._history, self._cache_key, self._emit = engines, history, cache_key, emit
        self.last: Response | None = None
        self._out_of_band: dict[str, Response] = {}
        self._draft: _Draft | None = None
        self._drafts_in_turn = 0
        self._queued: Response | None = None
        self._model_task: asyncio.Task[None] | None = None
        self._traced_turn: _TracedTurn | None = None
        self._draining = False
        self._tasks = TaskSet()

    @property
    def active(self) -> Response | None:
        """The response that is under way."""
        return self.last if self.last and self.last.active else None

    @property
    def pending(self) -> Response | None:
        """The response that is queued behind a filler, or the active one unless it is a filler."""
        return self._queued or (self.active if self.active and not self.active.is_filler else None)

    @property
    def audible(self) -> Response | None:
        """The response that is being heard."""
        return self.last if self.last and self.last.audible else None

    async def close(self) -> None:
        """Stop all responses."""
        await self._tasks.close()

    def change_engines(self, engines: Engines) -> None:
        """Use other engines for the next response. The active one keeps its own."""
        self._engines = engines
        self.discard_draft()

    def drain(self) -> None:
        """End the active response, and each later one, after a sentence."""
        self._draining = True
        if self.last:
            self.last.finish_sentence()

    def releasing_model(self) -> asyncio.Task[None] | None:
        """The task of a response that may still use the model though none is active."""
        busy = self._model_task and not self._model_task.done() and not self.active
        return self._model_task if busy else None

    # --- before the turn has ended ---------------------------------------------------------------------------

    def draft_response(self, user_text: str, options: ResponseOptions) -> None:
        """Begin the response to these words and hold it back. The same words get one draft."""
        if self._draft and word_key(self._draft.user_text) == word_key(user_text):
            return
        self.discard_draft()
        if self._drafts_in_turn < DRAFTS:
            self._drafts_in_turn += 1
            messages = self._prompt(options, user_text.strip())
            self._draft = _Draft(user_text, self._begin(self._options_for(messages, options, user_text)))
            self._draft.response.mark("draft_started")

    def discard_draft(self, unless_for: str | None = None) -> None:
        """Discard the draft: the user goes on. unless_for: keep the draft if it responds to these words."""
        if self._draft and (unless_for is None or word_key(self._draft.user_text) != word_key(unless_for)):
            self._draft.response.discard()
            self._draft = None

    def skip_turn(self) -> None:
        """End a turn without a response."""
        self.discard_draft()
        self._drafts_in_turn = 0

    # --- responses -------------------------------------------------------------------------------------------

    def respond_to_turn(self, item_id: str, turn: Turn, options: ResponseOptions) -> Response:
        """Respond to a turn that is in the history: adopt the draft if its prompt is the same."""
        self.discard_queued()
        draft, self._draft, self._drafts_in_turn = self._draft, None, 0
        options = self._options_for(self._prompt(options), options, turn.text)
        response = draft.response if draft else None
        if response and (not _same_question(response.options, options) or response.failure or response.draft_exhausted):
            response.discard()
            response = None
        response = response or self._begin(options)
        self._traced_turn = _TracedTurn(item_id, turn, response)
        self._activate(response)
        return response

    def respond(
        self, options: ResponseOptions, *, preamble: str = "", calls_model: bool = True, hint: str = ""
    ) -> None:
        """Respond to the conversation as it is. A filler that sounds is cut off when the response is ready.

        preamble: text spoken first. hint: a system message for this response alone.
        """
        self.discard_queued()
        messages = self._prompt(options)
        if hint:
            messages.append({"role": "system", "content": hint})
        options = self._with_messages(options, messages)
        response = self._begin(replace(options, preamble=preamble, calls_model=calls_model))
        if self.active and self.active.is_filler:
            self._queued = response
            self._tasks.start(self._activate_after(self.active, response))
        else:
            self._activate(response)

    def say_filler(self, text: str, options: ResponseOptions) -> None:
        """Speak a text while a tool result is awaited."""
        options = replace(self._with_messages(options, ()), preamble=text, calls_model=False, is_filler=True, tools=())
        self._activate(self._begin(options))

    def respond_to_messages(self, messages: Sequence[Message], options: ResponseOptions) -> None:
        """Respond to these messages in place of the conversation."""
        options = self._with_messages(options, messages)
        self.discard_queued()
        self._activate(self._begin(options))

    def respond_out_of_band(self, messages: Sequence[Message], options: ResponseOptions) -> None:
        """Respond to these messages outside of the conversation, whatever else is active."""
        options = replace(
            self._with_messages(options, messages),
            cache_key=f"{self._cache_key}/aside",  # the prefilled conversation stays in the cache
        )
        response = Response(new_id("resp"), new_id("item"), options, self._engines, self._emit)
        self._tasks.add(response.task)
        self._out_of_band[response.response_id] = response
        response.task.add_done_callback(lambda _: self._out_of_band.pop(response.response_id, None))
        response.open()

    def discard_queued(self) -> None:
        """Discard the response that is queued behind a filler."""
        if self._queued:
            self._queued.discard()
            self._queued = None

    @property
    def out_of_band_count(self) -> int:
        """How many out-of-band responses are under way."""
        return len(self._out_of_band)

    def find_out_of_band(self, response_id: str) -> Response | None:
        """The out-of-band response of that id."""
        return self._out_of_band.get(response_id)

    def cancel_out_of_band(self, response_id: str) -> bool:
        """Stop an out-of-band response. Returns False if it is not under way."""
        response = self._out_of_band.get(response_id)
        if response is None or not response.active:
            return False
        response.stop("client_cancelled")
        return True

    async def _activate_after(self, filler: Response, response: Response) -> None:
        """Activate the response as soon as it can sound, or when the filler has ended."""
        ready = asyncio.ensure_future(response.ready.wait())
        try:
            await asyncio.wait({ready, filler.task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        await filler.cut()
        if self._queued is response:
            self._queued = None
            self._activate(response)

    def _activate(self, response: Response) -> None:
        if self.last:
            response.playout.queue_after(self.last.playout)
        self.last = response
        self._history.add(response)
        if self._draining:
            response.finish_sentence()
        response.open()

    def _begin(self, options: ResponseOptions) -> Response:
        response = Response(new_id("resp"), new_id("item"), options, self._engines, self._emit, after=self._model_task)
        task = self._tasks.add(response.task)
        if options.calls_model:
            self._model_task = task
        return response

    # --- prompts and commands --------------------------------------------------------------------------------

    def _prompt(self, options: ResponseOptions, user_text: str = "") -> list[Message]:
        return self._history.prompt(options.instructions, user_text, reserved=options.tools_size)

    def _with_messages(self, options: ResponseOptions, messages: Sequence[Message]) -> ResponseOptions:
        return replace(options, messages=messages, cache_key=self._cache_key)

    def _options_for(self, messages: Sequence[Message], options: ResponseOptions, user_text: str) -> ResponseOptions:
        """The options with these messages, or those that repeat or continue the last response if the user says so."""
        options = self._with_messages(options, messages)
        command, last = self.find_command(user_text), self.last
        if command == "again" and last and not last.is_filler:
            return replace(options, preamble=last.text, calls_model=False)
        if command == "go_on" and last and (last.unheard_text or self._engines.llm.continues):
            messages = self._history.prompt(options.instructions, until=last.item_id)
            calls_model = not last.written_completely and self._engines.llm.continues
            if last.unheard_text or calls_model:
                return replace(
                    options,
                    messages=messages,
                    heard_before=last.heard_text,
                    preamble=last.unheard_text,
                    calls_model=calls_model,
                    tools=(),
                    tool_choice="auto",
                )
        return options

    def find_command(self, user_text: str) -> Command | None:
        """The command to the assistant that these words are, such as "stop" or "go on"."""
        last = self.last
        heard = last is not None and bool(last.heard_text)
        interrupted = last is not None and last.status == "cancelled" and heard and not last.is_filler
        return find_command(user_text, interrupted=interrupted, spoken=heard)

    # --- events of the responses -----------------------------------------------------------------------------

    def trace_first_audio(self, response_id: str) -> TurnTraced | None:
        """The stages of the turn, if this is the first audio of the response to it."""
        traced = self._traced_turn
        if traced is None or traced.response.response_id != response_id:
            return None
        self._traced_turn = None
        turn, response = traced.turn, traced.response
        transcript_s = max(0.0, turn.transcript_at - turn.ended_at)
        self._engines.load.response_delay.add(transcript_s + max(0.0, response.marks["first_audio"] - turn.decided_at))
        marks = {
            "last_words": turn.text_stable_at,
            "transcript_final": turn.transcript_at,
            "turn_decided": turn.decided_at,
            **response.marks,
        }
        stages = {stage: at - turn.ended_at for stage, at in marks.items()}
        return TurnTraced(response_id, traced.item_id, max(0, turn.ended) * 1000 // LISTEN_RATE, stages)

    def add_tool_call(self, item_id: str) -> None:
        """Put a tool call into the history: after the text it belongs to, and under an id of its own."""
        if (response := self.last) is None:
            return
        item_ids = [call.item_id for call in response.tool_calls]
        number = item_ids.index(item_id)
        call = response.tool_calls[number]
        if self._history.find_call(call.call_id):  # some servers count anew in each response
            call.call_id = new_id("call")
        after = item_ids[number - 1] if number else response.item_id
        self._history.add(call, after if self._history.find(after) else None)
        call.announced = not call.approval_request_id

    def shrink_prompt_if_too_long(self) -> None:
        """Leave more out of the next prompt if the last one was too long for the model."""
        if self.last and isinstance(self.last.failure, PromptTooLong):
            self._history.shrink()


def _same_question(draft: ResponseOptions, final: ResponseOptions) -> bool:
    """Whether both have the same prompt, apart from punctuation in the user's last words."""
    return _normalised(draft) == _normalised(final)


def _normalised(options: ResponseOptions) -> ResponseOptions:
    messages = list(options.messages)
    if messages:
        messages[-1] = {**messages[-1], "content": word_key(messages[-1]["content"])}
    return replace(options, messages=messages)
