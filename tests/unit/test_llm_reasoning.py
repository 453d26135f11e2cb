"""A model's thinking never becomes speech, wherever the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.engines.llm.reasoning import CHANNEL, ThinkFilter, begins_thinking

pytestmark = pytest.mark.unit


ANALYSIS = "<|channel|>analysis<|message|>We greet.<|end|>"
PARTS = [CHANNEL, "final", "<|message|>", "<think>", "</think>", "<", "th", "ink>", " ", "word", "/", "\n"]


def said(pieces: list[str]) -> str:
    think = ThinkFilter()
    return "".join(think.feed(piece) for piece in pieces) + think.end()


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("Hello.", "Hello."),
        ("<think>hm</think>\n\nHello.", "Hello."),
        ("<think></think>Hello. <think>wait</think>More.", "Hello. More."),
        ("<think>never ends", ""),
        ("2 < 3 and <b>", "2 < 3 and <b>"),
        ("ends with <thin", "ends with <thin"),
        ("<think>a <think> b</think>c", "c"),
        ("", ""),
        ("[THINK]hm[/THINK]Hello.", "Hello."),
        ("<|START_THINKING|>hm<|END_THINKING|>Hello.", "Hello."),
        ("<thinking>a </think> b</thinking>c", "c"),
        (f"{ANALYSIS}<|start|>assistant<|channel|>final<|message|>Hi.<|return|>", "Hi."),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", ""),
        ("<|start|>assistant<|message|>Hi.<|end|>", "Hi."),
        ("<|channel|>analysis<|message|>never ends", ""),
    ],
)
def test_thoughts_are_dropped(text: str, heard: str) -> None:
    assert said([text]) == heard
    assert said(list(text)) == heard


@pytest.mark.parametrize(
    ("text", "cut", "heard", "again"),
    [
        ("I should greet.</think>\n\nHello.", False, "Hello.", True),
        ("<think>I should greet.</think>Hello.", False, "Hello.", False),
        ("Hello, there is no thought here.", False, "Hello, there is no thought here.", False),
        ("I should greet, and then", True, "", True),
    ],
)
def test_an_answer_may_begin_inside_a_thought(text: str, cut: bool, heard: str, again: bool) -> None:
    for pieces in ([text], list(text)):
        think = ThinkFilter(in_thought=True)
        assert "".join(think.feed(piece) for piece in pieces) + think.end(cut=cut) == heard
        assert think.in_thought == again


def test_a_model_that_once_began_inside_a_thought_is_not_believed_again() -> None:
    think = ThinkFilter()
    assert think.feed("I should greet.</think>Hello.") == "I should greet.Hello."  # what is out is out
    assert think.in_thought


def test_thoughts_in_a_field_of_their_own_make_the_text_the_answer() -> None:
    think = ThinkFilter(in_thought=True)
    assert think.answers() == ""
    assert think.feed("Hello.") == "Hello."
    assert not think.in_thought


@pytest.mark.parametrize(
    ("model", "thinks"),
    [("deepseek-r1:7b", True), ("Qwen/QwQ-32B", True), ("Qwen3-4B-Thinking-2507", True), ("llama3.2", False),
     ("qwen3:4b", False), ("r128-chat", False)],
)  # fmt: skip
def test_who_may_begin_inside_a_thought_is_known_by_name(model: str, thinks: bool) -> None:
    assert begins_thinking(model) == thinks


def test_text_comes_as_soon_as_it_may() -> None:
    think = ThinkFilter()
    assert think.feed("Hel") == "Hel"
    assert think.feed("lo <") == "lo "
    assert think.feed("3") == "<3"


@given(
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_the_cuts_make_no_difference(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert said(pieces) == said([text])
