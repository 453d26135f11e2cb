"""Converts items that a client adds into entries of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chinwag.audio import LISTEN_RATE
from chinwag.conversation.history import History, Item, MessageItem
from chinwag.conversation.items import no_item
from chinwag.conversation.tool_items import ToolCall, ToolResult
from chinwag.errors import Refused
from chinwag.ids import new_id
from chinwag.realtime import client_events as inbound
from chinwag.realtime.audio_format import AudioFormat


def read_item(item: Any, where: str, input_format: AudioFormat) -> MessageItem | ToolCall | ToolResult:
    """Convert a checked item: a message, a tool call or a tool result.

    where: its field's name, for errors. input_format: of audio in the item. Raises Refused for other items.
    """
    match item.type:
        case "function_call":
            call_id = item.call_id or new_id("call")
            call = ToolCall(item.id or new_id("item"), call_id, item.name, item.arguments, announced=True)
            call.status = "completed"
            return call
        case "function_call_output":
            return ToolResult(item.id or new_id("item"), item.call_id, item.output)
        case "message":
            return _message(item, where, input_format)
    kinds = "Send a message, a function_call, its output, or an item_reference."
    raise Refused("unsupported_value", f"An item of type {item.type!r} cannot be added.", kinds, f"{where}.type")


def read_context(items: Sequence[Any], history: History, input_format: AudioFormat) -> list[Item]:
    """Convert the `input` of a response.create: items, or references to items of the conversation."""
    entries: list[Item] = []
    for place, item in enumerate(items):
        where = f"response.input.{place}"
        if not isinstance(item, inbound.Reference):
            entries.append(read_item(item, where, input_format))
        elif (referred := history.find(item.id)) is not None:
            entries.append(referred)
        else:
            raise no_item(item.id, f"{where}.id")
    return entries


def _message(item: Any, where: str, input_format: AudioFormat) -> MessageItem:
    message = MessageItem(item.id or new_id("item"), item.role, "")
    texts: list[str] = []
    for index, part in enumerate(item.content):
        if part.type == "input_image":
            param = f"{where}.content.{index}.type"
            raise Refused("unsupported_value", "Images are not supported.", "Describe it in words.", param)
        texts.append(part.text or getattr(part, "transcript", None) or "")
        if part.type == "input_audio":
            message.spoken = True
            if part.audio and not texts[-1]:
                param = f"{where}.content.{index}.audio"
                audio = input_format.decode_samples(inbound.decode_base64(part.audio, param), param)
                message.audio = audio.resampled(LISTEN_RATE)
    message.heard_text = " ".join(text for text in texts if text)
    if not message.heard_text and message.audio is None:
        raise Refused("invalid_value", "The item has no content.", "Give it text or audio.", f"{where}.content")
    return message
