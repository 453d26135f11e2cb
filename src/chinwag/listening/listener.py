"""Listener of one conversation: audio in; speech, transcripts, likely ends and turns out.

Time is counted in samples of the sound itself (16 kHz), so it makes no difference how fast the sound comes in.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.protocols import Ending, Engines, Transcript, Utterance, VadStream
from chinwag.listening.echo import EchoGate
from chinwag.listening.endpointing import decisions as enough
from chinwag.listening.endpointing.features import word_key
from chinwag.listening.endpointing.model import end_probability
from chinwag.listening.endpointing.pacing import Rhythm
from chinwag.listening.energy import EnergyTracker
from chinwag.listening.fallback import EngineCaller
from chinwag.listening.turn import EndpointingEstimate, ListenerEvents, ListenerSettings, Turn
from chinwag.listening.utterance import FAILED, Pause, SoFar
from chinwag.listening.vad import SpeechTracker
from chinwag.tasks import TaskSet

SETTLED_S = 0.035
"""Silence at which the final words are asked for: a stop consonant's closure is seldom longer."""

DRAFTING_EVERY_S = 0.35
"""Live words are asked for so seldom while an answer to those there are is being begun: both want the cores."""

JUDGED_AT_S = (0.2, 0.48, 0.96)
"""Silences at which the turn judge is asked. Smart Turn is made for about 200 ms of it, and again as there is more; and
a judge that thinks at the same time as the draft takes its core from it: on two cores that cost 75 ms."""

JUDGED_S = 8
"""Smart Turn hears the last 8 seconds (its model card)."""

CONTINUATION_S, AFTER_S = 1.5, 0.5
"""Speech so soon after a turn's last sound, or after it was taken for finished, may still belong to it."""

HESITATION_S = 0.2
"""A shorter silence is between two words, not a pause."""

SILENT = 0.001
"""-60 dB of full scale: a manual buffer in which nothing sounds, as while a button is not held, has no new words."""

MAX_BUFFER_S = 600
"""Sound kept for one turn. Beyond it a turn is ended, or a manual buffer refuses more."""

log = logging.getLogger(__name__)


