"""One conversation over /v1/realtime, from the caller's side.

The microphone runs all the time, as a real one does: 20 ms at a time on a clock that does not drift, and a chunk
leaves when its last sample has been captured. So each sample of the input has a moment at which it was spoken.
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
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.client_sdk.ear import Ear, Playback
from chinwag.errors import ChinwagError

CHUNK = WIRE_RATE // 50
"""Samples in 20 ms."""
PLAYBACK_EVERY = 0.25
WELCOME_WITHIN = 10.0
DEFAULT_URL = "ws://127.0.0.1:8000/v1/realtime"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Transport = Literal["websocket", "webrtc"]


class CallError(ChinwagError):
    """The server cannot be reached, refuses, or went away."""


class NobodyThere(CallError):
    """Nothing listens at the address."""


class ServerFull(CallError):
    """All places are taken.

    place: in the queue, from 1. retry_after_s: until it may be worth to ask again. ticket: holds the place, for who
    asked for one.
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
class Arrived:
    """A server event and the moment it came, in seconds of the call's clock."""

    at: float
    event: dict[str, Any]

    @property
    def type(self) -> str:
        """The event's type."""
        return str(self.event.get("type", ""))


@dataclass(frozen=True, slots=True)
class Echo:
    """A loudspeaker that the microphone hears. level: factor of amplitude. delay: seconds."""

    level: float
    delay: float


def realtime_url(url: str, *, extended: bool = True) -> str:
    """The address of the wire: the usual path where there is none, and Chinwag's own events asked for or not.

    Raises CallError where it is no address of a server.
    """
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise CallError(f"{url} is not the address of a server.", f"Write it like {DEFAULT_URL}.")
    path = parts.path if parts.path.strip("/") else "/v1/realtime"
    query = [pair for pair in parse_qsl(parts.query) if pair[0] != "chinwag"]
    query += [("chinwag", "events")] if extended else []
    return urlunsplit((scheme, parts.netloc, path, urlencode(query), ""))


