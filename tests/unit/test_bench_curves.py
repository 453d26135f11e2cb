"""The arithmetic of `chinwag bench turns`: policies on logged judgements, and what is read off their curves."""

from __future__ import annotations

from typing import Any

import pytest

from chinwag.audio import WIRE_RATE, silence
from chinwag.bench import corpus, curves, turns
from chinwag.bench.curves import Judgement, Point, Silence
from chinwag.bench.talker import TurnLog
from chinwag.client_sdk.client import ReceivedEvent

pytestmark = pytest.mark.unit


def look(at: float, wait: float, score: float | None = None, heard: float = 0.0) -> Judgement:
    return Judgement(at, wait, score, heard)


# --- policies ------------------------------------------------------------------------------------------------


def test_a_wait_ends_the_turn_when_it_is_over_but_not_before_the_judgement_came() -> None:
    assert curves.waiting()(Silence(None, (look(100, 400),))) == 400
    assert curves.waiting()(Silence(None, (look(500, 400),))) == 500
    assert curves.waiting(2)(Silence(None, (look(100, 400),))) == 800
    assert curves.waiting()(Silence(None)) is None


def test_the_newest_judgement_counts_until_the_next_one_comes() -> None:
    patient_then_sure = Silence(None, (look(100, 900), look(300, 200)))
    assert curves.waiting()(patient_then_sure) == 300
    sure_then_patient = Silence(None, (look(100, 200), look(300, 900)))
    assert curves.waiting()(sure_then_patient) == 200
    # twice as patient, the second judgement comes first
    assert curves.waiting(2)(sure_then_patient) == 1800


def test_a_wait_counts_from_where_the_server_heard_the_silence_begin() -> None:
    assert curves.waiting()(Silence(None, (look(80, 200, heard=-40),))) == 160
    assert curves.waiting(3)(Silence(None, (look(80, 200, heard=-40),))) == 560


def test_a_score_ends_the_turn_after_the_action_delay_else_the_fallback_does() -> None:
    sure, unsure = Silence(None, (look(120, 0, 0.9),)), Silence(None, (look(120, 0, 0.3),))
    assert curves.scoring()(sure) == 200
    assert curves.scoring()(unsure) == 3000
    assert curves.scoring(0.2)(unsure) == 200
    assert curves.scoring(0.95)(sure) == 3000
    assert curves.scoring()(Silence(None, (look(120, 0, 0.3), look(700, 0, 0.8)))) == 700
    assert curves.scoring(0.5, 200, 600)(Silence(None, (look(120, 0, 0.3), look(700, 0, 0.8)))) == 600
    assert curves.scoring()(Silence(None)) is None


# --- curves --------------------------------------------------------------------------------------------------

TWO_TURNS = (
    (Silence(500, (look(100, 600, 0.4),)), Silence(None, (look(100, 200, 0.9),))),
    (Silence(None, (look(100, 300, 0.8),)),),
)


def test_cut_offs_count_turns_and_delays_are_the_mean_over_ends() -> None:
    assert curves.measure(TWO_TURNS, curves.waiting()) == Point(250, 0.0, "")
    assert curves.measure(TWO_TURNS, curves.waiting(0.5)) == Point(125, 0.5, "")
    twice = ((Silence(300), Silence(400), Silence(None)), (Silence(None),))
    assert curves.measure(twice, curves.silent(200)) == Point(200, 0.5, "")
    assert curves.measure(twice, curves.silent(400)) == Point(400, 0.0, "")  # ended in the very moment: not before


def test_an_end_that_nobody_judged_counts_as_the_fallback() -> None:
    assert curves.measure(((Silence(None),),), curves.waiting()).delay_ms == 3000


def test_no_setting_on_a_frontier_is_beaten_by_another() -> None:
    points = [
        Point(300, 0.2, "a"),
        Point(100, 0.5, "b"),
        Point(200, 0.6, "c"),
        Point(400, 0.2, "d"),
        Point(400, 0.1, "e"),
    ]
    assert [point.setting for point in curves.frontier(points)] == ["b", "a", "e"]


