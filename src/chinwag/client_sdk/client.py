"""A client of /v1/realtime.

Its microphone runs all the time, in chunks of 20 ms, on a clock that does not drift. A chunk is sent when its last
sample has been captured, so each sample of the input has a time at which it was spoken.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.client_sdk.playback import ListenerPlayback, Playback
from chinwag.errors import ChinwagError

CHUNK = WIRE_RATE // 50
"""Samples in 20 ms."""
PLAYBACK_EVERY_S = 0.25
SESSION_TIMEOUT_S = 10.0
DEFAULT_URL = "ws://127.0.0.1:8000/v1/realtime"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Transport = Literal["websocket", "webrtc"]


class ClientError(ChinwagError):
    """The server cannot be reached, refuses the connection, or has ended it."""


class ServerUnreachable(ClientError):
    """No server listens at the address."""


class ServerFull(ClientError):
    """The server runs its maximum number of sessions.

    place: in the queue, from 1. retry_after_s: seconds to wait before the next attempt. ticket: keeps the place of a
    client that asked for one.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        self.place, self.retry_after_s = error.get("place"), error.get("retry_after_s")
        self.ticket = error.get("ticket") or ""
        again = (
            f"Try again in {self.retry_after_s} s."
            if self.retry_after_s
            else "Try again when a conversation has ended."
        )
        super().__init__(f"The server says: {error.get('message')}", again)


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A server event. at: when it arrived, in seconds of the client's clock."""

    at: float
    event: dict[str, Any]

    @property
    def type(self) -> str:
        """The event's type."""
        return str(self.event.get("type", ""))


@dataclass(frozen=True, slots=True)
class LoudspeakerEcho:
    """The echo of a loudspeaker in the microphone. level: factor of amplitude. delay: seconds."""

    level: float
    delay: float


def realtime_url(url: str, *, extended: bool = True) -> str:
    """Return the URL of the Realtime endpoint, at /v1/realtime if `url` has no path.

    extended: ask for Chinwag's own events.
    Raises ClientError if it is not the address of a server.
    """
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ClientError(f"{url} is not the address of a server.", f"Write it like {DEFAULT_URL}.")
    path = parts.path if parts.path.strip("/") else "/v1/realtime"
    query = [pair for pair in parse_qsl(parts.query) if pair[0] != "chinwag"]
    query += [("chinwag", "events")] if extended else []
    return urlunsplit((scheme, parts.netloc, path, urlencode(query), ""))


