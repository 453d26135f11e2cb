"""What speech during a reply is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chinwag.listening.overlap import (
    ENDLESS_S,
    SETTLED_S,
    WORDLESS_S,
    Overlap,
    Verdict,
    comparable_words,
    judge_overlap,
)

pytestmark = pytest.mark.unit

REPLY = "Paris is the capital of France. It lies on the river Seine, and about two million people live there."

BACKCHANNELS = (
    "Mm-hmm.", "Mhm.", "Mmm.", "Hmm.", "Um-hum", "Uh-huh.", "Yeah,", "Yeah, yeah, yeah.", "Yep, yep.", "Yes, sir.",
    "Right, right,", "Okay.",
    "Ok, Ok, Ok.", "O. K.", "I see, I see,", "Oh wow.", "O wow!", "Really?", "Oh, really, really.", "Sure.",
    "Yes, sure.", "Got it!", "All right.",
    "Oh, okay.", "Exactly.", "That's true.", "Makes sense.", "Interesting.", "Absolutely.", "Thank you.", "Aha!",
    "No way.", "Of course.",
    "Um, okay.", "Yeah, right, I see.", "Genau.", "Ach so, okay.", "D'accord.", "Ouais, ouais.", "C'est vrai.",
    "Sí, claro.", "Vale.", "Va bene.",
    "Ho capito.", "Pois é.", "Tá bom.", "はい", "そうですね", "なるほど",
)  # fmt: skip

INTERRUPTIONS = (
    "Yeah, but what?", "Yeah, but", "Okay, stop.", "Stop.", "Stop it.", "Wait.", "Wait, what about Sunday?",
    "Hold on,", "No, I meant the second one.",
    "What do you mean?", "Why is that?", "How much does it cost?", "Tell me a joke.", "But I don't like fish.",
    "Never mind.", "Hang on a second.",
    "Okay, and how long does that take?", "I have a question.", "Can you say that again?", "Um, so I was thinking",
    "Warte mal", "Attends.", "Espera.",
    "Right, so where is it?", "待って",
)  # fmt: skip


def at(words: str, spoken: float = 0.5, silence: float = 0.0, confidence: float = 0.8, reply: str = REPLY) -> Verdict:
    return judge_overlap(Overlap(words, spoken, silence, confidence, reply))


@pytest.mark.parametrize("words", BACKCHANNELS)
def test_a_backchannel_passes_once_they_are_quiet_and_never_interrupts(words: str) -> None:
    for spoken in (0.2, 0.4, 0.7, 1.0, 1.5):
        assert at(words, spoken) == "undecided"
        assert at(words, spoken, SETTLED_S) == "passing"
        assert at(words, spoken, SETTLED_S, confidence=0.3) == "passing"


@pytest.mark.parametrize("words", INTERRUPTIONS)
def test_words_that_want_something_interrupt_while_they_are_said(words: str) -> None:
    assert at(words, 0.5) == "interrupts"
    assert at(words, 0.5, SETTLED_S) == "interrupts"


@pytest.mark.parametrize(("words", "confidence"), [("Waitstop,", 0.46), ("Yeah.", 0.8)])
def test_nothing_passes_by_words_that_are_not_final_as_long_as_those_may_still_come(
    words: str, confidence: float
) -> None:
    for silence, verdict in ((SETTLED_S, "undecided"), (WORDLESS_S, "passing")):
        assert judge_overlap(Overlap(words, 0.8, silence, confidence, REPLY, final=False)) == verdict


@pytest.mark.parametrize("words", ["Wait, stop.", "Weight stop.", "No, wait.", "Please stop."])
def test_a_call_among_several_words_interrupts_though_the_transcriber_is_unsure(words: str) -> None:
    assert at(words, 0.7, confidence=0.58) == "undecided"
    assert at(words, 0.7, SETTLED_S, confidence=0.58) == "interrupts"
    assert at(words, 0.7, SETTLED_S, confidence=0.34) == "passing"


@pytest.mark.parametrize(("words", "verdict"), [("Wait, stop.", "interrupts"), ("Weight stop.", "passing")])
def test_nothing_but_calls_is_never_invented(words: str, verdict: Verdict) -> None:
    assert at(words, 0.7, SETTLED_S, confidence=0.46) == verdict


@pytest.mark.parametrize("confidence", [0.36, 0.46, 0.58, 0.8])
def test_calls_that_the_reply_itself_says_are_its_echo(confidence: float) -> None:
    reply = "The sign says wait, stop, and look."
    assert at("Wait, stop.", 0.7, SETTLED_S, confidence, reply) == "passing"


@pytest.mark.parametrize(
    ("words", "confidence"),
    [  # what Moonshine tiny wrote at 0.2 to 0.4 s of "mm-hmm", "uh-huh", "great", "oh", "really", "cool"
        ("The name of the Lord is the Lord.", 0.22), ("It is a very beautiful, beautiful", 0.26),
        ("And then,", 0.46), ("No, no.", 0.66),
        ("The gray, gray, gray, gray", 0.62), ("So that's it.", 0.41), ("I'm", 0.41), ("Rea. Rea. Rea. Rea", 0.52),
        ("Two, two,", 0.66),
        ("That's", 0.77), ("Him, him.", 0.68), ("大家啊啊", 0.33), ("I", 0.75),
    ],
)  # fmt: skip
def test_what_a_transcriber_invents_for_a_fraction_of_a_word_decides_nothing(words: str, confidence: float) -> None:
    assert at(words, 0.4, confidence=confidence) == "undecided"


@pytest.mark.parametrize(
    ("words", "confidence"),
    [
        ("You", 0.89),
        ("Thank you.", 0.54),
        ("So", 0.28),
        ("", 0.26),
        ("♪♪♪", 0.67),
        ("2-3ตวบนลาง", 0.3),
        ("Mud.", 0.57),
        ("Bye.", 0.5),
    ],
)
def test_coughs_and_noise_pass(words: str, confidence: float) -> None:
    assert at(words, 0.3, confidence=confidence) == "undecided"
    assert at(words, 0.3, 0.5, confidence=confidence) == "passing"


def test_words_that_are_still_on_their_way_are_waited_for() -> None:
    assert at("", 0.4, SETTLED_S) == "undecided"
    assert at("", 0.4, 0.5) == "passing"
    assert at("", ENDLESS_S) == "interrupts"


def test_no_interrupts_when_it_is_all_they_say_and_not_only_begun() -> None:
    assert at("No,", 0.4) == "undecided"
    assert at("No.", 0.4, SETTLED_S) == "interrupts"
    assert at("No.", 0.3, SETTLED_S, confidence=0.6) == "passing"
    assert at("No, the other one", 0.5) == "interrupts"


def test_fillers_alone_wait_for_what_follows() -> None:
    for words in ("Um.", "Uh, uh, uh", "Um, so", "Er, well", "Äh"):
        assert at(words, 1.6) == "undecided"
        assert at(words, 0.6, 0.25) == "passing"
    assert at("Um, so what is the capital of Spain?", 1.6) == "interrupts"


def test_long_speech_interrupts_whatever_the_transcriber_makes_of_it() -> None:
    assert at("Owl told thee", 1.3, confidence=0.2) == "interrupts"
    assert at("Owl told thee", 1.0, confidence=0.5) == "interrupts"
    assert at("Owl told thee", 0.9, confidence=0.5) == "undecided"


def test_the_replys_own_words_pass() -> None:
    assert at("It lies on the river Seine", 1.5) == "undecided"
    assert at("It lies on the river Seine", 1.5, SETTLED_S) == "passing"
    assert at("lies on the river sane and about to million people", 2.0, SETTLED_S) == "passing"
    assert at("two million", 0.5, SETTLED_S) == "passing"
    assert at("river the on lies", 1.5) == "interrupts"
    assert at("is it far from the river", 1.5) == "interrupts"
    assert at("It lies on the river Seine", 1.5, reply="") == "interrupts"
    assert at("Stop.", 0.5, reply="The bus will stop there.") == "interrupts"


def test_the_modes() -> None:
    cough, question = Overlap("", 0.1, 0.0), Overlap("What do you mean?", 2.0, 0.0)
    assert judge_overlap(cough, "speech") == "interrupts"
    assert judge_overlap(question, "off") == "passing"
    assert judge_overlap(question, "words") == "interrupts"


def test_loops_are_taken_out_of_the_words() -> None:
    assert comparable_words("No, no, no, no, I") == ["no", "i"]
    assert comparable_words("Why is it? Why is it? Why") == ["why", "is", "it", "why"]
    assert comparable_words("How about how about how about") == ["how", "about"]
    assert comparable_words("Mm-hmm, mmm.") == ["mm"]
    assert comparable_words("") == []


fraction = st.floats(0, 1)
seconds = st.floats(0, 5)
some_words = st.lists(
    st.sampled_from([*BACKCHANNELS, *INTERRUPTIONS, *REPLY.split(), "You", "♪", "um"]), max_size=6
).map(" ".join)
overlaps = st.builds(
    Overlap, text=some_words | st.text(max_size=40), spoken_s=seconds, silence_s=seconds, confidence=fraction,
    reply_words=st.sampled_from(["", REPLY]),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(overlaps)
def test_silence_always_ends_in_a_decision_and_going_on_never_passes(overlap: Overlap) -> None:
    decided = judge_overlap(Overlap(overlap.text, overlap.spoken_s, 0.5, overlap.confidence, overlap.reply_words))
    assert decided != "undecided"
    going_on = judge_overlap(Overlap(overlap.text, overlap.spoken_s, 0.0, overlap.confidence, overlap.reply_words))
    assert going_on != "passing"


@settings(max_examples=300, deadline=None)
@given(overlaps, fraction, seconds)
def test_more_confidence_or_more_speech_never_turns_an_interruption_back(
    overlap: Overlap, confidence: float, more: float
) -> None:
    if judge_overlap(overlap) == "interrupts":
        surer = max(overlap.confidence, confidence)
        longer = overlap.spoken_s + more
        assert (
            judge_overlap(Overlap(overlap.text, overlap.spoken_s, overlap.silence_s, surer, overlap.reply_words))
            == "interrupts"
        )
        assert (
            judge_overlap(Overlap(overlap.text, longer, overlap.silence_s, overlap.confidence, overlap.reply_words))
            == "interrupts"
        )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(BACKCHANNELS), min_size=1, max_size=4), fraction, st.floats(0, 5), st.floats(0, 1))
def test_backchannels_in_a_row_are_one(words: list[str], confidence: float, spoken: float, silence: float) -> None:
    said = Overlap(" ".join(words), spoken, silence, confidence)
    if spoken < ENDLESS_S:
        assert judge_overlap(said) == ("passing" if silence >= SETTLED_S else "undecided")


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, len(REPLY.split()) - 1), min_size=1))
def test_the_replys_words_in_its_order_never_interrupt(places: set[int]) -> None:
    chosen = " ".join(REPLY.split()[place] for place in sorted(places))
    assert judge_overlap(Overlap(chosen, 1.5, 0.0, 0.9, REPLY)) == "undecided"
