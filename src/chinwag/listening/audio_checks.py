"""Requests to the audio model for its end-of-turn probability at the pauses of an utterance."""

from __future__ import annotations

from collections.abc import Callable

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.protocols import Engines
from chinwag.listening.endpointing.model import end_probability
from chinwag.listening.fallback import EngineCaller
from chinwag.listening.turn import ListenerEvents, ListenerSettings
from chinwag.listening.utterance import Pause, UtteranceState
from chinwag.tasks import TaskSet

AUDIO_CHECKS_AT_S = (0.2, 0.48, 0.96)
"""Silences in seconds at which the audio model is asked. Smart Turn is trained with about 200 ms of silence. A request
that runs beside a draft response delays it by 75 ms on two cores."""

AUDIO_CHECK_S = 8
"""Seconds of audio that Smart Turn reads (its model card)."""


class AudioChecks:
    """Asks the audio model at a pause if the other evidence is not clear.

    current, now: return the listener's current utterance and sample.
    on_result: called when a probability was stored in the current pause.
    """

    def __init__(
        self,
        engines: Engines,
        engine_caller: EngineCaller,
        tasks: TaskSet,
        events: ListenerEvents,
        current: Callable[[], UtteranceState],
        now: Callable[[], int],
        on_result: Callable[[], None],
    ) -> None:
        self._model, self._engine_caller, self._tasks = engines.turn, engine_caller, tasks
        self._events, self._current, self._now, self._on_result = events, current, now, on_result

    def request(self, settings: ListenerSettings, language: str | None) -> None:
        """Start a check if the silence has reached the next length and the check is needed."""
        state = self._current()
        pause = state.pause
        if pause.audio_checks == len(AUDIO_CHECKS_AT_S):
            return
        if state.silence_s(self._now()) < AUDIO_CHECKS_AT_S[pause.audio_checks]:
            return
        pause.audio_checks += 1
        free = pause.audio_task is None or pause.audio_task.done()
        if free and (
            settings.detector == "ear"
            or settings.endpointer.needs_audio_model(end_probability(state.evidence(language, ear=False)))
        ):
            pause.audio_task = self._tasks.start(self._check(pause))

    async def _check(self, pause: Pause) -> None:
        if pause is not self._current().pause:  # the pause ended before this task started
            return
        pcm = self._current().pcm()[-AUDIO_CHECK_S * LISTEN_RATE :]
        audio = Audio(pcm, LISTEN_RATE, self._now() - len(pcm))
        text = pause.transcript.text if pause.transcript else ""
        judging = self._model.judge(audio, text, self._events.prompt_before_turn())
        ear = await self._engine_caller.call(judging, "Turn detection runs without the audio model")
        if pause is self._current().pause:
            pause.ear = ear
            self._on_result()
