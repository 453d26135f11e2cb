"""A model's thinking never becomes speech, wherever the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.engines.llm.reasoning import ThinkFilter

pytestmark = pytest.mark.unit


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
    ],
)
def test_thoughts_are_dropped(text: str, heard: str) -> None:
    assert said([text]) == heard
    assert said(list(text)) == heard


def test_text_comes_as_soon_as_it_may() -> None:
    think = ThinkFilter()
    assert think.feed("Hel") == "Hel"
    assert think.feed("lo <") == "lo "
    assert think.feed("3") == "<3"


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "ink>", " ", "word", "/", "\n"]), max_size=12).map(
        "".join
    ),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_the_cuts_make_no_difference(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert said(pieces) == said([text])
