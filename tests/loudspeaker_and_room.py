"""What a small loudspeaker and a room make of a sound."""

from __future__ import annotations

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples


def loudspeaker_and_room(pcm: Samples, seed: int = 3) -> Samples:
    """No lows, no highs, and a reverberation of 0.35 s, 4 dB below the direct sound."""
    random, length = np.random.default_rng(seed), LISTEN_RATE // 2
    decay = random.normal(0, 1, length) * 10 ** (-3 * np.arange(length) / LISTEN_RATE / 0.35)
    response = decay * 10 ** (-4 / 20) / np.sqrt(np.sum(decay**2))
    response[0] = 1.0
    size = 1 << (len(pcm) + length).bit_length()
    places = np.fft.rfftfreq(size, 1 / LISTEN_RATE)
    shape = (places / 300) ** 2 / np.sqrt(1 + (places / 300) ** 4) / np.sqrt(1 + (places / 5000) ** 6)
    heard = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(response, size) * shape)[: len(pcm)]
    return np.asarray(heard, np.float32)
