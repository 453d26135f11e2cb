"""Load of the machine: pressure, load shedding, and priority between the sessions of one server.

All sessions share one `Load`. It measures how busy the machine is and how long users wait. Under pressure, sessions
skip work that can wait (partial transcripts, draft responses, later clauses) so that no user waits for speech.
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

CORES_BUSY = 0.9
"""Share of all cores from which on another session would slow down the running ones."""
LOOP_LAG_S = 0.08
"""Lag of the event loop at which 40 ms frames can no longer be sent in time."""
NOTICEABLE_S = 0.8
"""Response delay (sure end of turn to first sound) that users notice."""
MAX_RESPONSE_DELAY_S = 1.5
"""Response delay from which on no further session is admitted: users still take it for a pause to think."""
TRANSCRIPT_S = 0.4
"""Delay of the final transcript, after its request in the silence, that delays a response noticeably."""

BUSY_FROM, STRAINED_FROM = 0.7, 1.0
ACTIVE_S = 1.0
"""A session counts as active for this long after its last step."""
WINDOW_S = 20.0
MEASURE_EVERY_S = 0.25
SMOOTHED_S = 6.0
"""Time constant of the share of busy cores: one turn's burst is no load."""


class LoadLevel(IntEnum):
    """Level of load shedding: nothing; the work that is discarded most often; all work that can wait."""

    CALM = 0
    BUSY = 1
    STRAINED = 2


