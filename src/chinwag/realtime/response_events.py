"""Replies on the wire: each as a response, with its message and its calls as the response's items."""

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
    """What response.create asked of the wire: what to send back, in what form, and whether outside the conversation."""

    metadata: Any
    form: AudioFormat
    aside: bool = False


@dataclass
class _Response:
    """How far a response has been told."""

    reply: Response
    asked: ResponseRequest
    sound: OutputEncoder
    text: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """Ids of its items, as they were begun."""

    @property
    def begun(self) -> bool:
        """Its message was."""
        return self.reply.item_id in self.order

    def index(self, item_id: str) -> int:
        """The item's output_index; it is begun where it was not yet."""
        if item_id not in self.order:
            self.order.append(item_id)
        return self.order.index(item_id)


class ResponseEvents:
    """Turns what happens to replies into server events, in the order the official server sends them.

    send: takes a whole message, sound as bytes where `binary`. conversation: its id, as responses name it. calls: tells
    of calls. loudspeaker: plays the sound in place of messages. offer: what could stand in for an engine that failed.
    """

    def __init__(
        self,
        session: Session,
        tell: SendEvent,
        send: Callable[[outbound.Outgoing], None],
        *,
        binary: bool,
        conversation: str,
        calls: ToolCallEvents,
        loudspeaker: PlayoutTrack | None,
        offer: Callable[..., outbound.Offer],
    ) -> None:
        self._session, self._tell, self._send, self._binary = session, tell, send, binary
        self._conversation, self._calls = conversation, calls
        self._loudspeaker, self._offer = loudspeaker, offer
        self._responses: dict[str, _Response] = {}

    def started(self, event: events.ResponseStarted, spoken: AudioFormat) -> None:
        """A reply begins. spoken: the form of its sound where response.create asked for none."""
        reply = self._session.find_response(event.response_id)
        if reply is None:
            return
        asked = reply.options.tag or ResponseRequest(None, spoken)
        self._responses[event.response_id] = _Response(reply, asked, OutputEncoder(asked.form))
        response = outbound.wire_response(reply, self._place(asked), [], None, asked.metadata, asked.form)
        self._tell("response.created", response=response)

    def written(self, event: ToolCallWriting) -> None:
        """The model writes a call in it."""
        told = self._responses[event.response_id]
        if told.reply.wrote_before_tool_call:
            self._begin_message(told)
        self._calls.on_writing(event, told.index)

    def text(self, event: events.ResponseText) -> None:
        """More of its words."""
        told = self._responses[event.response_id]
        self._begin_message(told)
        told.text.append(event.text)
        kind = "output_audio_transcript" if told.reply.options.audio else "output_text"
        self._part(f"response.{kind}.delta", told, delta=event.text)

    def audio(self, event: events.ResponseAudio) -> None:
        """More of its sound."""
        told = self._responses[event.response_id]
        if self._loudspeaker:
            self._loudspeaker.play(told.reply, event.audio)
        else:
            self._sound(told, told.sound.push(event.audio))

    def ended(self, event: events.ResponseEnded) -> None:
        """It is complete, or was broken off, or failed."""
        told = self._responses.pop(event.response_id)
        reply = told.reply
        items: dict[str, Any] = {
            call.item_id: outbound.wire_item(call) for call in reply.tool_calls if not call.approval_request_id
        }
        items.update(
            {
                str(call.approval_request_id): outbound.approval_request(call)
                for call in reply.tool_calls
                if call.approval_request_id
            }
        )
        if event.error:
            offer = self._offer(getattr(reply.failure, "engine", ""), "llm", "tts")
            self._send(outbound.server_error("response_failed", event.error, offer))
        if told.begun:
            items[reply.item_id] = self._end_message(told, event)
        details: dict[str, Any] = {"type": event.status}
        if event.reason:
            details["reason"] = event.reason
        if event.error:
            details["error"] = {"type": "server_error", "code": "response_failed", "message": event.error}
        output = [items[item_id] for item_id in told.order if item_id in items]
        done = outbound.wire_response(
            reply, self._place(told.asked), output, details, told.asked.metadata, told.asked.form
        )
        self._tell("response.done", response=done)
        if self._loudspeaker:
            self._loudspeaker.finish(event.response_id)

    def _begin_message(self, told: _Response) -> None:
        """Tell of the words' item, where that has not been done."""
        if told.begun:
            return
        reply = told.reply
        item = outbound.wire_item(reply, status="in_progress", empty=True)
        where = {"response_id": reply.response_id, "output_index": told.index(reply.item_id)}
        self._tell("response.output_item.added", **where, item=item)
        if not told.asked.aside:
            previous = self._session.history.id_before(reply.item_id)
            self._tell("conversation.item.added", item=item, previous_item_id=previous)
        part = {"type": "audio", "transcript": ""} if reply.options.audio else {"type": "text", "text": ""}
        self._part("response.content_part.added", told, part=part)

    def _end_message(self, told: _Response, event: events.ResponseEnded) -> dict[str, Any]:
        """Tell that the words' item is over; returns it."""
        reply, text = told.reply, "".join(told.text)
        if reply.options.audio:
            if event.status != "cancelled":
                self._sound(told, told.sound.flush())
            self._part("response.output_audio.done", told)
            self._part("response.output_audio_transcript.done", told, transcript=text)
            self._part("response.content_part.done", told, part={"type": "audio", "transcript": text})
        else:
            self._part("response.output_text.done", told, text=text)
            self._part("response.content_part.done", told, part={"type": "text", "text": text})
        item = outbound.wire_item(reply, status="completed" if event.status == "completed" else "incomplete")
        if not told.asked.aside:
            previous = self._session.history.id_before(reply.item_id)
            self._tell("conversation.item.done", item=item, previous_item_id=previous)
        where = {"response_id": event.response_id, "output_index": told.index(reply.item_id)}
        self._tell("response.output_item.done", **where, item=item)
        return item

    def _sound(self, told: _Response, data: bytes) -> None:
        if not data:
            return
        if self._binary:
            self._send(data)
        else:
            self._part("response.output_audio.delta", told, delta=outbound.encode_base64(data))

    def _part(self, kind: str, told: _Response, **fields: Any) -> None:
        """An event about a response's one content part."""
        reply = told.reply
        where = {"response_id": reply.response_id, "item_id": reply.item_id}
        self._tell(kind, **where, output_index=told.index(reply.item_id), content_index=0, **fields)

    def _place(self, asked: ResponseRequest) -> str | None:
        return None if asked.aside else self._conversation
