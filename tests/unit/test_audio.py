"""Sound keeps its samples, its place in time and its pitch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, Resampler, Samples, join, silence, to_listen_rate

pytestmark = pytest.mark.unit


def tone(hertz: float, seconds: float, rate: int) -> Samples:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def ramp(count: int, start: int = 0) -> Audio:
    """Each sample is its own index."""
    return Audio(np.arange(start, start + count, dtype=np.float32), LISTEN_RATE, start)


def test_every_pcm16_sample_comes_back_as_it_was() -> None:
    data = np.arange(-32768, 32768).astype("<i2").tobytes()
    audio = Audio.from_pcm16(data, LISTEN_RATE, start=7)
    assert audio.to_pcm16() == data
    assert (audio.rate, audio.start, audio.end, len(audio.pcm)) == (LISTEN_RATE, 7, 7 + 65536, 65536)
    assert audio.pcm.dtype == np.float32
    assert (audio.pcm.min(), audio.pcm[32768]) == (-1.0, 0.0)


def test_pcm16_is_little_endian() -> None:
    assert Audio(np.array([1 / 32768, 0.5], np.float32), WIRE_RATE).to_pcm16() == b"\x01\x00\x00\x40"


def test_no_bytes_are_no_sound() -> None:
    audio = Audio.from_pcm16(b"")
    assert (len(audio.pcm), audio.to_pcm16(), audio.seconds) == (0, b"", 0.0)


def test_an_odd_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes is an odd number"):
        Audio.from_pcm16(b"\x00\x01\x02")


def test_what_is_beyond_full_scale_is_clipped_not_wrapped() -> None:
    loud = Audio(np.array([1.0, 1.5, 100.0, -1.0, -1.5, -100.0], np.float32), WIRE_RATE)
    assert np.frombuffer(loud.to_pcm16(), "<i2").tolist() == [32767] * 3 + [-32768] * 3


def test_samples_are_rounded_to_the_nearest() -> None:
    """Cutting them off would add an offset and noise at each pass through the wire."""
    quiet = Audio(np.array([0.6, -0.6, 0.4, -0.4], np.float32) / np.float32(32768), WIRE_RATE)
    assert np.frombuffer(quiet.to_pcm16(), "<i2").tolist() == [1, -1, 0, 0]


def test_length_in_seconds_is_counted_at_its_rate() -> None:
    assert silence(0.25, LISTEN_RATE, start=5).end == 4005
    assert silence(0.25, WIRE_RATE).seconds == 0.25
    assert not silence(0.25, WIRE_RATE).pcm.any()


BETWEEN = {
    "inside": (120, 130, 120, 130),
    "from before it": (50, 110, 100, 110),
    "beyond it": (190, 300, 190, 200),
    "all of it and more": (0, 1000, 100, 200),
    "wholly before it": (0, 50, 100, 100),
    "up to its first sample": (0, 100, 100, 100),
    "wholly behind it": (300, 400, 300, 300),
    "turned round": (150, 120, 150, 150),
}


@pytest.mark.parametrize(("start", "end", "first", "last"), BETWEEN.values(), ids=BETWEEN)
def test_between_counts_in_samples_of_the_stream(start: int, end: int, first: int, last: int) -> None:
    part = ramp(100, start=100).between(start, end)
    assert (part.start, part.end, part.rate) == (first, last, LISTEN_RATE)
    assert part.pcm.tolist() == list(range(first, last))


def test_joined_pieces_stand_end_to_end_from_the_first_ones_start() -> None:
    whole = join([ramp(3, 10), ramp(0, 13), ramp(2, 13)])
    assert (whole.start, whole.rate, whole.pcm.tolist()) == (10, LISTEN_RATE, [10, 11, 12, 13, 14])


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="not of none"):
        join([])


def test_pieces_of_two_rates_are_not_joined() -> None:
    with pytest.raises(ValueError, match=r"not of \[16000, 24000\]"):
        join([silence(0.1, LISTEN_RATE), silence(0.1, WIRE_RATE)])


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(WIRE_RATE, LISTEN_RATE), (LISTEN_RATE, WIRE_RATE), (48_000, 16_000)]
)
def test_a_resampled_tone_is_the_same_tone(from_rate: int, to_rate: int) -> None:
    sound = Audio(tone(440, 1.0, from_rate), from_rate, start=from_rate * 2).resampled(to_rate)
    assert (sound.rate, sound.start, len(sound.pcm)) == (to_rate, to_rate * 2, to_rate)
    middle = slice(to_rate // 10, -to_rate // 10)
    assert np.abs(sound.pcm - tone(440, 1.0, to_rate))[middle].max() < 1e-3


def test_resampling_to_its_own_rate_changes_nothing() -> None:
    sound = ramp(100)
    assert sound.resampled(LISTEN_RATE) is sound


def test_what_the_new_rate_cannot_hold_is_filtered_not_folded() -> None:
    whistle = Audio(tone(11_000, 0.5, WIRE_RATE), WIRE_RATE).resampled(LISTEN_RATE)
    assert np.abs(whistle.pcm[1000:-1000]).max() < 1e-3


def stream(pieces: list[Samples], from_rate: int, to_rate: int) -> list[Audio]:
    resampler = Resampler(from_rate, to_rate)
    out = [resampler.push(Audio(pcm, from_rate)) for pcm in pieces]
    return [*out, resampler.push(Audio(np.zeros(0, np.float32), from_rate), last=True)]


RATES = [(WIRE_RATE, LISTEN_RATE), (LISTEN_RATE, WIRE_RATE), (22_050, WIRE_RATE), (WIRE_RATE, WIRE_RATE)]


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
@given(data=st.data())
def test_a_stream_in_pieces_is_the_stream_in_one(from_rate: int, to_rate: int, data: st.DataObject) -> None:
    """No click and no lost sample where pieces meet, however they were cut."""
    sound = tone(300, 0.2, from_rate)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sound)), max_size=12)))
    pieces = [sound[a:b] for a, b in zip([0, *cuts], [*cuts, len(sound)], strict=True)]
    (whole, rest), parts = stream([sound], from_rate, to_rate), stream(pieces, from_rate, to_rate)
    np.testing.assert_allclose(
        np.concatenate([part.pcm for part in parts]), np.concatenate([whole.pcm, rest.pcm]), atol=1e-6
    )
    for before, after in itertools.pairwise(parts):
        assert (after.start, after.rate) == (before.end, to_rate)


def test_a_stream_has_the_length_and_the_pitch_of_the_whole() -> None:
    frames = [frame.copy() for frame in np.split(tone(440, 1.0, WIRE_RATE), 50)]
    sound = join(stream(frames, WIRE_RATE, LISTEN_RATE))
    assert abs(len(sound.pcm) - LISTEN_RATE) <= 1
    count = min(len(sound.pcm), LISTEN_RATE) - 1600
    assert np.abs(sound.pcm[1600:count] - tone(440, 1.0, LISTEN_RATE)[1600:count]).max() < 2e-3


def test_a_flush_gives_what_was_held_back_and_the_stream_goes_on_behind_it() -> None:
    resampler = Resampler(WIRE_RATE, LISTEN_RATE)
    said = resampler.push(Audio(tone(440, 0.1, WIRE_RATE), WIRE_RATE))
    tail = resampler.flush()
    assert said.end == tail.start
    assert abs(tail.end - LISTEN_RATE // 10) <= 1
    assert len(tail.pcm) > 0
    more = resampler.push(Audio(tone(440, 0.1, WIRE_RATE), WIRE_RATE))
    assert more.start == tail.end
    assert np.abs(more.pcm).max() > 0.9


def test_a_flush_of_an_unchanged_rate_has_nothing_to_give() -> None:
    resampler = Resampler(WIRE_RATE, WIRE_RATE)
    resampler.push(silence(0.1, WIRE_RATE))
    assert len(resampler.flush().pcm) == 0


def test_a_piece_of_another_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="16000 samples a second, the piece has 24000"):
        Resampler(LISTEN_RATE, WIRE_RATE).push(silence(0.1, WIRE_RATE))


# --- to the rate that is listened to ------------------------------------------------------------------------------


def listened(pieces: list[Samples]) -> list[Audio]:
    stream = to_listen_rate()
    return [stream.push(Audio(pcm, WIRE_RATE)) for pcm in pieces]


@given(data=st.data())
def test_what_is_listened_to_does_not_depend_on_how_it_was_cut(data: st.DataObject) -> None:
    sound = np.random.default_rng(1).normal(size=2000).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sound)), max_size=40)))
    pieces = [sound[a:b] for a, b in zip([0, *cuts], [*cuts, len(sound)], strict=True)]
    (whole,), parts = listened([sound]), listened(pieces)
    np.testing.assert_allclose(np.concatenate([part.pcm for part in parts]), whole.pcm, atol=1e-5)
    assert parts[0].start == 0
    for before, after in itertools.pairwise(parts):
        assert (after.start, after.rate) == (before.end, LISTEN_RATE)


def test_it_is_heard_one_millisecond_late() -> None:
    """A click comes out 16 samples behind its place, and nothing is held back."""
    click = np.zeros(4800, np.float32)
    click[2400] = 1.0
    (out,) = listened([click])
    assert int(np.abs(out.pcm).argmax()) == 1600 + 16
    assert out.end == 3200
    before, after = out.pcm[1616 - 40 : 1616], out.pcm[1617 : 1617 + 40]
    np.testing.assert_allclose(before, after[::-1], atol=1e-6)  # as much in front as behind: no phase is turned
    stream = to_listen_rate()
    for sample in range(0, 4800, 240):
        assert stream.push(Audio(click[sample : sample + 240], WIRE_RATE)).end == (sample + 240) * 2 // 3


@pytest.mark.parametrize(
    ("hertz", "lowest", "highest"),
    [
        (50, -0.1, 0.1),
        (1000, -0.1, 0.1),
        (3000, -0.1, 0.1),
        (5000, -0.1, 0.1),
        (6000, -0.3, 0.1),
        (7000, -4.0, -2.0),
    ],
)
def test_a_voice_passes_as_it_is(hertz: float, lowest: float, highest: float) -> None:
    (out,) = listened([tone(hertz, 1.0, WIRE_RATE)])
    middle = out.pcm[2000:-2000]
    decibels = 20 * np.log10(np.sqrt(2 * np.mean(middle**2)))
    assert lowest <= decibels <= highest
    if highest > 0:
        expected = tone(hertz, 1.0, LISTEN_RATE)
        assert np.abs(out.pcm[16:] - expected[:-16])[2000:-2000].max() < 0.04, "1 ms late at every pitch"


@pytest.mark.parametrize("hertz", [9000, 9500, 10_500, 11_500])
def test_what_cannot_be_heard_at_16_khz_is_not_folded_into_speech(hertz: float) -> None:
    (out,) = listened([tone(hertz, 1.0, WIRE_RATE)])
    assert 20 * np.log10(np.sqrt(2 * np.mean(out.pcm[2000:-2000] ** 2))) < -60


def test_its_flush_gives_the_last_millisecond_and_what_follows_begins_anew() -> None:
    stream = to_listen_rate()
    said = stream.push(Audio(tone(440, 0.1, WIRE_RATE), WIRE_RATE))
    tail = stream.flush()
    assert (tail.start, tail.end) == (LISTEN_RATE // 10, LISTEN_RATE // 10 + 16)
    whole = np.concatenate([said.pcm, tail.pcm])[16:]
    assert np.abs(whole[100:-100] - tone(440, 0.1, LISTEN_RATE)[100:-100]).max() < 0.01
    more = stream.push(silence(0.1, WIRE_RATE))
    assert more.start == tail.end
    assert not more.pcm.any(), "nothing of what was flushed sounds on"


def test_no_sound_and_another_rate() -> None:
    stream = to_listen_rate()
    assert len(stream.push(Audio(np.zeros(0, np.float32), WIRE_RATE)).pcm) == 0
    with pytest.raises(ValueError, match="24000 samples a second, the piece has 16000"):
        stream.push(silence(0.1, LISTEN_RATE))
