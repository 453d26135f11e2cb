"""Have they finished? The form of the words, the weighing of looks, the rhythm, the waiting time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.listening.endpointing import parameters as fitted
from chinwag.listening.endpointing.features import FEATURES, FormFeatures, form_features, strip_final_punctuation
from chinwag.listening.endpointing.model import Evidence, end_probability
from chinwag.listening.endpointing.pacing import Rhythm
from chinwag.listening.endpointing.parameters import FittedError
from chinwag.listening.endpointing.policy import (
    LONGEST_S,
    PATIENCE,
    SHORTEST_S,
    Eagerness,
    Endpointer,
    nearest_eagerness,
)

pytestmark = pytest.mark.unit

EAGERNESSES: tuple[Eagerness, ...] = ("low", "medium", "auto", "high")
"""From the most patient on."""
chances = st.floats(0.0, 1.0)


# --- form ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("My number is 077", {"dictating"}),
        ("My number is zero seven seven, four one", {"dictating"}),
        ("It's spelled K, A", {"dictating"}),
        ("The code is four", {"dictating"}),
        ("I was born in 1976.", set()),
        ("Set a timer for ten minutes", set()),
        ("Room 417", set()),
        ("I'd like a reservation for the, uh", {"filler"}),
        ("I told him, you know", {"filler"}),
        ("What do you know?", {"question"}),
        ("What's the weather like?", {"question"}),
        ("I'm doing well", set()),
        ("I think so", {"answer"}),
        ("I would like to fly to", {"leaning"}),
        ("Yesterday I went to the market and.", {"dangling"}),
        ("Find me a hotel near the", {"dangling"}),
        ("What is the best way to?", {"leaning"}),
        ("Who are you talking to?", {"question"}),
        ("If a train leaves at noon,", {"open_clause"}),
        ("If a train leaves at noon, when does it get there?", set()),
        ("When was the first railway built", {"question"}),
        ("Can you help me with my homework?", {"question"}),
        ("No, thanks.", {"answer"}),
        ("Good morning", {"answer"}),
        ("", set()),
        ("...", set()),
    ],
)
def test_the_form_of_english(text: str, found: set[str]) -> None:
    looked = form_features(text, "en-GB")
    assert {name for name, value in zip(FEATURES, looked.values(), strict=True) if value} == found
    assert all(0.0 <= value <= 1.0 for value in looked.values())


def test_a_number_that_is_long_enough_is_a_whole_one() -> None:
    grown = [form_features(f"my number is {digits}").dictating for digits in ("07", "077 412 9", "077 412 963 8")]
    assert grown == sorted(grown, reverse=True)
    assert grown[0] == 1.0
    assert grown[-1] < 0.2


@pytest.mark.parametrize(
    ("text", "language", "name"),
    [
        ("Ich möchte einen Tisch für", "de", "dangling"),
        ("Das ist, ähm", "de", "filler"),
        ("Nein danke", "de-AT", "answer"),
        ("je voudrais une", "fr", "dangling"),
        ("c'est, euh", "fr", "filler"),
        ("je ne sais pas", "fr", "answer"),
        ("está en el", "es", "dangling"),
        ("pues", "es-MX", "filler"),
        ("sí, por favor", "es", "answer"),
    ],
)
def test_the_form_of_other_languages(text: str, language: str, name: str) -> None:
    assert getattr(form_features(text, language), name) == 1.0


def test_what_is_not_known_is_neutral() -> None:
    assert form_features("I would like the", "ja") == form_features("I would like the", None) == FormFeatures()


@given(st.text(max_size=80), st.sampled_from(["en", "de", "fr", "es", "sv", None]))
def test_the_closing_mark_says_nothing(text: str, language: str | None) -> None:
    assert (
        form_features(strip_final_punctuation(text), language)
        == form_features(f"{strip_final_punctuation(text)}.", language)
        == form_features(f"{strip_final_punctuation(text)}?", language)
    )


# --- the looks -----------------------------------------------------------------------------------------------


def test_what_is_there_is_weighed() -> None:
    whole, half = "What is the capital of France?", "I would like to book a flight to"
    sure = end_probability(Evidence(whole, sure=0.95, sense=0.9, ear=0.95))
    doubted = end_probability(Evidence(half, sure=0.95, sense=0.0, ear=0.1))
    assert sure is not None
    assert doubted is not None
    assert sure > 0.8
    assert doubted < 0.1
    words = end_probability(Evidence(whole)), end_probability(Evidence(half))
    assert words[0] is not None
    assert words[1] is not None
    assert words[0] > 0.5 > words[1]


@pytest.mark.parametrize("text", ["What is the capital of France?", "I would like to", "so um", "yes"])
def test_a_look_counts_in_its_own_direction(text: str) -> None:
    grid = np.linspace(0.001, 0.999, 50)
    by_sense = [end_probability(Evidence(text, 0.9, float(sense), 0.5)) for sense in grid]
    by_ear = [end_probability(Evidence(text, 0.9, 0.5, float(ear))) for ear in grid]
    assert by_sense == sorted(by_sense, key=float)  # type: ignore[arg-type]
    assert by_ear == sorted(by_ear, key=float)  # type: ignore[arg-type]


def test_the_sense_of_unsure_words_counts_less() -> None:
    def moved(sure: float) -> float:
        high, low = (end_probability(Evidence("it is late", sure, sense)) for sense in (0.9, 0.001))
        assert high is not None
        assert low is not None
        return float(np.log(high / (1 - high)) - np.log(low / (1 - low)))

    assert moved(0.95) > moved(0.85) > moved(0.7)


@pytest.mark.parametrize(
    ("looks", "named"),
    [
        (Evidence("a", sense=0.5), "sense+form"),
        (Evidence("a", sense=0.5, ear=0.5, language="de"), "sense+ear+form"),
        (Evidence("a", ear=0.5), "ear+form"),
        (Evidence("a"), "form"),
        (Evidence("a", sense=0.5, ear=0.5, language="ru"), "ear"),
        (Evidence("a", sense=0.5, ear=0.5, language=None), "ear"),
        (Evidence("a", sense=0.5, ear=0.5, language="sw"), ""),
    ],
)
def test_looks_that_do_not_know_the_language_are_left_out(looks: Evidence, named: str) -> None:
    assert looks.named == named
    assert (end_probability(looks) is None) == (named == "")


@given(
    st.text(max_size=40), chances, st.none() | chances, st.none() | chances, st.sampled_from(["en", "ja", "sw", None])
)
def test_it_is_always_a_probability(
    text: str, sure: float, sense: float | None, ear: float | None, language: str | None
) -> None:
    found = end_probability(Evidence(text, sure, sense, ear, language))
    assert found is None or 0.0 < found < 1.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda raw: raw["looks"]["form"]["mean"].pop(), "as many"),
        (lambda raw: raw["looks"]["form"]["scale"].__setitem__(0, 0.0), "greater than 0"),
        (lambda raw: raw["waiting"]["penalty_s"].pop("low"), "low, medium, high and auto"),
        (lambda raw: raw.pop("pauses"), "pauses"),
        (lambda raw: raw["looks"].pop("ear"), "looks must be"),
        (lambda raw: raw["looks"]["ear"]["features"].__setitem__(0, "smell"), "no such feature: smell"),
    ],
)
def test_damaged_numbers_are_refused(tmp_path: Path, change: object, complaint: str) -> None:
    raw = json.loads(fitted.PARAMETERS_FILE.read_text("utf-8"))
    change(raw)  # type: ignore[operator]
    path = tmp_path / "fitted.json"
    path.write_text(json.dumps(raw), "utf-8")
    with pytest.raises(FittedError, match=complaint):
        fitted.load_parameters(path)


def test_missing_numbers_are_told(tmp_path: Path) -> None:
    with pytest.raises(FittedError, match="cannot be read"):
        fitted.load_parameters(tmp_path / "none.json")


# --- rhythm --------------------------------------------------------------------------------------------------


def test_long_pauses_make_it_wait_longer_and_brisk_exchange_less() -> None:
    """Over one conversation, both ways."""
    endpointer, rhythm = Endpointer(), Rhythm()
    waits = [endpointer.wait_s(0.7, rhythm)]
    for _ in range(3):
        rhythm.hesitated(1.4)
        waits.append(endpointer.wait_s(0.7, rhythm))
    assert waits == sorted(waits)
    assert waits[-1] > 1.3 * waits[0]
    slow = waits[-1]
    waits = []
    for _ in range(8):
        rhythm.ended()
        rhythm.answered(0.2)
        waits.append(endpointer.wait_s(0.7, rhythm))
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < slow / 2
    assert waits[-1] < endpointer.wait_s(0.7, Rhythm())


def test_one_cut_off_counts_more_than_one_pause() -> None:
    paused, cut, fresh = Rhythm(), Rhythm(), Rhythm()
    paused.hesitated(0.9)
    cut.cut_off(0.9)
    waits = [Endpointer().wait_s(0.6, rhythm) for rhythm in (fresh, paused, cut)]
    assert waits == sorted(set(waits))


def test_what_was_long_ago_fades() -> None:
    rhythm = Rhythm()
    rhythm.cut_off(3.0)
    at_once = rhythm.median_s
    for _ in range(30):
        rhythm.hesitated(0.3)
    assert rhythm.median_s < 0.5 < at_once


def test_silence_that_goes_on_is_ever_less_of_a_hesitation() -> None:
    rhythm = Rhythm()
    chances_now = [rhythm.hesitating(seconds) for seconds in (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)]
    assert chances_now == sorted(chances_now, reverse=True)
    assert 0.45 < chances_now[0] <= 0.5
    assert chances_now[-1] < 0.05
    assert rhythm.hesitating(0.5, finished=0.95) < rhythm.hesitating(0.5, finished=0.1)


def test_a_slow_answer_tells_nothing() -> None:
    rhythm = Rhythm()
    rhythm.answered(4.0)
    assert rhythm == Rhythm()


@given(st.lists(st.tuples(st.sampled_from(["hesitated", "cut_off", "answered", "ended"]), st.floats(0.0, 1e4))))
def test_whatever_happens_the_rhythm_stays_sane(happened: list[tuple[str, float]]) -> None:
    rhythm = Rhythm()
    for what, seconds in happened:
        if what == "ended":
            rhythm.ended()
        else:
            getattr(rhythm, what)(seconds)
    assert 0.09 < rhythm.median_s < 5.1
    assert abs(rhythm.shift) <= 1.5
    assert all(np.isfinite(rhythm.outlasts(np.array([0.1, 1.0, 9.0]))))
    assert SHORTEST_S <= Endpointer().wait_s(0.5, rhythm) <= LONGEST_S["auto"]


# --- the waiting time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("eagerness", EAGERNESSES)
def test_the_wait_falls_smoothly_and_keeps_its_bounds(eagerness: Eagerness) -> None:
    grid = np.linspace(0.0, 1.0, 401)
    waits = np.array([Endpointer(PATIENCE[eagerness]).wait_s(float(chance)) for chance in grid])
    assert np.all(np.diff(waits) <= 1e-9)
    assert waits.min() >= SHORTEST_S
    assert waits.max() <= LONGEST_S[eagerness]
    assert waits[-1] < SHORTEST_S + 0.15
    assert waits[0] > 0.6 * LONGEST_S[eagerness]
    odds = 1 / (1 + np.exp(-np.linspace(-6, 6, 400)))
    steps = np.diff([Endpointer(PATIENCE[eagerness]).wait_s(float(chance)) for chance in odds])
    assert np.abs(steps).max() < 0.25 * LONGEST_S[eagerness] / 3


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8, None])
def test_the_more_eager_the_sooner(chance: float | None) -> None:
    waits = [Endpointer(PATIENCE[eagerness]).wait_s(chance) for eagerness in EAGERNESSES]
    assert waits == sorted(set(waits), reverse=True)


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8, None])
def test_patience_is_a_scale_on_which_every_eagerness_lies(chance: float | None) -> None:
    waits = [Endpointer(patience).wait_s(chance) for patience in np.linspace(-1, 1, 41)]
    assert waits == sorted(set(waits)), "each step waits longer than the one before"
    assert np.diff(waits).max() < 0.15 * (waits[-1] - waits[0]), "without jumps"
    for eagerness, patience in PATIENCE.items():
        assert nearest_eagerness(patience) == eagerness
        assert Endpointer(patience).longest_s == LONGEST_S[eagerness]
    assert [nearest_eagerness(patience) for patience in (-0.7, -0.2, 0.4, 0.9)] == ["high", "auto", "medium", "low"]


def test_a_fixed_silence_is_fixed() -> None:
    endpointer = Endpointer(fixed_s=0.8)
    assert endpointer.wait_s(0.99) == endpointer.wait_s(None, Rhythm()) == 0.8
    assert not endpointer.needs_audio_model(0.5)


def test_the_ear_is_asked_where_the_words_leave_it_open() -> None:
    endpointer = Endpointer()
    assert endpointer.needs_audio_model(None)
    assert endpointer.needs_audio_model(0.5)
    assert not endpointer.needs_audio_model(1.0)
