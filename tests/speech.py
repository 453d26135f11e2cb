"""Speech for tests, by the voice that comes with the default installation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from hibari import Hibari

from chinwag.audio import WIRE_RATE, Audio, Samples

_SILENCE = 0.003


@lru_cache(maxsize=1)
def _voice() -> Hibari:
    return Hibari()


@lru_cache(maxsize=64)
def speech(text: str, speed: float = 1.0) -> Audio:
    """A sentence at 24 kHz, without the silence around it, over a noise floor of about -60 dBFS."""
    pcm = np.asarray(_voice()(text, speed=speed, seed=0), np.float32)
    loud = np.flatnonzero(np.abs(pcm) > _SILENCE)
    return Audio(noisy(pcm[loud[0] : loud[-1]]), WIRE_RATE)


def noisy(pcm: Samples) -> Samples:
    return (pcm + np.random.default_rng(0).normal(0, 0.0007, len(pcm))).astype(np.float32)


def room(seconds: float) -> Audio:
    """A quiet room."""
    return Audio(noisy(np.zeros(round(seconds * WIRE_RATE), np.float32)), WIRE_RATE)
