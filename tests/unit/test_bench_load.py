"""`chinwag bench load`: what is made of what the talkers heard."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from chinwag.audio import WIRE_RATE, Audio
from chinwag.bench import corpus, goals, load, plots, report
from chinwag.bench.talker import TurnLog
from chinwag.client_sdk.client import ServerFull
from chinwag.client_sdk.playback import ListenerPlayback, PlayedAudio

pytestmark = pytest.mark.unit


def recording(seconds: float = 2.0) -> corpus.Recording:
    truth = corpus.Truth(text="tone", speech_start_ms=0, speech_end_ms=seconds * 1000)
    pcm = np.zeros(round(seconds * WIRE_RATE), np.float32)
    return corpus.Recording(name="tone", audio=Audio(pcm, WIRE_RATE), truth=truth)


def piece(item: str, start: float, seconds: float = 1.0) -> PlayedAudio:
    return PlayedAudio(item, start, np.full(round(seconds * WIRE_RATE), 0.3, np.float32))


def held(*turns: tuple[float | None, list[PlayedAudio]], sessions: int = 2) -> load._Step:
    """Turns of two seconds of speech in five, each with when its answer was first heard."""
    crowd = load._Step([recording()], sessions, 60.0)
    crowd.admitted = sessions
    for onset, pieces in turns:
        log = TurnLog(recording(), 0.0, 2.0, 2 * WIRE_RATE)
        log.onsets = {} if onset is None else {"a": onset}
        crowd.add_turn(log, 0.0, 5.0, pieces)
    return crowd


def look(at: float, cpu: float, rss: float) -> dict[str, Any]:
    return {"at": at, "process": {"cpu_seconds": cpu, "rss_mb": rss}, "load": {"level": "calm"}}


def test_the_list_of_sessions() -> None:
    assert load.parse_sessions("1,2,16") == [1, 2, 16]
    for wrong in ("", "1,x", "0", "4,-1"):
        with pytest.raises(load.LoadError, match="above 0"):
            load.parse_sessions(wrong)


def test_the_figures_of_a_step() -> None:
    crowd = held(
        (2.4, [piece("a", 2.4), piece("a", 3.4), piece("a", 4.65)]),  # 250 ms late in the middle
        (2.6, [piece("a", 2.6), piece("b", 4.0)]),  # another answer is no gap
        (1.5, []),  # cut in, and no answer afterwards
        (None, []),
    )
    crowd.queued = [ServerFull({"message": "All 2 places are taken.", "place": 1, "retry_after_s": 3})]
    crowd.refused = 1
    step = load._figures(crowd, [look(0, 10, 500), look(10, 25, 700)], 1.5)
    assert (step["sessions"], step["admitted"], step["refused"], step["turns"]) == (2, 2, 1, 4)
    assert step["voice_to_voice_ms"]["p50"] == pytest.approx(1800)  # 400, 600, and twice the whole 3000 in vain
    assert step["voice_to_voice_ms"]["p95"] == 3000
    assert (step["cut_in_rate"], step["unanswered"]) == (0.25, 2)
    assert step["dropped_audio_ms"] == 250
    assert (step["cpu_seconds"], step["rss_mb"], step["cores_busy"]) == (15, 700, 1.5)
    assert step["speaking_share"] == pytest.approx(0.4)
    assert step["retry_after_s"] == [3]


class Interrupting:
    """A talker's side of a call, in which the second recording is said before the first one's answer has been heard."""

    def __init__(self, crowd: load._Step) -> None:
        self.playback, self.events, self._crowd, self.at = ListenerPlayback(), list[Any](), crowd, 0.0

    def now(self) -> float:
        return self.at

    def speak(self, said: corpus.Recording) -> TurnLog:
        return TurnLog(said, self.at, self.at + 2.0, round((self.at + 2) * WIRE_RATE))

    async def listen(self, seconds: float) -> None:
        ears, began = self.playback, self.at
        self.at += seconds
        if began:
            ears.flush(began)  # what waits to be played is dropped, and with it the piece that was kept
            ears.receive("second", tone(1.0), began + 2.5)
            ears.receive("second", tone(1.0), began + 3.0)
            self._crowd.seconds = 0.0
        else:
            ears.receive("first", tone(1.0), self.at - 0.5)
            ears.receive("first", tone(1.0), self.at - 0.4)


def tone(seconds: float) -> Audio:
    return Audio(np.full(round(seconds * WIRE_RATE), 0.3, np.float32), WIRE_RATE)


async def test_the_answer_to_what_was_said_into_another_one_is_heard() -> None:
    crowd = load._Step([recording()], 1, float("inf"), began=0.0)
    await load._speak_turns(Interrupting(crowd), 0, crowd)  # type: ignore[arg-type]
    assert [turn["answered"] for turn in crowd.turns] == [True, True]
    assert crowd.turns[1]["voice_to_voice_ms"] == pytest.approx(500, abs=1)
    assert crowd.dropped_s == 0.0


async def test_who_is_told_to_wait_keeps_the_place_and_comes_in_later(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd, asked = load._Step([recording()], 2, 60.0), list[str]()

    @asynccontextmanager
    async def talking(url: str, *, api_key: str | None = None) -> AsyncIterator[None]:
        asked.append(url.partition("?")[2])
        if len(asked) > 4:
            crowd.seconds = 0.0
        if "2" not in asked[-1]:
            raise ServerFull({"message": "Full.", "place": 1, "retry_after_s": 0.01, "ticket": f"wait_{len(asked)}"})
        yield

    async def converse(*_: object) -> None:
        crowd.seconds = 0.0

    monkeypatch.setattr(load, "connect_user", talking)
    monkeypatch.setattr(load, "_speak_turns", converse)
    await load._run_user("ws://there/v1/realtime?model=a", 0, crowd, None)
    assert asked == ["model=a&ticket=new", "model=a&ticket=wait_1", "model=a&ticket=wait_2"]
    assert (len(crowd.settled), crowd.admitted, len(crowd.queued), crowd.refused) == (1, 1, 1, 0)


def test_the_goals_and_how_they_are_shown(tmp_path: Path) -> None:
    steps = []
    for sessions, onset in ((1, 2.2), (8, 2.9), (16, 2.95)):
        crowd = held((onset, [piece("a", onset)]), sessions=sessions)
        steps.append(load._figures(crowd, [look(0, 0, 500), look(10, 5, 500)], 1.0))
    result = {"steps": steps, "seconds": 60.0, "speaking": 0.4}
    wanted = goals.load(result)
    assert [goal.limit for goal in wanted] == [1000, 900]
    assert [goal.met(result) for goal in wanted] == [True, False]
    out = io.StringIO()
    report.show_load(result, Console(file=out, width=120))
    assert "950 ms" in out.getvalue()
    assert report.step_line(steps[0]) == "1 talk: 1 turns, p50 200 ms, p95 200 ms"
    pytest.importorskip("matplotlib")
    plots.load(result, tmp_path / "load.png")
    assert (tmp_path / "load.png").stat().st_size > 5000
