"""Sounds of people that are no words, and of the room: synthesised, not recorded.

"Mm-hmm" and "uh-huh" are a pulse train of falling, then rising pitch through the resonances of a nasal or of an open
mouth (source and filter, Fant 1960); Moonshine writes them down as "Mm-hmm" (confidence 0.9) and "Uh-huh" or "Aha".
Coughs and knocks are shaped noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chinwag.audio import WIRE_RATE, Samples
from chinwag.bench.corpus import Kind

LEVEL = 10 ** (-23 / 20)
PEAK = 0.7

NASAL = ((260, 120, 1.0), (1100, 200, 0.06), (2300, 300, 0.04))
"""Resonances of a closed mouth: Hz, bandwidth, amplitude."""
OPEN = ((560, 120, 1.0), (1100, 150, 0.3), (2300, 200, 0.08), (250, 120, 0.8))
"""Resonances of the vowel in "hut", through the nose too."""

Resonances = tuple[tuple[int, int, float], ...]


class Noise(NamedTuple):
    """A sound at 24 kHz and what it is. text: in brackets where it is no word."""

    name: str
    kind: Kind
    text: str
    pcm: Samples


def _voiced(hertz: tuple[float, ...], seconds: float, resonances: Resonances) -> Samples:
    """A voice that glides through the pitches, swelling at its start and fading at its end."""
    count = round(seconds * WIRE_RATE)
    pitch = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(hertz)), hertz)
    phase = np.cumsum(2 * np.pi * pitch / WIRE_RATE)
    pcm = np.zeros(count)
    for harmonic in range(1, 25):
        at = pitch * harmonic
        gain = sum(level / (1 + ((at - centre) / width) ** 2) for centre, width, level in resonances)
        pcm += gain * np.sin(harmonic * phase)
    return _scaled(pcm * _swell(count, 0.05, 0.08))


def _hiss(seed: int, seconds: float, low: float, high: float) -> Samples:
    """White noise between two frequencies."""
    count = round(seconds * WIRE_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / WIRE_RATE)
    return _scaled(np.fft.irfft(spectrum * ((hertz > low) & (hertz < high)), count))


def _swell(count: int, rise: float, fall: float) -> Samples:
    envelope = np.ones(count)
    up, down = round(rise * WIRE_RATE), round(fall * WIRE_RATE)
    envelope[:up] = np.sin(np.linspace(0, np.pi / 2, up)) ** 2
    envelope[-down:] *= np.cos(np.linspace(0, np.pi / 2, down)) ** 2
    return envelope.astype(np.float32)


def _scaled(pcm: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Samples:
    """At the level of the speech, never clipped."""
    pcm = pcm * (LEVEL / np.sqrt(np.mean(pcm**2)))
    return (pcm * min(1.0, PEAK / float(np.abs(pcm).max()))).astype(np.float32)


def _two_syllables(hertz: float, resonances: Resonances, breath: float, seconds: float) -> Samples:
    """Two notes with a breath of that level and length between them."""
    first = _voiced((hertz, hertz * 0.92), 0.22, resonances)
    second = _voiced((hertz * 1.05, hertz * 1.25), 0.34, resonances)
    return np.concatenate([first, _hiss(3, seconds, 300, 6000) * np.float32(breath), second])


def _cough(seed: int) -> Samples:
    """Two bursts, each with a hard start; the first louder."""
    bursts = []
    for number, (seconds, level) in enumerate(((0.22, 1.0), (0.06, 0.02), (0.18, 0.7))):
        noise = _hiss(seed + number, seconds, 350, 3500)
        fade = np.exp(-np.arange(len(noise)) / (0.07 * WIRE_RATE)) * _swell(len(noise), 0.004, 0.02)
        bursts.append(noise * fade * level)
    return _scaled(np.concatenate(bursts))


def _knocks(seed: int, hertz: float) -> Samples:
    """Three knocks on wood."""
    seconds = np.arange(round(0.2 * WIRE_RATE)) / WIRE_RATE
    click = _hiss(seed, 0.2, 800, 5000) * np.exp(-seconds / 0.004)
    knock = np.sin(2 * np.pi * hertz * seconds) * np.exp(-seconds / 0.025) + 2 * click
    return _scaled(np.tile(knock, 3))


def _tune(hertz: float) -> Samples:
    """Somebody hums a few notes."""
    return np.concatenate([_voiced((hertz * step,), 0.3, NASAL) for step in (1.0, 1.125, 1.25, 1.0)])


NOISES = (
    Noise("backchannel-mm-hmm-low", "backchannel", "Mm-hmm.", _two_syllables(110, NASAL, 0.02, 0.07)),
    Noise("backchannel-mm-hmm-high", "backchannel", "Mm-hmm.", _two_syllables(200, NASAL, 0.02, 0.07)),
    Noise("backchannel-uh-huh-low", "backchannel", "Uh-huh.", _two_syllables(115, OPEN, 0.4, 0.1)),
    Noise("backchannel-uh-huh-high", "backchannel", "Uh-huh.", _two_syllables(195, OPEN, 0.4, 0.1)),
    Noise("noise-cough-1", "noise", "(cough)", _cough(11)),
    Noise("noise-cough-2", "noise", "(cough)", _cough(21)),
    Noise("noise-knock-1", "noise", "(knock)", _knocks(31, 180)),
    Noise("noise-knock-2", "noise", "(knock)", _knocks(41, 320)),
    Noise("noise-hum-1", "noise", "(hum)", _tune(130)),
    Noise("noise-hum-2", "noise", "(hum)", _tune(210)),
)
