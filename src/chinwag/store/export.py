"""Formats a saved conversation as JSON or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from chinwag.store.records import StoredConversation, StoredItem

NAMES = {"user": "You", "assistant": "Chinwag", "system": "Instruction"}


def summary(conversation: StoredConversation) -> dict[str, Any]:
    """Convert a conversation without its items to the API's JSON. Times are whole seconds since 1970, UTC."""
    fields: dict[str, Any] = {
        "id": conversation.id,
        "object": "conversation",
        "title": conversation.title,
        "language": conversation.language or None,
        "created_at": int(conversation.created),
        "updated_at": int(conversation.updated),
        "items": conversation.items,
        "audio_seconds": round(conversation.seconds, 1),
    }
    return {**fields, "found": asdict(conversation.found)} if conversation.found else fields


def item(entry: StoredItem) -> dict[str, Any]:
    """Convert an item to JSON. whole: the text was not cut off."""
    fields: dict[str, Any] = {"id": entry.item_id, "type": entry.kind, "created_at": round(entry.created, 3)}
    if entry.kind == "message":
        return {**fields, "role": entry.role, "text": entry.words, "spoken": entry.spoken, "whole": entry.whole}
    fields["call_id"] = entry.call_id
    if entry.kind == "function_call_output":
        return {**fields, "output": entry.output}
    tool = {"server": entry.server, "name": entry.called or entry.name}
    return {**fields, **tool, "arguments": entry.arguments, "output": entry.output}


def as_json(conversation: StoredConversation, items: Sequence[StoredItem]) -> dict[str, Any]:
    """Convert a conversation with its items to JSON."""
    return {
        **summary(conversation),
        "instructions": conversation.instructions or None,
        "items": [item(entry) for entry in items],
    }


def as_markdown(conversation: StoredConversation, items: Sequence[StoredItem]) -> str:
    """Format a conversation as Markdown, with speaker and time. A text that was cut off ends in a dash."""
    lines = [
        f"# {_line(conversation.title) or 'A conversation'}",
        "",
        f"*{_time(conversation.created, '%Y-%m-%d %H:%M')} UTC*",
        "",
    ]
    for entry in items:
        when = _time(entry.created, "%H:%M:%S")
        if entry.kind == "message":
            words = _line(entry.words) + ("" if entry.whole else " —")
            lines += [f"**{NAMES[entry.role]}** ({when}): {words}", ""]
        elif entry.kind == "function_call":
            lines += [f"*{entry.called or entry.name}*({_code(entry.arguments)})", ""]
            if entry.output is not None:
                lines += [f"→ {_code(entry.output)}", ""]
        else:
            lines += [f"→ {_code(entry.output or '')}", ""]
    return "\n".join(lines)


def _time(at: float, time_format: str) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(time_format)


def _line(text: str) -> str:
    """Join the lines of a text, so that none becomes a heading or a list."""
    return " ".join(text.split())


def _code(text: str) -> str:
    return f"`` {_line(text)} ``" if "`" in text else f"`{_line(text)}`"
