"""The reply's echo is told from a person, in sound made up like speech: pitched, in syllables, with formants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from loudspeaker_and_room import loudspeaker_and_room

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, Samples
from chinwag.listening.echo import EchoGate

pytestmark = pytest.mark.unit

FRAME = 512


def talk(seconds: float, seed: int, pitch: float, rate: int = LISTEN_RATE) -> Samples:
    """Syllables of 80 to 250 ms, each with a gliding pitch and two formants of its own, some pauses; -20 dBFS."""
    random = np.random.default_rng(seed)
    pieces: list[Samples] = []
    while sum(map(len, pieces)) < seconds * rate:
        length = int(random.uniform(0.08, 0.25) * rate)
        time_ = np.arange(length) / rate
        glide = pitch * random.uniform(0.85, 1.25) * (1 + random.uniform(-0.8, 0.8) * time_)
        phase = 2 * np.pi * np.cumsum(glide) / rate
        formants = random.uniform(300, 900), random.uniform(1000, 3200)
        sound = np.zeros(length)
        for harmonic in range(1, int(5500 / pitch)):
            at = harmonic * pitch
            loud = sum(np.exp(-(((at - formant) / 220) ** 2)) for formant in formants) + 0.02
            sound += loud * np.sin(harmonic * phase + random.uniform(0, 6))
        sound += random.uniform(0, 0.5) * random.normal(0, 1, length)
        pieces += [(sound * np.hanning(length)).astype(np.float32)]
        pieces += [np.zeros(int(random.choice([0.02, 0.05, 0.3], p=[0.5, 0.4, 0.1]) * rate), np.float32)]
    pcm = np.concatenate(pieces)[: int(seconds * rate)]
    return np.asarray(pcm * (0.1 / np.sqrt(np.mean(pcm[pcm != 0] ** 2))), np.float32)


def decibels(value: float) -> float:
    return float(10 ** (value / 20))


@dataclass
class Call:
    """A microphone and what is played meanwhile. All times in seconds from the first frame."""

    seconds: float
    noise_dbfs: float = -60.0
    upload_s: float = 0.03
    jitter_s: float = 0.0
    mic: Samples = field(init=False)
    pieces: list[tuple[Audio, float]] = field(default_factory=list)
    events: list[tuple[float, str, float]] = field(default_factory=list)
    gate: EchoGate = field(default_factory=EchoGate)

    def __post_init__(self) -> None:
        random = np.random.default_rng(9)
        self.mic = random.normal(0, decibels(self.noise_dbfs), int(self.seconds * LISTEN_RATE)).astype(np.float32)

    def hear(self, pcm: Samples, at: float) -> None:
        """Something reaches the microphone."""
        begin = int(at * LISTEN_RATE)
        part = pcm[: len(self.mic) - begin]
        self.mic[begin : begin + len(part)] += part

    def reply(
        self, at: float, seconds: float, seed: int, *, gain_db: float = -12, delay: float = 0.08, room: bool = False,
        thought: float = 0.0, heard_for: float | None = None,
    ) -> None:  # fmt: skip
        """It is played, and comes back. thought: the estimate of when it is heard is so much too late."""
        wire = talk(seconds, seed, 190, WIRE_RATE)
        for begin in range(0, len(wire), 960):
            self.pieces.append((Audio(wire[begin : begin + 960], WIRE_RATE, begin), at + begin / WIRE_RATE + thought))
        echo = Audio(wire, WIRE_RATE).resampled(LISTEN_RATE).pcm
        echo = echo if heard_for is None else echo[: int(heard_for * LISTEN_RATE)]
        echo = loudspeaker_and_room(echo) if room else echo
        self.hear((echo * decibels(gain_db)).astype(np.float32), at + delay)

    def person(self, at: float, seconds: float, seed: int = 50, dbfs: float = -23) -> None:
        self.hear(talk(seconds, seed, 110) * decibels(dbfs + 20), at)

    def run(self) -> list[tuple[float, float, float]]:
        """(end of frame, its level in dBFS, own) for each frame."""
        random, told, waiting = np.random.default_rng(1), [], sorted(self.pieces, key=lambda piece: piece[1])
        events = sorted(self.events)
        for begin in range(0, len(self.mic) - FRAME + 1, FRAME):
            now = (begin + FRAME) / LISTEN_RATE
            while events and events[0][0] <= now:
                at, what, value = events.pop(0)
                if what == "silenced":
                    self.gate.stop_playback(at)
                    waiting = []
                else:
                    self.gate.set_gain(value, at)
            while waiting and waiting[0][1] <= now + 0.3:
                self.gate.add_playback(*waiting.pop(0))
            frame = self.mic[begin : begin + FRAME]
            late = self.upload_s + self.jitter_s * float(random.exponential())
            own = self.gate.echo_probability(Audio(frame, LISTEN_RATE, begin), now + late)
            told.append((now, 20 * float(np.log10(np.sqrt(np.mean(frame**2)) + 1e-9)), own))
        return told


def share(told: Sequence[tuple[float, float, float]], begin: float, end: float, louder_than: float = -45) -> float:
    """Of the frames with sound between, how many are taken for the reply's own."""
    owns = [own > 0.5 for at, level, own in told if begin <= at <= end and level > louder_than]
    assert len(owns) > 8, "the scene has no sound there"
    return float(np.mean(owns))


@pytest.mark.parametrize("room", [False, True])
@pytest.mark.parametrize(("gain", "delay"), [(-6, 0.0), (-12, 0.08), (-20, 0.25), (-22, 0.5)])
def test_an_echo_is_the_replys_own_and_a_person_over_it_is_not(gain: float, delay: float, room: bool) -> None:
    call = Call(11.0)
    call.reply(0.5, 8.0, seed=1, gain_db=gain, delay=delay, room=room)
    call.person(5.0, 2.0, dbfs=-22)
    told = call.run()
    assert share(told, 1.8 + delay, 5.0) > 0.95
    assert share(told, 5.2, 7.0) < 0.25
    assert share(told, 7.6, 8.4 + delay) > 0.8
    lag = call.gate.lag
    assert lag == pytest.approx(delay + call.upload_s, abs=0.03)


