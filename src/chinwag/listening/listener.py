"""Listener of one conversation: it takes audio and reports speech, transcripts, likely ends and turns.

Time is counted in samples at 16 kHz, so the result does not depend on how fast the audio arrives.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.protocols import Ending, Engines, Transcript, VadStream
from chinwag.listening.audio_checks import AudioChecks
from chinwag.listening.echo import EchoGate
from chinwag.listening.endpointing import decisions
from chinwag.listening.endpointing.features import word_key
from chinwag.listening.endpointing.model import end_probability
from chinwag.listening.endpointing.pacing import Rhythm
from chinwag.listening.energy import EnergyTracker
from chinwag.listening.fallback import EngineCaller
from chinwag.listening.transcript_requests import TranscriptRequests
from chinwag.listening.turn import EndpointingEstimate, ListenerEvents, ListenerSettings, Turn
from chinwag.listening.utterance import FAILED_TRANSCRIPT, Pause, UtteranceState
from chinwag.listening.vad import SpeechTracker
from chinwag.tasks import TaskSet

FINAL_TRANSCRIPT_AT_S = 0.035
"""Silence in seconds at which the final transcript is requested. The closure of a stop consonant is seldom longer."""

CONTINUATION_S, AFTER_S = 1.5, 0.5
"""Seconds after a turn's last sound, and after its end was decided, in which new speech may still belong to it."""

HESITATION_S = 0.2
"""Seconds: a shorter silence is a gap between two words, not a pause."""

SILENT = 0.001
"""-60 dBFS: a quieter frame of a manual buffer has no new words, so no partial transcript is requested."""

MAX_BUFFER_S = 600
"""Most seconds of audio in one turn. The listener then ends the turn; a manual buffer refuses more."""

log = logging.getLogger(__name__)


