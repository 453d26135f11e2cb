"""Where the listener's ear is, and which words it has taken in."""

from __future__ import annotations

import pytest

from chinwag.speech.playout import Playout, SpokenClause

pytestmark = pytest.mark.unit


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def test_a_modelled_player_plays_at_real_speed_waits_when_dry_and_stops() -> None:
    clock = Clock()
    playout = Playout(1000, clock)
    clock.now = 12.0
    playout.add_sent(500)
    assert playout.played == 0
    clock.now = 12.2
    assert playout.played == 200
    assert playout.ahead_s == pytest.approx(0.3)
    clock.now = 15.0
    assert playout.played == 500
    playout.add_sent(500)
    clock.now = 15.1
    assert playout.played == 600
    playout.stop()
    clock.now = 20.0
    assert playout.played == 600


def test_a_report_is_believed_and_goes_on_until_the_stop_and_a_later_one_corrects_it() -> None:
    clock = Clock()
    playout = Playout(1000, clock)
    playout.add_sent(5000)
    clock.now = 11.0
    playout.report_played(600)
    assert playout.played == 600
    clock.now = 11.1
    assert playout.played == 700
    playout.stop()
    clock.now = 12.0
    assert playout.played == 700
    playout.report_played(650)
    assert playout.played == 650
    playout.report_played(9999)
    assert playout.played == 5000, "no more can be heard than was sent"


@pytest.mark.parametrize(
    ("played", "words"),
    [
        (0, ""),
        (99, ""),
        (100, ""),
        (140, ""),
        (200, "One"),
        (300, "One two"),
        (420, "One two three"),
        (500, "One two three four"),
    ],
)
def test_words_are_heard_in_their_share_of_the_sound(played: int, words: str) -> None:
    spoken = SpokenClause("One two three four", start=100, samples=400, complete=True)
    assert spoken.text_heard(played) == words


def test_a_clause_still_being_made_is_not_taken_for_whole() -> None:
    spoken = SpokenClause("One two three four", start=0, expected=400, samples=100)
    assert spoken.text_heard(100) == "One"
    spoken.samples, spoken.complete = 100, True
    assert spoken.text_heard(100) == "One two three four"


def test_a_player_that_was_cut_off_for_a_while_has_all_of_it_still_to_play() -> None:
    clock = Clock()
    playout = Playout(1000, clock)
    playout.add_sent(5000)
    clock.now = 14.0
    playout.report_played(3800)
    assert playout.ahead_s == pytest.approx(1.0), "a report is a little old"
    clock.now = 16.0
    playout.report_played(1000)
    assert playout.ahead_s == pytest.approx(4.0)
    assert playout.ends_at == pytest.approx(20.0)
    playout.stop()
    playout.report_played(500)
    assert playout.ends_at == pytest.approx(16.0)