@contextlib.asynccontextmanager
async def connect_websocket(
    url: str,
    api_key: str | None,
    playback: Playback,
    noise_dbfs: float | None,
    session: dict[str, Any] | None,
    extended: bool,
) -> AsyncGenerator[RealtimeClient, None]:
    """Connect over WebSocket, wait for the session, and yield the client. The arguments are those of `connect`."""
    address = realtime_url(url, extended=extended)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    # do not use a web proxy for an address of this machine
    proxy: Literal[True] | None = None if urlsplit(address).hostname in LOOPBACK else True
    try:
        socket = await open_websocket(
            address, additional_headers=headers, proxy=proxy, compression=None, max_size=None, open_timeout=10
        )
    except InvalidStatus as refused:
        raise _refusal(url, refused.response.status_code) from None
    except InvalidURI:
        raise ClientError(f"{url} is not the address of a server.", f"Write it like {DEFAULT_URL}.") from None
    except (InvalidHandshake, EOFError) as error:
        raise ClientError(
            f"What listens at {url} is no Chinwag server: {error}.", f"Look at --url; usual is {DEFAULT_URL}."
        ) from None
    except (OSError, TimeoutError) as error:
        why = "no answer within 10 s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise ServerUnreachable(
            f"Nothing answers at {url} ({why}).", "Start the server there with: chinwag serve"
        ) from None
    async with socket:
        client = RealtimeClient(playback, noise_dbfs, extended, socket)
        tasks = [asyncio.create_task(client._receive())]
        try:
            await client.start_session(session)
            tasks.append(asyncio.create_task(client._send_audio()))
            yield client
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class RealtimeClient:
    """A connected client over WebSocket; `connect` makes it."""

    def __init__(
        self,
        playback: Playback,
        noise_dbfs: float | None,
        extended: bool = True,
        socket: ClientConnection | None = None,
    ) -> None:
        self.playback = playback
        self.echo: LoudspeakerEcho | None = None
        """Set to mix the audio that a `ListenerPlayback` plays into the microphone."""
        self.microphone: asyncio.Queue[Audio] | None = None
        """Set to a queue of 24 kHz audio to send that audio as it comes, in place of the audio from `speak`."""
        self.last_sound = 0.0
        """When audio of a response arrived last."""
        self._socket = socket
        self._events: asyncio.Queue[ReceivedEvent | ClientError] = asyncio.Queue()
        self._to_speak: deque[Samples] = deque()
        self._sent = 0
        self._queued = 0
        self._began = time.perf_counter()
        self._item = ""
        self._reported: tuple[str, int] | None = None
        self._noise = None if noise_dbfs is None else RoomNoise(noise_dbfs)
        self._extended = extended

    async def start_session(self, session: dict[str, Any] | None) -> None:
        """Wait for `session.created`, then send the session's settings. Raises ClientError."""
        await self._wait_for_session()
        if session is not None:
            await self.send({"type": "session.update", "session": session})

    def now(self) -> float:
        """Return the time in seconds of the client's clock (`time.perf_counter`)."""
        return time.perf_counter()

    def speak(self, audio: Audio) -> int:
        """Append speech to the microphone's input; returns the position of its first sample in the input (24 kHz)."""
        pcm = audio.resampled(WIRE_RATE).pcm
        start = self._sent + self._queued
        self._to_speak.append(pcm)
        self._queued += len(pcm)
        return start

    def time_of(self, sample: float) -> float:
        """Return when that sample of the input (24 kHz) is spoken, in seconds of the client's clock."""
        return self._began + sample / WIRE_RATE

    async def send(self, event: dict[str, Any]) -> None:
        """Send one client event. Raises ClientError if the connection is closed."""
        assert self._socket is not None
        try:
            await self._socket.send(json.dumps(event))
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def events(self, seconds: float) -> AsyncIterator[ReceivedEvent]:
        """Yield every event in order, for so many seconds. Raises ClientError when the connection closes."""
        deadline = self.now() + seconds
        while True:
            try:
                arrived = await asyncio.wait_for(self._events.get(), max(deadline - self.now(), 0.0))
            except TimeoutError:
                return
            if isinstance(arrived, ClientError):
                raise arrived
            yield arrived

    async def _wait_for_session(self) -> None:
        async for arrived in self.events(SESSION_TIMEOUT_S):
            if arrived.type == "session.created":
                return
            if arrived.type == "error":
                error = arrived.event.get("error", {})
                if error.get("code") == "server_full":
                    raise ServerFull(error)
                fix = "See the server's own output."
                if error.get("code") == "not_ready":
                    fix = "Wait until the page or /api/status says it is ready, then try again."
                raise ClientError(f"The server says: {error.get('message')}", fix)
        raise ClientError(
            f"The server accepted the connection and then sent nothing for {SESSION_TIMEOUT_S:.0f} s.",
            "See the server's own output.",
        )

    async def _receive(self) -> None:
        assert self._socket is not None
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    continue  # only clients with the chinwag.pcm subprotocol get these
                self._on_event(ReceivedEvent(self.now(), json.loads(message)))
            self._events.put_nowait(_closed(None))
        except ConnectionClosed as closed:
            self._events.put_nowait(_closed(closed))

    def _on_event(self, arrived: ReceivedEvent) -> None:
        if arrived.type == "response.output_audio.delta":
            self._item = arrived.event["item_id"]
            audio = Audio.from_pcm16(base64.b64decode(arrived.event["delta"]))
            self.playback.receive(self._item, audio, arrived.at)
            self.last_sound = arrived.at
        elif arrived.type == "input_audio_buffer.speech_started":
            self.playback.flush(arrived.at)
        elif arrived.type == "chinwag.duck" and self._extended:
            self.playback.duck(arrived.at)
        elif arrived.type == "chinwag.resume" and self._extended:
            self.playback.resume(arrived.at)
        self._events.put_nowait(arrived)

    async def _send_audio(self) -> None:
        """Send the microphone's audio until the connection closes, and report the playout position."""
        self._began = time.perf_counter()
        told = 0.0
        for tick in itertools.count(1):
            if self.microphone is not None:
                chunk = (await self.microphone.get()).pcm
                self._began = self.now() - (self._sent + len(chunk)) / WIRE_RATE
            else:
                await asyncio.sleep(max(self.time_of(tick * CHUNK) - self.now(), 0.0))
                chunk = self._next_chunk()
            self._sent += len(chunk)
            sound = base64.b64encode(Audio(chunk, WIRE_RATE).to_pcm16()).decode()
            try:
                await self.send({"type": "input_audio_buffer.append", "audio": sound})
                played = self.playback.last_played(self.now())
                due = self.now() - told >= PLAYBACK_EVERY_S or self.playback.idle(self.now())
                if self._extended and played and played != self._reported and due:
                    self._reported, told = played, self.now()
                    await self.send({"type": "chinwag.playback", "item_id": played[0], "played_ms": played[1]})
            except ClientError:
                return  # `_receive` passes the error to `events`

    def _next_chunk(self) -> Samples:
        chunk = np.zeros(CHUNK, np.float32) if self._noise is None else self._noise.next_chunk()
        filled = 0
        while self._to_speak and filled < CHUNK:
            part = self._to_speak.popleft()
            taken = part[: CHUNK - filled]
            chunk[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._queued -= len(taken)
            if len(taken) < len(part):
                self._to_speak.appendleft(part[len(taken) :])
        if self.echo is not None and isinstance(self.playback, ListenerPlayback):
            # a chunk is made when its last sample is captured, so the audio heard until then is known
            chunk += np.float32(self.echo.level) * self.playback.audio_heard(
                self.time_of(self._sent) - self.echo.delay, CHUNK
            )
        return chunk


class RoomNoise:
    """The background noise of a quiet room: white noise that repeats after ten seconds."""

    def __init__(self, dbfs: float) -> None:
        self._pcm = room_noise(10 * WIRE_RATE, dbfs)
        self._place = 0

    def next_chunk(self) -> Samples:
        """Return a copy of the next 20 ms."""
        chunk = self._pcm[self._place : self._place + CHUNK].copy()
        self._place = (self._place + CHUNK) % len(self._pcm)
        return chunk


def room_noise(samples: int, dbfs: float) -> Samples:
    """Return white noise with that root mean square; always the same samples."""
    return (np.random.default_rng(1).standard_normal(samples) * 10 ** (dbfs / 20)).astype(np.float32)


def _refusal(url: str, status: int) -> ClientError:
    if status in (401, 403):
        return ClientError(f"The server at {url} does not let us in (HTTP {status}).", "Give its key with --api-key.")
    if status == 404:
        return ClientError(f"There is no realtime endpoint at {url}.", f"Usual is {DEFAULT_URL}.")
    return ClientError(f"The server at {url} refused the call (HTTP {status}).", "See the server's own output.")


def _closed(closed: ConnectionClosed | None) -> ClientError:
    frame = closed.rcvd if closed else None
    why = f" ({frame.code}{': ' + frame.reason if frame.reason else ''})" if frame else ""
    return ClientError(f"The server ended the call{why}.", "See the server's own output, then call again.")
