"""A file somebody sent, of whatever form, to sound for the transcriber."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.errors import ChinwagError

FORMS = (
    "wav,w64,aiff,au,caf,mp3,aac,flac,ogg,amr,asf,avi,mpegts,mpeg,"
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
)  # fmt: skip
"""FFmpeg's names of what is opened. Playlists are not among them: they would have the server read other files."""

PIECE = LISTEN_RATE
"""Samples of the pieces that a file comes in, so that a long one never lies in memory as a whole."""


class DecodeError(ChinwagError):
    """The file is no sound, or damaged."""


def decoded(file: BinaryIO) -> Iterator[Audio]:
    """The sound at 16 kHz, mono, in pieces of about a second. Blocks. Raises DecodeError."""
    made = 0
    held: list[np.ndarray] = []
    try:
        with av.open(file, "r", options={"format_whitelist": FORMS}, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise DecodeError("The file has no sound in it.", "Send one with an audio track.")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=LISTEN_RATE)
            for frame in _frames(container, resampler):
                held.append(frame.to_ndarray().reshape(-1))
                if sum(map(len, held)) >= PIECE:
                    pcm = np.concatenate(held)
                    held = []
                    yield Audio(pcm, LISTEN_RATE, made)
                    made += len(pcm)
    except (FFmpegError, ValueError, IndexError) as error:
        raise DecodeError(
            f"The file cannot be read as sound: {getattr(error, 'strerror', None) or error}.",
            "Send wav, mp3, m4a, ogg, webm or flac.",
        ) from error
    if held:
        yield Audio(np.concatenate(held), LISTEN_RATE, made)


def _frames(container: av.container.InputContainer, resampler: av.AudioResampler) -> Iterator[av.AudioFrame]:
    for frame in container.decode(audio=0):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
