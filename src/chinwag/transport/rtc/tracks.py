"""Sound in and out of aiortc."""

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
from chinwag.transport.rtc.jitter import Lost, Reorder

_usual = aioice.ice.get_host_addresses


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return _usual(use_ipv4, use_ipv6) or ["127.0.0.1"]


aioice.ice.get_host_addresses = _addresses  # a machine without any network still reaches itself

FRAME_S = 0.02

LATEST_S = 0.5
"""A clock that is late by more than this, as after a suspended machine, goes on from now."""

_BUFFER = "_RTCRtpReceiver__jitter_buffer"


class OutgoingTrack(MediaStreamTrack):
    """Sends a frame every 20 ms, whatever happens in between. frame: gives its 24 kHz sound as it leaves."""

    kind = "audio"

    def __init__(self, frame: Callable[[], Samples]) -> None:
        super().__init__()
        self._frame, self._encoder = frame, OpusEncoder()
        self._due: float | None = None
        self._at = 0

    async def recv(self) -> av.Packet[av.AudioStream]:
        """The next packet, when it is time for it. One that is late is followed sooner, so that no sound piles up."""
        if self.readyState != "live":
            raise MediaStreamError
        now = asyncio.get_running_loop().time()
        if self._due is None:
            self._due = now
        elif now - self._due > LATEST_S:
            missed = int((now - self._due) / FRAME_S)
            self._due += missed * FRAME_S
            self._at += missed * RATE // 50
        if self._due > now:
            await asyncio.sleep(self._due - now)
        self._due += FRAME_S
        packet = self._encoder.encode(self._frame(), self._at)
        self._at += RATE // 50
        return packet


class Incoming:
    """What a receiver hears, in order and without holes. hear: takes 24 kHz sound as it comes."""

    def __init__(self, hear: Callable[[Audio], None]) -> None:
        self._hear = hear
        self._decoder, self.order = OpusDecoder(), Reorder()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ssrc: int | None = None

    def listen(self, receiver: RTCRtpReceiver) -> None:
        """Take the packets of that receiver from now on.

        aiortc's own buffer holds every packet back for 80 ms, and after a lost one for 320 ms for ever; it has no
        setting for that, so it is replaced where it stands. tests/unit/test_rtc.py fails where aiortc has moved it.
        """
        if not hasattr(receiver, _BUFFER):
            raise RuntimeError("this aiortc keeps its jitter buffer elsewhere; install one of the pinned versions")
        setattr(receiver, _BUFFER, self)

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """As aiortc's JitterBuffer: a packet came. Nothing is given back for it to decode."""
        if packet.ssrc != self._ssrc:
            self._ssrc, self.order = packet.ssrc, Reorder()
        self.order.push(packet.sequence_number, packet.timestamp, packet.payload, self._loop.time())
        self._pass_on()
        return False, None

    def close(self) -> None:
        """Nothing is heard any more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._hear = lambda _: None

    def _pass_on(self) -> None:
        now = self._loop.time()
        for piece in self.order.pull(now):
            self._hear(self._decoder.conceal(piece.samples) if isinstance(piece, Lost) else self._decoder.decode(piece))
        if self._timer:
            self._timer.cancel()
        due = self.order.due
        self._timer = None if due is None else self._loop.call_at(max(due, now + 0.005), self._pass_on)


def opus_only(transceiver: RTCRtpTransceiver) -> None:
    """Let nothing else be agreed on."""
    codecs = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
    transceiver.setCodecPreferences(codecs)