@contextlib.asynccontextmanager
async def call(
    url: str,
    *,
    api_key: str | None = None,
    playback: Playback | None = None,
    noise_dbfs: float | None = None,
    session: dict[str, Any] | None = None,
    extended: bool = True,
    transport: Transport = "websocket",
) -> AsyncGenerator[RealtimeClient, None]:
    """Connect, wait for the session, and hang up at the end.

    noise_dbfs: level of the noise that the microphone hears when nobody speaks; None for digital silence.
    session: sent as a session.update first.
    extended: ask for Chinwag's own events, obey its duck and resume, and report what was played; else be a stock client
    of the Realtime API, which only drops its sound at `speech_started`.
    Raises CallError.
    """
    if transport == "webrtc":
        from chinwag.client_sdk.webrtc import (
            connected,  # aiortc takes half a second, which other commands need not wait
        )

        one: RealtimeClient
        async with connected(url, api_key, playback or Ear(), noise_dbfs, extended) as one:
            await one.begin(session)
            yield one
        return
    address = realtime_url(url, extended=extended)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    # a proxy set for the web does not lead to this machine
    proxy: Literal[True] | None = None if urlsplit(address).hostname in LOOPBACK else True
    try:
        socket = await connect(
            address, additional_headers=headers, proxy=proxy, compression=None, max_size=None, open_timeout=10
        )
    except InvalidStatus as refused:
        raise _refused(url, refused.response.status_code) from None
    except InvalidURI:
        raise CallError(f"{url} is not the address of a server.", f"Write it like {DEFAULT_URL}.") from None
    except (InvalidHandshake, EOFError) as error:
        raise CallError(
            f"What listens at {url} is no Chinwag server: {error}.", f"Look at --url; usual is {DEFAULT_URL}."
        ) from None
    except (OSError, TimeoutError) as error:
        why = "no answer within 10 s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise NobodyThere(f"Nothing answers at {url} ({why}).", "Start the server there with: chinwag serve") from None
    async with socket:
        one = RealtimeClient(playback or Ear(), noise_dbfs, extended, socket)
        tasks = [asyncio.create_task(one._read())]
        try:
            await one.begin(session)
            tasks.append(asyncio.create_task(one._speak()))
            yield one
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class RealtimeClient:
    """A conversation under way; made by `call`."""

    def __init__(
        self,
        playback: Playback,
        noise_dbfs: float | None,
        extended: bool = True,
        socket: ClientConnection | None = None,
    ) -> None:
        self.playback = playback
        self.echo: Echo | None = None
        """Set to mix what an `Ear` hears into the microphone."""
        self.live: asyncio.Queue[Audio] | None = None
        """Set to a queue of 24 kHz sound to send that, as it comes, in place of what `say` was given."""
        self.last_sound = 0.0
        """When sound of an answer arrived last."""
        self._socket = socket
        self._arrived: asyncio.Queue[Arrived | CallError] = asyncio.Queue()
        self._to_say: deque[Samples] = deque()
        self._sent = 0
        self._queued = 0
        self._began = time.perf_counter()
        self._item = ""
        self._reported: tuple[str, int] | None = None
        self._noise = None if noise_dbfs is None else _Noise(noise_dbfs)
        self._extended = extended

    async def begin(self, session: dict[str, Any] | None) -> None:
        """Wait to be greeted, then ask for that session. Raises CallError."""
        await self._welcome()
        if session is not None:
            await self.send({"type": "session.update", "session": session})

    def now(self) -> float:
        """Seconds of the call's clock (`time.perf_counter`)."""
        return time.perf_counter()

    def say(self, audio: Audio) -> int:
        """Speak this after all that is still to be said; returns its first sample's place in the input (24 kHz)."""
        pcm = audio.resampled(WIRE_RATE).pcm
        start = self._sent + self._queued
        self._to_say.append(pcm)
        self._queued += len(pcm)
        return start

    def moment(self, sample: float) -> float:
        """When that sample of the input (24 kHz) is or was spoken, in seconds of the call's clock."""
        return self._began + sample / WIRE_RATE

    async def send(self, event: dict[str, Any]) -> None:
        """Send one client event. Raises CallError where the server has gone."""
        assert self._socket is not None
        try:
            await self._socket.send(json.dumps(event))
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def events(self, seconds: float) -> AsyncIterator[Arrived]:
        """Every event in order, for so many seconds from now. Raises CallError when the server goes away."""
        deadline = self.now() + seconds
        while True:
            try:
                arrived = await asyncio.wait_for(self._arrived.get(), max(deadline - self.now(), 0.0))
            except TimeoutError:
                return
            if isinstance(arrived, CallError):
                raise arrived
            yield arrived

    async def _welcome(self) -> None:
        async for arrived in self.events(WELCOME_WITHIN):
            if arrived.type == "session.created":
                return
            if arrived.type == "error":
                error = arrived.event.get("error", {})
                if error.get("code") == "server_full":
                    raise ServerFull(error)
                fix = "See the server's own output."
                if error.get("code") == "not_ready":
                    fix = "Wait until the page or /api/status says it is ready, then try again."
                raise CallError(f"The server says: {error.get('message')}", fix)
        raise CallError(
            f"The server took the call and then said nothing for {WELCOME_WITHIN:.0f} s.",
            "See the server's own output.",
        )

    async def _read(self) -> None:
        assert self._socket is not None
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    continue  # only comes to those who asked for the chinwag.pcm subprotocol
                self._take(Arrived(self.now(), json.loads(message)))
            self._arrived.put_nowait(_closed(None))
        except ConnectionClosed as closed:
            self._arrived.put_nowait(_closed(closed))

    def _take(self, arrived: Arrived) -> None:
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
        self._arrived.put_nowait(arrived)

    async def _speak(self) -> None:
        """Send the microphone's sound until the call ends, and tell how much of the answer was heard."""
        self._began = time.perf_counter()
        told = 0.0
        for tick in itertools.count(1):
            if self.live is not None:
                chunk = (await self.live.get()).pcm
                self._began = self.now() - (self._sent + len(chunk)) / WIRE_RATE
            else:
                await asyncio.sleep(max(self.moment(tick * CHUNK) - self.now(), 0.0))
                chunk = self._next_chunk()
            self._sent += len(chunk)
            sound = base64.b64encode(Audio(chunk, WIRE_RATE).to_pcm16()).decode()
            try:
                await self.send({"type": "input_audio_buffer.append", "audio": sound})
                played = self.playback.last_played(self.now())
                due = self.now() - told >= PLAYBACK_EVERY or self.playback.idle(self.now())
                if self._extended and played and played != self._reported and due:
                    self._reported, told = played, self.now()
                    await self.send({"type": "chinwag.playback", "item_id": played[0], "played_ms": played[1]})
            except CallError:
                return  # the reader tells whoever waits for events

    def _next_chunk(self) -> Samples:
        chunk = np.zeros(CHUNK, np.float32) if self._noise is None else self._noise.take()
        filled = 0
        while self._to_say and filled < CHUNK:
            part = self._to_say.popleft()
            taken = part[: CHUNK - filled]
            chunk[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._queued -= len(taken)
            if len(taken) < len(part):
                self._to_say.appendleft(part[len(taken) :])
        if self.echo is not None and isinstance(self.playback, Ear):
            # a chunk is made when its last sample is captured, so what the ear heard by then is known
            chunk += np.float32(self.echo.level) * self.playback.heard(self.moment(self._sent) - self.echo.delay, CHUNK)
        return chunk


class _Noise:
    """A quiet room: white noise that repeats after ten seconds."""

    def __init__(self, dbfs: float) -> None:
        self._pcm = room_noise(10 * WIRE_RATE, dbfs)
        self._place = 0

    def take(self) -> Samples:
        """The next 20 ms; a copy."""
        chunk = self._pcm[self._place : self._place + CHUNK].copy()
        self._place = (self._place + CHUNK) % len(self._pcm)
        return chunk


def room_noise(samples: int, dbfs: float) -> Samples:
    """White noise whose root mean square has that level; always the same."""
    return (np.random.default_rng(1).standard_normal(samples) * 10 ** (dbfs / 20)).astype(np.float32)


def _refused(url: str, status: int) -> CallError:
    if status in (401, 403):
        return CallError(f"The server at {url} does not let us in (HTTP {status}).", "Give its key with --api-key.")
    if status == 404:
        return CallError(f"There is no realtime endpoint at {url}.", f"Usual is {DEFAULT_URL}.")
    return CallError(f"The server at {url} refused the call (HTTP {status}).", "See the server's own output.")


def _closed(closed: ConnectionClosed | None) -> CallError:
    frame = closed.rcvd if closed else None
    why = f" ({frame.code}{': ' + frame.reason if frame.reason else ''})" if frame else ""
    return CallError(f"The server ended the call{why}.", "See the server's own output, then call again.")
