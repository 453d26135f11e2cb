"""One client's connection to a session: client events in, server events out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Protocol

from chinwag.audio import Audio
from chinwag.conversation import events
from chinwag.conversation.history import Item
from chinwag.conversation.response import Response
from chinwag.conversation.session import Session
from chinwag.conversation.settings import SEND_AHEAD_S
from chinwag.engines.protocols import Engines, Task
from chinwag.errors import ChinwagError, Refused
from chinwag.ids import new_id
from chinwag.realtime import client_events as inbound
from chinwag.realtime import server_events as outbound
from chinwag.realtime import track
from chinwag.realtime.client_event_handler import ClientEventHandler, EngineSelector
from chinwag.realtime.response_events import ResponseEvents
from chinwag.realtime.session_config import Defaults, Kind, SessionConfig, transcription_only
from chinwag.realtime.session_updates import SessionUpdates
from chinwag.realtime.tool_events import ToolCallEvents, ToolCallWriting, ToolProgress
from chinwag.realtime.track import PlayoutTrack

STOCK_SEND_AHEAD_S = 0.12
"""Seconds of audio sent ahead to a stock client, which cannot duck what it already has."""

AUTOMATIC_EVENTS = frozenset({"input_audio_buffer.append", "chinwag.playback", "chinwag.playout", "chinwag.ping"})
"""Events that a client sends without any activity of the user."""


class ConversationRecorder(Protocol):
    """Saves a conversation. entries: the items from before this session."""

    id: str
    entries: list[Item]

    @property
    def extension_fields(self) -> dict[str, object]:
        """The fields of `chinwag.conversation`."""
        ...

    def on_event(self, event: events.Event) -> None:
        """Receive a session event."""
        ...

    async def run(self, connection: Connection) -> None:
        """Save the conversation of that connection until cancelled."""
        ...

    def close(self) -> None:
        """Release the conversation; the session is over."""
        ...


class Connection:
    """The server's side of the protocol for one session.

    send: takes each message for the client, in order; it must not block or raise.
    extended: the client asked for `chinwag.*` events. binary: and for audio as binary frames.
    by_track: audio comes through `append_audio` and goes out through `playout_track`, not in messages.
    longest_message: the largest accepted message in bytes.
    opening: a checked `session.update` from a client secret, applied first.
    kind: whether the session begins as a conversation or only transcribes.
    engine_selector: changes engines when the client asks; None if the client may not change them.
    recorder: saves the conversation, and has its earlier items.
    acknowledge: takes the number of messages that the client has received and returns how many it has sent.
    observer: receives every session event; it must not raise.
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
        engine_selector: EngineSelector | None = None,
        recorder: ConversationRecorder | None = None,
        acknowledge: Callable[[int], int] | None = None,
        observer: Callable[[events.Event], None] | None = None,
    ) -> None:
        self._observer, self._recorder, self._engine_selector = observer, recorder, engine_selector
        self._announced = False
        self._send, self._extended = send, extended or binary
        self._longest_message = longest_message
        # a client that cannot duck gets audio late, so that ducking by the server is soon heard
        send_ahead_s = track.SEND_AHEAD_S if by_track else SEND_AHEAD_S if self._extended else STOCK_SEND_AHEAD_S
        self._overrides: dict[str, Any] = {"send_ahead_s": send_ahead_s, "client_ducks": self._extended or by_track}
        if recorder and recorder.entries:  # the conversation continues
            self._overrides["greeting"] = ""
        defaults = defaults.with_settings(**self._overrides)
        settings = transcription_only(defaults.settings) if kind == "transcription" else defaults.settings
        self.session = Session(engines, settings, self._on_event)
        config = SessionConfig(self.session.id, defaults, kind)
        self._updates = SessionUpdates(self.session, config, self._send_event)
        if opening:
            self._updates.apply(opening)
            self._updates.set_input_format()
        self._max_duration_s, self._ends_at = defaults.max_duration_s, math.inf
        self._idle_timeout_s, self._active_at = defaults.idle_timeout_s, 0.0
        self._timeout: asyncio.Timeout | None = None
        minutes = f"{self._max_duration_s / 60:g}"
        message = f"Your session hit the maximum duration of {minutes} minutes."
        self.end_reason = Refused("session_expired", message, "Connect again.")
        self._conversation_id = recorder.id if recorder else new_id("conv")
        for entry in recorder.entries if recorder else ():
            self.session.history.add(entry)
        self._buffer_full = False
        clock = asyncio.get_running_loop().time
        self.playout_track = PlayoutTrack(self._send_event, clock, mutes=extended) if by_track else None
        self._client_events = ClientEventHandler(
            self.session,
            self._updates,
            self._send_event,
            playout_track=self.playout_track,
            engine_selector=engine_selector,
            acknowledge=acknowledge,
        )
        self._tool_calls = ToolCallEvents(self.session, self._send_event)
        self._responses = ResponseEvents(
            self.session,
            self._send_event,
            send,
            binary=binary,
            conversation_id=self._conversation_id,
            tool_calls=self._tool_calls,
            playout_track=self.playout_track,
            offer=self._offer,
        )

    async def run(self) -> None:
        """Announce the session and run it until it is cancelled, ended, or reaches its maximum duration."""
        self._ends_at = asyncio.get_running_loop().time() + self._max_duration_s
        if not self._announced:
            self.announce()
        recorder = self._recorder
        recording = asyncio.create_task(recorder.run(self)) if recorder else None
        idle_timer = asyncio.create_task(self._end_when_idle(self._idle_timeout_s)) if self._idle_timeout_s else None
        try:
            async with asyncio.timeout_at(self._ends_at) as self._timeout:
                await self.session.run()
        except TimeoutError:
            if not (self._timeout and self._timeout.expired()):
                raise
            self._send(outbound.error(self.end_reason, None))
        finally:
            if idle_timer:
                idle_timer.cancel()
            if recorder and recording:
                recording.cancel()
                await asyncio.gather(recording, return_exceptions=True)
                recorder.close()

    def end(self, reason: Refused) -> None:
        """End the session and send the reason to the client."""
        self.end_reason, self._ends_at = reason, asyncio.get_running_loop().time()
        if self._timeout and not self._timeout.expired():
            self._timeout.reschedule(self._ends_at)

    def drain(self, within_s: float) -> None:
        """Let the current response end with its sentence: the server stops within that time."""
        self.send_extension("chinwag.restarting", within_ms=round(within_s * 1000))
        self.session.drain()

    @property
    def at_rest(self) -> bool:
        """Whether neither side speaks, no response is pending, and all audio has been heard."""
        return self.session.at_rest and (self.playout_track is None or self.playout_track.at_rest)

    async def _end_when_idle(self, idle_s: float) -> None:
        loop = asyncio.get_running_loop()
        left_s = idle_s
        self._active_at = loop.time()
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._active_at + idle_s - loop.time()
        message = f"Nobody has said anything for {idle_s / 60:g} minutes."
        self.end(Refused("session_idle", message, "Connect again."))

    def announce(self) -> None:
        """Send the session object and the items of the conversation so far."""
        self._announced = True
        self._send_event("session.created", session=self._updates.config.session_object)
        unrecorded = {"id": self._conversation_id, "title": "", "kept": False}
        conversation = self._recorder.extension_fields if self._recorder else unrecorded
        self.send_extension("chinwag.conversation", conversation=conversation)
        previous = None
        for entry in self.session.history:
            if entry.announced and not (isinstance(entry, Response) and not entry.heard_text):
                item = outbound.wire_item(entry, heard=True)
                for kind in ("conversation.item.added", "conversation.item.done"):
                    self._send_event(kind, previous_item_id=previous, item=item)
                previous = entry.item_id

    def resync(self, silent_since: float) -> None:
        """Send the whole state again to a client that lost it, and stop what it did not hear.

        silent_since: when the client was last connected, on the event loop's clock.
        """
        self.session.stop_at(silent_since)
        self._updates.input.flush()
        self.announce()

    # --- client to server ------------------------------------------------------------------------------------

    def receive_bytes(self, data: bytes) -> None:
        """Append a binary frame of audio, as in `input_audio_buffer.append`. Faults are sent as `error` events."""
        if not self._ended:
            self._run_checked(None, len(data), lambda: self.session.append_audio(self._updates.input.push(data)))

    def receive_text(self, data: str) -> None:
        """Carry out a client event. Faults are sent as `error` events; the connection continues."""
        if self._ended:
            return
        try:
            self._check_size(len(data))
            kind, event = inbound.parse(data)
        except Refused as refused:
            self._send(outbound.error(refused, None))
            return
        event_id = event.get("event_id")
        event_id = event_id if isinstance(event_id, str) else None
        self._run_checked(event_id, 0, lambda: self._handle(kind, event))

    @property
    def _ended(self) -> bool:
        """Whether the session has ended. An event that arrives later would begin a response without an end."""
        return asyncio.get_running_loop().time() >= self._ends_at

    def append_audio(self, audio: Audio) -> None:
        """Append audio of a media track, 24 kHz. A full buffer is reported once, as a track cannot be refused."""
        try:
            self.session.append_audio(audio)
            self._buffer_full = False
        except Refused as refused:
            if not self._buffer_full:
                self._buffer_full = True
                self._send(outbound.error(refused, None))

    def configure(self, session: dict[str, Any]) -> None:
        """Apply a session object at the start, as `session.update` does. Raises Refused or EngineError."""
        checked = inbound.check("session.update", {"type": "session.update", "session": session}, "realtime")
        self._updates.apply(checked.session.model_dump(exclude_unset=True))

    def _handle(self, kind: str, event: dict[str, Any]) -> None:
        if kind not in AUTOMATIC_EVENTS:
            self._active_at = asyncio.get_running_loop().time()
        self._client_events.handle(kind, event)

    def _run_checked(self, event_id: str | None, size: int, action: Callable[[], None]) -> None:
        try:
            self._check_size(size)
            action()
        except Refused as refused:
            self._send(outbound.error(refused, event_id))
        except ChinwagError as error:
            self._send(outbound.error(Refused("invalid_value", error.message, error.fix), event_id))

    def _check_size(self, size: int) -> None:
        if size > self._longest_message:
            message = f"The message has {size} bytes; the limit is {self._longest_message}."
            raise Refused("message_too_large", message, "Send the sound in smaller pieces.")

    def change_engines(self, engines: Engines, defaults: Defaults, voice: str | None) -> None:
        """Continue with other engines. voice: empty for the engine's own, None for the present one.

        Raises Refused or EngineError; then nothing has changed.
        """
        self._updates.change_engines(engines, defaults.with_settings(**self._overrides), voice)

    @property
    def voice(self) -> str:
        """The voice of the responses, as in the session object."""
        voice = self._updates.config.wire["audio"]["output"]["voice"]
        return str(voice["id"] if isinstance(voice, dict) else voice)

    def send_extension(self, kind: str, **fields: Any) -> None:
        """Send a `chinwag.*` event if the client asked for them."""
        if self._extended:
            self._send_event(kind, **fields)

    def send_fault(self, code: str, message: str) -> None:
        """Send an error of the server; the session continues."""
        self._send(outbound.server_error(code, message))

    def send_error(self, refused: Refused, event_id: str | None, offer: outbound.Offer = None) -> None:
        """Refuse the client event with that id."""
        self._send(outbound.error(refused, event_id, offer))

    # --- server to client ------------------------------------------------------------------------------------

    def _send_event(self, kind: str, **fields: Any) -> None:
        self._send(outbound.make_event(kind, **fields))

    def _on_event(self, event: events.Event) -> None:
        """Send a session event as server events, in the order of the official server."""
        if self._observer:
            self._observer(event)
        if self._recorder:
            self._recorder.on_event(event)
        if self.playout_track and isinstance(event, events.ResponseDucked | events.ResponseUnducked):
            self.playout_track.duck(low=isinstance(event, events.ResponseDucked))
        if extension := outbound.extension_event(event):
            if self._extended:
                self._send(extension)
            return
        if isinstance(event, ToolCallWriting):
            self._responses.on_writing(event)
        elif isinstance(event, ToolProgress):
            self._tool_calls.on_progress(event)
        else:
            self._send_session_event(event)

    def _send_session_event(self, event: events.Event) -> None:
        match event:
            case events.SpeechStarted():
                self._active_at = asyncio.get_running_loop().time()
                self._send_event("input_audio_buffer.speech_started", audio_start_ms=event.at_ms, item_id=event.item_id)
            case events.SpeechStopped():
                self._send_event("input_audio_buffer.speech_stopped", audio_end_ms=event.at_ms, item_id=event.item_id)
            case events.TurnRetracted():
                self._send_event("conversation.item.deleted", item_id=event.item_id)
            case events.IdleTimeoutReached():
                where = {"audio_start_ms": event.start_ms, "audio_end_ms": event.end_ms, "item_id": event.item_id}
                self._send_event("input_audio_buffer.timeout_triggered", **where)
            case events.InputCommitted():
                self._send_event(
                    "input_audio_buffer.committed", item_id=event.item_id, previous_item_id=event.previous_id
                )
            case events.ItemAdded():
                item = outbound.wire_item(self.session.items.find(event.item_id))
                self._send_event("conversation.item.added", item=item, previous_item_id=event.previous_id)
                if event.done:
                    self._send_event("conversation.item.done", item=item, previous_item_id=event.previous_id)
            case events.TranscriptionCompleted():
                self._send_transcript(event)
            case events.TranscriptionFailed():
                error = {
                    "type": "server_error",
                    "code": "transcription_failed",
                    "message": event.message,
                    "param": None,
                }
                kind = "conversation.item.input_audio_transcription.failed"
                self._send_event(kind, item_id=event.item_id, content_index=0, error=error)
            case events.ResponseStarted():
                self._responses.started(event, self._updates.config.output_format)
            case events.ResponseText():
                self._responses.text(event)
            case events.ResponseAudio():
                self._responses.audio(event)
            case events.ResponseEnded():
                self._responses.ended(event)
            case events.ErrorOccurred():
                self._send(outbound.server_error(event.code, event.message, self._offer(event.engine, "stt")))

    def _offer(self, engine: str, *tasks: Task) -> outbound.Offer:
        return (
            self._engine_selector.offer(engine, *tasks) if self._engine_selector and self._extended and engine else None
        )

    def _send_transcript(self, event: events.TranscriptionCompleted) -> None:
        if not self._updates.config.transcribes:
            return
        kind = "conversation.item.input_audio_transcription"
        where = {"item_id": event.item_id, "content_index": 0}
        if event.text:
            self._send_event(f"{kind}.delta", delta=event.text, **where)
        usage = {"type": "duration", "seconds": round(event.seconds, 3)}
        self._send_event(f"{kind}.completed", transcript=event.text, usage=usage, **where)
