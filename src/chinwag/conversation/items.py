"""The items of a conversation as its client adds, reads, deletes and cuts them."""

from __future__ import annotations

from collections.abc import Callable

from chinwag.audio import WIRE_RATE, Audio
from chinwag.conversation.events import Event, ItemAdded
from chinwag.conversation.history import History, Item, MessageItem
from chinwag.conversation.response import Response
from chinwag.conversation.tool_items import McpItem, ToolCall, ToolResult
from chinwag.conversation.tools import ToolRunner
from chinwag.errors import Refused


class ConversationItems:
    """The client's hand on the history; each method is one synchronous step.

    emit: is told of what was added. heard: is given an item whose words are still to be found in its sound (16 kHz).
    changed: is told where the conversation has changed before its end.
    """

    def __init__(
        self,
        history: History,
        tool_runner: ToolRunner,
        emit: Callable[[Event], None],
        heard: Callable[[MessageItem, Audio], None],
        changed: Callable[[], None],
    ) -> None:
        self._history, self._tool_runner = history, tool_runner
        self._emit, self._heard, self._changed = emit, heard, changed

    def find(self, item_id: str) -> Item:
        """The item of that id. Raises Refused where there is none."""
        entry = self._history.find(item_id)
        if entry is None:
            raise no_item(item_id)
        return entry

    def add(self, entry: MessageItem | ToolCall | ToolResult, after: str | None = None) -> None:
        """Put words into the history, or sound whose words are then found, or a call or its result.

        Raises Refused for an unknown place, or a result whose call is not there.
        """
        if isinstance(entry, ToolResult):
            self._tool_runner.check_result(entry)
        elif isinstance(entry, ToolCall) and self._history.find_call(entry.call_id):
            message = f"There is a call {entry.call_id} already."
            raise Refused("item_already_exists", message, param="item.call_id")
        self._put(entry, after)
        if isinstance(entry, ToolResult):
            self._tool_runner.result_added(entry)
        if isinstance(entry, MessageItem) and entry.audio is not None and not entry.heard_text:
            self._heard(entry, entry.audio)

    def approve(self, entry: McpItem, after: str | None = None) -> None:
        """The client's answer to being asked for leave. Raises Refused where it was not asked."""
        answer = entry.fields
        act = self._tool_runner.approve(answer["approval_request_id"], answer["approve"], answer.get("reason"))
        self._put(entry, after)
        act()

    def delete(self, item_id: str) -> None:
        """Take an item out of the conversation. Raises Refused where there is none."""
        self._tool_runner.forget_item(item_id)
        if not self._history.remove(item_id):
            raise no_item(item_id)
        self._changed()

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """The listener heard this much of a reply, and no more. Raises Refused where that cannot be."""
        reply = self.find(item_id)
        if not isinstance(reply, Response):
            raise Refused("invalid_value", f"Item {item_id} is not an answer of mine.", param="item_id")
        sent_ms = -(-reply.playout.sent * 1000 // WIRE_RATE)  # a telephone's last sample is three of ours, or one
        if audio_end_ms > sent_ms:
            message = f"Audio content of {sent_ms}ms is already shorter than {audio_end_ms}ms."
            raise Refused("invalid_value", message, param="audio_end_ms")
        reply.playout.stop()
        reply.playout.report_played(audio_end_ms * WIRE_RATE // 1000)

    def report_played(self, item_id: str, played_ms: int) -> None:
        """The listener's player has come this far in a reply's sound."""
        reply = self._history.find(item_id)
        if isinstance(reply, Response):
            reply.playout.report_played(played_ms * WIRE_RATE // 1000)

    def _put(self, entry: Item, after: str | None) -> None:
        if self._history.find(entry.item_id):
            raise Refused("item_already_exists", f"There is an item {entry.item_id} already.", param="item.id")
        try:
            previous = self._history.add(entry, after)
        except KeyError:
            raise no_item(str(after), "previous_item_id") from None
        self._emit(ItemAdded(entry.item_id, previous))


def no_item(item_id: str, param: str = "item_id") -> Refused:
    """What is said where a client names one that is not there. param: the field it named it in."""
    return Refused("item_not_found", f"There is no item {item_id} in this conversation.", param=param)