def test_the_lag_is_sure_within_half_a_second_of_echo() -> None:
    call = Call(3.0)
    call.reply(0.5, 2.0, seed=2, room=True)
    told = call.run()
    assert share(told, 0.5 + 0.08 + 0.5, 2.5) == 1.0


def test_an_estimate_that_is_off_and_frames_that_come_in_bursts_do_no_harm() -> None:
    for thought in (-0.35, 0.15):
        call = Call(8.0, jitter_s=0.02)
        call.reply(0.5, 6.0, seed=3, thought=thought)
        call.person(4.5, 1.5)
        told = call.run()
        assert share(told, 2.0, 4.4) > 0.95
        assert share(told, 4.7, 6.0) < 0.2
        assert call.gate.lag == pytest.approx(0.08 + call.upload_s - thought, abs=0.03)


def test_a_person_in_headphones_is_never_taken_for_the_reply() -> None:
    for at in (2.0, 0.55):
        call = Call(7.0)
        call.reply(0.5, 6.0, seed=4, gain_db=-200)
        call.person(at, 3.0)
        told = call.run()
        assert share(told, at + 0.3, at + 3.0) < 0.05
        assert call.gate.lag is None


def test_nothing_is_the_replys_while_none_is_played() -> None:
    call = Call(9.0)
    call.reply(0.5, 3.0, seed=5)
    call.person(6.0, 2.0)
    told = call.run()
    assert {own for at, _, own in told if at < 0.1 or at > 6.0} == {0.0}


def test_a_lag_that_changes_is_found_again() -> None:
    call = Call(14.0)
    call.reply(0.5, 5.0, seed=6, delay=0.08)
    call.reply(7.0, 6.0, seed=7, delay=0.32)
    told = call.run()
    assert share(told, 1.5, 5.0) > 0.95
    assert share(told, 9.0, 13.0) > 0.95
    assert call.gate.lag == pytest.approx(0.32 + call.upload_s, abs=0.02)


def test_a_volume_that_changes_is_learned_again() -> None:
    call = Call(20.0)
    call.reply(0.5, 5.0, seed=6, gain_db=-24)
    call.reply(7.0, 12.0, seed=7, gain_db=-12)
    told = call.run()
    assert share(told, 1.5, 5.0) > 0.95
    assert share(told, 15.0, 18.5) > 0.9


def test_a_person_after_the_reply_was_silenced_is_heard_at_once() -> None:
    call = Call(8.0)
    call.reply(0.5, 6.0, seed=8, heard_for=3.0)
    call.events.append((3.5, "silenced", 0.0))
    call.person(3.6, 3.0, dbfs=-28)
    told = call.run()
    assert share(told, 1.5, 3.4) > 0.95
    assert share(told, 3.8, 6.5) < 0.1
    assert {own for at, _, own in told if at > 5.2} == {0.0}


def test_ducking_makes_a_quieter_person_heard() -> None:
    shares = {}
    for tell in (True, False):
        call = Call(8.0)
        call.reply(0.5, 7.0, seed=8, gain_db=-8)
        quiet = np.ones(len(call.mic), np.float32)
        quiet[int(3.58 * LISTEN_RATE) :] = 0.2
        call.mic *= quiet
        call.person(3.6, 3.0, dbfs=-42)
        if tell:
            call.events.append((3.5, "ducked", 0.2))
        shares[tell] = share(call.run(), 3.8, 6.5, louder_than=-50)
    assert shares[True] < shares[False] - 0.2


def test_a_long_conversation_and_a_microphone_that_stops_and_returns() -> None:
    gate = EchoGate()
    hiss = np.random.default_rng(0).normal(0, 0.001, FRAME).astype(np.float32)
    speech = talk(2.0, 9, 190)
    for minute in range(3):
        for at in range(0, 60, 20):
            now = minute * 600 + at
            gate.add_playback(Audio(speech, LISTEN_RATE), now + 0.1)
            for frame in range(30):
                start = (minute * 60 + at) * LISTEN_RATE + frame * FRAME
                own = gate.echo_probability(Audio(hiss, LISTEN_RATE, start), now + frame * 0.032)
                assert 0.0 <= own <= 1.0
        gate.set_gain(0.0, minute * 600 + 59)
        gate.stop_playback(minute * 600 + 60)
    assert gate.echo_probability(Audio(np.zeros(FRAME, np.float32), LISTEN_RATE, 10**8), 5000.0) == 0.0


def test_who_speaks_after_the_microphone_was_paused_is_not_taken_for_the_reply_before() -> None:
    gate, speech, hiss = EchoGate(), talk(1.5, 9, 190), np.full(FRAME, 1e-4, np.float32)
    for begin in range(0, len(speech), FRAME):
        gate.add_playback(Audio(speech[begin : begin + FRAME], LISTEN_RATE, begin), 0.4 + begin / LISTEN_RATE)
    for frame in range(10):
        gate.echo_probability(Audio(hiss, LISTEN_RATE, frame * FRAME), (frame + 1) * 0.032)
    owns = []
    for frame in range(40):  # the same sound, half a minute later, and next in the microphone's stream
        pcm = speech[frame * FRAME :][:FRAME]
        owns.append(gate.echo_probability(Audio(pcm, LISTEN_RATE, (10 + frame) * FRAME), 30 + (frame + 1) * 0.032))
    assert max(owns) == 0.0
