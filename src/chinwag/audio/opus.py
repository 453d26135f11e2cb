"""Opus at 48 kHz on one side, 24 kHz sound on the other."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np

from chinwag.audio import WIRE_RATE, Audio, Samples

RATE = 48_000
"""RTP's clock for Opus, whatever it carries (RFC 7587)."""

FRAME = WIRE_RATE // 50
"""Samples of 24 kHz in the 20 ms of a packet."""

BITS_PER_S = 40_000
"""Fullband mono speech as good as it gets, in-band FEC included (RFC 7587, 3.1.1 has 28-40 kbit/s)."""

CONCEALED = 5 * RATE // 50
"""Samples of 48 kHz that Opus makes up for what was lost; libopus has faded to nothing by then."""

SETTLED = 5
"""Silent frames after which the next one is like the last: the filter and libopus (6.5 ms) hold no more sound."""

_REACH = 48
"""Taps to either side at 48 kHz: 1 ms of delay, where soxr's shortest good filter has 21."""


def _low_pass() -> Samples:
    """Windowed sinc, Kaiser beta 6: 0 dB at 9.8 kHz, -6 at 11, -70 at 12.2."""
    sinc = np.sinc(np.arange(-_REACH, _REACH + 1) * 2 * 11_000 / RATE) * np.kaiser(2 * _REACH + 1, 6.0)
    return np.asarray(sinc / sinc.sum(), np.float32)


_TAPS = _low_pass()


class _Filter:
    def __init__(self) -> None:
        self._held = np.zeros(2 * _REACH, np.float32)

    def push(self, pcm: Samples) -> Samples:
        pcm = np.concatenate([self._held, pcm])
        self._held = pcm[-2 * _REACH :]
        return np.convolve(pcm, _TAPS, "valid")


class Encoder:
    """24 kHz to Opus packets: mono, with in-band FEC for a receiver that lost the packet before.

    Silence is most of a call; it is encoded once and sent again, as each frame of it takes 2 ms of a core.
    """

    def __init__(self) -> None:
        self._filter = _Filter()
        self._silent, self._silence = 0, b""
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.format, self._codec.layout = "s16", "mono"
        self._codec.sample_rate, self._codec.bit_rate = RATE, BITS_PER_S
        self._codec.time_base = Fraction(1, RATE)
        # complexity 5 of 10: half the time, and no difference to hear in speech
        self._codec.options = {"application": "voip", "fec": "1", "packet_loss": "5", "compression_level": "5"}

    def encode(self, pcm: Samples, at: int) -> av.Packet[av.AudioStream]:
        """Float32 of shape (FRAME,) as a packet. at: its RTP time, 48 kHz."""
        self._silent = 0 if pcm.any() else self._silent + 1
        again = self._silent > SETTLED
        packet = cast("av.Packet[av.AudioStream]", av.Packet(self._silence)) if again else self._encoded(pcm, at)
        if self._silent == SETTLED:
            self._silence = bytes(packet)
        packet.pts, packet.time_base = at, Fraction(1, RATE)  # without the encoder's own delay of 6.5 ms
        return packet

    def _encoded(self, pcm: Samples, at: int) -> av.Packet[av.AudioStream]:
        wide = np.zeros(2 * len(pcm), np.float32)
        wide[::2] = 2 * pcm
        samples = np.clip(np.rint(self._filter.push(wide) * 32767), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        (packet,) = self._codec.encode(frame)
        return packet


class Decoder:
    """Opus packets to 24 kHz, and something in place of those that were lost."""

    def __init__(self) -> None:
        self._filter = _Filter()
        self._odd = 0
        self._concealed = CONCEALED
        self._toc: int | None = None
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.format, self._codec.layout = "s16", "mono"
        self._codec.sample_rate = RATE

    def decode(self, payload: bytes) -> Audio:
        """A packet's sound. One that is no Opus is silence as long as a frame."""
        pcm = self._decoded(payload)
        if pcm is None:
            return self.conceal(RATE // 50)
        self._toc, self._concealed = payload[0], 0
        return self._narrow(pcm)

    def conceal(self, samples: int) -> Audio:
        """So much sound of 48 kHz that never came: the voice goes on and fades, as Opus does it, then silence."""
        pieces: list[Samples] = []
        missing = samples
        while missing > 0 and self._concealed < CONCEALED and self._toc is not None:
            # a packet that is its TOC alone asks libopus to conceal a frame (RFC 6716, 3.2.1 and 4.4)
            pcm = self._decoded(bytes([self._toc & 0xFC]))
            if pcm is None or not len(pcm):
                break
            self._concealed += len(pcm)
            pieces.append(pcm[:missing])
            missing -= len(pieces[-1])
        pieces.append(np.zeros(missing, np.float32))
        return self._narrow(np.concatenate(pieces))

    def _decoded(self, payload: bytes) -> Samples | None:
        try:
            frames = self._codec.decode(av.Packet(payload))
        except av.FFmpegError:
            return None
        if not frames:
            return None
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
        return pcm.astype(np.float32) / np.float32(32768)

    def _narrow(self, pcm: Samples) -> Audio:
        half = self._filter.push(pcm)[self._odd :: 2]
        self._odd = (self._odd + len(pcm)) % 2
        return Audio(half, WIRE_RATE)


def duration(payload: bytes) -> int:
    """Samples of 48 kHz in an Opus packet, by its first bytes (RFC 6716, 3.1 and 3.2); 0 for none."""
    if not payload:
        return 0
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    if code == 3:
        return frame * (payload[1] & 0x3F) if len(payload) > 1 else 0
    return frame * (1 if code == 0 else 2)
