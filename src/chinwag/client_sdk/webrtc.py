"""A call over WebRTC, from the caller's side: the same `Call`, with sound by RTP and events by a data channel."""

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
from chinwag.client_sdk.call import CHUNK, LOOPBACK, Arrived, CallError, NobodyThere, RealtimeClient, realtime_url
from chinwag.client_sdk.ear import AUDIBLE, Playback
from chinwag.transport.rtc.tracks import LATEST_S, Incoming, OutgoingTrack, opus_only

CONNECT_WITHIN = 10.0


def calls_url(url: str, *, extended: bool = True) -> str:
    """Where calls are begun on the server whose wire is at `url`. Raises CallError."""
    parts = urlsplit(realtime_url(url, extended=extended))
    query = urlencode(parse_qsl(parts.query))
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/calls", query, ""))


class Peer:
    """One side of a peer connection: Opus both ways, and the data channel `oai-events`.

    frame: gives 20 ms of 24 kHz sound each time they are due. hear, take: are given sound and messages as they come.
    """

    def __init__(
        self, frame: Callable[[], Samples], hear: Callable[[Audio], None], take: Callable[[str], None]
    ) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        audio = self.connection.addTransceiver(OutgoingTrack(frame), "sendrecv")
        opus_only(audio)
        self.incoming = Incoming(hear)
        self.incoming.listen(audio.receiver)
        self.channel = self.connection.createDataChannel("oai-events")
        self.channel.on("message", take)
        self.opened, self.closed = asyncio.Event(), asyncio.Event()
        self.channel.on("open", self.opened.set)
        self.channel.on("close", self.closed.set)
        self.connection.on("connectionstatechange", self._look)

    async def offer(self) -> str:
        """Its SDP."""
        await self.connection.setLocalDescription()
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Take the other side's SDP."""
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        """Hang up."""
        self.incoming.close()
        await self.connection.close()

    def _look(self) -> None:
        if self.connection.connectionState in ("failed", "closed"):
            self.closed.set()


class RtcCall(RealtimeClient):
    """A conversation under way over WebRTC; made by `call`. Its server lowers and cuts the sound it sends itself."""

    def __init__(self, playback: Playback, noise_dbfs: float | None, extended: bool) -> None:
        super().__init__(playback, noise_dbfs, extended)
        self.peer = Peer(self._frame, self._hear, self._message)
        self._greeted = False

    async def begin(self, session: dict[str, Any] | None) -> None:
        """See `Call.begin`. The microphone's first sample is spoken once the server has greeted."""
        await super().begin(session)
        self._greeted = True

    async def send(self, event: dict[str, Any]) -> None:
        """See `Call.send`."""
        if self.peer.channel.readyState != "open":
            raise _gone()
        self.peer.channel.send(json.dumps(event))

    async def watch(self) -> None:
        """Tell whoever waits for events when the server is gone."""
        await self.peer.closed.wait()
        self._arrived.put_nowait(_gone())

    def _frame(self) -> Samples:
        if not self._greeted:
            return np.zeros(CHUNK, np.float32)
        late = self.now() - self.moment(self._sent + CHUNK)
        if not self._sent or late > LATEST_S:  # the track has left out what was missed
            self._began += late
        chunk = self._next_chunk()
        self._sent += len(chunk)
        return chunk

    def _hear(self, audio: Audio) -> None:
        """All that comes between an answer's beginning and its end is played, the silence within as well."""
        if not self._item:
            return
        now = self.now()
        self.playback.receive(self._item, audio, now)
        if np.abs(audio.pcm).max(initial=0.0) > AUDIBLE:
            self.last_sound = now

    def _message(self, message: str) -> None:
        arrived = Arrived(self.now(), json.loads(message))
        if arrived.type == "response.content_part.added":
            self._item = arrived.event["item_id"]
        elif arrived.type in ("output_audio_buffer.stopped", "output_audio_buffer.cleared"):
            asyncio.get_running_loop().call_later(0.2, self._ended, self._item)  # what has left is still on its way
        elif arrived.type == "input_audio_buffer.speech_started" and self._extended:
            self._item = ""  # and what is on its way is not played
            self.playback.flush(arrived.at)
        self._arrived.put_nowait(arrived)

    def _ended(self, item: str) -> None:
        if item == self._item:
            self._item = ""


@contextlib.asynccontextmanager
async def connected(
    url: str, api_key: str | None, playback: Playback, noise_dbfs: float | None, extended: bool
) -> AsyncGenerator[RtcCall, None]:
    """A call whose data channel is open. Raises CallError."""
    one = RtcCall(playback, noise_dbfs, extended)
    watching: asyncio.Task[None] | None = None
    try:
        await one.peer.accept(await _post(calls_url(url, extended=extended), await one.peer.offer(), api_key))
        try:
            await asyncio.wait_for(one.peer.opened.wait(), CONNECT_WITHIN)
        except TimeoutError:
            raise CallError(
                f"The server at {url} took the call, but no packets come through.",
                "UDP must pass between the two machines; see docs/webrtc.md.",
            ) from None
        watching = asyncio.create_task(one.watch())
        yield one
    finally:
        if watching:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await one.peer.close()


async def _post(url: str, offer: str, api_key: str | None) -> str:
    headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    try:
        async with httpx.AsyncClient(trust_env=urlsplit(url).hostname not in LOOPBACK, timeout=15) as client:
            answer = await client.post(url, content=offer, headers=headers)
    except httpx.HTTPError as error:
        raise NobodyThere(
            f"Nothing answers at {url} ({error}).", "Start the server there with: chinwag serve"
        ) from None
    if answer.status_code != 201:
        raise CallError(f"The server says: {_message_of(answer)}", "See the server's own output.")
    return answer.text


def _message_of(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def _gone() -> CallError:
    return CallError("The server ended the call.", "See the server's own output, then call again.")
