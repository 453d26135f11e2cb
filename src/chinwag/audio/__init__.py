"""Audio: mono float32 with a sample rate, resampling, volume and codecs.

The codecs (`chinwag.audio.codecs`, `g711`, `opus`) are imported from their modules, as they load FFmpeg.
"""

from chinwag.audio.frames import LISTEN_RATE, PHONE_RATE, WIRE_RATE, Audio, Samples, join, silence
from chinwag.audio.resampling import LowDelayResampler, Resampler, to_listen_rate

__all__ = [
    "LISTEN_RATE",
    "PHONE_RATE",
    "WIRE_RATE",
    "Audio",
    "LowDelayResampler",
    "Resampler",
    "Samples",
    "join",
    "silence",
    "to_listen_rate",
]
