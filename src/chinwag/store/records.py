"""What is kept, as plain data. Times are seconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["message", "function_call", "function_call_output"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item of a conversation.

    place: orders the items. words: as the other side took them in. spoken: they were said aloud. whole: nothing of
    them was cut off. call_id, name, arguments, output: of a call of a tool; server, called: who ran it, and its name
    there.
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
    """Where a search found its words: the item, and the words around them."""

    item_id: str
    words: str


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """One conversation. language: they speak, "" where unknown. instructions: its own; "" for the server's."""

    id: str
    title: str = ""
    language: str = ""
    instructions: str = ""
    created: float = 0.0
    updated: float = 0.0
    items: int = 0
    seconds: float = 0.0
    """Of sound that is kept."""
    found: SearchHit | None = None


@dataclass(frozen=True, slots=True)
class StoredSound:
    """The sound of an item. side: who is heard. file: its name in the conversation's folder. began: when it was heard.

    size: bytes of the file.
    """

    item_id: str
    side: Role
    file: str
    began: float
    seconds: float
    size: int
