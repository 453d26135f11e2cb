"""A conversation as people take it away: Markdown, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from chinwag.store.records import StoredConversation, StoredItem

NAMES = {"user": "You", "assistant": "Chinwag", "system": "Instruction"}


def summary(one: StoredConversation) -> dict[str, Any]:
    """A conversation without its items, as the API has it. Times are whole seconds since 1970, UTC."""
    shown: dict[str, Any] = {
        "id": one.id,
        "object": "conversation",
        "title": one.title,
        "language": one.language or None,
        "created_at": int(one.created),
        "updated_at": int(one.updated),
        "items": one.items,
        "audio_seconds": round(one.seconds, 1),
    }
    return {**shown, "found": asdict(one.found)} if one.found else shown


def item(one: StoredItem) -> dict[str, Any]:
    """An item. whole: nothing of it was cut off."""
    shown: dict[str, Any] = {"id": one.item_id, "type": one.kind, "created_at": round(one.created, 3)}
    if one.kind == "message":
        return {**shown, "role": one.role, "text": one.words, "spoken": one.spoken, "whole": one.whole}
    shown["call_id"] = one.call_id
    if one.kind == "function_call_output":
        return {**shown, "output": one.output}
    ran = {"server": one.server, "name": one.called or one.name}
    return {**shown, **ran, "arguments": one.arguments, "output": one.output}


def as_json(one: StoredConversation, items: Sequence[StoredItem]) -> dict[str, Any]:
    """All of it."""
    return {**summary(one), "instructions": one.instructions or None, "items": [item(each) for each in items]}


def as_markdown(one: StoredConversation, items: Sequence[StoredItem]) -> str:
    """To read: who said what, when. What was cut off ends in a dash."""
    lines = [f"# {_line(one.title) or 'A conversation'}", "", f"*{_time(one.created, '%Y-%m-%d %H:%M')} UTC*", ""]
    for each in items:
        when = _time(each.created, "%H:%M:%S")
        if each.kind == "message":
            words = _line(each.words) + ("" if each.whole else " —")
            lines += [f"**{NAMES[each.role]}** ({when}): {words}", ""]
        elif each.kind == "function_call":
            lines += [f"*{each.called or each.name}*({_code(each.arguments)})", ""]
            if each.output is not None:
                lines += [f"→ {_code(each.output)}", ""]
        else:
            lines += [f"→ {_code(each.output or '')}", ""]
    return "\n".join(lines)


def _time(at: float, form: str) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(form)


def _line(text: str) -> str:
    """On one line, so that no word of it makes a heading or a list."""
    return " ".join(text.split())


def _code(text: str) -> str:
    return f"`` {_line(text)} ``" if "`" in text else f"`{_line(text)}`"
