"""A Realtime API client over WebRTC: audio by RTP, events by a data channel."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from chinwag.audio import Audio, Samples
from chinwag.client_sdk.client import (
    CHUNK,
    LOOPBACK,
    ClientError,
    RealtimeClient,
    ReceivedEvent,
    ServerUnreachable,
    realtime_url,
)
from chinwag.client_sdk.playback import AUDIBLE, Playback
from chinwag.transport.rtc.tracks import MAX_LATE_S, IncomingAudio, OutgoingTrack, opus_only

CONNECT_TIMEOUT_S = 10.0


def calls_url(url: str, *, extended: bool = True) -> str:
    """Return the URL that begins WebRTC calls on the server whose Realtime endpoint is at `url`. Raises ClientError."""
    parts = urlsplit(realtime_url(url, extended=extended))
    query = urlencode(parse_qsl(parts.query))
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/calls", query, ""))


class Peer:
    """One side of a peer connection: Opus both ways, and the data channel `oai-events`.

    next_frame: returns the next 20 ms of audio at 24 kHz. on_audio, on_message: get audio and messages as they arrive.
    """

    def __init__(
        self, next_frame: Callable[[], Samples], on_audio: Callable[[Audio], None], on_message: Callable[[str], None]
    ) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        audio = self.connection.addTransceiver(OutgoingTrack(next_frame), "sendrecv")
        opus_only(audio)
        self.incoming = IncomingAudio(on_audio)
        self.incoming.listen(audio.receiver)
        self.channel = self.connection.createDataChannel("oai-events")
        self.channel.on("message", on_message)
        self.opened, self.closed = asyncio.Event(), asyncio.Event()
        self.channel.on("open", self.opened.set)
        self.channel.on("close", self.closed.set)
        self.connection.on("connectionstatechange", self._on_state_change)

    async def offer(self) -> str:
        """Return this side's SDP offer."""
        await self.connection.setLocalDescription()
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Set the other side's SDP answer."""
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        """Close the peer connection."""
        self.incoming.close()
        await self.connection.close()

    def _on_state_change(self) -> None:
        if self.connection.connectionState in ("failed", "closed"):
            self.closed.set()


class WebRtcClient(RealtimeClient):
    """A client over WebRTC; `connect` makes it. The server itself ducks and cuts the audio that it sends."""

    def __init__(self, playback: Playback, noise_dbfs: float | None, extended: bool) -> None:
        super().__init__(playback, noise_dbfs, extended)
        self.peer = Peer(self._next_frame, self._on_audio, self._on_message)
        self._greeted = False

    async def begin(self, session: dict[str, Any] | None) -> None:
        """See `RealtimeClient.start_session`. The microphone starts when the session has been created."""
        await super().start_session(session)
        self._greeted = True

    async def send(self, event: dict[str, Any]) -> None:
        """See `RealtimeClient.send`."""
        if self.peer.channel.readyState != "open":
            raise _gone()
        self.peer.channel.send(json.dumps(event))

    async def watch_connection(self) -> None:
        """Wait for the end of the connection, and pass a ClientError to `events`."""
        await self.peer.closed.wait()
        self._events.put_nowait(_gone())

    def _next_frame(self) -> Samples:
        if not self._greeted:
            return np.zeros(CHUNK, np.float32)
        late = self.now() - self.time_of(self._sent + CHUNK)
        if not self._sent or late > MAX_LATE_S:  # the track has left out what was missed
            self._began += late
        chunk = self._next_chunk()
        self._sent += len(chunk)
        return chunk

    def _on_audio(self, audio: Audio) -> None:
        """Play all audio between a response's beginning and its end, silence included."""
        if not self._item:
            return
        now = self.now()
        self.playback.receive(self._item, audio, now)
        if np.abs(audio.pcm).max(initial=0.0) > AUDIBLE:
            self.last_sound = now

    def _on_message(self, message: str) -> None:
        arrived = ReceivedEvent(self.now(), json.loads(message))
        if arrived.type == "response.content_part.added":
            self._item = arrived.event["item_id"]
        elif arrived.type in ("output_audio_buffer.stopped", "output_audio_buffer.cleared"):
            asyncio.get_running_loop().call_later(
                0.2, self._on_audio_end, self._item
            )  # what has left is still on its way
        elif arrived.type == "input_audio_buffer.speech_started" and self._extended:
            self._item = ""  # audio that is still under way is not played
            self.playback.flush(arrived.at)
        self._events.put_nowait(arrived)

    def _on_audio_end(self, item: str) -> None:
        if item == self._item:
            self._item = ""


@contextlib.asynccontextmanager
async def connect_webrtc(
    url: str, api_key: str | None, playback: Playback, noise_dbfs: float | None, extended: bool
) -> AsyncGenerator[WebRtcClient, None]:
    """Connect over WebRTC and yield the client once its data channel is open. Raises ClientError."""
    client = WebRtcClient(playback, noise_dbfs, extended)
    watching: asyncio.Task[None] | None = None
    try:
        await client.peer.accept(await _post(calls_url(url, extended=extended), await client.peer.offer(), api_key))
        try:
            await asyncio.wait_for(client.peer.opened.wait(), CONNECT_TIMEOUT_S)
        except TimeoutError:
            raise ClientError(
                f"The server at {url} took the call, but no packets come through.",
                "UDP must pass between the two machines; see docs/webrtc.md.",
            ) from None
        watching = asyncio.create_task(client.watch_connection())
        yield client
    finally:
        if watching:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await client.peer.close()


async def _post(url: str, offer: str, api_key: str | None) -> str:
    headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    try:
        async with httpx.AsyncClient(trust_env=urlsplit(url).hostname not in LOOPBACK, timeout=15) as client:
            answer = await client.post(url, content=offer, headers=headers)
    except httpx.HTTPError as error:
        raise ServerUnreachable(
            f"Nothing answers at {url} ({error}).", "Start the server there with: chinwag serve"
        ) from None
    if answer.status_code != 201:
        raise ClientError(f"The server says: {_message_of(answer)}", "See the server's own output.")
    return answer.text


def _message_of(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def _gone() -> ClientError:
    return ClientError("The server ended the call.", "See the server's own output, then call again.")
