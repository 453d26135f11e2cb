"""Carries a session over a WebRTC peer connection."""

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
from chinwag.transport.rtc.tracks import IncomingAudio, OutgoingTrack, opus_only

CHANNEL = "oai-events"

CONNECT_WITHIN_S = 20.0
"""A call is closed if the client does not connect within this time."""

CLOSE_WITHIN_S = 5.0

LOST_AFTER_S = 12.0
"""A peer that sends no packet for this long is gone: even a muted one sends RTCP reports every five seconds."""

STATS_EVERY_S = 1.0

MAX_BUFFERED = 8 * 1024 * 1024
"""Bytes of unsent events from which on the client counts as gone."""

log = logging.getLogger(__name__)


class WebRtcConnection:
    """A peer connection that carries a session.

    on_end: called once, when the call has ended. acknowledged: see `LiveSession.attach`.
    """

    def __init__(
        self,
        live_session: LiveSession,
        servers: Sequence[IceServer],
        on_end: Callable[[], None],
        acknowledged: int | None,
    ) -> None:
        self._live_session, self._acknowledged = live_session, acknowledged
        self._on_end: Callable[[], None] | None = on_end
        self._connection = live_session.connection
        self.said_goodbye = False
        """The client hung up: it will not resume."""
        self._writing: asyncio.Task[None] | None = None
        known = [ice_server(server) for server in servers]
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=known))  # None would be a server on the internet
        assert self._connection.playout_track is not None
        self._loudspeaker = self._connection.playout_track
        self._incoming = IncomingAudio(self._hear)
        self._channel: RTCDataChannel | None = None
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def configure(self, session: dict[str, Any]) -> None:
        """Apply the session object of the offer. Raises Refused or EngineError."""
        self._connection.configure(session)

    async def answer(self, offer: str) -> str:
        """Negotiate an SDP offer and return the SDP answer. Raises ValueError if the offer cannot be used."""
        self._peer.on("datachannel", self._on_channel)
        self._peer.on("connectionstatechange", self._on_state_change)
        try:
            await self._negotiate(offer)
        except (InvalidStateError, InvalidAccessError, OperationError) as error:
            raise ValueError(str(error)) from error
        except (AttributeError, IndexError, KeyError, AssertionError, TypeError) as error:  # from aiortc's parser
            raise ValueError("it is not an SDP offer of a browser's kind") from error
        self._task = asyncio.create_task(self._run(), name="call")
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

    def stop(self) -> None:
        """Stop carrying; see `ClientConnection`."""
        self._ended.set()
        if self._writing and self._live_session.client is not self:
            self._writing.cancel()  # at once: the next message belongs to another connection

    async def hang_up(self, *, for_good: bool = True) -> None:
        """End the call and wait until it is closed. for_good: the client will not resume."""
        self.said_goodbye = for_good
        self._ended.set()
        if self._task:
            await asyncio.wait({self._task})
        else:
            await self._close()

    # --- the running call ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        tasks = [asyncio.create_task(work) for work in (self._carry(), self._watch_peer(), self._ended.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                log.error("A WebRTC call failed.", exc_info=error)

    async def _carry(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._ready.wait()
        except TimeoutError:
            return
        session, resumes = self._live_session, self._live_session.started
        session.attach(self, self._acknowledged)
        if resumes or session.restored:
            self._send(session.resumed_event)
        if not resumes:
            session.start()
        self._writing = asyncio.create_task(self._write())
        try:
            await self._writing
        finally:
            self._writing.cancel()

    async def _watch_peer(self) -> None:
        """Estimate the network delay of the audio; return when no packet has come for LOST_AFTER_S."""
        loop = asyncio.get_running_loop()
        received, received_at = 0, loop.time()
        while loop.time() - received_at < LOST_AFTER_S:
            await asyncio.sleep(STATS_EVERY_S)
            report = (await self._peer.getStats()).values()
            packets = sum(stats.packetsReceived for stats in report if isinstance(stats, RTCTransportStats))
            if packets != received or not self._ready.is_set():
                received, received_at = packets, loop.time()
            for stats in report:
                if isinstance(stats, RTCRemoteInboundRtpStreamStats):
                    # a jitter buffer grows by a few times the mean deviation of the arrivals; one that tells, has told
                    jitter_s = 3 * stats.jitter / RATE if self._loudspeaker.client_delay_s is None else 0.0
                    self._loudspeaker.network_delay_s = max((stats.roundTripTime or 0) / 2, 0.0) + jitter_s

    async def _close(self) -> None:
        self._incoming.close()
        on_end, self._on_end = self._on_end, None
        if on_end:  # first, as an odd offer can make aiortc fail or hang here
            on_end()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._peer.close()
        except Exception as error:
            log.warning("A peer connection could not be closed: %r", error)

    # --- the peer --------------------------------------------------------------------------------------------

    def _hear(self, audio: Audio) -> None:
        if self._live_session.client is self:  # before the session there is nobody to listen
            self._connection.append_audio(audio)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None or channel.label != CHANNEL:
            return
        self._channel = channel
        channel.on("message", self._receive)
        channel.on("close", self._ended.set)
        self._ready.set()

    def _on_state_change(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._ended.set()

    def _receive(self, message: str | bytes) -> None:
        if self._live_session.client is self:
            self._live_session.received += 1  # a channel cannot be read more slowly
            if self._live_session.take_message_slot():
                self._live_session.return_message_slot()
                return
            self._connection.receive_text(message if isinstance(message, str) else message.decode("utf-8", "replace"))

    async def _write(self) -> None:
        while (message := await self._live_session.outbox.get()) is not None:
            self._send(message)

    def _send(self, message: str | bytes) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount > MAX_BUFFERED:
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
    """Convert a configured ICE server to aiortc's type."""
    return RTCIceServer(server.urls, server.username or None, server.credential or None)
