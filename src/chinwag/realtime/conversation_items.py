"""What a client puts into the conversation: checked items of the wire as entries of the history."""

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


def read_item(item: Any, where: str, heard: AudioFormat) -> MessageItem | ToolCall | ToolResult:
    """A message, a call or a result as an entry.

    where: its field's name, for what is wrong. heard: the form of the client's sound. Raises Refused for what cannot
    stand in a conversation.
    """
    match item.type:
        case "function_call":
            call_id = item.call_id or new_id("call")
            made = ToolCall(item.id or new_id("item"), call_id, item.name, item.arguments, announced=True)
            made.status = "completed"
            return made
        case "function_call_output":
            return ToolResult(item.id or new_id("item"), item.call_id, item.output)
        case "message":
            return _said(item, where, heard)
    kinds = "Send a message, a function_call, its output, or an item_reference."
    raise Refused("unsupported_value", f"An item of type {item.type!r} cannot stand here.", kinds, f"{where}.type")


def read_context(items: Sequence[Any], history: History, heard: AudioFormat) -> list[Item]:
    """What one response answers in place of the conversation: items, or references to those that are in it."""
    entries: list[Item] = []
    for place, item in enumerate(items):
        where = f"response.input.{place}"
        if not isinstance(item, inbound.Reference):
            entries.append(read_item(item, where, heard))
        elif (referred := history.find(item.id)) is not None:
            entries.append(referred)
        else:
            raise no_item(item.id, f"{where}.id")
    return entries


def _said(item: Any, where: str, heard: AudioFormat) -> MessageItem:
    said = MessageItem(item.id or new_id("item"), item.role, "")
    texts: list[str] = []
    for index, part in enumerate(item.content):
        if part.type == "input_image":
            param = f"{where}.content.{index}.type"
            raise Refused("unsupported_value", "Images are not supported.", "Describe it in words.", param)
        texts.append(part.text or getattr(part, "transcript", None) or "")
        if part.type == "input_audio":
            said.spoken = True
            if part.audio and not texts[-1]:
                param = f"{where}.content.{index}.audio"
                sound = heard.decode_samples(inbound.decode_base64(part.audio, param), param)
                said.audio = sound.resampled(LISTEN_RATE)
    said.heard_text = " ".join(text for text in texts if text)
    if not said.heard_text and said.audio is None:
        raise Refused("invalid_value", "The item has no content.", "Give it text or audio.", f"{where}.content")
    return said
