"""Whatever happens in whatever order, the conversation comes back to listening.

A state machine has a person and a client do things at random, while engines fail, hang and are slow, at virtual time.
After every step the events so far must be legal; at the end, once the engines work again, the session must hear, answer
and finish as if nothing had been.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from virtual_time import VirtualTimeLoop

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, silence
from chinwag.conversation import events
from chinwag.conversation.events import Event
from chinwag.conversation.history import MessageItem
from chinwag.conversation.response import Response
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import (
    FakeChat,
    Fakes,
    FakeTranscriber,
    FakeTurnJudge,
    FakeUtterance,
    FakeVad,
    FakeVoice,
    loud,
)
from chinwag.engines.protocols import Delta, Ending, Transcript
from chinwag.errors import EngineError, Refused
from chinwag.listening.endpointing.policy import LONGEST_S, Endpointer
from chinwag.listening.turn import ListenerSettings
from chinwag.realtime.connection import Connection
from chinwag.realtime.server_events import Outgoing
from chinwag.realtime.session_config import Defaults

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]  # on a slow machine

How = Literal["works", "fails", "hangs", "slow"]
BROKEN = EngineError("It broke.", "Mend it.")
FRAME_S = 0.064
SAID = ("what is it like there", "Mm-hmm.", "", "Stop.", "go on", "say that again", "yes but why is it so", "Wait.")
ANSWERS = ("Yes.", "It is warm there, and it rains.", " ".join(f"w{n}" for n in range(60)))
QUESTION = "well then what is it like there"


@dataclass
class Trouble:
    """What an engine does to whoever asks it. A hang never ends by itself."""

    how: How = "works"
    slow_s: float = 0.3

    async def __call__(self, hang_s: float = 1e6) -> None:
        if self.how == "slow":
            await asyncio.sleep(self.slow_s)
        elif self.how == "hangs":
            await asyncio.sleep(hang_s)
        if self.how in ("fails", "hangs"):
            raise BROKEN


@dataclass
class Vad(FakeVad):
    """Looks half as often as a real one, for the test to be quick."""

    frame: ClassVar[int] = 1024
    trouble: Trouble = field(default_factory=lambda: Trouble(slow_s=0.02))

    async def feed(self, audio: Audio) -> float:
        await self.trouble()
        return await super().feed(audio)


@dataclass
class Judge(FakeTurnJudge):
    trouble: Trouble = field(default_factory=Trouble)

    async def judge(self, *args: Any) -> float:
        await self.trouble()
        return await super().judge(*args)


@dataclass
class Ear(FakeTranscriber):
    languages: tuple[str, ...] = ("en", "sw")
    trouble: Trouble = field(default_factory=Trouble)

    def open(self, language: str | None = None) -> FakeUtterance:
        return Heard(self)


class Heard(FakeUtterance):
    _engine: Ear

    async def _transcript(self, *, final: bool) -> Transcript:
        await self._engine.trouble()
        return await super()._transcript(final=final)


@dataclass
class Chat(FakeChat):
    trouble: Trouble = field(default_factory=lambda: Trouble(slow_s=0.8))
    calls: int = 0

    async def chat(self, messages: Any, **more: Any) -> AsyncGenerator[Delta, None]:
        self.calls += 1
        try:
            await self.trouble(hang_s=30)  # as every engine's own timeout_s ends it
            async with aclosing(super().chat(messages, **more)) as deltas:
                async for delta in deltas:
                    yield delta
                    if self.trouble.how == "fails":
                        raise BROKEN
        finally:
            self.calls -= 1

    async def prefill(self, messages: Any, **more: Any) -> Ending | None:
        with contextlib.suppress(EngineError):  # it is a hint, and never raises
            await self.trouble()
            return await super().prefill(messages, **more)
        return None


@dataclass
class Speaker(FakeVoice):
    trouble: Trouble = field(default_factory=Trouble)

    async def speak(self, text: str, **options: Any) -> AsyncGenerator[Audio, None]:
        await self.trouble()
        async with aclosing(super().speak(text, **options)) as pieces:
            async for piece in pieces:
                yield piece


@dataclass(frozen=True)
class Cleared:
    """The client threw away what it had said: of that speech no end is told."""


Log = list[tuple[float, Event | Cleared, str]]


class Told(Connection):
    """Notes what the session tells, and tells it on."""

    def __init__(self, fakes: Fakes, settings: SessionSettings, extended: bool) -> None:
        self.log: Log = []
        defaults = Defaults(settings, "fake", "fake", ("one",))
        super().__init__(fakes.engines(), defaults, self._sent, extended=extended, longest_message=1 << 20)

    def _sent(self, message: Outgoing) -> None:
        pass

    def _on_event(self, event: Event) -> None:
        self.log.append((asyncio.get_running_loop().time(), event, self.session.settings.interruption))
        super()._on_event(event)


class Complaints(logging.Handler):
    """An exception that nobody expected is a bug, even where it was survived."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


