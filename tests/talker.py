"""Talks to a session at virtual time, as a client with a microphone and a loudspeaker would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from chinwag.audio import WIRE_RATE, Audio, silence
from chinwag.conversation.events import Event, ResponseAudio, ResponseEnded, ResponseText, SpeechStarted
from chinwag.conversation.session import Session
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import Fakes, loud

E = TypeVar("E")
FRAME_S = 0.02


class Talker:
    """Sends sound in frames of 20 ms at real speed, and hears what comes back."""

    def __init__(self, fakes: Fakes, settings: SessionSettings) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self.session = Session(fakes.engines(), settings, self._hear)
        self._loop = asyncio.get_running_loop()

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())

    async def say(self, seconds: float) -> None:
        await self.send(loud(seconds))

    async def pause(self, seconds: float) -> None:
        await self.send(silence(seconds, WIRE_RATE))

    async def send(self, audio: Audio) -> None:
        size = round(FRAME_S * WIRE_RATE)
        for place in range(0, len(audio.pcm), size):
            self.session.append_audio(Audio(audio.pcm[place : place + size], WIRE_RATE))
            await asyncio.sleep(FRAME_S)

    async def pause_until(self, happened: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Keep quiet, the microphone on, until something happened."""
        for _ in range(round(limit_s / FRAME_S)):
            if happened():
                return
            await self.pause(FRAME_S)
        raise AssertionError(f"it did not happen within {limit_s} s; seen: {self.kinds()}")

    async def hear_out(self) -> ResponseEnded:
        """Keep quiet until one more reply has ended and its sound has been played."""
        before = len(self.all(ResponseEnded))
        await self.pause_until(lambda: len(self.all(ResponseEnded)) > before)
        await self.pause(0.5)
        return self.all(ResponseEnded)[-1]

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self, *kinds: type[Any]) -> list[str]:
        """Names of the events so far, of those kinds only where any are given; runs of one kind count once."""
        names = [type(e).__name__ for e in self.events if not kinds or isinstance(e, kinds)]
        return [name for name, _ in groupby(names)]

    def when(self, kind: type[Any], number: int = 0) -> float:
        """Loop time of an event of a kind."""
        return [at for at, event in zip(self.times, self.events, strict=True) if isinstance(event, kind)][number]

    def told(self) -> str:
        return "".join(event.text for event in self.all(ResponseText))

    def sound_after(self, kind: type[Any] = SpeechStarted, number: int = 0) -> list[ResponseAudio]:
        at = [place for place, event in enumerate(self.events) if isinstance(event, kind)][number]
        return [event for event in self.events[at:] if isinstance(event, ResponseAudio)]


@asynccontextmanager
async def talking(fakes: Fakes | None = None, **settings: Any) -> AsyncIterator[Talker]:
    """A session that runs while the block does."""
    talker = Talker(fakes or Fakes(), replace(SessionSettings(instructions="Be brief."), **settings))
    running = asyncio.create_task(talker.session.run())
    try:
        yield talker
        assert not running.done(), "the session ended by itself"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
