"""Audio tracks for aiortc: paced outgoing frames, and incoming packets through our own jitter buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aioice.ice
import av
from aiortc import MediaStreamTrack, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from chinwag.audio import Audio, Samples
from chinwag.audio.opus import RATE, OpusDecoder, OpusEncoder
from chinwag.transport.rtc.jitter import JitterBuffer, LostAudio

_get_host_addresses = aioice.ice.get_host_addresses


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return _get_host_addresses(use_ipv4, use_ipv6) or ["127.0.0.1"]


aioice.ice.get_host_addresses = _addresses  # a machine without a network still reaches itself

FRAME_S = 0.02

MAX_LATE_S = 0.5
"""A track that is later than this, as after a suspended machine, skips the missed frames."""

_BUFFER = "_RTCRtpReceiver__jitter_buffer"


class OutgoingTrack(MediaStreamTrack):
    """Sends a frame every 20 ms. next_frame: called as a frame leaves; returns its 24 kHz audio."""

    kind = "audio"

    def __init__(self, next_frame: Callable[[], Samples]) -> None:
        super().__init__()
        self._next_frame, self._encoder = next_frame, OpusEncoder()
        self._due: float | None = None
        self._at = 0

    async def recv(self) -> av.Packet[av.AudioStream]:
        """Wait until the next packet is due and return it. After a late packet the next one comes sooner."""
        if self.readyState != "live":
            raise MediaStreamError
        now = asyncio.get_running_loop().time()
        if self._due is None:
            self._due = now
        elif now - self._due > MAX_LATE_S:
            missed = int((now - self._due) / FRAME_S)
            self._due += missed * FRAME_S
            self._at += missed * RATE // 50
        if self._due > now:
            await asyncio.sleep(self._due - now)
        self._due += FRAME_S
        packet = self._encoder.encode(self._next_frame(), self._at)
        self._at += RATE // 50
        return packet


class IncomingAudio:
    """Audio of a receiver, in order and without gaps. on_audio: called with 24 kHz audio as it comes."""

    def __init__(self, on_audio: Callable[[Audio], None]) -> None:
        self._on_audio = on_audio
        self._decoder, self.buffer = OpusDecoder(), JitterBuffer()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ssrc: int | None = None

    def listen(self, receiver: RTCRtpReceiver) -> None:
        """Take the packets of this receiver from now on.

        aiortc's jitter buffer delays every packet by 80 ms, and by 320 ms for good after a loss. It has no setting
        for that, so this object replaces it. tests/unit/test_rtc.py fails if aiortc moves it.
        """
        if not hasattr(receiver, _BUFFER):
            raise RuntimeError("This aiortc has its jitter buffer elsewhere. Install one of the pinned versions.")
        setattr(receiver, _BUFFER, self)

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take a packet, as aiortc's JitterBuffer does; returns no frame, so that aiortc decodes nothing."""
        if packet.ssrc != self._ssrc:
            self._ssrc, self.buffer = packet.ssrc, JitterBuffer()
        self.buffer.push(packet.sequence_number, packet.timestamp, packet.payload, self._loop.time())
        self._pass_on()
        return False, None

    def close(self) -> None:
        """Pass on no more audio."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._on_audio = lambda _: None

    def _pass_on(self) -> None:
        now = self._loop.time()
        for piece in self.buffer.pull(now):
            self._on_audio(
                self._decoder.conceal(piece.samples) if isinstance(piece, LostAudio) else self._decoder.decode(piece)
            )
        if self._timer:
            self._timer.cancel()
        due = self.buffer.due
        self._timer = None if due is None else self._loop.call_at(max(due, now + 0.005), self._pass_on)


def opus_only(transceiver: RTCRtpTransceiver) -> None:
    """Offer Opus alone in the negotiation."""
    codecs = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
    transceiver.setCodecPreferences(codecs)
