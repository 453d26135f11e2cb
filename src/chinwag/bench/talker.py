"""A person in a call: speaks recordings, listens, and remembers everything that happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from chinwag.bench.corpus import Recording
from chinwag.client_sdk.call import Arrived, CallError, RealtimeClient, Transport, call
from chinwag.client_sdk.ear import Ear
from chinwag.client_sdk.local_server import fetch_status

NOISE_DBFS = -60.0
"""The room between the turns; as loud as in the made corpus."""
ANSWER_TIMEOUT = 30.0
"""Seconds without any sound of the answer, counted from the end of the speech, after which it is given up."""
REST = 1.0
"""Seconds of quiet after an answer before the next turn."""
CALL_ENDED = "the call ended"


@dataclass(slots=True)
class TurnLog:
    """One turn as the caller lived it. Moments are seconds of the call's clock.

    begin, end: of the person's speech, from the recording's truth.
    end_sample: the end's place in the input stream at 24 kHz.
    onsets: first audible sample of each answer begun in this turn, by item.
    """

    recording: Recording
    begin: float
    end: float
    end_sample: int
    events: list[Arrived] = field(default_factory=list)
    onsets: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(slots=True)
class Conversation:
    """Turns that were held. status: the server's last /api/status. rss_mb: each time it was asked."""

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


class Talker:
    """One side of a call. events: all that arrived. replying: responses under way. ended: status of each that is over.

    Every method that waits raises CallError when the server goes away.
    """

    def __init__(self, line: RealtimeClient) -> None:
        assert isinstance(line.playback, Ear)
        self.line, self.ear = line, line.playback
        self.events: list[Arrived] = []
        self.replying: set[str] = set()
        self.ended: dict[str, str] = {}

    @property
    def last_sound(self) -> float:
        """When sound of an answer arrived last."""
        return self.line.last_sound

    def now(self) -> float:
        """Seconds of the call's clock."""
        return self.line.now()

    async def listen(self, seconds: float) -> None:
        """Take what arrives for so long."""
        async for arrived in self.line.events(seconds):
            self.events.append(arrived)
            if arrived.type == "response.created":
                self.replying.add(arrived.event["response"]["id"])
            elif arrived.type == "response.done":
                response = arrived.event["response"]
                self.replying.discard(response["id"])
                self.ended[response["id"]] = response.get("status", "completed")

    async def until(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Listen until it happened, for so many seconds at most; returns whether it did."""
        deadline = self.now() + seconds
        while not happened():
            if self.now() >= deadline:
                return False
            await self.listen(0.05)
        return True

    def quiet(self) -> bool:
        """No answer is being made or heard."""
        return not self.replying and self.ear.idle(self.now())

    def say(self, recording: Recording) -> TurnLog:
        """Speak a recording after all that is still to be said; its log has no events yet."""
        start = self.line.say(recording.audio)
        end = start + recording.end
        return TurnLog(recording, self.line.moment(start + recording.start), self.line.moment(end), end)

    async def turn(self, recording: Recording) -> TurnLog:
        """Speak a recording, listen until its answer has ended at the ear, and rest. Does not raise CallError."""
        earlier, first = set(self.ear.onsets()), len(self.events)
        log = self.say(recording)
        try:
            while True:
                waited_from = max(log.end, self.last_sound)
                if not await self.until(lambda: self._answered(log, first), waited_from + ANSWER_TIMEOUT - self.now()):
                    if max(log.end, self.last_sound) > waited_from:
                        continue  # the answer is a long one
                    log.error = f"no complete answer within {ANSWER_TIMEOUT:.0f} s"
                    break
                await self.listen(REST)
                if self._answered(log, first):
                    break
        except CallError as error:
            log.error = f"{CALL_ENDED}: {error.message}"
        log.events = self.events[first:]
        log.onsets = {item: moment for item, moment in self.ear.onsets().items() if item not in earlier}
        return log

    def _answered(self, log: TurnLog, first: int) -> bool:
        """An answer that was not taken back, because the speech went on, has ended after it, at the ear too."""
        done = False
        for arrived in self.events[first:]:
            if arrived.type == "input_audio_buffer.speech_started":
                done = False
            elif arrived.type == "response.done" and arrived.at > log.end:
                done = arrived.event["response"].get("status") != "cancelled"
        return done and self.quiet()


@asynccontextmanager
async def talking(
    url: str,
    *,
    api_key: str | None = None,
    extended: bool = True,
    setup: Sequence[dict[str, Any]] = (),
    transport: Transport = "websocket",
) -> AsyncGenerator[Talker, None]:
    """A call to a server. setup: client events to begin with. Raises CallError, also where one of those is refused."""
    async with call(url, api_key=api_key, noise_dbfs=NOISE_DBFS, extended=extended, transport=transport) as line:
        talker = Talker(line)
        for event in setup:
            await line.send(event)
        await talker.listen(REST)
        for arrived in talker.events:
            if setup and arrived.type == "error":
                raise CallError(
                    f"The server refuses what the measurement needs: {arrived.event['error'].get('message')}",
                    "Measure a server of this version of Chinwag.",
                )
        yield talker


async def converse(
    url: str,
    recordings: Sequence[Recording],
    turns: int,
    *,
    api_key: str | None = None,
    setup: Sequence[dict[str, Any]] = (),
    on_turn: Callable[[TurnLog], None] = lambda log: None,
    transport: Transport = "websocket",
) -> Conversation:
    """Hold one conversation of so many turns, going round the recordings.

    setup: client events to begin with. on_turn: is given each turn as it ends.
    A server that ended the call gets another one for the turns that are left. Raises CallError where no conversation
    comes about at all.
    """
    held = Conversation()

    def keep(log: TurnLog) -> None:
        held.logs.append(log)
        on_turn(log)

    while len(held.logs) < turns:
        try:
            async with talking(url, api_key=api_key, setup=setup, transport=transport) as talker:
                while len(held.logs) < turns:
                    log = await talker.turn(recordings[len(held.logs) % len(recordings)])
                    keep(log)
                    held.status = await fetch_status(url, api_key) or held.status
                    held.rss_mb += [held.status["process"]["rss_mb"]] if held.status else []
                    if log.error and log.error.startswith(CALL_ENDED):
                        break
        except CallError:
            if not held.logs:
                raise
            missing = recordings[len(held.logs) % len(recordings)]
            keep(TurnLog(missing, 0, 0, 0, error=f"{CALL_ENDED}; the next was refused"))
            await asyncio.sleep(0)
    return held
