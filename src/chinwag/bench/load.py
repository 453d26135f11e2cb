"""Many people talk with one server at once: how long each waits for an answer, and what it costs.

Each talker says a recording and listens until that was 40 % of the time since it began; then they say the next one,
into the answer where that is not over. So a server that is late has no less to do: its answer comes too late, and the
turn counts with the whole time that was waited. They join a second apart, and do not speak in chorus; who is told to
wait keeps the place in the queue and asks again, as the page does. Measured are the turns that begin when all have
joined or been told to wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from chinwag.audio import WIRE_RATE
from chinwag.bench.corpus import Recording
from chinwag.bench.latency import STAGES, measure
from chinwag.bench.metrics import percentile, share, spread
from chinwag.bench.talker import SimulatedUser, TurnLog, connect_user
from chinwag.client_sdk.client import ClientError, ServerFull
from chinwag.client_sdk.local_server import fetch_status
from chinwag.client_sdk.playback import PlayedAudio
from chinwag.errors import ChinwagError

SPEAKING = 0.4
"""Of a talker's time."""

JOIN_EVERY_S = 1.0
LOOK_EVERY_S = 2.0
BETWEEN_STEPS_S = 3.0

NOTICED_S = 0.005
"""A shorter gap in an answer is the rounding of clocks."""


class LoadError(ChinwagError):
    """Such a run cannot be made."""


@dataclass
class _Step:
    """Those of one step. settled: who has been let in or told to wait. queued: what each of the latter was told."""

    recordings: Sequence[Recording]
    sessions: int
    seconds: float
    settled: set[int] = field(default_factory=set)
    admitted: int = 0
    queued: list[ServerFull] = field(default_factory=list)
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    dropped_s: float = 0.0
    spoke_s: float = 0.0
    in_call_s: float = 0.0
    began: float | None = None

    def settle(self, place: int) -> None:
        """That one has been let in or told to wait, now or before; when all have, the measurement begins."""
        self.settled.add(place)
        if self.began is None and len(self.settled) == self.sessions:
            self.began = time.perf_counter()

    def add_turn(self, log: TurnLog, began: float, ended: float, pieces: Sequence[PlayedAudio]) -> None:
        """A turn that lasted from then until then, and what was heard in it."""
        turn = measure(log)
        turn["answered"] = turn["voice_to_voice_ms"] is not None
        if not turn["answered"]:  # they waited in vain: for so long at least
            turn["voice_to_voice_ms"] = round((ended - log.end) * 1000, 1)
        self.turns.append(turn)
        self.dropped_s += sum(gap for gap in _gaps(pieces) if gap > NOTICED_S)
        self.spoke_s += log.end - log.begin
        self.in_call_s += ended - began

    @property
    def left_s(self) -> float:
        """Until the step has lasted as long as it is to; all of it before it begins."""
        return self.seconds if self.began is None else self.seconds - (time.perf_counter() - self.began)

    @property
    def over(self) -> bool:
        """The step has lasted as long as it was to."""
        return self.left_s <= 0


