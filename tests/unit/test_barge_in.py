"""The rules of barge-in, without a session: states, events and effects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.conversation.barge_in import (
    DISMISS,
    DUCK,
    INTERRUPT,
    BargeInEvent,
    BargeInState,
    Effect,
    InputDiscarded,
    NoOverlap,
    Overlapping,
    OverlapProgressed,
    OverlapStarted,
    OverlapTimedOut,
    TurnTaken,
    next_state,
)
from chinwag.listening.turn import SpeechProgress

pytestmark = pytest.mark.unit

NOTHING = SpeechProgress("", confidence=0.0, spoken_s=0.2, silence_s=0.0)
SENTENCE = SpeechProgress("wait I have a question about that", confidence=0.95, spoken_s=1.4, silence_s=0.0)
BACKCHANNEL = SpeechProgress("mm-hmm", confidence=0.9, spoken_s=0.4, silence_s=0.3, settled=True)
COUGH = SpeechProgress("", confidence=0.0, spoken_s=0.3, silence_s=0.6, settled=True)

speeches = st.builds(
    SpeechProgress,
    text=st.sampled_from(["", "mm-hmm", "yeah", "stop", "wait a minute", SENTENCE.text]),
    spoken_s=st.floats(0.0, 5.0),
    silence_s=st.floats(0.0, 2.0),
    confidence=st.floats(0.0, 1.0),
    settled=st.booleans(),
)
events = st.one_of(
    st.just(OverlapStarted()),
    st.builds(
        OverlapProgressed,
        speech=speeches,
        mode=st.sampled_from(["off", "words", "speech"]),
        audible=st.booleans(),
        response_text=st.sampled_from(["", "wait a minute and I will tell you"]),
    ),
    st.builds(TurnTaken, committed=st.booleans()),
    st.just(OverlapTimedOut()),
    st.just(InputDiscarded()),
)


def progress(speech: SpeechProgress, *, audible: bool = True, response_text: str = "") -> OverlapProgressed:
    return OverlapProgressed(speech, "words", audible, response_text)


@pytest.mark.parametrize(
    ("state", "event", "after", "effects"),
    [
        (NoOverlap(), OverlapStarted(), "overlap", DUCK),
        (Overlapping(SENTENCE), OverlapStarted(), "overlap", DUCK),
        (Overlapping(NOTHING), progress(NOTHING), "overlap", ()),
        (Overlapping(NOTHING), progress(SENTENCE), "none", INTERRUPT),
        (Overlapping(NOTHING), progress(BACKCHANNEL), "none", DISMISS),
        (Overlapping(NOTHING), progress(COUGH), "none", DISMISS),
        (Overlapping(NOTHING), progress(BACKCHANNEL, audible=False), "none", INTERRUPT),
        (Overlapping(NOTHING), progress(NOTHING, audible=False), "none", INTERRUPT),
        (Overlapping(NOTHING), progress(COUGH, audible=False), "none", DISMISS),
        (Overlapping(NOTHING), OverlapProgressed(NOTHING, "speech", True), "none", INTERRUPT),
        (Overlapping(NOTHING), OverlapProgressed(SENTENCE, "off", True), "none", DISMISS),
        (Overlapping(NOTHING), OverlapTimedOut(), "none", DISMISS),
        (Overlapping(SENTENCE), OverlapTimedOut(), "none", INTERRUPT),
        (Overlapping(NOTHING), TurnTaken(), "none", DISMISS),
        (Overlapping(SENTENCE), TurnTaken(), "none", INTERRUPT),
        (Overlapping(NOTHING), TurnTaken(committed=True), "none", INTERRUPT),
        (Overlapping(SENTENCE), InputDiscarded(), "none", DISMISS),
    ],
)
def test_what_follows_in_each_state(
    state: BargeInState, event: BargeInEvent, after: str, effects: tuple[Effect, ...]
) -> None:
    following, caused = next_state(state, event)
    assert (isinstance(following, Overlapping), caused) == (after == "overlap", effects)


@pytest.mark.parametrize(
    "event", [progress(SENTENCE), TurnTaken(), TurnTaken(committed=True), OverlapTimedOut(), InputDiscarded()]
)
def test_without_an_overlap_nothing_is_decided(event: BargeInEvent) -> None:
    assert next_state(NoOverlap(), event) == (NoOverlap(), ())


def test_an_undecided_overlap_remembers_what_was_heard_of_it() -> None:
    speech = SpeechProgress("yeah", confidence=0.9, spoken_s=0.3, silence_s=0.0)
    state, _ = next_state(Overlapping(NOTHING), progress(speech))
    assert state == Overlapping(speech)


def test_an_echo_of_the_response_does_not_interrupt_it() -> None:
    echo = SpeechProgress("I have a question about that", 0.8, spoken_s=1.0, silence_s=0.3, settled=True)
    assert next_state(Overlapping(NOTHING), progress(echo, response_text="So I have a question about that one."))[
        1
    ] == (DISMISS)


@given(st.lists(events, max_size=30))
def test_each_overlap_is_decided_once_and_leaves_no_response_ducked(sequence: list[BargeInEvent]) -> None:
    state: BargeInState = NoOverlap()
    ducked = False
    for event in sequence:
        was_undecided = isinstance(state, Overlapping)
        state, effects = next_state(state, event)
        decisions = [effect for effect in effects if effect in ("interrupt", "dismiss")]
        if isinstance(state, Overlapping):
            assert not decisions
        else:
            assert len(decisions) == was_undecided, "exactly one decision ends an overlap, and nothing else decides"
        for effect in effects:  # an interrupted response is silent, so its volume does not matter
            ducked = effect == "duck" if effect in ("duck", "unduck", "interrupt") else ducked
        assert ducked == isinstance(state, Overlapping)


@given(speeches)
def test_a_timeout_always_decides(speech: SpeechProgress) -> None:
    state, effects = next_state(Overlapping(speech), OverlapTimedOut())
    assert (state, effects) == (NoOverlap(), INTERRUPT if speech.text else DISMISS)


@given(speeches, st.booleans())
def test_speech_that_is_heard_to_its_end_is_never_left_undecided(speech: SpeechProgress, audible: bool) -> None:
    ended = SpeechProgress(speech.text, speech.confidence, speech.spoken_s, silence_s=0.5, settled=True)
    state, _ = next_state(Overlapping(NOTHING), progress(ended, audible=audible))
    assert state == NoOverlap()


@given(st.floats(1.25, 5.0), st.floats(0.5, 1.0), st.booleans())
def test_in_words_mode_long_speech_with_words_interrupts(spoken_s: float, confidence: float, settled: bool) -> None:
    speech = SpeechProgress(SENTENCE.text, confidence, spoken_s, silence_s=0.0, settled=settled)
    assert next_state(Overlapping(NOTHING), progress(speech)) == (NoOverlap(), INTERRUPT)
