"""WAV files in and out."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chinwag.audio import Audio, Samples
from chinwag.errors import ChinwagError


class WavError(ChinwagError):
    """A sound file cannot be read or written."""


def read(path: Path) -> Audio:
    """Read a PCM WAV file of 8, 16, 24 or 32 bits at its own rate; several channels are mixed into one.

    Raises WavError where it is missing, is not such a file, or holds no sound.
    """
    convert = f"Convert it: ffmpeg -i {path} -ac 1 -ar 24000 -c:a pcm_s16le {path.stem}-pcm.wav"
    try:
        with path.open("rb") as raw, wave.open(raw, "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise WavError(f"There is no file {path}.", "Check the path, or record one.") from None
    except OSError as error:
        raise WavError(f"{path} cannot be read: {error.strerror}.", "Name a file that can be.") from None
    except (wave.Error, EOFError) as error:
        raise WavError(f"{path} is not a PCM WAV file ({error or 'it ends too early'}).", convert) from None
    if width not in (1, 2, 3, 4) or rate < 1:
        raise WavError(f"{path} has {width} bytes a sample at {rate} Hz.", convert)
    data_bytes = np.frombuffer(data[: len(data) // (width * channels) * width * channels], np.uint8)
    pcm = _samples(data_bytes, width).reshape(-1, channels).mean(axis=1, dtype=np.float32)
    if not len(pcm):
        raise WavError(f"{path} holds no sound.", "Name a file that does.")
    return Audio(np.ascontiguousarray(pcm), rate)


def write(path: Path, audio: Audio) -> None:
    """Write mono PCM16 at the audio's rate. Raises WavError where the place cannot be written to."""
    try:
        path.write_bytes(audio.to_wav())
    except OSError as error:
        raise WavError(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder you may write to."
        ) from None


def _samples(raw: NDArray[np.uint8], width: int) -> Samples:
    if width == 1:  # 8-bit WAV is unsigned
        return (raw.astype(np.float32) - 128) / np.float32(128)
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = raw.reshape(-1, width)
    return (wide.view("<i4").reshape(-1) / 2**31).astype(np.float32)
