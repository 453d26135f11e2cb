"""How much of the machine is left, and who goes before whom on it.

All conversations of a server share one `Load`. It is told what they wait for and measures what is left; who asks it
does less of what can wait (live words, drafts, later clauses) before anybody is kept waiting for speech.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Any

import psutil

BUSY = 0.9
"""Share of all cores from which on another conversation would take from those there are."""
LATE_S = 0.08
"""So late, the event loop cannot send 40 ms frames in time."""
ANSWER_S = 0.8
"""From a sure end of a turn to the first sound of its answer: who waits longer notices it."""
BEARABLE_S = 1.5
"""The same, from which on nobody else is to come in: people still take it for a pause to think."""
WORDS_S = 0.4
"""The same for the final words, from the silence on that they are asked for in."""

BUSY_FROM, STRAINED_FROM = 0.7, 1.0
AT_WORK_S = 1.0
"""So long after its last step a conversation still takes from the others."""
WINDOW_S = 20.0
LOOK_EVERY_S = 0.25
SMOOTHED_S = 6.0
"""Time constant of the cores' share: a turn's burst is no load."""


class Level(IntEnum):
    """What is left out: nothing; what is thrown away most often; all that can wait."""

    CALM = 0
    BUSY = 1
    STRAINED = 2


class Recent:
    """Seconds that something took, of the last WINDOW_S."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._took: deque[tuple[float, float]] = deque(maxlen=512)

    def add(self, seconds: float) -> None:
        """It took so long just now."""
        self._took.append((self._clock(), seconds))

    @property
    def high(self) -> float:
        """What nine of ten stayed within; 0 where there were none."""
        since = self._clock() - WINDOW_S
        took = list(self._took)  # in one piece, as the metrics are read on another thread
        ordered = sorted(seconds for at, seconds in took if at >= since)
        return ordered[(len(ordered) * 9) // 10] if ordered else 0.0


class LoadTicket:
    """Somebody waits for something, until it is `over`."""

    def __init__(self, load: Load) -> None:
        self._load: Load | None = load

    def over(self) -> None:
        """They have it, or do not want it any more; may be called again."""
        load, self._load = self._load, None
        if load:
            load._less()


class Load:
    """The gauge, and the precedence that follows from it.

    sessions: conversations that are held. cores: share of the machine's cores that was busy lately, 0 to 1.
    late, words, answer: how late the event loop was; from the asking to the final words; from a sure end to the
    first sound. clock: seconds; the running loop's own where none is given.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or _loop_time
        self.sessions = 0
        self.cores = 0.0
        self.late, self.words, self.answer = Recent(self._clock), Recent(self._clock), Recent(self._clock)
        self._at_work: dict[str, float] = {}
        self._waiting = 0
        self._free = asyncio.Event()
        self._free.set()

    # --- the gauge -------------------------------------------------------------------------------------------

    async def watch(self, cores: Callable[[], float] | None = None) -> None:
        """Measure until cancelled. cores: share of them that was busy since it was asked last."""
        cores = cores or Cores()
        while True:
            began = self._clock()
            await asyncio.sleep(LOOK_EVERY_S)
            took = self._clock() - began
            self.late.add(max(0.0, took - LOOK_EVERY_S))
            self.cores += (cores() - self.cores) * min(1.0, took / SMOOTHED_S)

    @property
    def pressure(self) -> float:
        """How near people are to being kept waiting by one another: 0 at rest, 1 where they are."""
        return self._against(ANSWER_S)

    @property
    def fullness(self) -> float:
        """The same, against how long an answer may take before nobody else is to come in."""
        return self._against(BEARABLE_S)

    def _against(self, answer_s: float) -> float:
        return max(self.cores / BUSY, self.late.high / LATE_S, self.words.high / WORDS_S, self.answer.high / answer_s)

    @property
    def level(self) -> Level:
        """What is to be left out now; nothing while one talks alone, whoever else is connected and silent."""
        if self._others_at_work < 1:
            return Level.CALM
        pressure = self.pressure
        return Level.STRAINED if pressure >= STRAINED_FROM else Level.BUSY if pressure >= BUSY_FROM else Level.CALM

    def at_work(self, conversation: str) -> None:
        """Somebody speaks in it, or its answer is being written, just now."""
        now = self._clock()
        if conversation not in self._at_work:
            self._at_work = {name: at for name, at in self._at_work.items() if at >= now - AT_WORK_S}
        self._at_work[conversation] = now

    @property
    def _others_at_work(self) -> int:
        """Conversations at work besides one."""
        if len(self._at_work) < 2:
            return 0
        since = self._clock() - AT_WORK_S
        return sum(at >= since for at in list(self._at_work.values())) - 1

    def as_dict(self) -> dict[str, Any]:
        """For /api/status; times in ms."""
        return {
            "level": self.level.name.lower(),
            "pressure": round(self.pressure, 2),
            "fullness": round(self.fullness, 2),
            "cores": round(self.cores, 2),
            **{f"{name}_ms": round(getattr(self, name).high * 1000) for name in ("late", "words", "answer")},
        }

    # --- what is shed ----------------------------------------------------------------------------------------

    def words_every_s(self, usual_s: float) -> float:
        """The period of live words."""
        return usual_s * (1, 3, 6)[self.level]

    @property
    def early_drafts(self) -> bool:
        """Whether answers are begun while the last word still sounds: half of them are thrown away."""
        return self.level is Level.CALM

    @property
    def drafts(self) -> bool:
        """Whether answers are begun before the end is sure."""
        return self.level < Level.STRAINED

    @property
    def reads_ahead(self) -> bool:
        """Whether live words are read into the model's cache; the final ones always are."""
        return self.level < Level.STRAINED

    # --- who goes first --------------------------------------------------------------------------------------

    def awaited(self) -> LoadTicket:
        """Somebody waits: for final words, for what the model makes of them, for a first clause."""
        self._waiting += 1
        self._free.clear()
        return LoadTicket(self)

    @property
    def somebody_waits(self) -> bool:
        """Whether what can wait is to wait."""
        return self._waiting > 0

    async def give_way(self, at_most_s: float) -> None:
        """Wait until nobody waits, but not for ever."""
        # not wait_for: until Python 3.12 it keeps a cancellation to itself that comes as the wait ends
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._free.wait()

    def _less(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._free.set()


class Cores:
    """How busy this machine's cores are; what runs at a lower priority than we gives way to us, and counts as free.

    Worked out from psutil's times and not taken from its percentages, which take any span of less than a second of all
    cores together for a whole one, and so tell twice as much of a quarter of a second of two cores.
    """

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._total, self._free = self._times()

    def __call__(self) -> float:
        """Share of all of them that was busy since the last call, 0 to 1; 0 where no time has passed."""
        before, (self._total, self._free) = (self._total, self._free), self._times()
        passed, free = self._total - before[0], self._free - before[1]
        return min(1.0, max(0.0, 1.0 - free / passed)) if passed > 0 else 0.0

    def _times(self) -> tuple[float, float]:
        """Seconds of all cores since the machine's start: all of them, and those that were free for us."""
        times = psutil.cpu_times()
        gives_way = getattr(times, "nice", 0.0) if psutil.POSIX and self._own.nice() <= 0 else 0.0
        # Linux counts them as user and nice too
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return sum(times) - guests, times.idle + getattr(times, "iowait", 0.0) + gives_way


def _loop_time() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # the metrics are read on another thread
        return time.monotonic()
