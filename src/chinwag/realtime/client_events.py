"""Parses and checks client events against the types of the `openai` package."""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from dataclasses import dataclass
from typing import Any, get_args

from openai.types.realtime import (
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeMcpApprovalResponse,
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
)
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from pydantic import BaseModel, ValidationError

from chinwag.errors import Refused
from chinwag.ids import new_id

CLIENT_EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeClientEvent)[0])
}
"""All client events of the GA protocol by type."""

MESSAGES: dict[str, type[BaseModel]] = {
    "user": RealtimeConversationItemUserMessage,
    "assistant": RealtimeConversationItemAssistantMessage,
    "system": RealtimeConversationItemSystemMessage,
}

SESSIONS: dict[str, type[BaseModel]] = {
    "realtime": RealtimeSessionCreateRequest,
    "transcription": RealtimeTranscriptionSessionCreateRequest,
}


TOOL_ITEMS: dict[str, type[BaseModel]] = {
    "function_call": RealtimeConversationItemFunctionCall,
    "function_call_output": RealtimeConversationItemFunctionCallOutput,
    "mcp_approval_response": RealtimeMcpApprovalResponse,
}
"""Items other than messages that a client may add."""


def parse(data: str) -> tuple[str, dict[str, Any]]:
    """Parse a message into its type and fields. Raises Refused if it is no JSON object with a string `type`."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused("invalid_json", f"The message is not valid JSON: {error}.", "Send one JSON object.") from None
    if "\\u" in data:
        try:
            json.dumps(event, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            fix = "Send both halves of the pair."
            raise Refused("invalid_json", "The message has half of a surrogate pair.", fix) from None
    if not isinstance(event, dict):
        raise Refused("invalid_json", f"The message is a JSON {type(event).__name__}, not an object.")
    kind = event.get("type")
    if kind is None:
        raise Refused("missing_required_parameter", "Missing required parameter: 'type'.", param="type")
    if not isinstance(kind, str):
        raise Refused("invalid_type", f"'type' must be a string, not {type(kind).__name__}.", param="type")
    return kind, event


def check(kind: str, event: dict[str, Any], session_type: str = "realtime") -> Any:
    """Check an event and return it as an `openai.types.realtime` object. Raises Refused with the name of a wrong field.

    session_type: the type of a session.update that names none. The `input` of a response.create becomes a list of
    items and of `Reference`s.
    """
    model = CLIENT_EVENTS.get(kind)
    if model is None:
        near = difflib.get_close_matches(kind, CLIENT_EVENTS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Supported are: {', '.join(sorted(CLIENT_EVENTS))}."
        raise Refused("invalid_value", f"Unknown event type {kind[:100]!r}.", hint, param="type")
    # members of a union are checked by their own type first, because the error of the union is less clear
    match kind, event:
        case "session.update", {"session": dict(session)}:
            session = {**session, "type": session.get("type") or session_type}
            if (session_model := SESSIONS.get(str(session["type"]))) is None:
                fix = f"Supported are: {', '.join(SESSIONS)}."
                raise Refused("invalid_value", "Unknown session type.", fix, "session.type")
            checked = validate(session_model, session, "session")
            return _with(validate(model, {**event, "session": session}), session=checked)
        case "conversation.item.create", {"item": dict(item)}:
            checked = check_item(item)
            whole = {"type": "message", **item, "id": checked.id}
            return _with(validate(model, {**event, "item": whole}), item=checked)
        case "response.create", {"response": {"input": list(items), **rest}}:
            inputs = [_input(item, f"response.input.{place}") for place, item in enumerate(items)]
            checked = validate(model, {**event, "response": rest})
            checked.response.input = inputs
            return checked
    return validate(model, event)


def _with(checked: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(checked, name, value)
    return checked


@dataclass(frozen=True)
class Reference:
    """A reference to an item of the conversation."""

    id: str


def _input(item: Any, where: str) -> Any:
    if not isinstance(item, dict):
        raise Refused("invalid_type", f"'{where}' must be an item.", "Send a message or an item_reference.", where)
    if item.get("type") != "item_reference":
        return check_item(item, where)
    if not isinstance(item.get("id"), str):
        raise Refused("missing_required_parameter", "A reference needs the id of an item.", param=f"{where}.id")
    return Reference(item["id"])


def check_item(item: dict[str, Any], where: str = "item") -> Any:
    """Check a conversation item. Raises Refused if it is invalid or of an unsupported type."""
    kind = item.get("type", "message")
    if isinstance(kind, str) and kind in TOOL_ITEMS:
        # the type of an approval response requires an id; the server assigns it if the client did not
        return validate(TOOL_ITEMS[kind], {**item, "id": item.get("id") or new_id("item")}, where)
    if kind != "message":
        kinds = f"Supported are: message, {', '.join(TOOL_ITEMS)}."
        raise Refused("unsupported_value", f"Items of type {kind!r} are not supported.", kinds, f"{where}.type")
    model = MESSAGES.get(str(item.get("role")))
    if model is None:
        fix = f"Supported are: {', '.join(MESSAGES)}."
        raise Refused("invalid_value", f"Unknown role {item.get('role')!r}.", fix, f"{where}.role")
    return validate(model, {"type": "message", **item}, where)


def validate(model: type[BaseModel], value: Any, path: str = "") -> Any:
    """Check a value against a model. Raises Refused with the path of the wrong field and the reason."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # pydantic puts the class names of union members into the path; a client knows only field names
        parts = [str(part) for part in first["loc"] if isinstance(part, int) or _is_field(str(part))]
        param = ".".join([path, *parts] if path else parts)
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_type"
        message = f"Invalid value for '{param}': {first['msg']}."
        raise Refused(code, message, "See the OpenAI Realtime API reference.", param) from None


def _is_field(part: str) -> bool:
    return part.isidentifier() and part == part.lower() and part not in {"int", "str", "float", "bool", "nullable"}


def decode_base64(encoded: str, param: str) -> bytes:
    """Decode base64. Raises Refused if it is invalid."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        fix = "Encode the audio bytes as base64."
        raise Refused("invalid_value", f"'{param}' is not valid base64.", fix, param) from None
