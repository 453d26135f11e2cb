"""Where speech stops, to the hundredth of a second, from its level; and where it begins, from the VAD."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.listening.energy import BLOCK, EnergyTracker
from chinwag.listening.vad import FADING, LOWER, SpeechTracker

pytestmark = pytest.mark.unit

FRAME = 512
TAIL_S = 0.12
"""A VAD goes on for about that long after the last sound."""


def room(seconds: float, noise_db: float, seed: int = 0) -> Samples:
    random = np.random.default_rng(seed)
    return (10 ** (noise_db / 20) * random.normal(size=round(seconds * LISTEN_RATE))).astype(np.float32)


def voice(seconds: float, level_db: float = -20.0) -> Samples:
    """A buzz at 120 Hz in syllables of 200 ms, loud to its last sample."""
    at = np.arange(round(seconds * LISTEN_RATE)) / LISTEN_RATE
    buzz = np.sign(np.sin(2 * np.pi * 120 * at)) * (0.75 + 0.25 * np.cos(2 * np.pi * 5 * at))
    scaled: Samples = (10 ** (level_db / 20) * buzz / np.sqrt(np.mean(buzz**2))).astype(np.float32)
    return scaled


def last_sound(pcm: Samples, voiced: slice) -> tuple[int, EnergyTracker]:
    """The sample after the last one that sounds, as a VAD that is late by TAIL_S has it followed."""
    level, last = EnergyTracker(), 0
    until = voiced.stop + round(TAIL_S * LISTEN_RATE)
    for start in range(0, len(pcm) - FRAME + 1, FRAME):
        heard = voiced.start <= start + FRAME // 2 < until
        sounding = level.push(Audio(pcm[start : start + FRAME], LISTEN_RATE, start), voiced=heard)
        if heard and sounding is not None:
            last = sounding
    return last, level


@pytest.mark.parametrize("noise_db", [-120.0, -75.0, -60.0, -50.0, -42.0])
@pytest.mark.parametrize("spoken_s", [0.6, 1.0, 1.013, 1.5])
def test_the_last_sound_is_found_within_10_ms(noise_db: float, spoken_s: float) -> None:
    pcm = room(1.0 + spoken_s + 1.0, noise_db)
    begin, count = LISTEN_RATE, round(spoken_s * LISTEN_RATE)
    pcm[begin : begin + count] += voice(spoken_s)
    found, level = last_sound(pcm, slice(begin, begin + count))
    assert level.clear
    assert abs(found - (begin + count)) <= BLOCK, "whatever the VAD says after it"


@pytest.mark.parametrize("noise_db", [-33.0, -25.0])
def test_a_voice_that_does_not_stand_out_is_left_to_the_vad(noise_db: float) -> None:
    pcm = room(3.0, noise_db)
    begin, count = LISTEN_RATE, LISTEN_RATE
    pcm[begin : begin + count] += voice(1.0)
    found, level = last_sound(pcm, slice(begin, begin + count))
    assert not level.clear
    end = begin + count + TAIL_S * LISTEN_RATE
    assert abs(found - end) <= FRAME, "all that the VAD takes for speech sounds"


def test_it_follows_a_room_that_grows_loud_and_quiet_again() -> None:
    level = EnergyTracker()
    for noise_db in (-70.0, -45.0, -70.0):
        for start in range(0, 4 * LISTEN_RATE, FRAME):
            level.push(Audio(room(FRAME / LISTEN_RATE, noise_db, seed=start), LISTEN_RATE, start), voiced=False)
        assert level.noise == pytest.approx(noise_db, abs=4)


def test_one_shout_is_forgotten() -> None:
    level = EnergyTracker()
    for start in range(0, 20 * LISTEN_RATE, FRAME):
        loud = start < FRAME
        pcm = voice(FRAME / LISTEN_RATE, -3.0 if loud else -30.0)
        level.push(Audio(room(FRAME / LISTEN_RATE, -70.0), LISTEN_RATE, start), voiced=False)
        level.push(Audio(pcm, LISTEN_RATE, start), voiced=True)
    quiet_word = Audio(voice(FRAME / LISTEN_RATE, -38.0), LISTEN_RATE, 0)
    assert level.push(quiet_word, voiced=True) is not None


def test_digital_silence_before_speech_is_no_level_to_measure_from() -> None:
    pcm = np.concatenate([np.zeros(LISTEN_RATE, np.float32), voice(1.0), np.zeros(LISTEN_RATE, np.float32)])
    pcm[2 * LISTEN_RATE : 2 * LISTEN_RATE + 8000] = 1e-3 * voice(0.5)  # what a room's echo leaves, 60 dB down
    found, _ = last_sound(pcm, slice(LISTEN_RATE, 2 * LISTEN_RATE))
    assert abs(found - 2 * LISTEN_RATE) <= BLOCK


# --- speech -------------------------------------------------------------------------------------------------------


def feed(tracker: SpeechTracker, probabilities: list[float], start: int = 0) -> list[int]:
    """Frames that sound to their end; the numbers of those at which speech began."""
    began = []
    for number, probability in enumerate(probabilities):
        at = start + number * FRAME
        if tracker.push(probability, at, at + FRAME, at + FRAME):
            began.append(number)
    return began


def test_three_voiced_frames_begin_speech_at_the_first_of_them() -> None:
    tracker = SpeechTracker()
    assert feed(tracker, [0.1, 0.9, 0.9, 0.9, 0.9]) == [3]
    assert tracker.speaking
    assert tracker.started == FRAME
    assert tracker.voice_end == 5 * FRAME


@pytest.mark.parametrize(
    ("probabilities", "begins"),
    [
        ([0.9, 0.1, 0.9, 0.9], [3]),  # a gap of one frame is forgiven
        ([0.9, 0.1, 0.1, 0.9, 0.9], []),
        ([0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9], [6]),
        ([0.49] * 20, []),
        ([0.5] * 3, [2]),
    ],
)
def test_what_begins_speech(probabilities: list[float], begins: list[int]) -> None:
    assert feed(SpeechTracker(), probabilities) == begins


def test_speech_goes_on_down_to_the_lower_threshold() -> None:
    tracker = SpeechTracker(threshold=0.5)
    feed(tracker, [0.9] * 3 + [0.5 - LOWER] * 2)
    assert tracker.voice_end == 5 * FRAME
    feed(tracker, [0.5 - LOWER - 0.01], start=5 * FRAME)
    assert tracker.voice_end == 5 * FRAME
    assert tracker.speaking, "the listener alone ends a turn"


def test_a_frame_in_which_nothing_sounds_is_not_the_voices_end() -> None:
    tracker = SpeechTracker()
    feed(tracker, [0.9] * 4)
    tracker.push(0.95, 4 * FRAME, 5 * FRAME, 4 * FRAME + 100)
    tracker.push(0.9, 5 * FRAME, 6 * FRAME, None)
    assert tracker.voice_end == 4 * FRAME + 100
    assert not tracker.fading
    tracker.push(0.5 + FADING - 0.01, 6 * FRAME, 7 * FRAME, None)
    assert tracker.fading


def test_silence_that_a_vad_takes_for_speech_begins_nothing() -> None:
    tracker = SpeechTracker()
    assert not any(tracker.push(0.9, n * FRAME, (n + 1) * FRAME, None) for n in range(20))


def test_after_a_rest_it_begins_anew() -> None:
    tracker = SpeechTracker()
    assert feed(tracker, [0.9] * 4) == [2]
    tracker.rest()
    assert not tracker.speaking
    assert feed(tracker, [0.9] * 4, start=100 * FRAME) == [2]
    assert tracker.started == 100 * FRAME


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0.2, 0.9))
def test_it_begins_once_and_its_end_never_goes_back(probabilities: list[float], threshold: float) -> None:
    tracker, ends, began = SpeechTracker(threshold=threshold), [0], 0
    for number, probability in enumerate(probabilities):
        began += tracker.push(probability, number * FRAME, (number + 1) * FRAME, (number + 1) * FRAME)
        ends.append(tracker.voice_end)
    assert ends == sorted(ends)
    assert began <= 1
    assert tracker.speaking == bool(began)
