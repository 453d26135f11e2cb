"""The conversation so far, as both sides heard it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from chinwag.audio import Audio
from chinwag.engines.protocols import Message

Role = Literal["system", "user", "assistant"]


class Entry(Protocol):
    """An item of the conversation."""

    @property
    def item_id(self) -> str:
        """Its name on the wire."""
        ...

    @property
    def role(self) -> Role:
        """Who says it."""
        ...

    @property
    def words(self) -> str:
        """What the other side took in: of a reply that was cut off, the part that was heard."""
        ...


@dataclass(eq=False)
class Said:
    """Words that stand as they are: a user's turn, an instruction, an answer from an earlier conversation.

    audio: the sound they came from (16 kHz), where there was one and it is still kept.
    """

    item_id: str
    role: Role
    words: str
    audio: Audio | None = None
    spoken: bool = False


BYTES_PER_TOKEN = 3
"""UTF-8 bytes; about 4 of English and 3 of Chinese make a token of today's models, so 3 seldom asks too much."""


class History:
    """Entries in the order of the conversation. A reply stands in it from its start and speaks for itself.

    tokens: about how many a prompt may have. What is older is kept, but no longer asked about. kept: the share of
    them that is left when something has to go.
    """

    def __init__(self, tokens: int = 4096, kept: float = 0.5) -> None:
        self.kept = kept
        self._entries: list[Entry] = []
        self._budget = tokens * BYTES_PER_TOKEN
        self._forgotten: set[str] = set()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def find(self, item_id: str) -> Entry | None:
        """The entry of that id, or None."""
        return next((entry for entry in self._entries if entry.item_id == item_id), None)

    def before(self, item_id: str) -> str | None:
        """Id of the entry in front of that one; None at the front, or where there is no such entry."""
        previous = None
        for entry in self._entries:
            if entry.item_id == item_id:
                return previous
            previous = entry.item_id
        return None

    def add(self, entry: Entry, after: str | None = None) -> str | None:
        """Put an entry behind the one called `after` ("root": at the front; None: at the end).

        Returns the id of the entry before it. Raises KeyError where `after` is not there.
        """
        if after is None:
            place = len(self._entries)
        elif after == "root":
            place = 0
        else:
            place = next((i + 1 for i, entry in enumerate(self._entries) if entry.item_id == after), -1)
            if place < 0:
                raise KeyError(after)
        self._entries.insert(place, entry)
        return self._entries[place - 1].item_id if place else None

    def remove(self, item_id: str) -> bool:
        """Take an entry out; False where it is not there."""
        before = len(self._entries)
        self._entries = [entry for entry in self._entries if entry.item_id != item_id]
        return len(self._entries) < before

    def prompt(self, instructions: str, said: str = "", until: str | None = None) -> list[Message]:
        """What to ask the model: the instructions, then everything that was heard, then `said` by the user.

        until: only what stands in front of the entry of that id.

        An entry of no words leaves no trace. Turns of one side in a row (an unheard reply vanished between them)
        become one message, as chat templates expect the sides to alternate.
        """
        spoken = self._remembered(len(instructions.encode()) + len(said.encode()), until)
        if said:
            spoken.append(("user", said))
        messages: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
        for role, words in spoken:
            if messages and messages[-1]["role"] == role and role != "system":
                messages[-1] = {"role": role, "content": f"{messages[-1]['content']} {words}"}
            else:
                messages.append({"role": role, "content": words})
        return messages

    def _remembered(self, besides: int, until: str | None) -> list[tuple[Role, str]]:
        """Words of the entries that fit.

        Forgetting goes down to a share of the budget at once, as each change of the beginning costs the model's cache.
        """
        entries = itertools.takewhile(lambda entry: entry.item_id != until, self._entries)
        spoken = [(entry, entry.words.strip()) for entry in entries if entry.item_id not in self._forgotten]
        spoken = [(entry, words) for entry, words in spoken if words]
        sizes = [len(words.encode()) for _, words in spoken]
        if besides + sum(sizes) > self._budget:
            while spoken and besides + sum(sizes) > self._budget * self.kept:
                self._forgotten.add(spoken.pop(0)[0].item_id)
                sizes.pop(0)
        return [(entry.role, words) for entry, words in spoken]
