"""Client events of a session: each is checked and carried out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from openai.types.realtime import ConversationItemCreateEvent, ResponseCreateEvent

from chinwag.conversation.history import Item
from chinwag.conversation.session import Session
from chinwag.conversation.tool_items import McpItem
from chinwag.engines.protocols import Task
from chinwag.errors import Refused
from chinwag.realtime import client_events as inbound
from chinwag.realtime import conversation_items as items
from chinwag.realtime import server_events as outbound
from chinwag.realtime.response_events import ResponseRequest
from chinwag.realtime.session_updates import SessionUpdates
from chinwag.realtime.tool_events import SendEvent
from chinwag.realtime.track import PlayoutTrack


class EngineSelector(Protocol):
    """Changes the engines of a session."""

    def request(self, wanted: Any, event_id: str | None) -> None:
        """Start a change to the engines that the client wants. Raises Refused if the request is invalid."""
        ...

    def offer(self, engine: str, *tasks: Task) -> outbound.Offer:
        """Propose a replacement for the engine that failed at one of the tasks; None if there is none."""
        ...


class ClientEventHandler:
    """Carries out the client events of one session.

    playout_track: only if audio goes out as a media track. engine_selector: None if the client may not change engines.
    acknowledge: takes the number of messages that the client has received and returns how many it has sent.
    """

    def __init__(
        self,
        session: Session,
        updates: SessionUpdates,
        send_event: SendEvent,
        *,
        playout_track: PlayoutTrack | None,
        engine_selector: EngineSelector | None,
        acknowledge: Callable[[int], int] | None,
    ) -> None:
        self._session, self._updates, self._send_event = session, updates, send_event
        self._playout_track, self._engine_selector = playout_track, engine_selector
        self._acknowledge = acknowledge
        self._extensions: dict[str, Callable[[dict[str, Any]], None]] = {
            "chinwag.playback": self._report_playback,
            "chinwag.playout": self._set_playout_delay,
            "chinwag.detector": updates.set_detector,
            "chinwag.engines.update": self._request_engines,
            "chinwag.ping": self._answer_ping,
            "chinwag.session.update": updates.update_extensions,
        }

    def handle(self, kind: str, event: dict[str, Any]) -> None:
        """Check an event and carry it out. Raises Refused, or another ChinwagError of the session."""
        if extension := self._extensions.get(kind):
            extension(event)
            return
        updates = self._updates
        checked = inbound.check(kind, event, updates.config.kind)
        session = self._session
        match kind:
            case "session.update":
                updates.update(checked.session.model_dump(exclude_unset=True))
            case "input_audio_buffer.append":
                session.append_audio(updates.input.push(inbound.decode_base64(checked.audio, "audio")))
            case "input_audio_buffer.commit":
                updates.flush_input()
                session.commit()
            case "input_audio_buffer.clear":
                updates.input.flush()
                session.clear()
                self._send_event("input_audio_buffer.cleared")
            case "conversation.item.create":
                self._create_item(checked)
            case "conversation.item.retrieve":
                entry = session.items.find(checked.item_id)
                self._send_event(
                    "conversation.item.retrieved", item=outbound.wire_item(entry, sound=updates.input.form)
                )
            case "conversation.item.delete":
                session.items.delete(checked.item_id)
                self._send_event("conversation.item.deleted", item_id=checked.item_id)
            case "conversation.item.truncate":
                session.items.truncate(checked.item_id, checked.audio_end_ms)
                fields = {
                    "item_id": checked.item_id,
                    "content_index": 0,
                    "audio_end_ms": checked.audio_end_ms,
                }
                self._send_event("conversation.item.truncated", **fields)
            case "response.create":
                self._create_response(checked)
            case "response.cancel":
                self._cancel(checked.response_id)
            case "output_audio_buffer.clear" if self._playout_track:
                self._playout_track.clear()
            case _:
                raise Refused("unsupported_event", f"{kind!r} is for WebRTC and SIP calls only.", param="type")

    def _create_item(self, checked: ConversationItemCreateEvent) -> None:
        item: Any = checked.item
        if item.type == "mcp_approval_response":
            answer = McpItem(item.id, item.model_dump(exclude={"id"}, exclude_none=True))
            self._session.items.approve(answer, checked.previous_item_id)
        else:
            self._session.items.add(items.read_item(item, "item", self._updates.input.form), checked.previous_item_id)

    def _create_response(self, checked: ResponseCreateEvent) -> None:
        request: Any = checked.response
        fields = request.model_dump(exclude_unset=True, exclude={"input"}) if request else {}
        settings, output_format = self._updates.config.for_response(fields)
        context: list[Item] | None = None
        if request and request.input is not None:
            context = items.read_context(request.input, self._session.history, self._updates.input.form)
        tag = ResponseRequest(
            request.metadata if request else None, output_format, bool(request and request.conversation == "none")
        )
        self._session.create_response(settings, tag, context=context, out_of_band=tag.out_of_band)

    def _cancel(self, response_id: str | None) -> None:
        if not self._session.cancel_response(response_id=response_id):
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found.")

    def _report_playback(self, event: dict[str, Any]) -> None:
        item_id, played = event.get("item_id"), event.get("played_ms")
        if not isinstance(item_id, str) or not isinstance(played, int | float) or not math.isfinite(played):
            raise Refused("invalid_type", "chinwag.playback has an item_id and a number of played_ms.")
        self._session.items.report_played(item_id, int(played))

    def _set_playout_delay(self, event: dict[str, Any]) -> None:
        """Take the delay between the arrival of the track's sound at the client and its playback."""
        delay = event.get("delay_ms")
        if self._playout_track is None:
            raise Refused("unsupported_event", "'chinwag.playout' is for WebRTC calls only.", param="type")
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < 60_000:
            raise Refused("invalid_type", "chinwag.playout has a delay_ms, a number of milliseconds.", param="delay_ms")
        self._playout_track.client_delay_s = delay / 1000

    def _answer_ping(self, event: dict[str, Any]) -> None:
        """Confirm that the connection works, and how many messages have arrived."""
        received = event.get("received")
        if isinstance(received, bool) or not isinstance(received, int) or received < 0:
            raise Refused("invalid_type", "chinwag.ping has a received, a number of messages.", param="received")
        self._send_event("chinwag.pong", received=self._acknowledge(received) if self._acknowledge else None)

    def _request_engines(self, event: dict[str, Any]) -> None:
        if self._engine_selector is None:
            fix = "The owner of the server can configure another engine."
            raise Refused("unsupported_event", "The engines of this session cannot be changed.", fix, "type")
        event_id = event.get("event_id")
        self._engine_selector.request(event.get("engines"), event_id if isinstance(event_id, str) else None)
