"""Prefill: the model reads the prompt while the user still speaks, and estimates whether the turn ends here.

The loop between listener and model:

1. The listener transcribes the utterance, and passes each partial transcript on (`ListenerEvents.partial_transcript`).
2. The turn handler requests a prefill of the conversation up to these words (`Prefiller.request`).
3. The model reads that prompt into its KV cache, so the response to this turn starts sooner. From the same forward pass
   it returns how probable the end of the sentence and of the turn are at this place (`Ending`).
4. The prefiller passes this `Ending` to the listener, which weighs it as evidence for the end of the turn.
5. The listener reports a likely end, where a draft response begins, or ends the turn, which is then answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from chinwag.conversation.history import History
from chinwag.conversation.settings import ResponseOptions
from chinwag.engines.protocols import Ending, Engines
from chinwag.listening.endpointing.features import strip_final_punctuation, word_key
from chinwag.tasks import TaskSet

YIELD_S = 0.4
"""A prefill of an unfinished utterance waits this long, at most, for work that a user waits for."""

MODEL_RELEASE_S = 0.5
"""A model stops writing a discarded draft within this time."""


@dataclass(frozen=True)
class _Request:
    user_text: str
    options: ResponseOptions
    awaited: bool


class Prefiller:
    """Prefills the prompt of one session, one request at a time.

    cache_key: names the session in the model's cache. receive_ending: gets the words and the model's `Ending`.
    find_model_task: returns the task of a discarded response that may still use the model.
    """

    def __init__(
        self,
        engines: Engines,
        history: History,
        cache_key: str,
        receive_ending: Callable[[str, Ending | None], None],
        find_model_task: Callable[[], asyncio.Task[None] | None],
    ) -> None:
        self._engines, self._history, self._cache_key = engines, history, cache_key
        self._receive_ending, self._find_model_task = receive_ending, find_model_task
        self._pending: _Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._task_text = ""
        self._prefilled_text: str | None = None
        self._tasks = TaskSet()

    async def close(self) -> None:
        """Stop prefilling."""
        await self._tasks.close()

    def change_engines(self, engines: Engines) -> None:
        """Use other engines from now on. The new model has read nothing yet."""
        self._engines = engines
        self.forget()

    def forget(self) -> None:
        """Discount what was prefilled: an earlier part of the conversation has changed."""
        self._prefilled_text = None

    def request(self, user_text: str, options: ResponseOptions, *, awaited: bool = False) -> None:
        """Prefill the conversation up to these words, in place of any request that has not begun.

        awaited: the end of the turn depends on the result. Other requests yield to work that a user waits for.
        """
        self._pending = _Request(user_text, options, awaited)
        if awaited and self._task and word_key(self._task_text) != word_key(user_text):
            self._task.cancel()
            self._task = None
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._run())

    async def _run(self) -> None:
        while self._pending is not None:
            if not self._pending.awaited:
                await self._engines.load.yield_to_priority(YIELD_S)
            request, self._pending = self._pending, None
            self._task_text = request.user_text
            if self._prefilled_text is not None and word_key(request.user_text) == word_key(self._prefilled_text):
                continue
            if model_task := self._find_model_task():
                await asyncio.wait({model_task}, timeout=MODEL_RELEASE_S)
            options = request.options
            messages = self._history.prompt(
                options.instructions, strip_final_punctuation(request.user_text), reserved=options.tools_size
            )
            if not messages:
                continue
            model = self._engines.llm
            ticket = self._engines.load.prioritise() if request.awaited else None
            try:
                ending = await model.prefill(messages, cache_key=self._cache_key, tools=options.tool_definitions)
            finally:
                if ticket:
                    ticket.release()
            if model is not self._engines.llm:  # the engines were changed meanwhile
                self._pending = self._pending or request
                continue
            self._prefilled_text = request.user_text
            if request.user_text:
                self._receive_ending(request.user_text, ending)
