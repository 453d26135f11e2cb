"""Opus packets at 48 kHz (RFC 6716) from and to 24 kHz audio, for WebRTC."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np

from chinwag.audio.frames import WIRE_RATE, Audio, Samples, to_int16
from chinwag.audio.resampling import LowDelayResampler

RATE = 48_000
"""RTP's clock rate in Hz for Opus, whatever its bandwidth (RFC 7587)."""

FRAME = WIRE_RATE // 50
"""Samples at 24 kHz of a packet of 20 ms."""

BITS_PER_S = 40_000
"""The highest rate that RFC 7587, 3.1.1 names for fullband mono speech (28-40 kbit/s), in-band FEC included."""

CONCEALED = 5 * RATE // 50
"""Samples at 48 kHz that Opus conceals after a loss; libopus has faded to silence by then."""

SETTLED = 5
"""Silent frames after which the filter and libopus (6.5 ms of delay) hold no sound, so that packets repeat."""

CUTOFF_HZ = 11_000
"""Of the filters between 24 and 48 kHz: 0 dB at 9.8 kHz, -6 at 11, -70 at 12.2."""


class OpusEncoder:
    """Encode 24 kHz audio to mono packets with in-band FEC, which lets the receiver restore the packet before.

    Silence, most of a call, is encoded once and sent again: encoding a frame takes 2 ms of a core.
    """

    def __init__(self) -> None:
        self._resampler = LowDelayResampler(WIRE_RATE, RATE, CUTOFF_HZ)
        self._silent_frames, self._silent_packet = 0, b""
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.format, self._codec.layout = "s16", "mono"
        self._codec.sample_rate, self._codec.bit_rate = RATE, BITS_PER_S
        self._codec.time_base = Fraction(1, RATE)
        # complexity 5 of 10 takes half the time, and speech sounds the same
        self._codec.options = {"application": "voip", "fec": "1", "packet_loss": "5", "compression_level": "5"}

    def encode(self, pcm: Samples, timestamp: int) -> av.Packet[av.AudioStream]:
        """Encode float32 of shape (FRAME,) to a packet. timestamp: its RTP time at 48 kHz."""
        self._silent_frames = 0 if pcm.any() else self._silent_frames + 1
        if self._silent_frames > SETTLED:
            packet = cast("av.Packet[av.AudioStream]", av.Packet(self._silent_packet))
        else:
            packet = self._encode_frame(pcm, timestamp)
        if self._silent_frames == SETTLED:
            self._silent_packet = bytes(packet)
        packet.pts, packet.time_base = timestamp, Fraction(1, RATE)  # without the encoder's own delay of 6.5 ms
        return packet

    def _encode_frame(self, pcm: Samples, timestamp: int) -> av.Packet[av.AudioStream]:
        samples = to_int16(self._resampler.push(Audio(pcm, WIRE_RATE)).pcm)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, timestamp, Fraction(1, RATE)
        (packet,) = self._codec.encode(frame)
        return packet


class OpusDecoder:
    """Decode packets to 24 kHz audio, and conceal lost packets."""

    def __init__(self) -> None:
        self._resampler = LowDelayResampler(RATE, WIRE_RATE, CUTOFF_HZ)
        self._concealed = CONCEALED
        self._toc: int | None = None
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.format, self._codec.layout = "s16", "mono"
        self._codec.sample_rate = RATE

    def decode(self, payload: bytes) -> Audio:
        """Decode a packet. An invalid packet is concealed for the length of a frame."""
        pcm = self._decode_packet(payload)
        if pcm is None:
            return self.conceal(RATE // 50)
        self._toc, self._concealed = payload[0], 0
        return self._resampler.push(Audio(pcm, RATE))

    def conceal(self, samples: int) -> Audio:
        """Replace lost sound: Opus continues the voice and fades it, then silence follows. samples: at 48 kHz."""
        pieces: list[Samples] = []
        missing = samples
        while missing > 0 and self._concealed < CONCEALED and self._toc is not None:
            # a packet that is only its TOC byte makes libopus conceal a frame (RFC 6716, 3.2.1 and 4.4)
            pcm = self._decode_packet(bytes([self._toc & 0xFC]))
            if pcm is None or not len(pcm):
                break
            self._concealed += len(pcm)
            pieces.append(pcm[:missing])
            missing -= len(pieces[-1])
        pieces.append(np.zeros(missing, np.float32))
        return self._resampler.push(Audio(np.concatenate(pieces), RATE))

    def _decode_packet(self, payload: bytes) -> Samples | None:
        try:
            frames = self._codec.decode(av.Packet(payload))
        except av.FFmpegError:
            return None
        if not frames:
            return None
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
        return pcm.astype(np.float32) / np.float32(32768)


def duration(payload: bytes) -> int:
    """Read the samples at 48 kHz in a packet from its first bytes (RFC 6716, 3.1 and 3.2); 0 if it is empty."""
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
