"""Audio formats of the wire: PCM16 at 24 kHz or G.711 at 8 kHz, chosen separately for input and output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chinwag.audio import PHONE_RATE, WIRE_RATE, Audio, Resampler
from chinwag.audio.g711 import G711
from chinwag.errors import Refused


@dataclass(frozen=True)
class AudioFormat:
    """wire: its name in a session object. read, write: between bytes and audio at `rate` Hz. hint: for errors."""

    wire: Mapping[str, Any]
    rate: int
    read: Callable[[bytes], Audio]
    write: Callable[[Audio], bytes]
    hint: str

    def decode(self, data: bytes, param: str) -> Audio:
        """Decode a whole recording and resample it to 24 kHz. Raises Refused if its last sample is incomplete."""
        return self.decode_samples(data, param).resampled(WIRE_RATE)

    def encode(self, audio: Audio) -> bytes:
        """Encode a whole recording of any rate."""
        return self.write(audio.resampled(self.rate))

    def decode_samples(self, data: bytes, param: str) -> Audio:
        """Decode bytes at the format's own rate. Raises Refused if the last sample is incomplete."""
        try:
            return self.read(data)
        except ValueError as error:
            raise Refused("invalid_value", f"'{param}' cannot be decoded: {error}.", self.hint, param) from None


_MU, _A = G711("mu"), G711("a")

PCM = AudioFormat(
    {"type": "audio/pcm", "rate": WIRE_RATE}, WIRE_RATE, Audio.from_pcm16, Audio.to_pcm16, "Send whole 16-bit samples."
)

FORMATS: dict[str, AudioFormat] = {
    "audio/pcm": PCM,
    "audio/pcmu": AudioFormat({"type": "audio/pcmu"}, PHONE_RATE, _MU.decode, _MU.encode, "Send G.711 mu-law bytes."),
    "audio/pcma": AudioFormat({"type": "audio/pcma"}, PHONE_RATE, _A.decode, _A.encode, "Send G.711 A-law bytes."),
}
"""Formats by their `type` in a session object."""


def find_format(wire: dict[str, Any] | None, param: str) -> AudioFormat:
    """Find the format that a session object names; PCM if none. Raises Refused for an unknown format or rate."""
    kind = (wire or {}).get("type") or "audio/pcm"
    form = FORMATS.get(kind)
    if form is None:
        fix = f"Supported are: {', '.join(FORMATS)}."
        raise Refused("unsupported_value", f"The audio format {kind!r} is not supported.", fix, f"{param}.type")
    rate = (wire or {}).get("rate")
    if rate not in (None, form.rate):
        fix = f"Set the rate to {form.rate}, or leave it out."
        raise Refused("unsupported_value", f"{kind} does not support a rate of {rate}.", fix, f"{param}.rate")
    return form


class InputDecoder:
    """Decodes the client's audio piece by piece to 24 kHz, without clicks between the pieces."""

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        self._resampler = Resampler(form.rate, WIRE_RATE)

    def push(self, data: bytes, param: str = "audio") -> Audio:
        """Decode the next piece. Raises Refused if its last sample is incomplete."""
        return self._resampler.push(self.form.decode_samples(data, param))

    def flush(self) -> Audio:
        """Return the audio that the resampler still buffers (15 ms of G.711)."""
        return self._resampler.flush()


class OutputEncoder:
    """Encodes a response's audio piece by piece from 24 kHz to the client's format."""

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        self._resampler = Resampler(WIRE_RATE, form.rate)

    def push(self, audio: Audio) -> bytes:
        """Encode the next piece."""
        return self.form.write(self._resampler.push(audio))

    def flush(self) -> bytes:
        """Return the encoded rest that the resampler still buffers."""
        return self.form.write(self._resampler.flush())