class RecentDurations:
    """Durations, in seconds, that were measured within the last WINDOW_S."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._measured: deque[tuple[float, float]] = deque(maxlen=512)

    def add(self, seconds: float) -> None:
        """Record a duration that ended just now."""
        self._measured.append((self._clock(), seconds))

    @property
    def p90_s(self) -> float:
        """The 90th percentile; 0 without measurements."""
        since = self._clock() - WINDOW_S
        measured = list(self._measured)  # copied at once, as the metrics are read on another thread
        ordered = sorted(seconds for at, seconds in measured if at >= since)
        return ordered[(len(ordered) * 9) // 10] if ordered else 0.0


class PriorityTicket:
    """Priority work that a user waits for, until it is released."""

    def __init__(self, load: Load) -> None:
        self._load: Load | None = load

    def release(self) -> None:
        """End the priority: the work is done or no longer wanted. Further calls do nothing."""
        load, self._load = self._load, None
        if load:
            load._end_priority()


class Load:
    """The load of one server, and the shedding and priorities that follow from it.

    sessions: connected sessions. cores: share of busy cores, smoothed, 0 to 1. loop_lag: lag of the event loop.
    transcript_delay: from a request for the final transcript to its arrival. response_delay: from a sure end of turn to
    the first sound. clock: seconds; the running loop's time by default.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or _loop_time
        self.sessions = 0
        self.cores = 0.0
        self.loop_lag = RecentDurations(self._clock)
        self.transcript_delay, self.response_delay = RecentDurations(self._clock), RecentDurations(self._clock)
        self._active: dict[str, float] = {}
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()

    # --- measurement -----------------------------------------------------------------------------------------

    async def measure(self, cores: Callable[[], float] | None = None) -> None:
        """Measure until cancelled. cores: returns the share of cores that was busy since its last call."""
        cores = cores or CpuMeter()
        while True:
            began = self._clock()
            await asyncio.sleep(MEASURE_EVERY_S)
            took = self._clock() - began
            self.loop_lag.add(max(0.0, took - MEASURE_EVERY_S))
            self.cores += (cores() - self.cores) * min(1.0, took / SMOOTHED_S)

    @property
    def pressure(self) -> float:
        """How close sessions are to delaying one another: 0 at rest, 1 when they do."""
        return self._pressure_against(NOTICEABLE_S)

    @property
    def fullness(self) -> float:
        """Pressure measured against MAX_RESPONSE_DELAY_S: at 1 no further session is admitted."""
        return self._pressure_against(MAX_RESPONSE_DELAY_S)

    def _pressure_against(self, response_delay_s: float) -> float:
        return max(
            self.cores / CORES_BUSY,
            self.loop_lag.p90_s / LOOP_LAG_S,
            self.transcript_delay.p90_s / TRANSCRIPT_S,
            self.response_delay.p90_s / response_delay_s,
        )

    @property
    def level(self) -> LoadLevel:
        """The level of load shedding now; CALM if at most one session is active, however many are connected."""
        if self._other_active_sessions < 1:
            return LoadLevel.CALM
        pressure = self.pressure
        if pressure >= STRAINED_FROM:
            return LoadLevel.STRAINED
        return LoadLevel.BUSY if pressure >= BUSY_FROM else LoadLevel.CALM

    def mark_active(self, session_id: str) -> None:
        """Record that the user of a session speaks now, or that its response is being generated."""
        now = self._clock()
        if session_id not in self._active:
            self._active = {name: at for name, at in self._active.items() if at >= now - ACTIVE_S}
        self._active[session_id] = now

    @property
    def _other_active_sessions(self) -> int:
        """Number of active sessions, less one."""
        if len(self._active) < 2:
            return 0
        since = self._clock() - ACTIVE_S
        return sum(at >= since for at in list(self._active.values())) - 1

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for /api/status; times in ms."""
        delays = {"late": self.loop_lag, "words": self.transcript_delay, "answer": self.response_delay}
        return {
            "level": self.level.name.lower(),
            "pressure": round(self.pressure, 2),
            "fullness": round(self.fullness, 2),
            "cores": round(self.cores, 2),
            **{f"{name}_ms": round(delay.p90_s * 1000) for name, delay in delays.items()},
        }

    # --- load shedding ---------------------------------------------------------------------------------------

    def partial_period_s(self, usual_s: float) -> float:
        """Return the period of partial transcripts, in seconds."""
        return usual_s * (1, 3, 6)[self.level]

    @property
    def early_drafts(self) -> bool:
        """Whether a draft response may begin during the last word; half of these drafts are discarded."""
        return self.level is LoadLevel.CALM

    @property
    def drafts(self) -> bool:
        """Whether a draft response may begin before the end of the turn is sure."""
        return self.level < LoadLevel.STRAINED

    @property
    def prefills(self) -> bool:
        """Whether partial transcripts are prefilled; final transcripts always are."""
        return self.level < LoadLevel.STRAINED

    # --- priority --------------------------------------------------------------------------------------------

    def prioritise(self) -> PriorityTicket:
        """Begin priority work: a final transcript, its prefill, or a response's first clause."""
        self._pending += 1
        self._idle.clear()
        return PriorityTicket(self)

    @property
    def priority_pending(self) -> bool:
        """Whether work that can wait should wait for priority work."""
        return self._pending > 0

    async def yield_to_priority(self, at_most_s: float) -> None:
        """Wait until no priority work is pending, but no longer than a number of seconds."""
        # not wait_for: before Python 3.12 it swallows a cancellation that comes as the wait ends
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._idle.wait()

    def _end_priority(self) -> None:
        self._pending -= 1
        if not self._pending:
            self._idle.set()


class CpuMeter:
    """Share of busy cores of this machine. Cores that run lower-priority processes count as free.

    It uses psutil's times, not its percentages: psutil treats any span below a second of all cores together as a whole
    second, so it reports twice the load for a quarter of a second on two cores.
    """

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._total, self._free = self._times()

    def __call__(self) -> float:
        """Return the share of all cores that was busy since the last call, 0 to 1; 0 if no time has passed."""
        before, (self._total, self._free) = (self._total, self._free), self._times()
        passed, free = self._total - before[0], self._free - before[1]
        return min(1.0, max(0.0, 1.0 - free / passed)) if passed > 0 else 0.0

    def _times(self) -> tuple[float, float]:
        """Return seconds of all cores since the machine's start: in total, and free for this process."""
        times = psutil.cpu_times()
        nice = getattr(times, "nice", 0.0) if psutil.POSIX and self._own.nice() <= 0 else 0.0
        # Linux counts guests as user and nice too
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return sum(times) - guests, times.idle + getattr(times, "iowait", 0.0) + nice


def _loop_time() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # the metrics are read on another thread
        return time.monotonic()
