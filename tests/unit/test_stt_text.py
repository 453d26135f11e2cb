"""What Moonshine's text goes through: loops cut, pieces joined, sound cut where it is quiet."""

from __future__ import annotations

import numpy as np
import pytest

from chinwag.audio import Audio
from chinwag.engines.stt.growing import GrowingSound, join_text, looping, quietest

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("tokens", "period"),
    [
        ([1, 2, 3, 4], 0),
        ([5] * 11, 0),
        ([9, *[5] * 12], 1),
        ([5, 6] * 5, 0),
        ([5, 6] * 6, 2),
        ([1, 2, 3, 4, 5] * 3, 0),
        ([7, *[1, 2, 3, 4, 5] * 4], 5),
    ],
)
def test_a_loop_is_told_from_a_person_repeating(tokens: list[int], period: int) -> None:
    assert looping(tokens) == period


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ("", "Hello.", "Hello."),
        ("Hello.", "", "Hello."),
        ("We went home.", "Then we slept.", "We went home. Then we slept."),
        ("We went home.", "and then we slept.", "We went home and then we slept."),
        ("Well...", "you know.", "Well... you know."),
    ],
)
def test_pieces_join_to_sentences(before: str, after: str, joined: str) -> None:
    assert join_text(before, after) == joined


def test_a_cut_falls_into_the_quietest_place() -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, 12 * 16_000).astype(np.float32)
    pcm[100_000:104_000] *= 0.01
    pcm[20_000:30_000] = 0  # too early
    pcm[-20_000:] = 0  # too late
    assert 100_000 < quietest(pcm, 4 * 16_000, 10 * 16_000, 2 * 16_000) < 104_000


def test_a_view_stays_true_while_the_sound_grows() -> None:
    sound = GrowingSound()
    sound.push(Audio(np.full(100, 0.5, np.float32), 16_000, 1000))
    view = sound.view(0, 100)
    for _ in range(200):
        sound.push(Audio(np.zeros(1600, np.float32), 16_000, sound.until))
    assert (view == 0.5).all()
    assert sound.length == 100 + 200 * 1600
    assert sound.until == 1000 + sound.length
    assert (sound.view(0, 100) == 0.5).all()
