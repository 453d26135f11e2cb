"""Carries one client's conversation over its WebRTC peer connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiortc import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.stats import RTCRemoteInboundRtpStreamStats, RTCTransportStats

from chinwag.audio import Audio
from chinwag.audio.opus import RATE
from chinwag.config import IceServer
from chinwag.realtime import server_events as outbound
from chinwag.transport.live_session import LiveSession
from chinwag.transport.rtc.tracks import Incoming, OutgoingTrack, opus_only

CHANNEL = "oai-events"

CONNECT_WITHIN_S = 20.0
"""An answer that nobody connects to is given up."""

CLOSE_WITHIN_S = 5.0

LOST_AFTER_S = 12.0
"""A peer sends reports at least every five seconds, even while it is muted; one that sends nothing is gone."""

LOOK_EVERY_S = 1.0

LONGEST_BACKLOG = 8 * 1024 * 1024
"""Bytes of events that a client has not taken: it is gone."""

log = logging.getLogger(__name__)


class WebRtcConnection:
    """A peer connection, and the conversation in it.

    over: is told once, when it has ended in whatever way. after: how many messages the client has got, where it comes
    back to the conversation.
    """

    def __init__(
        self, talk: LiveSession, servers: Sequence[IceServer], over: Callable[[], None], after: int | None
    ) -> None:
        self._talk, self._after = talk, after
        self._over: Callable[[], None] | None = over
        self._connection = talk.connection
        self.said_goodbye = False
        """The client will not come back."""
        self._writing: asyncio.Task[None] | None = None
        known = [ice_server(server) for server in servers]
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=known))  # None would be a server on the internet
        assert self._connection.playout_track is not None
        self._loudspeaker = self._connection.playout_track
        self._incoming = Incoming(self._hear)
        self._channel: RTCDataChannel | None = None
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        self._holding: asyncio.Task[None] | None = None

    def configure(self, session: dict[str, Any]) -> None:
        """Begin with that session object. Raises Refused, or EngineError."""
        self._connection.configure(session)

    async def answer(self, offer: str) -> str:
        """The SDP that answers an SDP offer. Raises ValueError for one that cannot be used."""
        self._peer.on("datachannel", self._take_channel)
        self._peer.on("connectionstatechange", self._look_at_state)
        try:
            await self._negotiate(offer)
        except (InvalidStateError, InvalidAccessError, OperationError) as error:
            raise ValueError(str(error)) from error
        except (AttributeError, IndexError, KeyError, AssertionError, TypeError) as error:  # of its parser
            raise ValueError("it is not an SDP offer of a browser's kind") from error
        self._holding = asyncio.create_task(self._hold(), name="a call")
        return str(self._peer.localDescription.sdp)

    async def _negotiate(self, offer: str) -> None:
        track = OutgoingTrack(self._loudspeaker.next_frame)
        audio = self._peer.addTransceiver(track, "sendrecv")
        opus_only(audio)
        await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        kinds = [transceiver.kind for transceiver in self._peer.getTransceivers() if transceiver.mid is not None]
        if kinds != ["audio"]:
            raise ValueError(f"it has {len(kinds)} media sections ({', '.join(kinds) or 'none'}); offer one of audio")
        self._incoming.listen(audio.receiver)
        await self._peer.setLocalDescription()
        if not self._peer.sctp:
            self._ready.set()

    def leave(self) -> None:
        """The conversation is over, or carried by another, or this client takes nothing any more."""
        self._ended.set()
        if self._writing and self._talk.carrier is not self:
            self._writing.cancel()  # at once: the next message is another's to send

    async def end(self, *, for_good: bool = True) -> None:
        """Hang up. Returns when everything of it is gone."""
        self.said_goodbye = for_good
        self._ended.set()
        if self._holding:
            await asyncio.wait({self._holding})
        else:
            await self._close()

    # --- while it lasts --------------------------------------------------------------------------------------

    async def _hold(self) -> None:
        tasks = [asyncio.create_task(work) for work in (self._converse(), self._watch(), self._ended.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                log.error("a call broke off", exc_info=error)

    async def _converse(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._ready.wait()
        except TimeoutError:
            return
        talk, comes_back = self._talk, self._talk.begun
        talk.carried_by(self, self._after)
        if comes_back or talk.restored:
            self._send(talk.resumed)
        if not comes_back:
            talk.begin()
        self._writing = asyncio.create_task(self._write())
        try:
            await self._writing
        finally:
            self._writing.cancel()

    async def _watch(self) -> None:
        """Until nothing has come for long. Meanwhile learns how long sound is on its way to the ear."""
        loop = asyncio.get_running_loop()
        received, heard_at = 0, loop.time()
        while loop.time() - heard_at < LOST_AFTER_S:
            await asyncio.sleep(LOOK_EVERY_S)
            report = (await self._peer.getStats()).values()
            packets = sum(stats.packetsReceived for stats in report if isinstance(stats, RTCTransportStats))
            if packets != received or not self._ready.is_set():
                received, heard_at = packets, loop.time()
            for stats in report:
                if isinstance(stats, RTCRemoteInboundRtpStreamStats):
                    # a jitter buffer grows by a few times the mean deviation of the arrivals; one that tells, has told
                    uneven = 3 * stats.jitter / RATE if self._loudspeaker.client_delay_s is None else 0.0
                    self._loudspeaker.network_delay_s = max((stats.roundTripTime or 0) / 2, 0.0) + uneven

    async def _close(self) -> None:
        self._incoming.close()
        over, self._over = self._over, None
        if over:  # first, as an offer that was odd can have aiortc fail or hang here
            over()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._peer.close()
        except Exception as error:
            log.warning("a peer connection did not close: %r", error)

    # --- the peer --------------------------------------------------------------------------------------------

    def _hear(self, audio: Audio) -> None:
        if self._talk.carrier is self:  # before the session there is nobody to listen
            self._connection.append_audio(audio)

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None or channel.label != CHANNEL:
            return
        self._channel = channel
        channel.on("message", self._receive)
        channel.on("close", self._ended.set)
        self._ready.set()

    def _look_at_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._ended.set()

    def _receive(self, message: str | bytes) -> None:
        if self._talk.carrier is self:
            self._talk.received += 1  # a channel cannot be read more slowly
            if self._talk.early_s():
                self._talk.late()
                return
            self._connection.receive_text(message if isinstance(message, str) else message.decode("utf-8", "replace"))

    async def _write(self) -> None:
        while (message := await self._talk.outbox.get()) is not None:
            self._send(message)

    def _send(self, message: str | bytes) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount > LONGEST_BACKLOG:
            self._ended.set()
            return
        try:
            channel.send(message)
        except ValueError as error:  # larger than the client takes, as an item with minutes of sound can be
            channel.send(
                json.dumps(outbound.server_error("message_too_large", f"An event cannot be sent here: {error}."))
            )
        except InvalidStateError:  # it went while we spoke
            return


def ice_server(server: IceServer) -> RTCIceServer:
    """As aiortc takes it."""
    return RTCIceServer(server.urls, server.username or None, server.credential or None)
