"""Requests for partial and final transcripts of the current utterance, which run beside the listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from chinwag.engines.protocols import Engines, Transcript, Utterance
from chinwag.listening.fallback import EngineCaller
from chinwag.listening.utterance import FAILED_TRANSCRIPT, Pause, UtteranceState
from chinwag.tasks import TaskSet

PARTIAL_PERIOD_WHILE_DRAFTING_S = 0.35
"""Least seconds between partial transcripts while a response to the newest words is drafted: both need the CPU."""


class OnTranscript(Protocol):
    """Callback that receives a transcript of an utterance."""

    def __call__(self, state: UtteranceState, transcript: Transcript, *, final: bool) -> None:
        """Receive a transcript; final: it was requested at a pause and covers the whole utterance."""


class TranscriptRequests:
    """Starts transcriptions and passes on their results, unless the listener has moved on to another utterance.

    is_current: whether an utterance is still the listener's current one.
    """

    def __init__(
        self,
        engines: Engines,
        engine_caller: EngineCaller,
        tasks: TaskSet,
        is_current: Callable[[UtteranceState], bool],
        on_transcript: OnTranscript,
    ) -> None:
        self._load, self._engine_caller, self._tasks = engines.load, engine_caller, tasks
        self._is_current, self._on_transcript = is_current, on_transcript
        self._loop = asyncio.get_running_loop()

    def request_partial(self, state: UtteranceState, now: int, period_s: float) -> None:
        """Start a partial transcript unless one is running or the last was requested less than `period_s` ago.

        now: sample of the listening stream.
        """
        period_s = self._load.partial_period_s(period_s)
        if state.drafted_key and state.drafted_key == state.text_key:
            period_s = max(period_s, PARTIAL_PERIOD_WHILE_DRAFTING_S)
        if state.seconds_since_partial_request(now) < period_s:
            return
        if state.partial_task is None or state.partial_task.done():
            state.partial_requested_at = now
            state.partial_task = self._tasks.start(self._transcribe_partial(state))

    def request_final(self, state: UtteranceState) -> None:
        """Start the final transcript of the utterance at its current pause, in place of a running partial one."""
        if state.partial_task:
            state.partial_task.cancel()
        self._tasks.start(self._transcribe_pause(state, state.pause))

    async def transcribe_final(self, utterance: Utterance) -> Transcript:
        """Return the final transcript, or FAILED_TRANSCRIPT if the engine fails."""
        transcript = await self._engine_caller.call(utterance.finish(), "The speech could not be transcribed")
        return transcript or FAILED_TRANSCRIPT

    async def _transcribe_partial(self, state: UtteranceState) -> None:
        transcript = await self._engine_caller.call(state.utterance.partial(), "The partial transcript is missing")
        # a prefill of these words would delay the final transcript if that is already running
        if transcript and self._is_current(state) and not state.pause.final_requested:
            self._on_transcript(state, transcript, final=False)

    async def _transcribe_pause(self, state: UtteranceState, pause: Pause) -> None:
        requested_at, priority = self._loop.time(), self._load.prioritise()
        try:
            transcript = await self.transcribe_final(state.utterance)
        finally:
            priority.release()
        self._load.transcript_delay.add(self._loop.time() - requested_at)
        if not self._is_current(state):
            return
        if pause is state.pause:
            pause.transcript, pause.transcript_at = transcript, self._loop.time()
        self._on_transcript(state, transcript, final=True)
