"""The conversation so far, as both sides heard it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from chinwag.audio import Audio
from chinwag.conversation.tool_items import McpItem, PromptTurn, ToolCall, ToolResult, as_messages, cut
from chinwag.engines.protocols import Message

Role = Literal["system", "user", "assistant"]


class Item(Protocol):
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
    def heard_text(self) -> str:
        """What the other side took in: of a reply that was cut off, the part that was heard."""
        ...

    @property
    def announced(self) -> bool:
        """The client knows that it is there."""
        ...

    @property
    def is_filler(self) -> bool:
        """It was said in passing: the model is not told of it."""
        ...


@dataclass(eq=False)
class MessageItem:
    """Words that stand as they are: a user's turn, an instruction, an answer from an earlier conversation.

    audio: the sound they came from (16 kHz), where there was one and it is still kept.
    """

    item_id: str
    role: Role
    heard_text: str
    audio: Audio | None = None
    spoken: bool = False
    announced: ClassVar[bool] = True
    is_filler: ClassVar[bool] = False


BYTES_PER_TOKEN = 3
"""UTF-8 bytes; about 4 of English and 3 of Chinese make a token of today's models, so 3 seldom asks too much."""

ANSWER_TOKENS = 300
"""Kept free for an answer that has no limit of its own: a minute and a half of speech."""


def prompt_budget(context_tokens: int, most: int | None) -> int:
    """Tokens that a prompt may have so that its answer fits behind it. most: those of the answer, where it has a limit.

    The answer is never given more than a quarter.
    """
    return context_tokens - min(most or ANSWER_TOKENS, context_tokens // 4)


class History:
    """Entries in the order of the conversation. A reply stands in it from its start and speaks for itself.

    tokens: about how many a prompt may have. What is older is kept, but no longer asked about. kept: the share of
    them that is left when something has to go.
    """

    def __init__(self, tokens: int = 4096, kept: float = 0.5) -> None:
        self.history_share = kept
        self._least = tokens * BYTES_PER_TOKEN // 4
        self._entries: list[Item] = []
        self._budget = tokens * BYTES_PER_TOKEN
        self._forgotten: set[str] = set()

    def __iter__(self) -> Iterator[Item]:
        return iter(self._entries)

    def find(self, item_id: str) -> Item | None:
        """The entry of that id, or None."""
        return next((entry for entry in self._entries if entry.item_id == item_id), None)

    def id_before(self, item_id: str) -> str | None:
        """Id of the entry in front of that one; None at the front, or where there is no such entry."""
        previous = None
        for entry in self._entries:
            if entry.item_id == item_id:
                return previous
            if entry.announced:
                previous = entry.item_id
        return None

    def add(self, entry: Item, after: str | None = None) -> str | None:
        """Put an entry behind the one called `after` ("root": at the front; None: at the end).

        Returns the id of the entry before it that the client knows. Raises KeyError where `after` is not there.
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
        return self.id_before(entry.item_id)

    def remove(self, item_id: str) -> bool:
        """Take an entry out; False where it is not there."""
        before = len(self._entries)
        self._entries = [entry for entry in self._entries if entry.item_id != item_id]
        return len(self._entries) < before

    def shrink(self) -> None:
        """The model could not take so much, as where digits or a rare script make a token of each byte: ask less."""
        self._budget = max(self._least, self._budget * 3 // 4)

    def find_call(self, call_id: str) -> ToolCall | None:
        """The call of that id, or None."""
        return next(
            (entry for entry in self._entries if isinstance(entry, ToolCall) and entry.call_id == call_id), None
        )

    def find_result(self, call: ToolCall) -> str | None:
        """What came of a call; None where that is not known."""
        if call.result is not None:
            return call.result
        return next((entry.output for entry in self._results(call)), None)

    def is_late(self, call: ToolCall) -> bool:
        """Somebody has spoken since the call was made."""
        later = itertools.dropwhile(lambda entry: entry is not call, self._entries)
        return any(not entry.is_filler and not isinstance(entry, ToolCall | ToolResult | McpItem) for entry in later)

    def _results(self, call: ToolCall) -> Iterator[ToolResult]:
        return (entry for entry in self._entries if isinstance(entry, ToolResult) and entry.call_id == call.call_id)

    def prompt(
        self, instructions: str, user_text: str = "", until: str | None = None, reserved: int = 0
    ) -> list[Message]:
        """The model's prompt: the instructions, all that was heard, and `user_text` as the user's last words.

        until: leave out the item of this id and all behind it. reserved: bytes of the prompt that something else takes.

        An item without text is left out. Neighbouring items of one side become one message, as chat templates expect
        the sides to alternate. A tool call and its result stand together, or both are left out.
        """
        other = reserved + len(instructions.encode()) + len(user_text.encode())
        turns = self._remembered(other, until, bool(user_text))
        if user_text:
            turns.append(PromptTurn("user", user_text))
        messages: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
        return messages + as_messages(turns)

    def _remembered(self, reserved: int, until: str | None, more: bool) -> list[PromptTurn]:
        """The entries that fit.

        Forgetting goes down to a share of the budget at once, as each change of the beginning costs the model's cache.
        The last question, and what was found out for it, are kept where nothing (`more`) is said behind them.
        """
        entries = itertools.takewhile(lambda entry: entry.item_id != until, self._entries)
        turns = [
            (entry.item_id, self._turn(entry))
            for entry in entries
            if entry.item_id not in self._forgotten and not entry.is_filler
        ]
        turns = [(item_id, turn) for item_id, turn in turns if turn.text or turn.calls]
        asked = [number for number, (_, turn) in enumerate(turns) if turn.role == "user"]
        kept = 0 if more or not asked else len(turns) - asked[-1]
        size = reserved + sum(turn.size for _, turn in turns)
        if size > self._budget:
            while len(turns) > kept and size > self._budget * self.history_share:
                item_id, turn = turns.pop(0)
                self._forgotten.add(item_id)
                size -= turn.size
        return [turn for _, turn in turns]

    def _turn(self, entry: Item) -> PromptTurn:
        longest = self._budget // 4
        if isinstance(entry, ToolResult):
            known = entry.late is not None and self.find(entry.late.item_id) is not None
            return PromptTurn(entry.role, cut(entry.heard_text, longest) if known else "")
        if not isinstance(entry, ToolCall):
            return PromptTurn(entry.role, entry.heard_text.strip())
        if entry.status != "completed":
            return PromptTurn("assistant", "")
        late = any(result.late for result in self._results(entry))
        return PromptTurn(
            "assistant", "", [entry.asked(None if late else self.find_result(entry), longest)], entry.response_id
        )
