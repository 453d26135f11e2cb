"""A simulated user: speaks recordings, listens, and records everything that happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from chinwag.bench.corpus import Recording
from chinwag.client_sdk.client import ClientError, RealtimeClient, ReceivedEvent, Transport
from chinwag.client_sdk.connect import connect
from chinwag.client_sdk.local_server import fetch_status
from chinwag.client_sdk.playback import ListenerPlayback

NOISE_DBFS = -60.0
"""The room between the turns; as loud as in the made corpus."""
ANSWER_TIMEOUT = 30.0
"""Seconds without any sound of the answer, counted from the end of the speech, after which it is given up."""
REST = 1.0
"""Seconds of quiet after an answer before the next turn."""
CALL_ENDED = "the call ended"


@dataclass(slots=True)
class TurnLog:
    """One turn, measured at the client. Times are seconds of the client's clock.

    begin, end: of the person's speech, from the recording's truth.
    end_sample: the end's place in the input stream at 24 kHz.
    onsets: first audible sample of each answer begun in this turn, by item.
    """

    recording: Recording
    begin: float
    end: float
    end_sample: int
    events: list[ReceivedEvent] = field(default_factory=list)
    onsets: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(slots=True)
class BenchConversation:
    """The turns of a run. status: the server's last /api/status. rss_mb: each time it was asked."""

    logs: list[TurnLog] = field(default_factory=list)
    status: dict[str, Any] | None = None
    rss_mb: list[float] = field(default_factory=list)

    def server(self) -> dict[str, Any]:
        """Peak rss_mb over the run, cpu_seconds and startup_s, as the server tells them."""
        process = self.status["process"] if self.status else {}
        return {
            "rss_mb": max(self.rss_mb, default=None),
            "cpu_seconds": process.get("cpu_seconds"),
            "startup_s": process.get("startup_s"),
        }

    def engines(self) -> dict[str, str]:
        """Names of the server's engines by task."""
        return {task: engine["name"] for task, engine in self.status["engines"].items()} if self.status else {}


class SimulatedUser:
    """A user of one connection. events: all that arrived. active_responses: responses that are not done.

    response_status: the status of each response that is done.

    Every method that waits raises ClientError when the server goes away.
    """

    def __init__(self, line: RealtimeClient) -> None:
        assert isinstance(line.playback, ListenerPlayback)
        self.client, self.playback = line, line.playback
        self.events: list[ReceivedEvent] = []
        self.active_responses: set[str] = set()
        self.response_status: dict[str, str] = {}

    @property
    def last_sound(self) -> float:
        """When audio of a response arrived last."""
        return self.client.last_sound

    def now(self) -> float:
        """Seconds of the call's clock."""
        return self.client.now()

    async def listen(self, seconds: float) -> None:
        """Record the events of so many seconds."""
        async for arrived in self.client.events(seconds):
            self.events.append(arrived)
            if arrived.type == "response.created":
                self.active_responses.add(arrived.event["response"]["id"])
            elif arrived.type == "response.done":
                response = arrived.event["response"]
                self.active_responses.discard(response["id"])
                self.response_status[response["id"]] = response.get("status", "completed")

    async def listen_until(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Listen until the condition holds, for at most so many seconds. Returns whether it held."""
        deadline = self.now() + seconds
        while not happened():
            if self.now() >= deadline:
                return False
            await self.listen(0.05)
        return True

    def is_quiet(self) -> bool:
        """Return whether no response is active or audible."""
        return not self.active_responses and self.playback.idle(self.now())

    def speak(self, recording: Recording) -> TurnLog:
        """Queue a recording at the microphone. Its log has no events yet."""
        start = self.client.speak(recording.audio)
        end = start + recording.end
        return TurnLog(recording, self.client.time_of(start + recording.start), self.client.time_of(end), end)

    async def hold_turn(self, recording: Recording) -> TurnLog:
        """Speak a recording, listen until its answer has ended at the ear, and rest. Does not raise ClientError."""
        earlier, first = set(self.playback.onsets()), len(self.events)
        log = self.speak(recording)
        try:
            while True:
                waited_from = max(log.end, self.last_sound)
                if not await self.listen_until(
                    lambda: self._answered(log, first), waited_from + ANSWER_TIMEOUT - self.now()
                ):
                    if max(log.end, self.last_sound) > waited_from:
                        continue  # the answer is a long one
                    log.error = f"no complete answer within {ANSWER_TIMEOUT:.0f} s"
                    break
                await self.listen(REST)
                if self._answered(log, first):
                    break
        except ClientError as error:
            log.error = f"{CALL_ENDED}: {error.message}"
        log.events = self.events[first:]
        log.onsets = {item: moment for item, moment in self.playback.onsets().items() if item not in earlier}
        return log

    def _answered(self, log: TurnLog, first: int) -> bool:
        """An answer that was not taken back, because the speech went on, has ended after it, at the ear too."""
        done = False
        for arrived in self.events[first:]:
            if arrived.type == "input_audio_buffer.speech_started":
                done = False
            elif arrived.type == "response.done" and arrived.at > log.end:
                done = arrived.event["response"].get("status") != "cancelled"
        return done and self.is_quiet()


@asynccontextmanager
async def connect_user(
    url: str,
    *,
    api_key: str | None = None,
    extended: bool = True,
    setup: Sequence[dict[str, Any]] = (),
    transport: Transport = "websocket",
) -> AsyncGenerator[SimulatedUser, None]:
    """Connect a simulated user. setup: client events to send first. Raises ClientError, also if one is refused."""
    async with connect(url, api_key=api_key, noise_dbfs=NOISE_DBFS, extended=extended, transport=transport) as line:
        talker = SimulatedUser(line)
        for event in setup:
            await line.send(event)
        await talker.listen(REST)
        for arrived in talker.events:
            if setup and arrived.type == "error":
                raise ClientError(
                    f"The server refuses what the measurement needs: {arrived.event['error'].get('message')}",
                    "Measure a server of this version of Chinwag.",
                )
        yield talker


async def hold_conversation(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    *,
    api_key: str | None = None,
    setup: Sequence[dict[str, Any]] = (),
    on_turn: Callable[[TurnLog], None] = lambda log: None,
    transport: Transport = "websocket",
) -> BenchConversation:
    """Hold one conversation of so many turns, with the recordings in rotation.

    setup: client events to begin with. on_turn: gets each turn as it ends.
    If the server ends the connection, another one holds the turns that are left. Raises ClientError if there is no
    first turn.
    """
    held = BenchConversation()

    def keep(log: TurnLog) -> None:
        held.logs.append(log)
        on_turn(log)

    while len(held.logs) < turns:
        try:
            async with connect_user(url, api_key=api_key, setup=setup, transport=transport) as talker:
                while len(held.logs) < turns:
                    log = await talker.hold_turn(recordings[len(held.logs) % len(recordings)])
                    keep(log)
                    held.status = await fetch_status(url, api_key) or held.status
                    held.rss_mb += [held.status["process"]["rss_mb"]] if held.status else []
                    if log.error and log.error.startswith(CALL_ENDED):
                        break
        except ClientError:
            if not held.logs:
                raise
            missing = recordings[len(held.logs) % len(recordings)]
            keep(TurnLog(missing, 0, 0, 0, error=f"{CALL_ENDED}; the next was refused"))
            await asyncio.sleep(0)
    return held
