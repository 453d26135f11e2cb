"""Figures: percentiles and word errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.bench.metrics import percentile, word_errors, words

pytestmark = pytest.mark.unit


def test_percentiles_leave_out_what_was_not_measured() -> None:
    assert percentile([300.0, None, 100.0, 200.0], 50) == 200.0
    assert percentile(list(range(1, 101)), 95) == 95.0  # 95.05, to a tenth
    assert percentile([None], 50) is None
    assert percentile([], 95) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What’s the CAPITAL, of France?", "what's the capital of france"),
        ("12 times 8 is 96.", "twelve times eight is ninety six"),
        ("twenty-one", "twenty one"),
        ("1,250 people", "one thousand two hundred fifty people"),
        ("20% of $300", "twenty percent of dollars three hundred"),
        ("call 0044", "call zero zero four four"),
        ("‘quoted’ 'words'", "quoted words"),
        ("…", ""),
    ],
)
def test_words_are_compared_without_case_marks_and_digits(text: str, expected: str) -> None:
    assert " ".join(words(text)) == expected


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("the cat sat down", "the cat sat down", 0),
        ("the cat sat down", "the bat sat down", 1),
        ("the cat sat down", "the cat sat", 1),
        ("the cat sat down", "the big cat sat down", 1),
        ("the cat sat down", "", 4),
        ("", "the cat", 2),
        ("a b c d", "b c d e", 2),
    ],
)
def test_word_errors(said: str, heard: str, errors: int) -> None:
    assert word_errors(said, heard) == (errors, len(words(said)))


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_word_errors_are_a_distance(left: list[str], right: list[str]) -> None:
    there, back = word_errors(" ".join(left), " ".join(right)), word_errors(" ".join(right), " ".join(left))
    assert there[0] == back[0]
    assert abs(len(left) - len(right)) <= there[0] <= max(len(left), len(right))
    assert (there[0] == 0) == (left == right)