def check(log: Log) -> None:
    """The order of events is legal."""
    active: str | None = None
    seen: set[str] = set()
    ended: set[str] = set()
    silenced = False
    low: dict[str, bool] = {}
    speech: str | None = None
    spoken: set[str] = set()
    committed: dict[str, int] = {}
    for place, (_, event, mode) in enumerate(log):
        for name in ("item_id", "response_id"):
            assert getattr(event, name, "x"), f"{event} has no {name}"
        match event:
            case events.SpeechStarted():
                assert event.item_id not in spoken
                speech = event.item_id
                spoken.add(speech)
                silenced = mode != "off"
            case events.SpeechStopped():
                assert event.item_id == speech or speech is None, "of another speech"
                assert speech is not None, "nobody spoke"
                speech = None
            case Cleared():
                speech = None
            case events.PartialTranscript() | events.EndpointingEstimated():
                assert event.item_id in spoken or speech is None
            case events.InputCommitted():
                assert event.item_id not in committed
                committed[event.item_id] = 0
                assert log[place + 1 : place + 2] == [] or isinstance(log[place + 1][1], events.ItemAdded)
            case events.TranscriptionCompleted() | events.TranscriptionFailed():
                assert committed.get(event.item_id, 0) == 0, "told twice"
                committed[event.item_id] = 1
            case events.TurnRetracted():
                assert committed.pop(event.item_id) == 1
            case events.ResponseStarted():
                assert active is None, "two replies at a time"
                assert event.response_id not in seen
                active, silenced = event.response_id, False
                seen.add(active)
            case events.ResponseText() | events.ResponseAudio():
                assert event.response_id == active, f"{type(event).__name__} of a reply that is not being given"
                assert not silenced, "they spoke, and still it sounded"
            case events.ResponseEnded():
                assert event.response_id == active
                active = None
                ended.add(event.response_id)
            case events.ResponseDucked():
                assert not low.get(event.response_id)
                assert event.response_id in seen
                low[event.response_id] = True
            case events.ResponseUnducked():
                assert low.pop(event.response_id), "it was not low"


def undecided(log: Log) -> bool:
    """A reply was lowered, and nothing was decided since."""
    names = [type(event) for _, event, _ in log]
    last = max((place for place, kind in enumerate(names) if kind is events.ResponseDucked), default=-1)
    return last >= 0 and not {events.ResponseUnducked, events.SpeechStarted} & set(names[last:])