def parse_sessions(sessions: str) -> list[int]:
    """As in "1,2,4". Raises LoadError."""
    try:
        counts = [int(part) for part in sessions.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise LoadError(f"--sessions {sessions} is no list of numbers above 0.", "Write it like --sessions 1,2,4,8.")
    return counts


async def run(
    url: str,
    recordings: Sequence[Recording],
    sessions: Sequence[int],
    seconds: float,
    *,
    api_key: str | None = None,
    on_step: Callable[[dict[str, Any]], None] = lambda step: None,
) -> dict[str, Any]:
    """One step after another with so many talkers each, measured for so many seconds each.

    on_step: is given each step's figures as it ends. Returns `steps` (see `_figures`), and `server` and `engines` as
    the server tells them. Raises ClientError where the server goes away, or takes nobody.
    """
    steps: list[dict[str, Any]] = []
    for count in sessions:
        if steps:
            await asyncio.sleep(BETWEEN_STEPS_S)
        steps.append(await _run_step(url, _Step(recordings, count, seconds), api_key))
        on_step(steps[-1])
    status = await fetch_status(url, api_key) or {}
    process = status.get("process", {})
    return {
        "steps": steps,
        "seconds": seconds,
        "speaking": SPEAKING,
        "server": {
            "rss_mb": max((step["rss_mb"] for step in steps if step["rss_mb"] is not None), default=None),
            "cpu_seconds": process.get("cpu_seconds"),
            "startup_s": process.get("startup_s"),
        },
        "engines": {task: engine["name"] for task, engine in status.get("engines", {}).items()},
    }


async def _run_step(url: str, crowd: _Step, api_key: str | None) -> dict[str, Any]:
    looking = asyncio.create_task(_poll_status(url, api_key, crowd))
    own = time.process_time()
    await asyncio.gather(*(_run_user(url, place, crowd, api_key) for place in range(crowd.sessions)))
    looks = await looking
    if not crowd.admitted:
        raise crowd.queued[0] if crowd.queued else ClientError(crowd.lost[0], "See the server's own output.")
    return _figures(crowd, looks, time.process_time() - own)


async def _run_user(url: str, place: int, crowd: _Step, api_key: str | None) -> None:
    await asyncio.sleep(place * JOIN_EVERY_S)
    ticket = "new"
    try:
        while not crowd.over:
            try:
                async with connect_user(f"{url}{'&' if '?' in url else '?'}ticket={ticket}", api_key=api_key) as talker:
                    crowd.admitted += 1
                    crowd.settle(place)
                    await _speak_turns(talker, place, crowd)
                    return
            except ServerFull as full:
                if place not in crowd.settled:
                    crowd.queued.append(full)
                    crowd.settle(place)
                ticket = full.ticket or "new"
                await asyncio.sleep(max(0.0, min(full.retry_after_s or LOOK_EVERY_S, crowd.left_s)))
        crowd.refused += 1
    except ClientError as error:
        crowd.lost.append(str(error))
    finally:
        crowd.settle(place)


async def _speak_turns(talker: SimulatedUser, place: int, crowd: _Step) -> None:
    recordings = crowd.recordings
    # far apart in the list, so that no two say the same at a time
    at, stride = place * 7, 5 if len(recordings) % 5 else 3
    while not crowd.over:
        recording = recordings[at % len(recordings)]
        at += stride
        # by their names, not by their places: who is interrupted drops what was not played yet
        began, earlier = talker.now(), {piece.item_id for piece in talker.playback.pieces}
        log = talker.speak(recording)
        await talker.listen((recording.end - recording.start) / WIRE_RATE / SPEAKING)
        log.events = list(talker.events)
        log.onsets = {item: at for item, at in talker.playback.onsets().items() if item not in earlier}
        if crowd.began is not None and began >= crowd.began:
            crowd.add_turn(log, began, talker.now(), talker.playback.pieces)
        del talker.playback.pieces[:-1]  # what was heard is measured, and a long list slows the talkers
        talker.events.clear()


def _gaps(pieces: Sequence[PlayedAudio]) -> list[float]:
    """Seconds of silence inside answers, where their sound came too late to go on without a break."""
    return [after.start - piece.end for piece, after in pairwise(pieces) if piece.item_id == after.item_id]


async def _poll_status(url: str, api_key: str | None, crowd: _Step) -> list[dict[str, Any]]:
    """The server's state, every few seconds while all are there."""
    looks: list[dict[str, Any]] = []
    while not crowd.over and len(crowd.lost) < crowd.sessions:
        if crowd.began is not None and (status := await fetch_status(url, api_key)):
            looks.append({"at": time.perf_counter(), **status})
        await asyncio.sleep(LOOK_EVERY_S)
    return looks


def _figures(crowd: _Step, looks: Sequence[dict[str, Any]], own_s: float) -> dict[str, Any]:
    """Of those who were in. queued: were told to wait at first; refused: were still waiting at the end.

    voice_to_voice_ms, cut_in_rate: as in `latency`; unanswered: turns that count with what was waited in vain.
    dropped_audio_ms: silence inside all answers because their sound came late. cpu_seconds: of the server and its
    children while all were there; rss_mb: their peak.
    """
    turns = crowd.turns
    cpu = [look["process"]["cpu_seconds"] for look in looks]
    span = looks[-1]["at"] - looks[0]["at"] if len(looks) > 1 else 0.0
    return {
        "sessions": crowd.sessions,
        "admitted": crowd.admitted,
        "queued": len(crowd.queued),
        "refused": crowd.refused,
        "lost": len(crowd.lost),
        "turns": len(turns),
        "voice_to_voice_ms": spread([turn["voice_to_voice_ms"] for turn in turns]),
        "cut_in_rate": share(sum(turn["cut_in"] for turn in turns), len(turns)),
        "dropped_audio_ms": round(crowd.dropped_s * 1000),
        "cpu_seconds": round(cpu[-1] - cpu[0], 2) if cpu else None,
        "rss_mb": max((look["process"]["rss_mb"] for look in looks), default=None),
        "cores_busy": round((cpu[-1] - cpu[0]) / span, 2) if span else None,
        "speaking_share": share(round(crowd.spoke_s * 1000), round(crowd.in_call_s * 1000)),
        "stages_ms": {stage: percentile([turn["stages_ms"].get(stage) for turn in turns], 50) for stage in STAGES},
        "unanswered": sum(not turn["answered"] for turn in turns),
        "errors": sorted({turn["error"] for turn in turns if turn["error"]} | set(crowd.lost)),
        "retry_after_s": [full.retry_after_s for full in crowd.queued],
        "talkers_cpu_seconds": round(own_s, 2),
        "load": [look["load"] for look in looks if "load" in look],
        "per_turn": turns,
    }
