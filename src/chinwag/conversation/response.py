"""One response: from the prompt to the last sample played, in one task.

A draft response is one that is not adopted yet: it is generated in silence. `open` adopts it; `discard` drops it and
leaves no trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.gain import DUCKED, GainRamp
from chinwag.conversation.events import (
    CancelReason,
    ResponseAudio,
    ResponseDucked,
    ResponseEnded,
    ResponseEvent,
    ResponseStarted,
    ResponseStatus,
    ResponseText,
    ResponseUnducked,
)
from chinwag.conversation.generation import RELEASE_S, ResponseGenerator
from chinwag.conversation.settings import ResponseOptions
from chinwag.conversation.tool_calls import ToolCallAssembler
from chinwag.conversation.tool_items import ToolCall
from chinwag.engines.protocols import Engines, Usage
from chinwag.errors import ChinwagError
from chinwag.language import join_sentences, separator, split_words
from chinwag.load import PriorityTicket
from chinwag.speech.playout import Playout, SpokenClause
from chinwag.text.clauses import ends_sentence

log = logging.getLogger(__name__)


class Response:
    """A response under way. It is an item of the history, and knows how much of it was heard.

    It holds the leases of its engines until its task has ended.
    """

    role: Literal["assistant"] = "assistant"

    def __init__(
        self,
        response_id: str,
        item_id: str,
        options: ResponseOptions,
        engines: Engines,
        emit: Callable[[ResponseEvent], None],
        *,
        after: asyncio.Task[None] | None = None,
    ) -> None:
        """after: the task of the response before, whose model call may end before this one begins."""
        self.response_id, self.item_id, self.options = response_id, item_id, options
        self.marks: dict[str, float] = {}
        self.status: ResponseStatus | Literal["in_progress"] = "in_progress"
        self._emit, self._load = emit, engines.load
        self._release_engines = engines.hold("llm", "tts")
        self._ticket: PriorityTicket | None = None
        self._loop = asyncio.get_running_loop()
        self.adopted = asyncio.Event()
        self.ready = asyncio.Event()
        """The first of it is generated, or it has ended without."""
        self.playout = Playout(WIRE_RATE, self._loop.time)
        self._played_clauses: list[SpokenClause] = []
        self._target_gain, self._ramp = 1.0, GainRamp()
        self._cut = self._ends_after_sentence = False
        self._tool_calls = ToolCallAssembler(response_id, options.tools, emit)
        self._generator = ResponseGenerator(options, engines, self._tool_calls, self, after)
        self.task = self._loop.create_task(self._run(), name=f"response {response_id}")
        self.task.add_done_callback(self._on_task_done)

    # --- state -----------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """It is adopted, and more of it is to come."""
        return self.adopted.is_set() and self.status == "in_progress"

    @property
    def audible(self) -> bool:
        """It is being heard, or about to be."""
        return self.active or (self.playout.ahead_s > 0 and not self.playout.stopped)

    @property
    def announced(self) -> bool:
        """The client knows of its text."""
        return bool(self._played_clauses)

    @property
    def is_filler(self) -> bool:
        """It bridges the wait for a tool, and no prompt holds it."""
        return self.options.is_filler

    @property
    def text(self) -> str:
        """All of it that was sent."""
        return self._join(clause.text for clause in self._played_clauses)

    @property
    def heard_text(self) -> str:
        """What of it was heard; of a written response, what was sent."""
        if not self.options.audio:
            return self.text
        played = self.playout.played
        return self._join(clause.text_heard(played) for clause in self._played_clauses)

    @property
    def unheard_text(self) -> str:
        """What was generated and not heard."""
        return "".join(split_words(join_sentences(self._generator.clauses))[len(split_words(self.heard_text)) :])

    @property
    def written_completely(self) -> bool:
        """The model has written it to its end."""
        return self._generator.finish_reason in ("stop", "tool_calls") or not self.options.calls_model

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The tool calls that it makes."""
        return self._tool_calls.calls

    @property
    def wrote_before_tool_call(self) -> bool:
        """It wrote something to say before its first tool call."""
        return self._generator.wrote_before_tool_call

    @property
    def draft_exhausted(self) -> bool:
        """As a draft it was stopped where its model cannot continue."""
        return self._generator.draft_exhausted

    @property
    def failure(self) -> ChinwagError | None:
        """Why its generation failed, if it did."""
        return self._generator.failure

    @property
    def usage(self) -> Usage:
        """Tokens of the model that it took."""
        return self._generator.usage

    @property
    def ducked(self) -> bool:
        """It plays at low volume."""
        return self._target_gain < 1.0

    def mark(self, stage: str) -> None:
        """Note when a stage was first reached."""
        self.marks.setdefault(stage, self._loop.time())

    def mark_ready(self) -> None:
        """Note that the first of it is generated, or that nothing will be."""
        self.ready.set()
        if self._ticket:
            self._ticket.release()

    # --- control ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Adopt it: its events are emitted and its audio is played."""
        if not self.adopted.is_set():
            self.adopted.set()
            if not self.ready.is_set():
                self._ticket = self._load.prioritise()
            self._emit(ResponseStarted(self.response_id))
            self._tool_calls.open()

    def discard(self) -> None:
        """Drop a draft without any event."""
        self.status = "cancelled"
        self.task.cancel()

    def duck(self, *, low: bool) -> None:
        """Lower the volume, or restore it."""
        if low is not self.ducked:
            self._target_gain = DUCKED if low else 1.0
            event = ResponseDucked if low else ResponseUnducked
            self._emit(event(self.response_id, self.item_id))

    def stop(self, reason: CancelReason) -> None:
        """Fall silent at once. The history keeps what was heard; the task ends a little later."""
        self.playout.stop()
        if self.status == "in_progress":
            self._end("cancelled", reason)
            self.task.cancel()

    async def cut(self) -> None:
        """End with the next frame, faded out, and wait for that."""
        self._cut = True
        await asyncio.wait({self.task}, timeout=RELEASE_S)

    def finish_sentence(self) -> None:
        """End after the sentence that is being spoken. A written response is written to its end."""
        self._ends_after_sentence = True

    # --- the task --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._generator.run())
                group.create_task(self._play())
        except ExceptionGroup as errors:
            log.exception("a response broke off")
            self._end("failed", error=f"The answer broke off: {errors.exceptions[0]}.")

    def _on_task_done(self, _: asyncio.Task[None]) -> None:
        self._generator.forget_previous()
        self._release_engines()
        self.mark_ready()

    async def _play(self) -> None:
        """Once adopted, send what was generated, no more than `send_ahead_s` ahead of playback."""
        await self.adopted.wait()
        while (generated := await self._generator.buffer.get()) is not None and self.status == "in_progress":
            clause, frame = generated
            last = self._played_clauses[-1] if self._played_clauses else None
            if last is not clause:
                if self._ends_after_sentence and self.options.audio and last and ends_sentence(last.text):
                    self._end("cancelled")
                    self.task.cancel()
                    return
                clause.start = self.playout.sent
                space = separator(last.text, clause.text) if last and self.options.audio else ""
                self._played_clauses.append(clause)
                self._emit(ResponseText(self.response_id, self.item_id, space + clause.text))
            if frame is None:
                continue
            if (early_s := self.playout.ahead_s - self.options.send_ahead_s) > 0:
                await asyncio.sleep(early_s)
            if self.status != "in_progress":  # stopped at the moment of waking, before the task is cancelled
                return
            self.mark("first_audio")
            placed = Audio(self._apply_gain(frame), frame.rate, self.playout.sent)
            self.playout.add_sent(len(frame.pcm))
            self._emit(ResponseAudio(self.response_id, self.item_id, placed))
            if self._cut:
                break
        if self.failure:
            self._end("failed", error=str(self.failure))
        elif self._generator.finish_reason == "length":
            self._end("incomplete", "max_output_tokens")
        else:
            self._end("completed")

    def _end(
        self,
        status: ResponseStatus,
        reason: CancelReason | Literal["max_output_tokens"] | None = None,
        error: str | None = None,
    ) -> None:
        if self.status != "in_progress":
            return
        self.status = status
        self._tool_calls.end(complete=False)  # a call that is not complete by now never will be
        if self.adopted.is_set():
            engine = getattr(self.failure, "engine", "") if error else ""
            self._emit(ResponseEnded(self.response_id, self.item_id, status, reason, error, engine))

    def _apply_gain(self, frame: Audio) -> Samples:
        """The frame's samples, ducked here if the client does not duck by itself."""
        gain = 1.0 if self.options.client_ducks else self._target_gain
        return self._ramp.apply(frame.pcm, 0.0 if self._cut else gain, frame.rate)

    def _join(self, clauses: Iterable[str]) -> str:
        return join_sentences(clauses) if self.options.audio else "".join(clauses)