class Listener:
    """Feeds audio to the engines and detects turns. `run` is its task; all other methods return at once."""

    def __init__(self, engines: Engines, settings: ListenerSettings, events: ListenerEvents) -> None:
        self._engines, self._vad, self._load = engines, engines.vad, engines.load
        self._settings, self._events = settings, events
        self._requested_settings, self._buffer_start = settings, 0
        self._loop = asyncio.get_running_loop()
        self._vad_stream: VadStream = self._vad.open()
        self._energy, self.rhythm, self.echo_gate = EnergyTracker(), Rhythm(), EchoGate()
        self._inbox: asyncio.Queue[Audio | Callable[[], None]] = asyncio.Queue()
        self._unframed = np.zeros(0, np.float32)
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=2048)
        self._end = self._now = 0
        self._tasks, self._engine_caller = TaskSet(), EngineCaller(events.listening_failed)
        calls = engines, self._engine_caller, self._tasks
        self._transcripts = TranscriptRequests(*calls, lambda state: state is self._current, self._on_transcript)
        self._audio_checks = AudioChecks(*calls, events, lambda: self._current, lambda: self._now, self._evaluate_end)
        self._previous: UtteranceState | None = None
        self._language: str | None = None
        self._current: UtteranceState
        self._start_next()

    # --- called by the session ---------------------------------------------------------------------------------

    def append_audio(self, audio: Audio) -> None:
        """Append audio at 16 kHz, in order."""
        self._end = audio.end
        self._arrivals.append((audio.end, self._loop.time()))
        self._inbox.put_nowait(audio)

    def update_settings(self, settings: ListenerSettings) -> None:
        """Use these settings from the next frame on. The utterance continues unless the change `restarts` it."""
        if settings.restarts(self._requested_settings):
            self._buffer_start = self._end
        self._requested_settings = settings
        self._inbox.put_nowait(lambda: self._apply_settings(settings))

    def change_engines(self, engines: Engines) -> None:
        """Use these engines from the next utterance on. The current one continues with its own transcriber."""
        self._inbox.put_nowait(lambda: self._change_engines(engines))

    def commit(self, item_id: str) -> None:
        """End the turn now, whatever the silence. Its Turn carries the item_id."""
        self._inbox.put_nowait(lambda: self._commit(item_id))
        self._current.started, self._current.closed, self._buffer_start = self._end, True, self._end

    def clear(self) -> None:
        """Discard the audio of the current turn."""
        self._inbox.put_nowait(self.discard_utterance)
        self._current.started, self._current.closed, self._buffer_start = self._end, True, self._end

    @property
    def buffered_s(self) -> float:
        """Seconds of audio that a commit would take; 0 outside speech if turns are detected.

        The newest settings count, even while earlier audio still waits in the inbox.
        """
        if not self._requested_settings.automatic:
            return (self._end - self._buffer_start) / LISTEN_RATE
        if not self._current.speech.speaking:
            return 0.0
        return (self._end - self._current.started) / LISTEN_RATE

    @property
    def buffer_full(self) -> bool:
        """Whether a manual buffer has reached its limit."""
        return not self._requested_settings.automatic and self.buffered_s > MAX_BUFFER_S

    @property
    def language(self) -> str | None:
        """Language of the conversation: configured, else detected last, else the only one the transcriber knows."""
        known = self._engines.stt.languages
        only = known[0] if len(known) == 1 and known[0] != "*" else None
        return self._settings.language or self._current.language or self._language or only

    def receive_model_evidence(self, text: str, expected: Ending | None) -> None:
        """Take the language model's prediction of what follows the text; None if it has none."""
        self._current.prediction = word_key(text), expected
        self._evaluate_end()

    def discard_utterance(self) -> None:
        """Discard the current utterance, which was not meant as a turn, and start a new one."""
        self._set_previous(None)
        self._current.release_engine()
        self._start_next()

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                entry = await self._inbox.get()
                try:
                    if isinstance(entry, Audio):
                        await self._split_frames(entry)
                    else:
                        entry()
                except Exception as error:  # the listener must survive for the next frame
                    log.exception("Part of the audio was not processed")
                    self._engine_caller.report(f"Part of the audio was not processed: {error}.")
                    self._buffer_start = self._now
                    self._current.release_engine()
                    self._start_next()
        finally:
            self._set_previous(None)
            self._current.release_engine()
            await self._tasks.close()

    # --- frames ----------------------------------------------------------------------------------------------

    async def _split_frames(self, audio: Audio) -> None:
        """Split the audio into frames of the VAD's size."""
        self._unframed = np.concatenate([self._unframed, audio.pcm])
        size = self._vad.frame
        while len(self._unframed) >= size:
            start = audio.end - len(self._unframed)
            frame = Audio(self._unframed[:size], LISTEN_RATE, start)
            self._unframed = self._unframed[size:]
            await self._process_frame(frame)

    async def _process_frame(self, frame: Audio) -> None:
        self._now = frame.end
        if not self._settings.automatic:
            self._record(frame)
            if np.abs(frame.pcm).max() > SILENT:
                self._request_partial()
            return
        probability = await self._speech_probability(frame)
        current = self._current
        sounding = self._energy.push(frame, voiced=current.speech.voiced(probability))
        began = current.speech.push(probability, frame.start, frame.end, sounding)
        current.frames.append(frame)
        if began:
            self._begin_speech()
        elif current.speech.speaking:
            current.utterance.push(frame)
        if self._current.speech.speaking:
            self._follow_speech(frame)
        else:
            self._trim_padding()

    def _record(self, frame: Audio) -> None:
        """Add a frame to a manual buffer, speech or not."""
        current = self._current
        current.frames.append(frame)
        current.utterance.push(frame)
        current.speech.voice_end = frame.end

    async def _speech_probability(self, frame: Audio) -> float:
        """P(a person speaks): the VAD's probability, lowered by P(the frame is only echo of the response)."""
        own = self.echo_gate.echo_probability(frame, self._arrival(frame.end))
        probability = await self._engine_caller.call(self._vad_stream.feed(frame), "Speech detection failed")
        if probability is None:
            self._vad_stream = self._vad.open()
        return (probability or 0.0) * (1.0 - own)

    def _trim_padding(self) -> None:
        """Drop audio before speech that is older than the padding."""
        current = self._current
        keep = round(self._settings.padding_s * LISTEN_RATE) + current.speech.onset + 2 * self._vad.frame
        while self._now - current.frames[0].end >= keep:
            current.frames.popleft()
        current.started = current.frames[0].start

    def _begin_speech(self) -> None:
        """Start an utterance with its padding, or continue the previous turn."""
        current, last = self._current, self._previous
        started = max(current.speech.started - round(self._settings.padding_s * LISTEN_RATE), current.frames[0].start)
        while current.frames[0].end <= started:
            current.frames.popleft()
        current.started = current.frames[0].start
        gap = (current.speech.started - last.speech.voice_end) / LISTEN_RATE if last else math.inf
        immediate = gap <= CONTINUATION_S
        continues = immediate or (last is not None and gap <= (last.pause.wait_s or 0.0) + AFTER_S)
        answered_at = self._events.response_heard_at()
        if continues and answered_at is None:
            self.rhythm.cut_off(gap)
        elif last:
            self.rhythm.ended()
        if answered_at is not None:
            self.rhythm.answered(self._arrival(current.speech.started) - answered_at)
        merge = self._events.speech_started(current.started, continues=continues, immediate=immediate)
        if merge and last and continues:
            last.append_continuation(current)
            self._previous, self._current = None, last
            current.release_engine()
            return
        self._set_previous(None)
        for frame in current.frames:
            current.utterance.push(frame)

    def _follow_speech(self, frame: Audio) -> None:
        """Request transcripts during speech; during a pause, evaluate whether the turn has ended."""
        current = self._current
        if current.speech.voice_end > frame.start:
            if current.pause.final_requested:
                self._resume(frame)
            self._request_partial()
            if (self._now - current.started) / LISTEN_RATE > MAX_BUFFER_S:
                self._commit()
                return
        elif not current.pause.final_requested and current.silence_s(self._now) >= FINAL_TRANSCRIPT_AT_S:
            current.pause.final_requested, current.pause.started = True, current.speech.voice_end
            self._transcripts.request_final(current)
        else:
            self._audio_checks.request(self._settings, self.language)
            self._evaluate_end()
        if current is self._current:
            self._events.speech_progressed(self._current.progress(self._now))

    def _resume(self, frame: Audio) -> None:
        """Discard the state of the pause, because the user speaks again."""
        current = self._current
        if current.pause.audio_task:
            current.pause.audio_task.cancel()
        silent_s = (frame.start - current.pause.started) / LISTEN_RATE
        if silent_s >= HESITATION_S:
            self.rhythm.hesitated(silent_s)
        current.pause = Pause()

    # --- endpointing -------------------------------------------------------------------------------------------

    def _evaluate_end(self) -> None:
        """Decide with the newest evidence whether to draft a response and whether to end the turn."""
        current, settings = self._current, self._settings
        pause, words = current.pause, current.newest_transcript
        if not settings.automatic or words is None or not current.speech.speaking or current.closed:
            return
        evidence = current.evidence(self.language)
        probability, silence_s = end_probability(evidence), current.silence_s(self._now)
        if decisions.should_draft(current, evidence, probability, silence_s, early=self._load.early_drafts):
            pause.likely_end_sent, current.drafted_key = pause.transcript is not None, current.text_key
            self._events.likely_end(words.text)
        if pause.transcript is None:
            return
        by_ear, waits = settings.detector == "ear", settings.endpointer
        wait_s = decisions.audio_model_wait_s(evidence.ear) if by_ear else waits.wait_s(probability, self.rhythm)
        if wait_s != pause.wait_s:
            pause.wait_s = wait_s
            known = {"sense": evidence.sense, "whole": evidence.whole, "ear": evidence.ear, "sure": evidence.sure}
            shown = {name: value for name, value in known.items() if value is not None}
            self._events.endpointing_estimated(
                EndpointingEstimate(current.speech.voice_end, silence_s, probability, wait_s, shown)
            )
        if decisions.should_end(current, evidence, silence_s, fixed=waits.fixed_s is not None):
            self._end_turn(pause.transcript)

    def _request_partial(self) -> None:
        self._transcripts.request_partial(self._current, self._now, self._settings.partial_every_s)

    def _on_transcript(self, state: UtteranceState, transcript: Transcript, *, final: bool) -> None:
        state.set_transcript(transcript, self._loop.time())
        self._events.partial_transcript(state.progress(self._now))
        if final:
            self._evaluate_end()

    # --- end of a turn -----------------------------------------------------------------------------------------

    def _commit(self, item_id: str | None = None) -> None:
        """End the turn at the client's commit, or because it has reached the longest duration."""
        if self._current.pause.transcript is not None:
            self._end_turn(self._current.pause.transcript, item_id)
            return
        if len(self._unframed) and not self._settings.automatic:  # a part of a frame that came before the commit
            rest = Audio(self._unframed, LISTEN_RATE, self._now)
            self._unframed, self._now = self._unframed[:0], rest.end
            self._record(rest)
        committed = self._current
        self._start_next()
        self._tasks.start(self._end_committed(committed, item_id))

    async def _end_committed(self, current: UtteranceState, item_id: str | None) -> None:
        decided_at = self._loop.time()
        try:
            transcript = await self._transcripts.transcribe_final(current.utterance)
        finally:
            current.release_engine()
        self._emit_turn(current, transcript, decided_at, self._loop.time(), item_id)

    def _end_turn(self, transcript: Transcript, item_id: str | None = None) -> None:
        current = self._current
        self._start_next()
        self._set_previous(current if item_id is None else None)
        if item_id is not None:
            current.release_engine()
        self._emit_turn(current, transcript, self._loop.time(), current.pause.transcript_at, item_id)

    def _emit_turn(
        self,
        current: UtteranceState,
        transcript: Transcript,
        decided_at: float,
        transcript_at: float,
        item_id: str | None,
    ) -> None:
        self._language = transcript.language or self._language
        start = current.frames[0].start if current.frames else self._end
        ended = current.speech.voice_end or self._end
        turn = Turn(
            text=transcript.text.strip(),
            audio=Audio(current.pcm(), LISTEN_RATE, start),
            started=start,
            ended=ended,
            ended_at=self._arrival(ended),
            decided_at=decided_at,
            transcript_at=transcript_at,
            text_stable_at=current.text_stable_at or transcript_at,
            failed=transcript is FAILED_TRANSCRIPT,
            item_id=item_id,
        )
        self._events.turn_ended(turn)

    def _start_next(self) -> None:
        """Start a new utterance."""
        utterance = self._engines.stt.open(self._settings.language)
        tracker = SpeechTracker(self._settings.threshold)
        release = self._engines.hold("stt")
        self._current = UtteranceState(utterance, release, tracker, started=self._now, partial_requested_at=self._now)

    def _set_previous(self, turn: UtteranceState | None) -> None:
        """Replace the turn that ended last, which may still be continued."""
        if self._previous:
            self._previous.release_engine()
        self._previous = turn

    def _change_engines(self, engines: Engines) -> None:
        self._engines, current = engines, self._current
        self._engine_caller.reset()
        begun = current.speech.speaking if self._settings.automatic else bool(current.frames)
        if not begun:
            current.release_engine()
            current.utterance, current.release_engine = engines.stt.open(self._settings.language), engines.hold("stt")

    def _apply_settings(self, settings: ListenerSettings) -> None:
        restarts, self._settings = settings.restarts(self._settings), settings
        self._current.speech.threshold = settings.threshold
        if restarts:
            self._current.release_engine()
            self._start_next()

    def _arrival(self, sample: int) -> float:
        """Time at which the audio up to that sample arrived, in seconds of the loop's clock."""
        arrived_at = self._loop.time()
        for end, at in reversed(self._arrivals):
            if end < sample:
                break
            arrived_at = at
        return arrived_at
