"""One client's side of a conversation: its messages in, the server's messages out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from openai.types.realtime import ConversationItemCreateEvent, ResponseCreateEvent

from chinwag.audio import Audio
from chinwag.conversation import events
from chinwag.conversation.history import Item
from chinwag.conversation.response import SEND_AHEAD_S, Response
from chinwag.conversation.session import Session
from chinwag.conversation.tool_items import McpItem
from chinwag.engines.protocols import Engines, Task
from chinwag.errors import ChinwagError, EngineError, Refused
from chinwag.ids import new_id
from chinwag.realtime import client_events as inbound
from chinwag.realtime import conversation_items as items
from chinwag.realtime import extensions as live
from chinwag.realtime import server_events as outbound
from chinwag.realtime import track as loudspeaker
from chinwag.realtime.audio_format import InputDecoder
from chinwag.realtime.response_events import ResponseEvents, ResponseRequest
from chinwag.realtime.session_config import Defaults, Kind, SessionConfig, transcription_only
from chinwag.realtime.tool_events import ToolCallEvents, ToolCallWriting, ToolProgress
from chinwag.realtime.track import PlayoutTrack

STOCK_SEND_AHEAD_S = 0.12
"""A stock client cannot lower what it was sent: that much of a reply still sounds when somebody interrupts it."""

AUTOMATIC_EVENTS = frozenset({"input_audio_buffer.append", "chinwag.playback", "chinwag.playout", "chinwag.ping"})
"""What a client sends while nobody does anything."""


class EngineSelector(Protocol):
    """Who changes the engines of a session."""

    def request(self, wanted: Any, event_id: str | None) -> None:
        """The client wants these. Raises Refused for what cannot be asked."""
        ...

    def offer(self, engine: str, *tasks: Task) -> outbound.Offer:
        """What could stand in for the engine that failed at one of the tasks; None where nothing can."""
        ...


class ConversationRecorder(Protocol):
    """Who keeps what is said in a conversation. entries: what was said in it before."""

    id: str
    entries: list[Item]

    @property
    def shown(self) -> dict[str, object]:
        """As `chinwag.conversation` tells it."""
        ...

    def told(self, event: events.Event) -> None:
        """What happens in the session."""
        ...

    async def run(self, connection: Connection) -> None:
        """Keep what is said there, until cancelled."""
        ...

    def close(self) -> None:
        """The session is over."""
        ...


class Connection:
    """Speaks the protocol for one session.

    send: takes each message for the client, in order; it must not block and must not raise.
    extended: the client asked for `chinwag.*` events. binary: and for sound as binary frames. by_track: sound does not
    come and go in messages but by media tracks, out of `loudspeaker` and into `hear`. longest_message: bytes of a
    message that are taken. opening: a checked `session.update` that it begins with, from a client secret. kind: whether
    the session begins as one that is answered, or only transcribed. choice: changes the engines when the client asks;
    None where it may not. keeper: keeps what is said, and knows what was said before. acknowledged: is told how many
    messages the client has got, and tells how many it has sent. observer: is told of all that happens; it must not
    raise.
    """

    def __init__(
        self,
        engines: Engines,
        defaults: Defaults,
        send: Callable[[outbound.Outgoing], None],
        *,
        extended: bool = False,
        binary: bool = False,
        by_track: bool = False,
        longest_message: int,
        opening: dict[str, Any] | None = None,
        kind: Kind = "realtime",
        choice: EngineSelector | None = None,
        keeper: ConversationRecorder | None = None,
        acknowledged: Callable[[int], int] | None = None,
        observer: Callable[[events.Event], None] | None = None,
    ) -> None:
        self._acknowledged, self._observer = acknowledged, observer
        self._greeted = False
        self._send, self._extended = send, extended or binary
        self._longest = longest_message
        # a client that was not asked for its own volume is sent little ahead, so that what is lowered is soon heard
        send_ahead_s = loudspeaker.SEND_AHEAD_S if by_track else SEND_AHEAD_S if self._extended else STOCK_SEND_AHEAD_S
        self._own: dict[str, Any] = {"send_ahead_s": send_ahead_s, "client_ducks": self._extended or by_track}
        self._choice = choice
        if keeper and keeper.entries:  # it is not the beginning
            self._own["greeting"] = ""
        defaults = defaults.with_settings(**self._own)
        begins = transcription_only(defaults.settings) if kind == "transcription" else defaults.settings
        self.session = Session(engines, begins, self._told)
        self._configuration = SessionConfig(self.session.id, defaults, kind)
        if opening:
            self._take(opening)
        self._longest_s, self._over_at = defaults.max_duration_s, math.inf
        self._silent_s, self._active_at = defaults.idle_timeout_s, 0.0
        self._lasts: asyncio.Timeout | None = None
        minutes = f"{self._longest_s / 60:g}"
        message = f"Your session hit the maximum duration of {minutes} minutes."
        self.ends_for = Refused("session_expired", message, "Connect again.")
        self._keeper = keeper
        self._conversation = keeper.id if keeper else new_id("conv")
        for entry in keeper.entries if keeper else ():
            self.session.history.add(entry)
        self._incoming = InputDecoder(self._configuration.input_format)
        self._buffer_full = False
        self.loudspeaker = (
            PlayoutTrack(self._tell, asyncio.get_running_loop().time, mutes=extended) if by_track else None
        )
        self._calls = ToolCallEvents(self.session, self._tell)
        self._responses = ResponseEvents(
            self.session,
            self._tell,
            send,
            binary=binary,
            conversation=self._conversation,
            calls=self._calls,
            loudspeaker=self.loudspeaker,
            offer=self._offer,
        )

    async def run(self) -> None:
        """Greet, then hold the conversation until cancelled, or until it has lasted as long as one may."""
        self._over_at = asyncio.get_running_loop().time() + self._longest_s
        if not self._greeted:
            self.announce()
        kept = self._keeper
        keeping = asyncio.create_task(kept.run(self)) if kept else None
        watching = asyncio.create_task(self._end_when_silent(self._silent_s)) if self._silent_s else None
        try:
            async with asyncio.timeout_at(self._over_at) as self._lasts:
                await self.session.run()
        except TimeoutError:
            if not (self._lasts and self._lasts.expired()):
                raise
            self._send(outbound.error(self.ends_for, None))
        finally:
            if watching:
                watching.cancel()
            if kept and keeping:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                kept.close()

    def end(self, why: Refused) -> None:
        """Tell the client why, and hold the conversation no longer."""
        self.ends_for, self._over_at = why, asyncio.get_running_loop().time()
        if self._lasts and not self._lasts.expired():
            self._lasts.reschedule(self._over_at)

    def drain(self, within_s: float) -> None:
        """The server will stop by then: let what is being said come to the end of its sentence."""
        self.send_extension("chinwag.restarting", within_ms=round(within_s * 1000))
        self.session.drain()

    @property
    def at_rest(self) -> bool:
        """Nobody speaks, nothing is about to be said, and what was said has been heard."""
        return self.session.at_rest and (self.loudspeaker is None or self.loudspeaker.at_rest)

    async def _end_when_silent(self, silent_s: float) -> None:
        loop = asyncio.get_running_loop()
        left_s = silent_s
        self._active_at = loop.time()
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._active_at + silent_s - loop.time()
        message = f"Nobody has said anything for {silent_s / 60:g} minutes."
        self.end(Refused("session_idle", message, "Connect again."))

    def announce(self) -> None:
        """Tell the session as it is now, and what was said in it."""
        self._greeted = True
        self._tell("session.created", session=self._configuration.session_object)
        kept = self._keeper
        unkept = {"id": self._conversation, "title": "", "kept": False}
        self.send_extension("chinwag.conversation", conversation=kept.shown if kept else unkept)
        previous = None
        for entry in self.session.history:
            if entry.announced and not (isinstance(entry, Response) and not entry.heard_text):
                told = outbound.wire_item(entry, heard=True)
                for kind in ("conversation.item.added", "conversation.item.done"):
                    self._tell(kind, previous_item_id=previous, item=told)
                previous = entry.item_id

    def resync(self, gone_since: float) -> None:
        """The client has lost what it knew, and was silent since then, on the loop's clock: tell it all there is."""
        self.session.stop_at(gone_since)
        self._incoming.flush()
        self.announce()

    # --- in --------------------------------------------------------------------------------------------------

    def receive_bytes(self, data: bytes) -> None:
        """A binary frame: sound, as input_audio_buffer.append carries it. Whatever is wrong with it is told."""
        if not self._over:
            self._guard(None, len(data), lambda: self.session.append_audio(self._incoming.push(data)))

    def receive_text(self, data: str) -> None:
        """A client event. Whatever is wrong with it is told in an `error` event, and the connection lives on."""
        if self._over:
            return
        try:
            self._check_size(len(data))
            kind, event = inbound.parse(data)
        except Refused as refused:
            self._send(outbound.error(refused, None))
            return
        event_id = event.get("event_id")
        event_id = event_id if isinstance(event_id, str) else None
        self._guard(event_id, 0, lambda: self._obey(kind, event))

    @property
    def _over(self) -> bool:
        """It has expired: what comes while the last words go out would begin a reply that nobody ends."""
        return asyncio.get_running_loop().time() >= self._over_at

    def append_audio(self, audio: Audio) -> None:
        """Sound of a media track, 24 kHz. A buffer that is full is told once, as a track cannot be refused."""
        try:
            self.session.append_audio(audio)
            self._buffer_full = False
        except Refused as refused:
            if not self._buffer_full:
                self._buffer_full = True
                self._send(outbound.error(refused, None))

    def configure(self, session: dict[str, Any]) -> None:
        """Begin with that session object, as a session.update would take it. Raises Refused, or EngineError."""
        checked = inbound.check("session.update", {"type": "session.update", "session": session}, "realtime")
        self._take(checked.session.model_dump(exclude_unset=True))

    def _take(self, update: dict[str, Any]) -> None:
        """Go on with a session object's update: whole, or not at all. Raises Refused, or EngineError."""
        configuration, settings = self._configuration.with_update(update)
        self.session.update(settings)
        self._configuration = configuration

    def _guard(self, event_id: str | None, size: int, act: Callable[[], None]) -> None:
        try:
            self._check_size(size)
            act()
        except Refused as refused:
            self._send(outbound.error(refused, event_id))
        except ChinwagError as error:
            self._send(outbound.error(Refused("invalid_value", error.message, error.fix), event_id))

    def _check_size(self, size: int) -> None:
        if size > self._longest:
            message = f"The message has {size} bytes; at most {self._longest} are taken."
            raise Refused("message_too_large", message, "Send the sound in smaller pieces.")

    def _obey(self, kind: str, event: dict[str, Any]) -> None:
        if kind not in AUTOMATIC_EVENTS:
            self._active_at = asyncio.get_running_loop().time()
        told = {
            "chinwag.playback": self._playback,
            "chinwag.playout": self._playout,
            "chinwag.detector": self._detector,
            "chinwag.engines.update": self._choose,
            "chinwag.ping": self._ping,
            "chinwag.session.update": self._live_update,
        }
        if own := told.get(kind):
            own(event)
            return
        checked = inbound.check(kind, event, self._configuration.kind)
        session = self.session
        match kind:
            case "session.update":
                self._configuration_update(checked.session.model_dump(exclude_unset=True))
            case "input_audio_buffer.append":
                session.append_audio(self._incoming.push(inbound.decode_base64(checked.audio, "audio")))
            case "input_audio_buffer.commit":
                self._hear_rest()
                session.commit()
            case "input_audio_buffer.clear":
                self._incoming.flush()
                session.clear()
                self._tell("input_audio_buffer.cleared")
            case "conversation.item.create":
                self._create_item(checked)
            case "conversation.item.retrieve":
                entry = session.items.find(checked.item_id)
                self._tell("conversation.item.retrieved", item=outbound.wire_item(entry, sound=self._incoming.form))
            case "conversation.item.delete":
                session.items.delete(checked.item_id)
                self._tell("conversation.item.deleted", item_id=checked.item_id)
            case "conversation.item.truncate":
                session.items.truncate(checked.item_id, checked.audio_end_ms)
                fields = {
                    "item_id": checked.item_id,
                    "content_index": 0,
                    "audio_end_ms": checked.audio_end_ms,
                }
                self._tell("conversation.item.truncated", **fields)
            case "response.create":
                self._create_response(checked)
            case "response.cancel":
                self._cancel(checked.response_id)
            case "output_audio_buffer.clear" if self.loudspeaker:
                self.loudspeaker.clear()
            case _:
                raise Refused("unsupported_event", f"{kind!r} is for WebRTC and SIP calls only.", param="type")

    def _configuration_update(self, update: dict[str, Any]) -> None:
        self._take(update)
        if self._configuration.kind == "transcription":
            self.session.cancel_response()
        if self._configuration.input_format is not self._incoming.form:
            self._hear_rest()
            self._incoming = InputDecoder(self._configuration.input_format)
        self._tell("session.updated", session=self._configuration.session_object)

    def _hear_rest(self) -> None:
        """What the resampler holds back belongs to what came before."""
        with suppress(Refused):  # the buffer was full
            self.session.append_audio(self._incoming.flush())

    def _create_item(self, checked: ConversationItemCreateEvent) -> None:
        item: Any = checked.item
        if item.type == "mcp_approval_response":
            answer = McpItem(item.id, item.model_dump(exclude={"id"}, exclude_none=True))
            self.session.items.approve(answer, checked.previous_item_id)
        else:
            self.session.items.add(items.read_item(item, "item", self._incoming.form), checked.previous_item_id)

    def _create_response(self, checked: ResponseCreateEvent) -> None:
        asked: Any = checked.response
        known = asked.model_dump(exclude_unset=True, exclude={"input"}) if asked else {}
        settings, form = self._configuration.for_response(known)
        context: list[Item] | None = None
        if asked and asked.input is not None:
            context = items.read_context(asked.input, self.session.history, self._incoming.form)
        tag = ResponseRequest(asked.metadata if asked else None, form, bool(asked and asked.conversation == "none"))
        self.session.create_response(settings, tag, context=context, aside=tag.aside)

    def _cancel(self, response_id: str | None) -> None:
        if not self.session.cancel_response(response_id=response_id):
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found.")

    def _playback(self, event: dict[str, Any]) -> None:
        item_id, played = event.get("item_id"), event.get("played_ms")
        if not isinstance(item_id, str) or not isinstance(played, int | float) or not math.isfinite(played):
            raise Refused("invalid_type", "chinwag.playback has an item_id and a number of played_ms.")
        self.session.items.report_played(item_id, int(played))

    def _playout(self, event: dict[str, Any]) -> None:
        """How long a track's sound waits at the client's end before it is heard."""
        delay = event.get("delay_ms")
        if self.loudspeaker is None:
            raise Refused("unsupported_event", "'chinwag.playout' is for WebRTC calls only.", param="type")
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < 60_000:
            raise Refused("invalid_type", "chinwag.playout has a delay_ms, a number of milliseconds.", param="delay_ms")
        self.loudspeaker.client_delay_s = delay / 1000

    def _detector(self, event: dict[str, Any]) -> None:
        """For comparisons: have the turns found by the ear's judge alone, or by all there is."""
        detector = event.get("detector")
        if detector not in ("all", "ear"):
            raise Refused("invalid_value", "chinwag.detector has a detector: 'all' or 'ear'.", param="detector")
        self._configuration.detector = detector
        settings = self.session.settings
        self.session.update(replace(settings, listening=replace(settings.listening, detector=detector)))

    def _ping(self, event: dict[str, Any]) -> None:
        """The client wants to know whether the line is there, and what it need not keep."""
        received = event.get("received")
        if isinstance(received, bool) or not isinstance(received, int) or received < 0:
            raise Refused("invalid_type", "chinwag.ping has a received, a number of messages.", param="received")
        self._tell("chinwag.pong", received=self._acknowledged(received) if self._acknowledged else None)

    def _live_update(self, event: dict[str, Any]) -> None:
        """What the protocol's own session.update has no field for."""
        asked, before = live.read_fields(event.get("session")), self._configuration
        after, settings = before.with_extensions(asked)
        try:
            self.session.update(settings)
        except EngineError as error:  # it cannot hear or speak the language
            param = f"session.{'language' if 'language' in asked else 'assistant'}"
            raise Refused("invalid_value", error.message, error.fix, param) from error
        self._configuration = after
        if after.wire != before.wire:
            self._tell("session.updated", session=after.session_object)
        self._tell("chinwag.session.updated", session=after.extension_fields)
        if after.assistant != before.assistant:
            self.session.greet()

    def _choose(self, event: dict[str, Any]) -> None:
        if self._choice is None:
            fix = "Ask whoever runs it to set another engine."
            raise Refused("unsupported_event", "The engines of this session cannot be changed.", fix, "type")
        event_id = event.get("event_id")
        self._choice.request(event.get("engines"), event_id if isinstance(event_id, str) else None)

    def change_engines(self, engines: Engines, defaults: Defaults, voice: str | None) -> None:
        """Go on with other engines. voice: empty for the engine's own, None for the one there is.

        Raises Refused, or EngineError; then nothing has changed.
        """
        defaults = defaults.with_settings(**self._own)
        configuration, settings = self._configuration.with_engines(defaults, voice)
        self.session.change_engines(engines, settings)
        self._configuration = configuration
        self._tell("session.updated", session=configuration.session_object)

    @property
    def voice(self) -> str:
        """That it is answered with, as the session object has it."""
        voice = self._configuration.wire["audio"]["output"]["voice"]
        return str(voice["id"] if isinstance(voice, dict) else voice)

    def send_extension(self, kind: str, **fields: Any) -> None:
        """A `chinwag.*` event, to a client that asked for them."""
        if self._extended:
            self._tell(kind, **fields)

    def send_fault(self, code: str, message: str) -> None:
        """Something failed, and the conversation goes on."""
        self._send(outbound.server_error(code, message))

    def send_error(self, refused: Refused, event_id: str | None, offer: outbound.Offer = None) -> None:
        """What was asked with that event cannot be."""
        self._send(outbound.error(refused, event_id, offer))

    # --- out -------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, **fields: Any) -> None:
        self._send(outbound.make_event(kind, **fields))

    def _told(self, event: events.Event) -> None:
        """What the session tells, as server events in the order the official server sends them."""
        if self._observer:
            self._observer(event)
        if self._keeper:
            self._keeper.told(event)
        if self.loudspeaker and isinstance(event, events.ResponseDucked | events.ResponseUnducked):
            self.loudspeaker.duck(low=isinstance(event, events.ResponseDucked))
        if own := outbound.extension_event(event):
            if self._extended:
                self._send(own)
            return
        if isinstance(event, ToolCallWriting):
            self._responses.written(event)
        elif isinstance(event, ToolProgress):
            self._calls.on_progress(event)
        else:
            self._tell_of(event)

    def _tell_of(self, event: events.Event) -> None:
        match event:
            case events.SpeechStarted():
                self._active_at = asyncio.get_running_loop().time()
                self._tell("input_audio_buffer.speech_started", audio_start_ms=event.at_ms, item_id=event.item_id)
            case events.SpeechStopped():
                self._tell("input_audio_buffer.speech_stopped", audio_end_ms=event.at_ms, item_id=event.item_id)
            case events.TurnRetracted():
                self._tell("conversation.item.deleted", item_id=event.item_id)
            case events.IdleTimeoutReached():
                where = {"audio_start_ms": event.start_ms, "audio_end_ms": event.end_ms, "item_id": event.item_id}
                self._tell("input_audio_buffer.timeout_triggered", **where)
            case events.InputCommitted():
                self._tell("input_audio_buffer.committed", item_id=event.item_id, previous_item_id=event.previous_id)
            case events.ItemAdded():
                item = outbound.wire_item(self.session.items.find(event.item_id))
                self._tell("conversation.item.added", item=item, previous_item_id=event.previous_id)
                if event.done:
                    self._tell("conversation.item.done", item=item, previous_item_id=event.previous_id)
            case events.TranscriptionCompleted():
                self._transcribed(event)
            case events.TranscriptionFailed():
                error = {
                    "type": "server_error",
                    "code": "transcription_failed",
                    "message": event.message,
                    "param": None,
                }
                kind = "conversation.item.input_audio_transcription.failed"
                self._tell(kind, item_id=event.item_id, content_index=0, error=error)
            case events.ResponseStarted():
                self._responses.started(event, self._configuration.output_format)
            case events.ResponseText():
                self._responses.text(event)
            case events.ResponseAudio():
                self._responses.audio(event)
            case events.ResponseEnded():
                self._responses.ended(event)
            case events.ErrorOccurred():
                self._send(outbound.server_error(event.code, event.message, self._offer(event.engine, "stt")))

    def _offer(self, engine: str, *tasks: Task) -> outbound.Offer:
        return self._choice.offer(engine, *tasks) if self._choice and self._extended and engine else None

    def _transcribed(self, event: events.TranscriptionCompleted) -> None:
        if not self._configuration.transcribes:
            return
        kind = "conversation.item.input_audio_transcription"
        where = {"item_id": event.item_id, "content_index": 0}
        if event.text:
            self._tell(f"{kind}.delta", delta=event.text, **where)
        usage = {"type": "duration", "seconds": round(event.seconds, 3)}
        self._tell(f"{kind}.completed", transcript=event.text, usage=usage, **where)
