"""The arithmetic of `chinwag bench interrupt`: what became of a reply, read off the ear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.gain import DUCKED
from chinwag.bench import goals, interrupt
from chinwag.bench.yielding import Trial, TrialKind, judge_trial, repeats
from chinwag.client_sdk.client import ReceivedEvent
from chinwag.client_sdk.playback import ListenerPlayback

pytestmark = pytest.mark.unit


def babble(seconds: float, seed: int = 1, level: float = 0.1) -> Samples:
    """Sound that never repeats."""
    return (np.random.default_rng(seed).standard_normal(round(seconds * WIRE_RATE)) * level).astype(np.float32)


def play(ear: ListenerPlayback, pcm: Samples, at: float, item: str = "a") -> None:
    """In frames of 40 ms, all of which are there in good time."""
    for place in range(0, len(pcm), 960):
        ear.receive(item, Audio(pcm[place : place + 960], WIRE_RATE), at)


def event(at: float, kind: str, **fields: Any) -> ReceivedEvent:
    return ReceivedEvent(at, {"type": kind, **fields})


def done(at: float, status: str) -> ReceivedEvent:
    return event(at, "response.done", response={"id": "r", "status": status})


def trial(
    ear: ListenerPlayback, kind: TrialKind, *events: ReceivedEvent, extended: bool = True, text: str = "wait stop"
) -> Trial:
    """A reply from 10 s on; something from 12.0 to 12.6 s."""
    made = Trial(kind, "one", text, extended, ear, list(events), "a", "r", 10.0, 12.0, 12.6)
    if kind == "echo":
        made.begin = made.end = made.onset
    return made


# --- the ear -------------------------------------------------------------------------------------------------


def test_the_ear_hears_each_sample_at_the_volume_of_its_moment() -> None:
    ear = ListenerPlayback()
    play(ear, np.full(WIRE_RATE, 0.5, np.float32), 10.0)
    ear.duck(10.25)
    ear.resume(10.5)
    heard = ear.audio_heard(9.75, round(1.5 * WIRE_RATE))
    quarter = WIRE_RATE // 4
    for place, level in enumerate((0, 0.5, 0.5 * DUCKED, 0.5, 0.5, 0)):
        assert np.allclose(heard[place * quarter : (place + 1) * quarter], level), place
    assert ear.volume(10.3) == DUCKED
    assert ear.volume(9.0) == ear.volume(11.0) == 1.0


def test_a_flush_brings_the_full_volume_back_and_tells_what_was_lost() -> None:
    ear = ListenerPlayback()
    play(ear, babble(2), 10.0)
    ear.duck(10.5)
    ear.flush(10.6)
    assert ear.dropped == [(10.6, round(1.4 * WIRE_RATE))]
    assert ear.volume(10.7) == 1.0
    ear.flush(11.0)
    assert len(ear.dropped) == 1


# --- interruptions -------------------------------------------------------------------------------------------


def test_it_has_yielded_where_the_volume_fell_for_good() -> None:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    ear.duck(12.1)
    ear.flush(12.4)
    heard = event(13, "conversation.item.input_audio_transcription.completed", transcript="Wait.")
    figures = judge_trial(trial(ear, "interruption", done(12.4, "cancelled"), heard))
    assert figures["yielded"] is True
    assert figures["yield_ms"] == pytest.approx(100, abs=21)
    assert figures["stopped_ms"] == pytest.approx(400, abs=1)
    assert figures["words_wrong"] == [1, 2]
    assert figures["ducks"] == 1


def test_a_duck_that_was_taken_back_is_no_yielding() -> None:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    ear.duck(12.1)
    ear.resume(12.3)
    ear.flush(12.7)
    assert judge_trial(trial(ear, "interruption", done(12.7, "cancelled")))["yield_ms"] == pytest.approx(700, abs=21)


def test_a_stock_client_hears_the_servers_own_lowering() -> None:
    ear = ListenerPlayback()
    pcm = babble(6)
    pcm[round(2.2 * WIRE_RATE) :] *= 0.2
    play(ear, pcm, 10.0)
    ear.flush(12.5)
    figures = judge_trial(trial(ear, "interruption", done(12.5, "cancelled"), extended=False))
    assert figures["yield_ms"] == pytest.approx(200, abs=21)
    assert figures["stopped_ms"] == pytest.approx(500, abs=1)


def test_a_reply_that_goes_on_has_not_yielded_and_one_that_was_over_is_void() -> None:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    went_on = judge_trial(trial(ear, "interruption", done(15.6, "completed")))
    assert (went_on["yielded"], went_on["void"], went_on["yield_ms"]) == (False, False, None)
    short = ListenerPlayback()
    play(short, babble(2.5), 10.0)
    assert judge_trial(trial(short, "interruption", done(12.1, "completed")))["void"] is True


# --- backchannels, noises, echo --------------------------------------------------------------------------------


def test_a_reply_that_went_on_at_full_volume_was_resumed() -> None:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    ear.duck(12.1)
    ear.resume(12.8)
    figures = judge_trial(trial(ear, "backchannel", done(15.6, "completed")))
    assert (figures["ignored"], figures["resumed"], figures["why"]) == (True, True, None)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([done(12.5, "cancelled")], "cancelled"),
        ([], "never ended"),
        ([event(13, "input_audio_buffer.committed"), done(15.6, "completed")], "taken for a turn"),
        ([event(16, "response.created", response={"id": "r2"}), done(15.6, "completed")], "taken for a turn"),
    ],
)
def test_a_reply_that_was_disturbed_did_not_ignore_it(events: list[ReceivedEvent], why: str) -> None:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    figures = judge_trial(trial(ear, "noise", *events))
    assert figures["ignored"] is False
    assert figures["resumed"] is None
    assert why in figures["why"]


def test_sound_lost_left_low_or_said_twice_is_not_resumed() -> None:
    whole = done(15.6, "completed")
    lost = ListenerPlayback()
    play(lost, babble(6), 10.0)
    lost.flush(12.3)
    play(lost, babble(3, 2), 12.3)
    assert judge_trial(trial(lost, "backchannel", whole))["why"] == "sound was dropped"

    ducked = ListenerPlayback()
    play(ducked, babble(6), 10.0)
    ducked.duck(12.1)
    assert judge_trial(trial(ducked, "backchannel", whole))["why"] == "it was left ducked"
    ducked.resume(13.7)  # a tenth too late
    assert judge_trial(trial(ducked, "backchannel", whole))["why"] == "it was left ducked"

    low = ListenerPlayback()
    pcm = babble(6)
    pcm[2 * WIRE_RATE :] *= 0.2
    play(low, pcm, 10.0)
    figures = judge_trial(trial(low, "backchannel", whole, extended=False))
    assert figures["resumed"] is False
    assert "14 dB lower" in figures["why"]

    twice = ListenerPlayback()
    pcm = babble(6)
    again = np.concatenate([pcm[: round(2.5 * WIRE_RATE)], pcm[round(2.1 * WIRE_RATE) :]])
    play(twice, again, 10.0)
    assert judge_trial(trial(twice, "backchannel", whole))["why"] == "sound was repeated"


def test_a_repetition_is_found_at_another_volume_and_a_steady_voice_is_none() -> None:
    pcm = babble(4)
    pcm[round(2.53 * WIRE_RATE) : round(2.83 * WIRE_RATE)] = (
        0.2 * pcm[round(1.21 * WIRE_RATE) : round(1.51 * WIRE_RATE)]
    )
    assert repeats(pcm, 2 * WIRE_RATE)
    assert not repeats(pcm, 3 * WIRE_RATE)
    assert not repeats(babble(4), 0)
    seconds = np.arange(3 * WIRE_RATE) / WIRE_RATE
    glide = (0.2 * np.sin(2 * np.pi * (120 + 8 * seconds) * seconds)).astype(np.float32)
    assert not repeats(glide, WIRE_RATE)


def test_an_echo_is_ignored_where_the_reply_ran_through() -> None:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    through = judge_trial(trial(ear, "echo", done(15.6, "completed")))
    assert (through["ignored"], through["resumed"], through["void"]) == (True, None, False)
    turn = event(11, "input_audio_buffer.committed")
    assert judge_trial(trial(ear, "echo", turn, done(15.6, "completed")))["ignored"] is False


# --- the figures of a run --------------------------------------------------------------------------------------


def figures(kind: TrialKind, **fields: Any) -> dict[str, Any]:
    ear = ListenerPlayback()
    play(ear, babble(6), 10.0)
    told = judge_trial(trial(ear, kind, done(15.6, "completed")))
    return {**told, "yielded": None, "ignored": None, "resumed": None, "words_wrong": None, **fields}


def test_rates_are_over_what_was_not_void_and_failures_count_against() -> None:
    told = interrupt.summarise(
        [
            figures("interruption", yielded=True, yield_ms=100.0, stopped_ms=200.0, words_wrong=[1, 4]),
            figures("interruption", yielded=False, stopped_ms=900.0),
            figures("interruption", yielded=False, void=True),
            figures("interruption", error="gone", stopped_ms=None),
            figures("backchannel", ignored=True, resumed=True),
            figures("backchannel", ignored=True, resumed=False),
            figures("noise", ignored=False),
            figures("echo", ignored=True),
            figures("echo_interruption", yielded=True, yield_ms=300.0),
        ]
    )
    assert told["yield_rate"] == round(1 / 3, 4)
    assert told["yield_ms"] == {"p50": 100.0, "p95": 100.0}
    assert told["stopped_ms"] == {"p50": 200.0, "p95": 200.0}
    assert told["backchannel_ignored_rate"] == 1.0
    assert told["noise_ignored_rate"] == 0.0
    assert told["resumed_correctly_rate"] == 0.5
    assert told["echo_ignored_rate"] == 1.0
    assert told["yield_with_echo_rate"] == 1.0
    assert told["interruption_wer"] == 0.25
    assert (told["trials"], told["void"], told["failed"]) == (9, 1, 1)


def test_goals_say_met_missed_or_nothing() -> None:
    result = {"yield_ms": {"p50": 180.0, "p95": 400.0}, "yield_rate": None, "stock": {"yield_rate": 1.0}}
    page = {one["goal"]: one["met"] for one in goals.verdicts(result, goals.INTERRUPT_PAGE)}
    assert (page["yields after, p50"], page["yields after, p95"], page["yields"]) == (True, False, None)
    stock = {one["goal"]: one["met"] for one in goals.verdicts(result, goals.INTERRUPT_STOCK)}
    assert stock["yields"] is True
    half = goals.turns({"smart_turn": {"cutoff_at_300ms": 0.3}})[-1]
    assert (half.limit, half.met({"chinwag": {"cutoff_at_300ms": 0.15}})) == (0.15, True)
    assert half.met({"chinwag": {"cutoff_at_300ms": 0.16}}) is False
    assert len(goals.turns({})) == 3
