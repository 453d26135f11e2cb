"""Sound as the wire carries it: PCM16 at 24 kHz, or the telephone's G.711 at 8 kHz, each way on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chinwag.audio import PHONE_RATE, WIRE_RATE, Audio, Resampler
from chinwag.audio.g711 import G711
from chinwag.errors import Refused


@dataclass(frozen=True)
class AudioFormat:
    """wire: as a session object names it. read, write: between bytes and sound at `rate`. says: what bytes it wants."""

    wire: Mapping[str, Any]
    rate: int
    read: Callable[[bytes], Audio]
    write: Callable[[Audio], bytes]
    hint: str

    def decode(self, data: bytes, param: str) -> Audio:
        """A whole recording at 24 kHz. Raises Refused for half a sample."""
        return self.decode_samples(data, param).resampled(WIRE_RATE)

    def encode(self, audio: Audio) -> bytes:
        """The bytes of a whole recording of any rate."""
        return self.write(audio.resampled(self.rate))

    def decode_samples(self, data: bytes, param: str) -> Audio:
        """The sound of these bytes at the format's own rate. Raises Refused for half a sample."""
        try:
            return self.read(data)
        except ValueError as error:
            raise Refused("invalid_value", f"'{param}' was not taken: {error}.", self.hint, param) from None


_MU, _A = G711("mu"), G711("a")

PCM = AudioFormat(
    {"type": "audio/pcm", "rate": WIRE_RATE}, WIRE_RATE, Audio.from_pcm16, Audio.to_pcm16, "Send whole 16-bit samples."
)

FORMATS: dict[str, AudioFormat] = {
    "audio/pcm": PCM,
    "audio/pcmu": AudioFormat({"type": "audio/pcmu"}, PHONE_RATE, _MU.decode, _MU.encode, "Send G.711 mu-law bytes."),
    "audio/pcma": AudioFormat({"type": "audio/pcma"}, PHONE_RATE, _A.decode, _A.encode, "Send G.711 A-law bytes."),
}
"""By the `type` of a session object's format."""


def find_format(wire: dict[str, Any] | None, param: str) -> AudioFormat:
    """The format a session object names; PCM where it names none. Raises Refused for another, or another rate."""
    kind = (wire or {}).get("type") or "audio/pcm"
    form = FORMATS.get(kind)
    if form is None:
        there = ", ".join(FORMATS)
        raise Refused("unsupported_value", f"There is no format {kind!r}.", f"There are: {there}.", f"{param}.type")
    rate = (wire or {}).get("rate")
    if rate not in (None, form.rate):
        fix = f"Send it at {form.rate}, or leave the rate out."
        raise Refused("unsupported_value", f"{kind} does not come at {rate}.", fix, f"{param}.rate")
    return form


class InputDecoder:
    """The client's sound, piece by piece, to 24 kHz; no click where they meet."""

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        self._resampler = Resampler(form.rate, WIRE_RATE)

    def push(self, data: bytes, param: str = "audio") -> Audio:
        """More of it. Raises Refused for half a sample."""
        return self._resampler.push(self.form.decode_samples(data, param))

    def flush(self) -> Audio:
        """What is held back of the sound so far (15 ms of G.711)."""
        return self._resampler.flush()


class OutputEncoder:
    """A reply's sound, piece by piece, from 24 kHz to what the client asked for."""

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        self._resampler = Resampler(WIRE_RATE, form.rate)

    def push(self, audio: Audio) -> bytes:
        """More of it."""
        return self.form.write(self._resampler.push(audio))

    def flush(self) -> bytes:
        """The end of it."""
        return self.form.write(self._resampler.flush())