def test_the_operating_points() -> None:
    curve = [Point(100, 0.5, ""), Point(290, 0.2, ""), Point(310, 0.04, "")]
    assert curves.cutoff_at(curve, 300) == 0.2
    assert curves.cutoff_at(curve, 50) is None
    assert curves.delay_at(curve, 0.05) == 310
    assert curves.delay_at(curve, 0.01) is None


def test_a_detector_that_tells_pauses_from_ends_has_the_better_curve() -> None:
    pauses = tuple(
        (Silence(length, (look(100, 1500, 0.6),)), Silence(None, (look(100, 150, 0.8),))) for length in (400, 800, 1200)
    )
    ours, silent = curves.waiting_curve(pauses), curves.silence_curve(pauses)
    assert curves.cutoff_at(ours, 300) == 0.0
    assert curves.cutoff_at(silent, 300) == 1.0
    assert curves.delay_at(silent, 0.05) == 1200
    assert curves.delay_at(curves.scoring_curve(pauses), 0.05) == 200
    tuned = curves.tuned_scoring_curve(pauses)
    assert curves.delay_at(tuned, 0.05) == 100  # the action delay is tuned too


# --- what the server logs --------------------------------------------------------------------------------------


def turn_log(*judged: dict[str, Any]) -> TurnLog:
    """Speech of a file from 200 to 2000 ms with a pause from 1000 to 1600, begun at 8000 ms of the stream."""
    truth = corpus.Truth(text="one, two", speech_start_ms=200, speech_end_ms=2000, pauses_ms=[(1000, 1600)])
    recording = corpus.Recording(name="one", audio=silence(2.2, WIRE_RATE), truth=truth)
    log = TurnLog(recording, begin=8.2, end=10.0, end_sample=10 * WIRE_RATE)
    log.events = [ReceivedEvent(0, {"type": "chinwag.pause", "finished": None, "looks": {}, **one}) for one in judged]
    return log


def test_judgements_belong_to_the_true_silence_near_which_they_were_heard() -> None:
    pause, end = turns.silences(
        turn_log(
            {"speech_end_ms": 9040, "silence_ms": 100, "wait_ms": 900, "finished": 0.2},
            {"speech_end_ms": 9040, "silence_ms": 500, "wait_ms": 800, "looks": {"ear": 0.7}},
            {"speech_end_ms": 9930, "silence_ms": 130, "wait_ms": 200, "finished": 0.9},
            {"speech_end_ms": 8300, "silence_ms": 100, "wait_ms": 100, "finished": 0.9},  # where nobody paused
        )
    )
    assert pause.length_ms == 600
    assert pause.judgements == (look(140, 900, 0.2, 40), look(540, 800, 0.7, 40))
    assert end.length_ms is None
    assert end.judgements == (look(60, 200, 0.9, -70),)


def test_figures_of_a_detector() -> None:
    logs = [
        turn_log(
            {"speech_end_ms": 9000, "silence_ms": 100, "wait_ms": 900, "looks": {"ear": 0.4}},
            {"speech_end_ms": 10000, "silence_ms": 100, "wait_ms": 200, "looks": {"ear": 0.9}},
        )
    ]
    logs[0].onsets = {"early": 9.5, "late": 10.4}
    ours = turns.figures(logs, turns.DETECTORS["chinwag"])
    assert ours["cut_in_rate"] == 1.0
    assert ours["voice_to_voice_ms"] == {"p50": 400.0, "p95": 400.0}
    assert ours["live"] == {"delay_ms": 200.0, "cutoff": 0.0, "setting": "live"}
    assert ours["cutoff_at_300ms"] == 0.0
    assert ours["unjudged"] == 0
    fixed = turns.figures(logs, turns.DETECTORS["silence_800"])
    assert fixed["cutoff_at_300ms"] == 1.0
    assert fixed["delay_at_5pct_ms"] == 600.0
    ear = turns.figures(logs, turns.DETECTORS["smart_turn"])
    assert ear["delay_at_5pct_ms"] == 200.0
    assert ear["tuned"]["delay_at_5pct_ms"] == 100.0
    nothing = turns.figures([turn_log()], turns.DETECTORS["chinwag"])
    assert (nothing["cutoff_at_300ms"], nothing["live"], nothing["unjudged"]) == (None, None, 1)
