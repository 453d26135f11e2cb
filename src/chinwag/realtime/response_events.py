"""Server events of responses: each response with its message and its tool calls as items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chinwag.conversation import events
from chinwag.conversation.response import Response
from chinwag.conversation.session import Session
from chinwag.realtime import server_events as outbound
from chinwag.realtime.audio_format import AudioFormat, OutputEncoder
from chinwag.realtime.tool_events import SendEvent, ToolCallEvents, ToolCallWriting
from chinwag.realtime.track import PlayoutTrack


@dataclass(frozen=True)
class ResponseRequest:
    """The fields of `response.create` that only the protocol needs. out_of_band: not part of the conversation."""

    metadata: Any
    output_format: AudioFormat
    out_of_band: bool = False


@dataclass
class _ResponseProgress:
    """What has been sent of a response."""

    response: Response
    request: ResponseRequest
    encoder: OutputEncoder
    text: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """Ids of its items in the order in which they began."""

    @property
    def begun(self) -> bool:
        """Whether its message has begun."""
        return self.response.item_id in self.order

    def index(self, item_id: str) -> int:
        """Return the item's output_index; a new item gets the next one."""
        if item_id not in self.order:
            self.order.append(item_id)
        return self.order.index(item_id)


class ResponseEvents:
    """Sends the events of responses in the order of the official server.

    send: takes a whole message, which is audio bytes if `binary`. playout_track: takes the audio instead of messages.
    offer: proposes a replacement for an engine that failed.
    """

    def __init__(
        self,
        session: Session,
        send_event: SendEvent,
        send: Callable[[outbound.Outgoing], None],
        *,
        binary: bool,
        conversation_id: str,
        tool_calls: ToolCallEvents,
        playout_track: PlayoutTrack | None,
        offer: Callable[..., outbound.Offer],
    ) -> None:
        self._session, self._send_event, self._send, self._binary = session, send_event, send, binary
        self._conversation_id, self._tool_calls = conversation_id, tool_calls
        self._playout_track, self._offer = playout_track, offer
        self._responses: dict[str, _ResponseProgress] = {}

    def started(self, event: events.ResponseStarted, default_format: AudioFormat) -> None:
        """Send that a response begins. default_format: its audio format if `response.create` named none."""
        response = self._session.find_response(event.response_id)
        if response is None:
            return
        request = response.options.tag or ResponseRequest(None, default_format)
        self._responses[event.response_id] = _ResponseProgress(response, request, OutputEncoder(request.output_format))
        created = outbound.wire_response(
            response, self._conversation_of(request), [], None, request.metadata, request.output_format
        )
        self._send_event("response.created", response=created)

    def on_writing(self, event: ToolCallWriting) -> None:
        """Send progress of a tool call that the model writes."""
        progress = self._responses[event.response_id]
        if progress.response.wrote_before_tool_call:
            self._begin_message(progress)
        self._tool_calls.on_writing(event, progress.index)

    def text(self, event: events.ResponseText) -> None:
        """Send more text."""
        progress = self._responses[event.response_id]
        self._begin_message(progress)
        progress.text.append(event.text)
        kind = "output_audio_transcript" if progress.response.options.audio else "output_text"
        self._send_part(f"response.{kind}.delta", progress, delta=event.text)

    def audio(self, event: events.ResponseAudio) -> None:
        """Send or play more audio."""
        progress = self._responses[event.response_id]
        if self._playout_track:
            self._playout_track.play(progress.response, event.audio)
        else:
            self._send_audio(progress, progress.encoder.push(event.audio))

    def ended(self, event: events.ResponseEnded) -> None:
        """Send that a response is complete, was cancelled, or failed."""
        progress = self._responses.pop(event.response_id)
        response = progress.response
        items: dict[str, Any] = {
            call.item_id: outbound.wire_item(call) for call in response.tool_calls if not call.approval_request_id
        }
        items.update(
            {
                str(call.approval_request_id): outbound.approval_request(call)
                for call in response.tool_calls
                if call.approval_request_id
            }
        )
        if event.error:
            offer = self._offer(getattr(response.failure, "engine", ""), "llm", "tts")
            self._send(outbound.server_error("response_failed", event.error, offer))
        if progress.begun:
            items[response.item_id] = self._end_message(progress, event)
        details: dict[str, Any] = {"type": event.status}
        if event.reason:
            details["reason"] = event.reason
        if event.error:
            details["error"] = {"type": "server_error", "code": "response_failed", "message": event.error}
        output = [items[item_id] for item_id in progress.order if item_id in items]
        done = outbound.wire_response(
            response,
            self._conversation_of(progress.request),
            output,
            details,
            progress.request.metadata,
            progress.request.output_format,
        )
        self._send_event("response.done", response=done)
        if self._playout_track:
            self._playout_track.finish(event.response_id)

    def _begin_message(self, progress: _ResponseProgress) -> None:
        """Announce the message item, once."""
        if progress.begun:
            return
        response = progress.response
        item = outbound.wire_item(response, status="in_progress", empty=True)
        where = {"response_id": response.response_id, "output_index": progress.index(response.item_id)}
        self._send_event("response.output_item.added", **where, item=item)
        if not progress.request.out_of_band:
            previous = self._session.history.id_before(response.item_id)
            self._send_event("conversation.item.added", item=item, previous_item_id=previous)
        part = {"type": "audio", "transcript": ""} if response.options.audio else {"type": "text", "text": ""}
        self._send_part("response.content_part.added", progress, part=part)

    def _end_message(self, progress: _ResponseProgress, event: events.ResponseEnded) -> dict[str, Any]:
        """Send the end of the message item and return the item."""
        response, text = progress.response, "".join(progress.text)
        if response.options.audio:
            if event.status != "cancelled":
                self._send_audio(progress, progress.encoder.flush())
            self._send_part("response.output_audio.done", progress)
            self._send_part("response.output_audio_transcript.done", progress, transcript=text)
            self._send_part("response.content_part.done", progress, part={"type": "audio", "transcript": text})
        else:
            self._send_part("response.output_text.done", progress, text=text)
            self._send_part("response.content_part.done", progress, part={"type": "text", "text": text})
        item = outbound.wire_item(response, status="completed" if event.status == "completed" else "incomplete")
        if not progress.request.out_of_band:
            previous = self._session.history.id_before(response.item_id)
            self._send_event("conversation.item.done", item=item, previous_item_id=previous)
        where = {"response_id": event.response_id, "output_index": progress.index(response.item_id)}
        self._send_event("response.output_item.done", **where, item=item)
        return item

    def _send_audio(self, progress: _ResponseProgress, data: bytes) -> None:
        if not data:
            return
        if self._binary:
            self._send(data)
        else:
            self._send_part("response.output_audio.delta", progress, delta=outbound.encode_base64(data))

    def _send_part(self, kind: str, progress: _ResponseProgress, **fields: Any) -> None:
        """Send an event about the only content part of a response."""
        response = progress.response
        where = {"response_id": response.response_id, "item_id": response.item_id}
        self._send_event(kind, **where, output_index=progress.index(response.item_id), content_index=0, **fields)

    def _conversation_of(self, request: ResponseRequest) -> str | None:
        return None if request.out_of_band else self._conversation_id
