"""Saved conversations as plain data. Times are seconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["message", "function_call", "function_call_output"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item of a conversation.

    place: orders the items. words: the text as the other side heard or read it. spoken: the text was spoken.
    whole: the text was not cut off. call_id, name, arguments, output: of a tool call. server, called: the tool server
    that ran it, and the tool's name there.
    """

    item_id: str
    place: float
    kind: Kind
    role: Role
    words: str = ""
    spoken: bool = False
    whole: bool = True
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | None = None
    server: str = ""
    called: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An item that a search found, with the words around the match."""

    item_id: str
    words: str


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """One conversation. language: "" if unknown. instructions: "" for those of the server."""

    id: str
    title: str = ""
    language: str = ""
    instructions: str = ""
    created: float = 0.0
    updated: float = 0.0
    items: int = 0
    seconds: float = 0.0
    """Length of the saved audio."""
    found: SearchHit | None = None


@dataclass(frozen=True, slots=True)
class StoredSound:
    """The audio of an item. side: the speaker. file: its name in the conversation's folder. began: when it was heard.

    size: bytes of the file.
    """

    item_id: str
    side: Role
    file: str
    began: float
    seconds: float
    size: int
