"""Changes of volume that do not click."""

from __future__ import annotations

import numpy as np

from chinwag.audio.frames import Samples

DUCKED = 0.2
"""Volume (-14 dB) of a response while an overlap is judged."""

RAMP_S = 0.01
"""Seconds that a change of volume takes."""


class GainRamp:
    """Apply a volume to a stream; a new volume is reached within 10 ms. gain: the volume so far, 1.0 is full."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def apply(self, pcm: Samples, gain: float, rate: int) -> Samples:
        """Return the next samples (float32) at that volume. rate: their sample rate in Hz."""
        before, self.gain = self.gain, gain
        if before == gain == 1.0:
            return pcm
        gains = np.full(len(pcm), gain, np.float32)
        ramp = min(len(gains), round(RAMP_S * rate))
        gains[:ramp] = np.linspace(before, gain, ramp, dtype=np.float32)
        return pcm * gains
