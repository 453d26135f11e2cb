"""Items, responses and errors as the wire writes them."""

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
"""A server event, or the bytes of sound where the client asked for binary frames."""


def make_event(kind: str, **fields: Any) -> dict[str, Any]:
    """A server event with an id of its own."""
    return {"type": kind, "event_id": new_id("event"), **fields}


Offer: TypeAlias = dict[str, Any] | None
"""What could be done instead, for a client that asked for `chinwag.*` events: {"label", "engines"}, the second as
`chinwag.engines.update` takes it."""


def error(refused: Refused, event_id: str | None, offer: Offer = None) -> dict[str, Any]:
    """The client asked for what cannot be."""
    return _error("invalid_request_error", refused.code, str(refused), refused.param, event_id, offer)


def server_error(code: str, message: str, offer: Offer = None) -> dict[str, Any]:
    """Something failed on this side."""
    return _error("server_error", code, message, None, None, offer)


def _error(kind: str, code: str, message: str, param: str | None, event_id: str | None, offer: Offer) -> dict[str, Any]:
    what: dict[str, Any] = {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id}
    return make_event("error", error={**what, "offer": offer} if offer else what)


def extension_event(told: events.Event) -> dict[str, Any] | None:
    """The `chinwag.*` event for what OpenAI's protocol has no word for; None for all else."""
    match told:
        case events.PartialTranscript():
            return make_event("chinwag.transcript.partial", item_id=told.item_id, text=told.text)
        case events.EndpointingEstimated():
            return make_event(
                "chinwag.pause",
                item_id=told.item_id,
                speech_end_ms=told.speech_end_ms,
                silence_ms=round(told.silence_s * 1000),
                finished=None if told.end_probability is None else round(told.end_probability, 4),
                wait_ms=round(told.wait_s * 1000),
                looks={name: round(value, 4) for name, value in told.evidence.items()},
            )
        case events.ResponseDucked() | events.ResponseUnducked():
            kind = "chinwag.duck" if isinstance(told, events.ResponseDucked) else "chinwag.resume"
            return make_event(kind, response_id=told.response_id, item_id=told.item_id)
        case events.TurnTraced():
            return make_event(
                "chinwag.trace",
                response_id=told.response_id,
                item_id=told.item_id,
                speech_end_ms=told.speech_end_ms,
                stages_ms={stage: round(seconds * 1000, 1) for stage, seconds in told.stages.items()},
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
    """An item. empty: without content, as a reply's begins; sound: with its audio, in the form a retrieval gives it.
    heard: of a reply only what was heard of it, as a retrieval gives it too.
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
        came = {"call_id": entry.call_id, "output": entry.output, "status": "completed"}
        return {"id": entry.item_id, "object": "realtime.item", "type": "function_call_output", **came}
    if not entry.server:
        asked = {"call_id": entry.call_id, "name": entry.name, "arguments": entry.arguments, "status": entry.status}
        return {"id": entry.item_id, "object": "realtime.item", "type": "function_call", **asked}
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
    """The item that asks the client for leave to make a call."""
    asks = {"server_label": call.server, "name": call.called, "arguments": call.arguments}
    return {"id": call.approval_request_id, "type": "mcp_approval_request", **asks}


def _content(entry: Item, sound: AudioFormat | None, *, heard: bool) -> dict[str, Any]:
    if isinstance(entry, Response):
        if entry.options.audio:
            return {"type": "output_audio", "transcript": entry.heard_text if sound or heard else entry.text}
        return {"type": "output_text", "text": entry.text}
    if isinstance(entry, MessageItem) and entry.spoken:
        kind = "output_audio" if entry.role == "assistant" else "input_audio"  # the first is of an earlier talk
        part: dict[str, Any] = {"type": kind, "transcript": entry.heard_text or None}
        if sound and entry.audio is not None:
            part["audio"] = encode_base64(sound.encode(entry.audio))
        return part
    return {"type": "output_text" if entry.role == "assistant" else "input_text", "text": entry.heard_text}


def encode_base64(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


def wire_response(
    reply: Response,
    conversation: str | None,
    output: list[dict[str, Any]],
    details: dict[str, Any] | None,
    metadata: Any,
    form: AudioFormat,
) -> dict[str, Any]:
    """A response. conversation: None where it stands in none. details: of how it ended, None while it is under way."""
    usage = reply.usage
    done = details is not None
    return {
        "id": reply.response_id,
        "object": "realtime.response",
        "status": reply.status,
        "status_details": details if reply.status != "completed" else None,
        "output": output,
        "conversation_id": conversation,
        "output_modalities": ["audio"] if reply.options.audio else ["text"],
        "max_output_tokens": reply.options.max_tokens or "inf",
        "audio": {
            "output": {
                "format": dict(form.wire),
                "voice": reply.options.style.voice or "",
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
