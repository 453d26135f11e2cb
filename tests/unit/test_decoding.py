"""What an engine gives, in bytes, to what a voice yields; and where a clause is parted."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from chinwag.audio import Samples
from chinwag.engines.tts.decoding import Decoder
from chinwag.engines.tts.sentences import sentences

pytestmark = pytest.mark.unit


def tone(rate: int, seconds: float = 1.0, pitch: float = 440.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def pitch_of(pcm: Samples, rate: int) -> float:
    middle = pcm[len(pcm) // 4 : -len(pcm) // 4]
    return float(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) * rate / len(middle))


def through(decoder: Decoder, data: bytes, size: int) -> Samples:
    pieces = [decoder.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return np.concatenate([*pieces, decoder.end()])


@pytest.mark.parametrize("speed", [0.4, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("size", [333, 4096])
def test_whole_numbers_at_any_rate_come_out_at_ours_at_their_pace(speed: float, size: int) -> None:
    data = (tone(22_050) * 32767).astype("<i2").tobytes()
    made = through(Decoder("s16", 1, 22_050, speed), data, size)
    assert made.dtype == np.float32
    assert len(made) / Decoder.rate == pytest.approx(1 / speed, rel=0.1)
    assert pitch_of(made, Decoder.rate) == pytest.approx(440, rel=0.03), "another pace is no other pitch"
    assert np.abs(made).max() == pytest.approx(0.5, abs=0.1)


def test_two_channels_become_one() -> None:
    both = np.repeat(tone(48_000), 2)
    made = through(Decoder("flt", 2, 48_000), both.tobytes(), 1000)
    assert len(made) == pytest.approx(24_000, rel=0.02)
    assert pitch_of(made, Decoder.rate) == pytest.approx(440, rel=0.02)


def test_mp3_is_read_as_it_comes() -> None:
    held = io.BytesIO()
    with av.open(held, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=24_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(24_000, 2.0).reshape(1, -1), format="fltp", layout="mono")
        frame.sample_rate = 24_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    data, decoder = held.getvalue(), Decoder("mp3", -1, -1)
    first = decoder.feed(data[: len(data) // 2])
    assert len(first) > 12_000, "the half of it is heard when the half has come"
    made = np.concatenate([first, decoder.feed(data[len(data) // 2 :]), decoder.end()])
    assert len(made) / 24_000 == pytest.approx(2.0, abs=0.15)
    assert pitch_of(made, 24_000) == pytest.approx(440, rel=0.02)


def test_nothing_is_nothing() -> None:
    for form in ("s16", "flt", "mp3"):
        decoder = Decoder(form, 1, 24_000, 1.2)
        assert len(decoder.feed(b"")) == len(decoder.end()) == 0


def test_a_clause_is_parted_into_sentences() -> None:
    assert sentences("It is 3.14. Really? Yes, e.g. this one!") == ["It is 3.14.", "Really?", "Yes, e.g. this one!"]
    assert sentences("早上好。你好吗？") == ["早上好。", "你好吗？"]
    assert sentences(" \n ") == sentences("") == []
    assert sentences("no end") == ["no end"]