class Races(RuleBasedStateMachine):
    """One conversation; every rule is a step of the person, the client or the world."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.complaints = Complaints()
        logging.getLogger().addHandler(self.complaints)
        self.troubles: dict[str, Trouble] = {}
        self.reported = False
        self.manual = False
        self.told: Told | None = None
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        self.vad, self.judge, self.ear, self.chat, self.voice = Vad(), Judge(), Ear(), Chat(), Speaker()
        self.chat.answer = ANSWERS[1]
        self.chat.sentence_end = lambda words: 0.97 if words.endswith(("there", "Stop.", "on", "again")) else 0.02
        fakes = Fakes(self.vad, self.judge, self.ear, self.chat, self.voice)
        self.troubles = {name: getattr(self, name).trouble for name in ("vad", "judge", "ear", "chat", "voice")}
        self.told = Told(fakes, SessionSettings(instructions="Be brief."), extended=True)
        self.session = self.told.session
        self.running = asyncio.create_task(self.told.run())
        await asyncio.sleep(0)

    # --- the person ----------------------------------------------------------------------------------------------

    async def _send(self, audio: Audio) -> None:
        size = round(FRAME_S * WIRE_RATE)
        for place in range(0, len(audio.pcm), size):
            with contextlib.suppress(Refused):
                self.session.append_audio(Audio(audio.pcm[place : place + size], WIRE_RATE))
            await asyncio.sleep(FRAME_S)

    @rule(words=st.sampled_from(SAID), seconds=st.sampled_from((0.05, 0.15, 0.3, 0.6, 1.0)))
    def say(self, words: str, seconds: float) -> None:
        self.ear.words = words.split()
        self.runner.run(self._send(loud(seconds)))

    @rule(seconds=st.sampled_from((0.03, 0.1, 0.15, 0.25, 0.5, 1.0)))
    def pause(self, seconds: float) -> None:
        self.runner.run(self._send(silence(seconds, WIRE_RATE)))

    @rule(words=st.sampled_from(SAID), seconds=st.sampled_from((0.2, 0.4, 0.8)), after=st.sampled_from((0.2, 0.4, 0.8)))
    def turn(self, words: str, seconds: float, after: float) -> None:
        self.say(words, seconds)
        self.pause(after)

    @rule(seconds=st.sampled_from((0.05, 2.0, 12.0)))
    def nothing_comes_for_a_while(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    # --- the client ----------------------------------------------------------------------------------------------

    def _do(self, act: Callable[[], Any]) -> None:
        async def once() -> None:
            with contextlib.suppress(Refused):
                act()

        self.runner.run(once())

    def _clear(self) -> None:
        assert self.told
        self.session.clear()
        self.told.log.append((asyncio.get_running_loop().time(), Cleared(), self.session.settings.interruption))

    @rule(act=st.sampled_from(("create_response", "cancel_response", "commit", "clear")))
    def client(self, act: str) -> None:
        self._do(self._clear if act == "clear" else getattr(self.session, act))

    @rule()
    def commit_and_respond(self) -> None:
        self._do(self.session.commit)
        self._do(self.session.create_response)

    @rule(ms=st.sampled_from((0, 300, 5000)), how=st.sampled_from(("truncate", "report_played")))
    def report(self, ms: int, how: str) -> None:
        if reply := self.session.last_response:
            self.reported = True
            self._do(lambda: getattr(self.session.items, how)(reply.item_id, ms))

    @rule(last=st.booleans())
    def delete(self, last: bool) -> None:
        items = [entry.item_id for entry in self.session.history]
        if items:
            self._do(lambda: self.session.items.delete(items[-1 if last else 0]))

    @rule(sound=st.booleans())
    def add(self, sound: bool) -> None:
        audio = loud(0.4).resampled(LISTEN_RATE) if sound else None
        name = f"mine{len(self.told.log if self.told else [])}_{sum(1 for _ in self.session.history)}"
        self._do(
            lambda: self.session.items.add(MessageItem(name, "user", "" if sound else "And this.", audio, spoken=sound))
        )

    @rule(
        change=st.sampled_from(
            (
                {"interruption": "speech"},
                {"interruption": "off"},
                {"interruption": "words"},
                {"instructions": "Be kind."},
                {"listening": ListenerSettings(automatic=False)},
                {"listening": ListenerSettings(endpointer=Endpointer(fixed_s=0.2))},
                {"listening": ListenerSettings(language="sw")},
                {"audio": False},
                {"idle_s": 5.0},
                {"drafts": False},
                {"create_response": False},
                {"client_ducks": False, "send_ahead_s": 0.12},
            )
        )
    )
    def update(self, change: dict[str, Any]) -> None:
        self._do(lambda: self.session.update(replace(self.session.settings, **change)))

    # --- the world -----------------------------------------------------------------------------------------------

    @rule(
        engine=st.sampled_from(("vad", "judge", "ear", "chat", "voice")),
        how=st.sampled_from(("fails", "hangs", "slow")),
    )
    def trouble(self, engine: str, how: How) -> None:
        self.troubles[engine].how = how

    @rule()
    def mend(self) -> None:
        for trouble in self.troubles.values():
            trouble.how = "works"

    @rule(answer=st.sampled_from(ANSWERS))
    def answer(self, answer: str) -> None:
        self.chat.answer = answer

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def events_are_legal(self) -> None:
        if self.told:
            check(self.told.log)
            assert not self.running.done(), "the session ended by itself"
            assert not self.complaints.messages

    def teardown(self) -> None:
        try:
            self.runner.run(self._comes_back())
        finally:
            logging.getLogger().removeHandler(self.complaints)
            self.runner.close()

    async def _comes_back(self) -> None:
        assert self.told
        try:
            self.mend()
            self.session.update(SessionSettings(instructions="Be brief."))
            await asyncio.sleep(35)  # what hangs is given up
            await self._quiet()
            assert not undecided(self.told.log)
            self._remembers_what_was_heard()
            self.chat.answer, self.ear.words = "It is warm.", QUESTION.split()
            place = len(self.told.log)
            await self._send(loud(1.45))
            await self._send(silence(LONGEST_S["auto"] + 0.2, WIRE_RATE))
            await self._quiet()
            new = [event for _, event, _ in self.told.log[place:]]
            assert [event.text for event in new if isinstance(event, events.TranscriptionCompleted)] == [QUESTION]
            (ended,) = [event for event in new if isinstance(event, events.ResponseEnded)]
            assert ended.status == "completed"
            assert "".join(event.text for event in new if isinstance(event, events.ResponseText)) == "It is warm."
            assert sum(event.audio.seconds for event in new if isinstance(event, events.ResponseAudio)) > 0.4
            self.events_are_legal()
        finally:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks were left behind: {left}"
        assert self.chat.calls == 0, "a model was left writing"

    async def _quiet(self) -> None:
        """Until nothing is under way any more: it must not take long."""
        assert self.told
        for _ in range(100):
            place = len(self.told.log)
            await self._send(silence(0.64, WIRE_RATE))
            kinds = [type(event) for _, event, _ in self.told.log]
            if len(self.told.log) == place and kinds.count(events.ResponseStarted) == kinds.count(events.ResponseEnded):
                return
        raise AssertionError(f"it never came to rest: {[type(event).__name__ for _, event, _ in self.told.log[-20:]]}")

    def _remembers_what_was_heard(self) -> None:
        assert self.told
        roles = [message["role"] for message in self.session.history.prompt("")]
        assert all(one != other for one, other in pairwise(roles)), roles
        for entry in self.session.history:
            if not isinstance(entry, Response):
                continue
            assert entry.text.split()[: len(entry.heard_text.split())] == entry.heard_text.split()
            assert entry.playout.played <= entry.playout.sent
            if not entry.options.audio or self.reported:
                continue
            told = [
                (at, event) for at, event, _ in self.told.log if getattr(event, "response_id", "") == entry.response_id
            ]
            sounded = [at for at, event in told if isinstance(event, events.ResponseAudio)]
            ended = next(at for at, event in told if isinstance(event, events.ResponseEnded))
            if not sounded:
                assert not entry.heard_text
            elif entry.status == "cancelled":
                assert len(entry.heard_text) <= (ended - sounded[0]) * 20 + 12, "20 characters a second, to a word"


class LongRaces(Races):
    """The same with other conversations in each run."""


ALIKE = settings(
    max_examples=60,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRaces = Races.TestCase
TestRaces.settings = ALIKE
TestLongRaces = pytest.mark.long(LongRaces.TestCase)
TestLongRaces.settings = settings(ALIKE, max_examples=300, derandomize=False)
