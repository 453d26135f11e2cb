"""From a client's message to a checked event, with the types of the `openai` package."""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from typing import Any, get_args

from openai.types.realtime import (
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeMcpApprovalResponse,
    RealtimeSessionCreateRequest,
)
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import BaseModel, ValidationError

from chinwag.audio import Audio
from chinwag.errors import Refused
from chinwag.ids import new_id

CLIENT_EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeClientEvent)[0])
}
"""Every client event of the GA protocol, by its type."""

MESSAGES: dict[str, type[BaseModel]] = {
    "user": RealtimeConversationItemUserMessage,
    "assistant": RealtimeConversationItemAssistantMessage,
    "system": RealtimeConversationItemSystemMessage,
}


TOOL_ITEMS: dict[str, type[BaseModel]] = {
    "function_call": RealtimeConversationItemFunctionCall,
    "function_call_output": RealtimeConversationItemFunctionCallOutput,
    "mcp_approval_response": RealtimeMcpApprovalResponse,
}
"""What a client may put into the conversation beside messages."""


def parse(data: str) -> tuple[str, dict[str, Any]]:
    """The event's type and its fields. Raises Refused for what is not JSON, or has no or an unknown type."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused("invalid_json", f"The message is not valid JSON: {error}.", "Send one JSON object.") from None
    if not isinstance(event, dict):
        raise Refused("invalid_json", f"The message is a JSON {type(event).__name__}, not an object.")
    kind = event.get("type")
    if kind is None:
        raise Refused("missing_required_parameter", "Missing required parameter: 'type'.", param="type")
    if not isinstance(kind, str):
        raise Refused("invalid_type", f"'type' must be a string, not {type(kind).__name__}.", param="type")
    return kind, event


def check(kind: str, event: dict[str, Any]) -> Any:
    """The event as an `openai.types.realtime` object. Raises Refused naming the field that is wrong."""
    model = CLIENT_EVENTS.get(kind)
    if model is None:
        near = difflib.get_close_matches(kind, CLIENT_EVENTS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Supported are: {', '.join(sorted(CLIENT_EVENTS))}."
        raise Refused("invalid_value", f"Unknown event type {kind[:100]!r}.", hint, param="type")
    if kind == "session.update":
        session = event.get("session")
        if isinstance(session, dict):
            event = {**event, "session": {"type": "realtime", **session}}
            validated(RealtimeSessionCreateRequest, event["session"], "session")
    if kind == "conversation.item.create" and isinstance(event.get("item"), dict):
        item = message(event["item"])  # first, as the union of all items would name its fault less clearly
        checked = validated(model, {**event, "item": {"type": "message", **event["item"], "id": item.id}})
        checked.item = item
        return checked
    return validated(model, event)


def message(item: dict[str, Any]) -> Any:
    """A conversation item of a kind this server takes. Raises Refused for another."""
    kind = item.get("type", "message")
    if isinstance(kind, str) and kind in TOOL_ITEMS:
        # an id is the server's to give, though the type of an approval's answer asks for one
        return validated(TOOL_ITEMS[kind], {**item, "id": item.get("id") or new_id("item")}, "item")
    if kind != "message":
        kinds = f"Items of these types are taken: message, {', '.join(TOOL_ITEMS)}."
        raise Refused("unsupported_value", f"Items of type {kind!r} are not supported.", kinds, "item.type")
    model = MESSAGES.get(str(item.get("role")))
    if model is None:
        known = ", ".join(MESSAGES)
        raise Refused("invalid_value", f"Unknown role {item.get('role')!r}.", f"There are: {known}.", "item.role")
    return validated(model, item, "item")


def validated(model: type[BaseModel], value: Any, path: str = "") -> Any:
    """Check a value against a type, or raise Refused with the field's path and what is wrong with it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # A union's members are named in the path by their classes; a client knows only field names.
        parts = [str(part) for part in first["loc"] if isinstance(part, int) or _is_field(str(part))]
        param = ".".join([path, *parts] if path else parts)
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_type"
        message = f"Invalid value for '{param}': {first['msg']}."
        raise Refused(code, message, "See the OpenAI Realtime API reference.", param) from None


def _is_field(part: str) -> bool:
    return part.isidentifier() and part == part.lower() and part not in {"int", "str", "float", "bool", "nullable"}


def pcm16(encoded: str, param: str) -> Audio:
    """Decode base64 PCM16 at 24 kHz. Raises Refused for what is not base64, or has half a sample."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            "invalid_value", f"'{param}' is not valid base64.", "Encode the PCM16 bytes as base64.", param
        ) from None
    return samples(data, param)


def samples(data: bytes, param: str) -> Audio:
    """PCM16 at 24 kHz. Raises Refused where the number of bytes is odd."""
    try:
        return Audio.from_pcm16(data)
    except ValueError as error:
        raise Refused(
            "invalid_value", f"'{param}' was not taken: {error}.", "Send whole 16-bit samples.", param
        ) from None
