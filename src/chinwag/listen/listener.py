"""One conversation's ear: sound in, and the session told of speech, words, likely ends and turns.

Time is counted in samples of the sound itself (16 kHz), so it makes no difference how fast the sound comes in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.protocols import Message, Transcriber, Transcript, TurnJudge, Utterance, Vad, VadStream
from chinwag.errors import ChinwagError
from chinwag.listen.endpoint import Endpointer
from chinwag.listen.speech import SpeechTracker

LIKELY_END_S = 0.064
"""Silence at which they may have finished, and a draft may start once the words are known."""

JUDGED_AT_S = (0.224, 0.48, 0.96)
"""Silences at which the turn judge is asked. Smart Turn is made for about 200 ms of it, and again as there is more; and
a judge that thinks at the same time as the draft takes its core from it: on two cores that cost 75 ms."""

JUDGED_S = 8
"""Smart Turn hears the last 8 seconds (its model card)."""

ENGINE_TIMEOUT_S = 10.0
"""Hearing that takes longer has failed: the turn goes on without it."""

LONGEST_BUFFER_S = 600
"""Sound kept for one turn. Beyond it a turn is ended, or a manual buffer refuses more."""

FAILED = Transcript("", final=True, until=0, confidence=0.0)
"""Stands for the words of a turn that no engine could tell."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hearing:
    """How to listen.

    automatic: the listener finds the turns; else the client commits them.
    padding_s: sound kept from before the speech began.
    """

    automatic: bool = True
    threshold: float = 0.5
    padding_s: float = 0.3
    endpointer: Endpointer = field(default_factory=Endpointer)
    language: str | None = None
    partial_every_s: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A finished turn. started, ended: samples of the listening stream, ended being the last voiced one.

    ended_at, decided_at, transcript_at: seconds of the loop's clock: its last voiced sample came in, it was decided
    that the turn had ended, its final words were known.
    failed: the words could not be recognised. token: what the client's commit was given, if it was one.
    """

    text: str
    audio: Audio
    started: int
    ended: int
    ended_at: float
    decided_at: float
    transcript_at: float
    failed: bool = False
    token: str | None = None


class Hearer(Protocol):
    """What a listener tells. Each call is one synchronous step of the session."""

    def speech_started(self, at: int) -> None:
        """Speech began at that sample."""

    def words_so_far(self, text: str) -> None:
        """The words of the utterance, anew."""

    def likely_end(self, text: str) -> None:
        """A silence that may be the end; the words are final unless they go on."""

    def went_on(self) -> None:
        """It was not the end."""

    def turn_ended(self, turn: Turn) -> None:
        """It was."""

    def hearing_failed(self, message: str) -> None:
        """An engine failed; listening goes on as well as it can."""

    def prompt_so_far(self) -> Sequence[Message]:
        """The conversation before this utterance."""


class Listener:
    """Feeds the engines and decides. `run` is its task; everything else returns at once."""

    _final: Transcript | None
    _finished: float | None
    _judging: asyncio.Task[None] | None
    _wording: asyncio.Task[None] | None
    _sound: deque[Audio]
    _worded: int
    _judged: int
    _settling: bool
    _likely: bool

    def __init__(self, vad: Vad, judge: TurnJudge, transcriber: Transcriber, hearing: Hearing, hearer: Hearer) -> None:
        self._vad, self._judge, self._transcriber = vad, judge, transcriber
        self._hearing, self._hearer = hearing, hearer
        self._loop = asyncio.get_running_loop()
        self._vad_stream: VadStream = vad.open()
        self._inbox: asyncio.Queue[Audio | Callable[[], None]] = asyncio.Queue()
        self._moment = 0
        self._complained: set[str] = set()
        self._heard = np.zeros(0, np.float32)
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=2048)
        self._end = 0
        self._now = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._rest()

    # --- what the session asks -------------------------------------------------------------------------------

    def hear(self, audio: Audio) -> None:
        """More sound at 16 kHz, in order."""
        self._end = audio.end
        self._arrivals.append((audio.end, self._loop.time()))
        self._inbox.put_nowait(audio)

    def change(self, hearing: Hearing) -> None:
        """Listen differently from the next frame on; what is being said is kept."""
        self._inbox.put_nowait(lambda: self._change(hearing))

    def commit(self, token: str) -> None:
        """End the turn now, whatever the silence; its Turn will carry the token."""
        self._inbox.put_nowait(lambda: self._commit(token))
        self._turn_start = self._end

    def clear(self) -> None:
        """Forget the sound of the turn that is under way."""
        self._inbox.put_nowait(self._rest)
        self._turn_start = self._end

    @property
    def buffered_s(self) -> float:
        """Seconds of sound that a commit would take; outside speech the listener keeps none for it."""
        if self._hearing.automatic and not self._speech.speaking:
            return 0.0
        return (self._end - self._turn_start) / LISTEN_RATE

    @property
    def full(self) -> bool:
        """A manual buffer has come to its limit."""
        return not self._hearing.automatic and self.buffered_s > LONGEST_BUFFER_S

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                got = await self._inbox.get()
                if isinstance(got, Audio):
                    await self._take(got)
                else:
                    got()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

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
        if self._hearing.automatic:
            probability = await self._probability(frame)
            began = self._speech.push(probability, frame.start, frame.end)
            self._keep(frame)
            if began:
                self._begin()
            if self._speech.speaking:
                self._follow(frame)
        else:
            self._keep(frame)
            self._utterance.push(frame)
            self._speech.voice_end = frame.end
            self._ask_for_words(frame.end)

    async def _probability(self, frame: Audio) -> float:
        probability = await self._ask(self._vad_stream.feed(frame), "Speech cannot be told from silence")
        if probability is None:
            self._vad_stream = self._vad.open()
        return probability or 0.0

    def _keep(self, frame: Audio) -> None:
        """The turn's sound; outside speech only as much as will be padding."""
        self._sound.append(frame)
        if not self._speech.speaking and self._hearing.automatic:
            keep = round(self._hearing.padding_s * LISTEN_RATE) + self._speech.onset + 2 * self._vad.frame
            while self._sound[-1].end - self._sound[0].end >= keep:
                self._sound.popleft()
            self._turn_start = self._sound[0].start

    def _begin(self) -> None:
        started = max(self._speech.started - round(self._hearing.padding_s * LISTEN_RATE), self._sound[0].start)
        while self._sound[0].end <= started:
            self._sound.popleft()
        self._turn_start = self._sound[0].start
        for frame in list(self._sound)[:-1]:
            self._utterance.push(frame)
        self._hearer.speech_started(self._turn_start)

    def _follow(self, frame: Audio) -> None:
        """Speech is under way: words, likely ends, the end."""
        self._utterance.push(frame)
        silence = self._silence = (frame.end - self._speech.voice_end) / LISTEN_RATE
        if silence == 0.0 and not self._speech.fading:
            if self._settling:
                self._resume()
            self._ask_for_words(frame.end)
            if (frame.end - self._turn_start) / LISTEN_RATE > LONGEST_BUFFER_S:
                self._commit()
            return
        if not self._settling:  # a wrong guess costs only the transcriber
            self._settling = True
            self._start(self._settle(self._moment))
        self._tell_likely_end()
        while self._judged < len(JUDGED_AT_S) and silence >= JUDGED_AT_S[self._judged]:
            self._judged += 1
            if self._judging is None or self._judging.done():
                self._judging = self._start(self._weigh(self._moment))
        self._end_if_due()

    def _end_if_due(self) -> None:
        """The words are known and the silence is long enough."""
        if self._final is not None and self._silence >= self._hearing.endpointer.wait(self._finished):
            self._finish(self._final)

    def _resume(self) -> None:
        """They went on: nothing that was thought at the pause holds any more."""
        self._settling, self._likely, self._judged = False, False, 0
        self._moment += 1
        self._final, self._finished, self._final_at = None, None, 0.0
        if self._judging:
            self._judging.cancel()
        self._hearer.went_on()

    # --- engines ---------------------------------------------------------------------------------------------

    def _ask_for_words(self, now: int) -> None:
        if (now - self._worded) / LISTEN_RATE < self._hearing.partial_every_s:
            return
        if self._wording is None or self._wording.done():
            self._worded = now
            self._wording = self._start(self._word(self._utterance))

    async def _word(self, utterance: Utterance) -> None:
        transcript = await self._ask(utterance.partial(), "Live words are missing")
        # while the final words are on their way, nothing is to be read into the model's cache for them to wait for
        if transcript and utterance is self._utterance and not self._settling:
            self._hearer.words_so_far(transcript.text)

    async def _weigh(self, moment: int) -> None:
        """Do they sound finished?"""
        if self._hearing.endpointer.fixed_s is not None:
            return
        pcm = np.concatenate([frame.pcm for frame in self._sound])[-JUDGED_S * LISTEN_RATE :]
        sound = Audio(pcm, LISTEN_RATE, self._now - len(pcm))
        judging = self._judge.judge(sound, self._words, self._hearer.prompt_so_far())
        finished = await self._ask(judging, "Turns end by silence alone")
        if moment == self._moment:
            self._finished = finished
            self._end_if_due()

    async def _settle(self, moment: int) -> None:
        transcript = await self._final_words(self._utterance)
        if moment == self._moment and self._final is None:
            self._final, self._final_at = transcript or FAILED, self._loop.time()
            self._words = self._final.text
            self._tell_likely_end()
            self._end_if_due()

    def _tell_likely_end(self) -> None:
        if self._final is not None and not self._likely and self._silence >= LIKELY_END_S:
            self._likely = True
            self._hearer.likely_end(self._words)

    async def _final_words(self, utterance: Utterance) -> Transcript | None:
        return await self._ask(utterance.finish(), "The words could not be recognised")

    async def _ask(self, work: Awaitable[T], trouble: str) -> T | None:
        """What an engine answers; None, and a complaint, where it fails or is silent for too long."""
        try:
            async with asyncio.timeout(ENGINE_TIMEOUT_S):
                return await work
        except ChinwagError as error:
            self._complain(f"{trouble}. {error}")
        except TimeoutError:
            self._complain(f"{trouble}. The engine has not answered for {ENGINE_TIMEOUT_S:.0f} seconds.")
        except Exception as error:
            log.exception(trouble)
            self._complain(f"{trouble}. {error}")
        return None

    # --- the end ---------------------------------------------------------------------------------------------

    def _commit(self, token: str | None = None) -> None:
        """The client, or a turn without end, wants it closed now."""
        if self._final is not None:
            self._finish(self._final, token)
            return
        if len(self._heard) and not self._hearing.automatic:  # less than a frame, but it was said before the commit
            rest = Audio(self._heard, LISTEN_RATE, self._now)
            self._heard, self._now = self._heard[:0], rest.end
            self._keep(rest)
            self._utterance.push(rest)
        closing, sound, speech = self._utterance, self._sound, self._speech
        self._rest()
        self._start(self._close(closing, sound, speech, token))

    async def _close(self, utterance: Utterance, sound: deque[Audio], speech: SpeechTracker, token: str | None) -> None:
        decided_at = self._loop.time()
        transcript = await self._final_words(utterance) or FAILED
        self._tell(transcript, sound, speech, decided_at, self._loop.time(), token)

    def _finish(self, transcript: Transcript, token: str | None = None) -> None:
        sound, speech, final_at = self._sound, self._speech, self._final_at
        self._rest()
        self._tell(transcript, sound, speech, self._loop.time(), final_at, token)

    def _tell(
        self,
        transcript: Transcript,
        sound: deque[Audio],
        speech: SpeechTracker,
        decided_at: float,
        transcript_at: float,
        token: str | None,
    ) -> None:
        pcm = np.concatenate([frame.pcm for frame in sound]) if sound else np.zeros(0, np.float32)
        start = sound[0].start if sound else self._end
        ended = speech.voice_end or self._end
        turn = Turn(
            text=transcript.text.strip(),
            audio=Audio(pcm, LISTEN_RATE, start),
            started=start,
            ended=ended,
            ended_at=self._arrival(ended),
            decided_at=decided_at,
            transcript_at=transcript_at,
            failed=transcript is FAILED,
            token=token,
        )
        self._hearer.turn_ended(turn)

    def _rest(self) -> None:
        """Wait for the next turn."""
        self._utterance = self._transcriber.open(self._hearing.language)
        self._speech = SpeechTracker(threshold=self._hearing.threshold)
        self._sound = deque()
        self._turn_start = self._worded = self._now
        self._words = ""
        self._settling, self._likely, self._judged = False, False, 0
        self._moment += 1
        self._final = None
        self._final_at = 0.0
        self._finished = None
        self._silence = 0.0
        self._judging = None
        self._wording = None

    def _change(self, hearing: Hearing) -> None:
        reopen = hearing.language != self._hearing.language or hearing.automatic != self._hearing.automatic
        self._hearing = hearing
        self._speech.threshold = hearing.threshold
        if reopen:
            self._rest()

    def _arrival(self, sample: int) -> float:
        return next((at for end, at in self._arrivals if end >= sample), self._loop.time())

    def _complain(self, message: str) -> None:
        """Once for each cause: a failing engine is asked many times a second."""
        if message not in self._complained:
            self._complained.add(message)
            self._hearer.hearing_failed(message)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
