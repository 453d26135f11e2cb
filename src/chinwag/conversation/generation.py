"""Generates a response: the model writes it, the voice speaks it, and the result waits in a buffer for playback."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from chinwag.audio import WIRE_RATE, Audio
from chinwag.conversation.settings import ResponseOptions
from chinwag.conversation.tool_calls import ToolCallAssembler
from chinwag.engines.protocols import Engines, Usage
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import join_sentences
from chinwag.load import LoadLevel
from chinwag.speech.playout import Playout, SpokenClause
from chinwag.speech.synthesis import FRAME, estimate_duration_s, synthesise
from chinwag.text.clauses import ClauseSplitter
from chinwag.text.speakable.speakable import Speakable
from chinwag.text.speakable.symbols import symbol_names_for

DRAFT_TOKENS = 40
"""Tokens a draft may have before it is adopted: the first sentence or two, about a second of a small model."""

BUSY_DRAFT_TOKENS = 12
"""The same while the machine is busy: the first clause."""

CLAUSE_ENDS = (".", "!", "?", ",", ";", ":", "。", "！", "？", "，", "、")

LOW_S, ENOUGH_S, PLENTY_S = 1.2, 2.5, 4.0
"""Seconds of audio made ahead of playback while several sessions run. Below LOW_S generation goes on in any case; above
ENOUGH_S it yields to sessions that wait for their first audio; above PLENTY_S it pauses."""

CHECK_EVERY_S = 0.1

BUFFERED_FRAMES = 250
"""Ten seconds of audio made ahead; generation of a longer response waits for playback."""

VOICE_TIMEOUT_S = 20.0
"""A voice that makes no audio for so long has failed."""

RELEASE_S = 1.0
"""A stopped response releases the model within a token; after this time it never will."""

log = logging.getLogger(__name__)


class Playback(Protocol):
    """What the generator needs to know of the response's playback, and what it reports to it."""

    adopted: asyncio.Event
    playout: Playout

    @property
    def active(self) -> bool:
        """The response is adopted and has not ended."""

    def mark(self, stage: str) -> None:
        """A stage of the generation was reached."""

    def mark_ready(self) -> None:
        """The first of the response is in the buffer, or nothing will be."""


