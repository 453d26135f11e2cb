"""Converts items, responses, errors and session events to the wire's JSON."""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

from chinwag.conversation import events
from chinwag.conversation.history import Item, MessageItem
from chinwag.conversation.response import Response
from chinwag.conversation.tool_items import McpItem, ToolCall, ToolResult
from chinwag.errors import Refused
from chinwag.ids import new_id
from chinwag.realtime.audio_format import AudioFormat

Outgoing: TypeAlias = dict[str, Any] | bytes
"""A server event, or audio bytes if the client asked for binary frames."""


def make_event(kind: str, **fields: Any) -> dict[str, Any]:
    """Make a server event with a new id."""
    return {"type": kind, "event_id": new_id("event"), **fields}


Offer: TypeAlias = dict[str, Any] | None
"""A replacement for a failed engine: {"label", "engines"}, the second as `chinwag.engines.update` takes it.

Only clients that asked for `chinwag.*` events get it.
"""


def error(refused: Refused, event_id: str | None, offer: Offer = None) -> dict[str, Any]:
    """Make the error event for a refused request."""
    return _error("invalid_request_error", refused.code, str(refused), refused.param, event_id, offer)


def server_error(code: str, message: str, offer: Offer = None) -> dict[str, Any]:
    """Make the error event for a failure of the server."""
    return _error("server_error", code, message, None, None, offer)


def _error(kind: str, code: str, message: str, param: str | None, event_id: str | None, offer: Offer) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id}
    return make_event("error", error={**fields, "offer": offer} if offer else fields)


def extension_event(event: events.Event) -> dict[str, Any] | None:
    """Make the `chinwag.*` event for a session event that OpenAI's protocol lacks; None for all others."""
    match event:
        case events.PartialTranscript():
            return make_event("chinwag.transcript.partial", item_id=event.item_id, text=event.text)
        case events.EndpointingEstimated():
            return make_event(
                "chinwag.pause",
                item_id=event.item_id,
                speech_end_ms=event.speech_end_ms,
                silence_ms=round(event.silence_s * 1000),
                finished=None if event.end_probability is None else round(event.end_probability, 4),
                wait_ms=round(event.wait_s * 1000),
                looks={name: round(value, 4) for name, value in event.evidence.items()},
            )
        case events.ResponseDucked() | events.ResponseUnducked():
            kind = "chinwag.duck" if isinstance(event, events.ResponseDucked) else "chinwag.resume"
            return make_event(kind, response_id=event.response_id, item_id=event.item_id)
        case events.TurnTraced():
            return make_event(
                "chinwag.trace",
                response_id=event.response_id,
                item_id=event.item_id,
                speech_end_ms=event.speech_end_ms,
                stages_ms={stage: round(seconds * 1000, 1) for stage, seconds in event.stages.items()},
            )
    return None


def wire_item(
    entry: Item,
    *,
    status: str = "completed",
    empty: bool = False,
    sound: AudioFormat | None = None,
    heard: bool = False,
) -> dict[str, Any]:
    """Convert an item. empty: without content, as a response's item begins. sound: add its audio in this format.

    heard: only the part of a response that the user heard. A retrieval sets `sound`, which implies it.
    """
    if isinstance(entry, ToolCall | ToolResult | McpItem):
        return _tool_item(entry)
    content: list[dict[str, Any]] = [] if empty else [_content(entry, sound, heard=heard)]
    return {
        "id": entry.item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": entry.role,
        "content": content,
    }


def _tool_item(entry: ToolCall | ToolResult | McpItem) -> dict[str, Any]:
    if isinstance(entry, McpItem):
        return {"id": entry.item_id, **entry.fields}
    if isinstance(entry, ToolResult):
        fields = {"call_id": entry.call_id, "output": entry.output, "status": "completed"}
        return {"id": entry.item_id, "object": "realtime.item", "type": "function_call_output", **fields}
    if not entry.server:
        return {
            "id": entry.item_id,
            "object": "realtime.item",
            "type": "function_call",
            "call_id": entry.call_id,
            "name": entry.name,
            "arguments": entry.arguments,
            "status": entry.status,
        }
    failure = entry.failure
    error: dict[str, Any] | None = {"type": failure.kind, "message": failure.message} if failure else None
    if error and failure and failure.kind != "tool_execution_error":
        error["code"] = failure.code
    return {
        "id": entry.item_id,
        "type": "mcp_call",
        "server_label": entry.server,
        "name": entry.called,
        "arguments": entry.arguments,
        "approval_request_id": entry.approval_request_id,
        "output": None if failure else entry.result,
        "error": error,
    }


def approval_request(call: ToolCall) -> dict[str, Any]:
    """Make the item that asks the client to approve a call."""
    fields = {"server_label": call.server, "name": call.called, "arguments": call.arguments}
    return {"id": call.approval_request_id, "type": "mcp_approval_request", **fields}


def _content(entry: Item, sound: AudioFormat | None, *, heard: bool) -> dict[str, Any]:
    if isinstance(entry, Response):
        if entry.options.audio:
            return {"type": "output_audio", "transcript": entry.heard_text if sound or heard else entry.text}
        return {"type": "output_text", "text": entry.text}
    if isinstance(entry, MessageItem) and entry.spoken:
        # a spoken assistant message that is no Response comes from an earlier session
        kind = "output_audio" if entry.role == "assistant" else "input_audio"
        part: dict[str, Any] = {"type": kind, "transcript": entry.heard_text or None}
        if sound and entry.audio is not None:
            part["audio"] = encode_base64(sound.encode(entry.audio))
        return part
    return {"type": "output_text" if entry.role == "assistant" else "input_text", "text": entry.heard_text}


def encode_base64(data: bytes) -> str:
    """Encode bytes as base64 text."""
    return base64.b64encode(data).decode()


def wire_response(
    response: Response,
    conversation: str | None,
    output: list[dict[str, Any]],
    details: dict[str, Any] | None,
    metadata: Any,
    output_format: AudioFormat,
) -> dict[str, Any]:
    """Convert a response. conversation: None if it is out of band. details: how it ended; None while it is active."""
    usage = response.usage
    done = details is not None
    return {
        "id": response.response_id,
        "object": "realtime.response",
        "status": response.status,
        "status_details": details if response.status != "completed" else None,
        "output": output,
        "conversation_id": conversation,
        "output_modalities": ["audio"] if response.options.audio else ["text"],
        "max_output_tokens": response.options.max_tokens or "inf",
        "audio": {
            "output": {
                "format": dict(output_format.wire),
                "voice": response.options.style.voice or "",
            }
        },
        "metadata": metadata,
        "usage": {
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "input_token_details": {
                "text_tokens": usage.input_tokens,
                "audio_tokens": 0,
                "cached_tokens": usage.cached_tokens,
            },
            "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
        }
        if done
        else None,
    }