class Listener:
    """Feeds the engines and decides. `run` is its task; everything else returns at once."""

    def __init__(
        self,
        engines: Engines,
        hearing: ListenerSettings,
        hearer: ListenerEvents,
    ) -> None:
        self._engines = engines
        self._vad, self._judge, self._load = engines.vad, engines.turn, engines.load
        self._hearing, self._hearer = hearing, hearer
        self._asked, self._kept_from = hearing, 0
        self._loop = asyncio.get_running_loop()
        self._vad_stream: VadStream = self._vad.open()
        self._level, self.rhythm, self.echo_gate = EnergyTracker(), Rhythm(), EchoGate()
        self._inbox: asyncio.Queue[Audio | Callable[[], None]] = asyncio.Queue()
        self._heard = np.zeros(0, np.float32)
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=2048)
        self._end = 0
        self._now = 0
        self._tasks, self._engine_caller = TaskSet(), EngineCaller(hearer.listening_failed)
        self._last: SoFar | None = None
        self._language: str | None = None
        self._so_far: SoFar
        self._rest()

    # --- what the session asks -------------------------------------------------------------------------------

    def append_audio(self, audio: Audio) -> None:
        """More sound at 16 kHz, in order."""
        self._end = audio.end
        self._arrivals.append((audio.end, self._loop.time()))
        self._inbox.put_nowait(audio)

    def update_settings(self, hearing: ListenerSettings) -> None:
        """Listen differently from the next frame on; what is being said is kept, unless that `restarts`."""
        if hearing.restarts(self._asked):
            self._kept_from = self._end
        self._asked = hearing
        self._inbox.put_nowait(lambda: self._change(hearing))

    def change_engines(self, engines: Engines) -> None:
        """Open the next utterance with this transcriber. An utterance under way stays with its own."""
        self._inbox.put_nowait(lambda: self._change_engines(engines))

    def commit(self, item_id: str) -> None:
        """End the turn now, whatever the silence; its Turn will carry the token."""
        self._inbox.put_nowait(lambda: self._commit(item_id))
        self._so_far.started, self._so_far.closed, self._kept_from = self._end, True, self._end

    def clear(self) -> None:
        """Forget the sound of the turn that is under way."""
        self._inbox.put_nowait(self.discard_utterance)
        self._so_far.started, self._so_far.closed, self._kept_from = self._end, True, self._end

    @property
    def buffered_s(self) -> float:
        """Seconds of sound that a commit would take; outside speech the listener keeps none for it.

        It counts by what was asked last, though what came before that may still wait in the inbox.
        """
        if not self._asked.automatic:
            return (self._end - self._kept_from) / LISTEN_RATE
        if not self._so_far.speech.speaking:
            return 0.0
        return (self._end - self._so_far.started) / LISTEN_RATE

    @property
    def buffer_full(self) -> bool:
        """A manual buffer has come to its limit."""
        return not self._asked.automatic and self.buffered_s > MAX_BUFFER_S

    @property
    def language(self) -> str | None:
        """Of the conversation: as asked for, else as it was heard last, else the only one that can be heard."""
        known = self._engines.stt.languages
        only = known[0] if len(known) == 1 and known[0] != "*" else None
        return self._hearing.language or self._so_far.language or self._language or only

    def receive_model_evidence(self, text: str, expected: Ending | None) -> None:
        """What the answering model expects behind these words, None where it cannot tell."""
        self._so_far.sense = word_key(text), expected
        self._consider()

    def discard_utterance(self) -> None:
        """What is being said was not meant as a turn: forget it, and begin anew with what comes."""
        self._set_last(None)
        self._so_far.release_engine()
        self._rest()

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                got = await self._inbox.get()
                try:
                    if isinstance(got, Audio):
                        await self._take(got)
                    else:
                        got()
                except Exception as error:  # the next frame must find a listener that works
                    log.exception("listening failed")
                    self._engine_caller.report(f"Part of the audio was not processed: {error}.")
                    self._kept_from = self._now
                    self._so_far.release_engine()
                    self._rest()
        finally:
            self._set_last(None)
            self._so_far.release_engine()
            await self._tasks.close()

    # --- frames ----------------------------------------------------------------------------------------------

    async def _take(self, audio: Audio) -> None:
        """Cut what came into the VAD's frames."""
        self._heard = np.concatenate([self._heard, audio.pcm])
        size = self._vad.frame
        while len(self._heard) >= size:
            start = audio.end - len(self._heard)
            frame = Audio(self._heard[:size], LISTEN_RATE, start)
            self._heard = self._heard[size:]
            await self._listen(frame)

    async def _listen(self, frame: Audio) -> None:
        self._now = frame.end
        if not self._hearing.automatic:
            self._record(frame)
            if np.abs(frame.pcm).max() > SILENT:
                self._ask_for_words()
            return
        probability = await self._probability(frame)
        so_far = self._so_far
        sounding = self._level.push(frame, voiced=so_far.speech.voiced(probability))
        began = so_far.speech.push(probability, frame.start, frame.end, sounding)
        so_far.sound.append(frame)
        if began:
            self._begin()
        elif so_far.speech.speaking:
            so_far.utterance.push(frame)
        if self._so_far.speech.speaking:
            self._follow(frame)
        else:
            self._forget_but_padding()

    def _record(self, frame: Audio) -> None:
        """A manual buffer: all of it counts."""
        so_far = self._so_far
        so_far.sound.append(frame)
        so_far.utterance.push(frame)
        so_far.speech.voice_end = frame.end

    async def _probability(self, frame: Audio) -> float:
        """P(a person speaks): what the VAD hears, unless that is the reply itself, come back from a loudspeaker."""
        own = self.echo_gate.echo_probability(frame, self._arrival(frame.end))
        probability = await self._engine_caller.call(self._vad_stream.feed(frame), "Speech detection failed")
        if probability is None:
            self._vad_stream = self._vad.open()
        return (probability or 0.0) * (1.0 - own)

    def _forget_but_padding(self) -> None:
        """Outside speech only as much sound is kept as will be padding."""
        so_far = self._so_far
        keep = round(self._hearing.padding_s * LISTEN_RATE) + so_far.speech.onset + 2 * self._vad.frame
        while self._now - so_far.sound[0].end >= keep:
            so_far.sound.popleft()
        so_far.started = so_far.sound[0].start

    def _begin(self) -> None:
        """Speech begins, and with it what was heard shortly before; or the last turn goes on after all."""
        so_far, last = self._so_far, self._last
        started = max(so_far.speech.started - round(self._hearing.padding_s * LISTEN_RATE), so_far.sound[0].start)
        while so_far.sound[0].end <= started:
            so_far.sound.popleft()
        so_far.started = so_far.sound[0].start
        gap = (so_far.speech.started - last.speech.voice_end) / LISTEN_RATE if last else math.inf
        immediate = gap <= CONTINUATION_S
        continues = immediate or (last is not None and gap <= (last.pause.wait_s or 0.0) + AFTER_S)
        answered_at = self._hearer.response_heard_at()
        if continues and answered_at is None:
            self.rhythm.cut_off(gap)
        elif last:
            self.rhythm.ended()
        if answered_at is not None:
            self.rhythm.answered(self._arrival(so_far.speech.started) - answered_at)
        if self._hearer.speech_started(so_far.started, continues=continues, immediate=immediate) and last and continues:
            last.take_up(so_far)
            self._last, self._so_far = None, last
            so_far.release_engine()
            return
        self._set_last(None)
        for frame in so_far.sound:
            so_far.utterance.push(frame)

    def _follow(self, frame: Audio) -> None:
        """Speech is under way: words, likely ends, the end."""
        so_far = self._so_far
        if so_far.speech.voice_end > frame.start:
            if so_far.pause.asked:
                self._resume(frame)
            self._ask_for_words()
            if (self._now - so_far.started) / LISTEN_RATE > MAX_BUFFER_S:
                self._commit()
                return
        elif not so_far.pause.asked and self._silence >= SETTLED_S:  # a wrong guess costs only the transcriber
            so_far.pause.asked, so_far.pause.began = True, so_far.speech.voice_end
            if so_far.wording:
                so_far.wording.cancel()  # nobody wants the live words any more
            self._tasks.start(self._settle(so_far, so_far.pause))
        else:
            self._ask_ear()
            self._consider()
        if so_far is self._so_far:
            self._hearer.speech_progressed(self._so_far.as_speech(self._now))

    @property
    def _silence(self) -> float:
        """Seconds since the last sound of the voice."""
        return self._so_far.silence_s(self._now)

    def _resume(self, frame: Audio) -> None:
        """They went on: nothing that was thought at the pause holds any more."""
        so_far = self._so_far
        if so_far.pause.judging:
            so_far.pause.judging.cancel()
        silent_s = (frame.start - so_far.pause.began) / LISTEN_RATE
        if silent_s >= HESITATION_S:
            self.rhythm.hesitated(silent_s)
        so_far.pause = Pause()

    # --- have they finished? ---------------------------------------------------------------------------------

    def _ask_ear(self) -> None:
        """At certain silences, where what else is known leaves it open."""
        pause, hearing = self._so_far.pause, self._hearing
        if pause.judged == len(JUDGED_AT_S) or self._silence < JUDGED_AT_S[pause.judged]:
            return
        pause.judged += 1
        free = pause.judging is None or pause.judging.done()
        if free and (
            hearing.detector == "ear"
            or hearing.endpointer.needs_audio_model(end_probability(self._so_far.looks(self.language, ear=False)))
        ):
            pause.judging = self._tasks.start(self._weigh(pause))

    def _consider(self) -> None:
        """With whatever is newly known: may this be the end, and is it?"""
        so_far, hearing = self._so_far, self._hearing
        pause, words = so_far.pause, so_far.newest
        if not hearing.automatic or words is None or not so_far.speech.speaking or so_far.closed:
            return
        looks = so_far.looks(self.language)
        chance, silence_s = end_probability(looks), self._silence
        if enough.should_draft(so_far, looks, chance, silence_s, early=self._load.early_drafts):
            pause.drafted, so_far.drafted = pause.words is not None, so_far.key
            self._hearer.likely_end(words.text)
        if pause.words is None:
            return
        by_ear, waits = hearing.detector == "ear", hearing.endpointer
        wait_s = enough.ear_alone(looks.ear) if by_ear else waits.wait_s(chance, self.rhythm)
        if wait_s != pause.wait_s:
            pause.wait_s = wait_s
            known = {"sense": looks.sense, "whole": looks.whole, "ear": looks.ear, "sure": looks.sure}
            shown = {name: value for name, value in known.items() if value is not None}
            self._hearer.endpointing_estimated(
                EndpointingEstimate(so_far.speech.voice_end, silence_s, chance, wait_s, shown)
            )
        if enough.should_end(so_far, looks, silence_s, fixed=waits.fixed_s is not None):
            self._finish(pause.words)

    # --- engines ---------------------------------------------------------------------------------------------

    def _ask_for_words(self) -> None:
        so_far = self._so_far
        every_s = self._load.partial_period_s(self._hearing.partial_every_s)
        if so_far.drafted and so_far.drafted == so_far.key:  # the cores are at work on the answer to these words
            every_s = max(every_s, DRAFTING_EVERY_S)
        if (self._now - so_far.worded) / LISTEN_RATE < every_s:
            return
        if so_far.wording is None or so_far.wording.done():
            so_far.worded = self._now
            so_far.wording = self._tasks.start(self._word(so_far))

    async def _word(self, so_far: SoFar) -> None:
        transcript = await self._engine_caller.call(so_far.utterance.partial(), "The partial transcript is missing")
        # while the final words are on their way, nothing is to be read into the model's cache for them to wait for
        if transcript and so_far is self._so_far and not so_far.pause.asked:
            self._heard_words(so_far, transcript)

    async def _settle(self, so_far: SoFar, pause: Pause) -> None:
        """What did they say?"""
        asked_at, waiting = self._loop.time(), self._load.prioritise()
        try:
            transcript = await self._final_words(so_far.utterance)
        finally:
            waiting.release()
        self._load.transcript_delay.add(self._loop.time() - asked_at)
        if so_far is not self._so_far:
            return
        if pause is so_far.pause:
            pause.words, pause.words_at = transcript, self._loop.time()
        self._heard_words(so_far, transcript)
        self._consider()

    def _heard_words(self, so_far: SoFar, transcript: Transcript) -> None:
        so_far.hear_words(transcript, self._loop.time())
        self._hearer.partial_transcript(so_far.as_speech(self._now))

    async def _weigh(self, pause: Pause) -> None:
        """Do they sound finished?"""
        if pause is not self._so_far.pause:  # it was over before this began
            return
        pcm = self._so_far.pcm()[-JUDGED_S * LISTEN_RATE :]
        sound = Audio(pcm, LISTEN_RATE, self._now - len(pcm))
        words = pause.words.text if pause.words else ""
        judging = self._judge.judge(sound, words, self._hearer.prompt_before_turn())
        ear = await self._engine_caller.call(judging, "Turn detection runs without the audio model")
        if pause is self._so_far.pause:
            pause.ear = ear
            self._consider()

    async def _final_words(self, utterance: Utterance) -> Transcript:
        return await self._engine_caller.call(utterance.finish(), "The speech could not be transcribed") or FAILED

    # --- the end ---------------------------------------------------------------------------------------------

    def _commit(self, token: str | None = None) -> None:
        """The client, or a turn without end, wants it closed now."""
        if self._so_far.pause.words is not None:
            self._finish(self._so_far.pause.words, token)
            return
        if len(self._heard) and not self._hearing.automatic:  # less than a frame, but it was said before the commit
            rest = Audio(self._heard, LISTEN_RATE, self._now)
            self._heard, self._now = self._heard[:0], rest.end
            self._record(rest)
        closing = self._so_far
        self._rest()
        self._tasks.start(self._close(closing, token))

    async def _close(self, so_far: SoFar, token: str | None) -> None:
        decided_at = self._loop.time()
        try:
            transcript = await self._final_words(so_far.utterance)
        finally:
            so_far.release_engine()
        self._tell(so_far, transcript, decided_at, self._loop.time(), token)

    def _finish(self, transcript: Transcript, token: str | None = None) -> None:
        so_far = self._so_far
        self._rest()
        self._set_last(so_far if token is None else None)
        if token is not None:
            so_far.release_engine()
        self._tell(so_far, transcript, self._loop.time(), so_far.pause.words_at, token)

    def _tell(
        self, so_far: SoFar, transcript: Transcript, decided_at: float, transcript_at: float, token: str | None
    ) -> None:
        self._language = transcript.language or self._language
        start = so_far.sound[0].start if so_far.sound else self._end
        ended = so_far.speech.voice_end or self._end
        turn = Turn(
            text=transcript.text.strip(),
            audio=Audio(so_far.pcm(), LISTEN_RATE, start),
            started=start,
            ended=ended,
            ended_at=self._arrival(ended),
            decided_at=decided_at,
            transcript_at=transcript_at,
            text_stable_at=so_far.worded_at or transcript_at,
            failed=transcript is FAILED,
            item_id=token,
        )
        self._hearer.turn_ended(turn)

    def _rest(self) -> None:
        """Wait for the next turn."""
        utterance = self._engines.stt.open(self._hearing.language)
        tracker = SpeechTracker(self._hearing.threshold)
        release = self._engines.hold("stt")
        self._so_far = SoFar(utterance, release, tracker, started=self._now, worded=self._now)

    def _set_last(self, turn: SoFar | None) -> None:
        """Remember the turn that ended last, which may still go on, in place of the one before."""
        if self._last:
            self._last.release_engine()
        self._last = turn

    def _change_engines(self, engines: Engines) -> None:
        self._engines, so_far = engines, self._so_far
        self._engine_caller.reset()
        begun = so_far.speech.speaking if self._hearing.automatic else bool(so_far.sound)
        if not begun:
            so_far.release_engine()
            so_far.utterance, so_far.release_engine = engines.stt.open(self._hearing.language), engines.hold("stt")

    def _change(self, hearing: ListenerSettings) -> None:
        restarts, self._hearing = hearing.restarts(self._hearing), hearing
        self._so_far.speech.threshold = hearing.threshold
        if restarts:
            self._so_far.release_engine()
            self._rest()

    def _arrival(self, sample: int) -> float:
        """When the piece came in that holds the sample before that one; mostly it is among the last."""
        came = self._loop.time()
        for end, at in reversed(self._arrivals):
            if end < sample:
                break
            came = at
        return came