class ResponseGenerator:
    """Fills `buffer` with the clauses of one response and their frames of audio, and ends it with None.

    after: the response before, whose model call may end first, so that this one finds the model's cache free.
    """

    def __init__(
        self,
        options: ResponseOptions,
        engines: Engines,
        tool_calls: ToolCallAssembler,
        playback: Playback,
        after: asyncio.Task[None] | None,
    ) -> None:
        self._options, self._tool_calls, self._playback, self._after = options, tool_calls, playback, after
        self._model, self._voice, self._load = engines.llm, engines.tts, engines.load
        self.buffer: asyncio.Queue[tuple[SpokenClause, Audio | None] | None] = asyncio.Queue(BUFFERED_FRAMES)
        self.clauses: list[str] = []
        self.usage = Usage()
        self.failure: ChinwagError | None = None
        self.finish_reason: str | None = None
        self.draft_exhausted = False
        """The draft was too long to be written to its end, and its model cannot continue where it was stopped."""
        self.wrote_before_tool_call = False
        self._text = ""

    def forget_previous(self) -> None:
        """Drop the reference to the response before; a chain of cancelled responses would stay in memory."""
        self._after = None

    async def run(self) -> None:
        """Generate the response. A failure is kept in `failure`, so that what was made before is still played."""
        try:
            if self._after and not self._after.done():
                await asyncio.wait({self._after}, timeout=RELEASE_S)
            await (self._generate_audio() if self._options.audio else self._generate_text())
        except ChinwagError as error:
            self.failure = error
        except TimeoutError:
            self.failure = EngineError(
                f"The voice made no sound for {VOICE_TIMEOUT_S:.0f} seconds.",
                "Choose another voice engine, or restart.",
                self._voice.name,
            )
        except Exception as error:
            log.exception("response generation failed")
            self.failure = EngineError(f"The answer failed unexpectedly: {error}.", "The server's log says more.")
        self._playback.mark_ready()
        await self.buffer.put(None)

    # --- text ------------------------------------------------------------------------------------------------

    async def _generate_text(self) -> None:
        async with aclosing(self._write()) as deltas:
            async for text in deltas:
                self._playback.mark("first_clause")
                self._playback.mark_ready()
                await self.buffer.put((SpokenClause(text, 0), None))

    async def _write(self) -> AsyncGenerator[str, None]:
        """The preamble, then what the model writes."""
        if self._options.preamble:
            self._text = self._options.preamble
            yield self._text
        if self._options.calls_model:
            async with aclosing(self._write_with_model()) as deltas:
                async for delta in deltas:
                    self._playback.mark("first_token")
                    self._text += delta
                    yield delta

    async def _write_with_model(self) -> AsyncGenerator[str, None]:
        """What the model writes. A draft pauses at DRAFT_TOKENS, and continues once it is adopted.

        A response far ahead of its playback pauses between two clauses while other sessions wait for their first audio.
        """
        options, drafted, tokens = self._options, not self._playback.adopted.is_set(), 0
        continues = self._model.continues and not options.tools  # no model continues inside a tool call
        draft_tokens = DRAFT_TOKENS if self._load.level is LoadLevel.CALM else BUSY_DRAFT_TOKENS
        limit = draft_tokens if drafted and continues else None
        while True:
            tokens_in_call, yields = 0, False
            async with aclosing(self._call_model(limit)) as deltas:
                async for delta in deltas:
                    self._load.mark_active(options.cache_key)
                    tokens, tokens_in_call = tokens + 1, tokens_in_call + 1
                    if drafted and tokens > draft_tokens and not self._playback.adopted.is_set():
                        self.draft_exhausted = True
                        return
                    yield delta
                    clause_ended = continues and delta.rstrip().endswith(CLAUSE_ENDS)
                    yields = clause_ended and self._can_wait(ENOUGH_S, PLENTY_S)
                    if yields:
                        break
            limit = None if options.max_tokens is None else options.max_tokens - tokens
            if limit is not None and limit <= 0:
                return
            if yields:
                self.usage += Usage(output_tokens=tokens_in_call)  # a model reports usage only at the end of a call
                await self._wait_for_playback(LOW_S, ENOUGH_S)
            elif drafted and continues and self.finish_reason == "length":
                await self._playback.adopted.wait()
                drafted, self.finish_reason = False, None
            else:
                return

    async def _call_model(self, limit: int | None) -> AsyncGenerator[str, None]:
        """One call of the model, which continues the text so far. limit: tokens."""
        options = self._options
        limits = [tokens for tokens in (limit, options.max_tokens) if tokens is not None]
        messages = list(options.messages)
        if begun := join_sentences((options.heard_before, self._text)).strip():
            messages.append({"role": "assistant", "content": begun})
        chat = self._model.chat(
            messages,
            cache_key=options.cache_key,
            max_tokens=min(limits, default=None),
            tools=options.tool_definitions,
            tool_choice=options.tool_choice,
        )
        async with aclosing(chat) as deltas:
            async for delta in deltas:
                if delta.call:
                    if not self._tool_calls.calls and self._text.strip():
                        self.wrote_before_tool_call = True
                    self._tool_calls.add_delta(delta.call)
                if delta.usage:
                    self.usage = self.usage + delta.usage
                if delta.finish_reason:
                    self.finish_reason = delta.finish_reason
                    self._tool_calls.end(complete=delta.finish_reason != "length")
                if delta.text:
                    yield delta.text

    # --- audio -----------------------------------------------------------------------------------------------

    async def _generate_audio(self) -> None:
        speakable, splitter = Speakable(symbol_names_for(self._options.style.language)), ClauseSplitter()
        async with aclosing(self._write()) as deltas:
            async for text in deltas:
                for clause in splitter.push(speakable.push(text)):
                    await self._synthesise(clause)
        for clause in [*splitter.push(speakable.finish()), *splitter.finish()]:
            await self._synthesise(clause)

    async def _synthesise(self, clause: str) -> None:
        self._playback.mark("first_clause")
        if self.clauses:
            await self._wait_for_playback(ENOUGH_S, math.inf)
        self.clauses.append(clause)
        spoken = SpokenClause(clause, 0, expected=round(estimate_duration_s(clause) * WIRE_RATE))
        async with aclosing(synthesise(self._voice, clause, self._options.style)) as audio:
            while True:
                async with asyncio.timeout(VOICE_TIMEOUT_S):
                    frame = await anext(audio, None)
                if frame is None:
                    break
                spoken.samples += len(frame.pcm)
                self._playback.mark_ready()
                await self.buffer.put((spoken, frame))
        spoken.complete = True

    # --- other sessions --------------------------------------------------------------------------------------

    async def _wait_for_playback(self, while_others_wait_s: float, always_s: float) -> None:
        """Wait while this session can wait."""
        while self._can_wait(while_others_wait_s, always_s):  # noqa: ASYNC110
            await asyncio.sleep(CHECK_EVERY_S)

    def _can_wait(self, while_others_wait_s: float, always_s: float) -> bool:
        """Whether more audio is ready than this: while others wait for their first audio, or in any case."""
        if self._load.sessions < 2 or not self._playback.active or not self._options.audio:
            return False
        ahead_s = self._playback.playout.ahead_s + self.buffer.qsize() * FRAME / WIRE_RATE
        return ahead_s > (while_others_wait_s if self._load.priority_pending else always_s)
