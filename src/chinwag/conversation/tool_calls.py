"""The calls of one reply, as the model writes them: told as they come, and not before the reply's gate is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chinwag.conversation.events import ResponseEvent, ToolCallArguments, ToolCallStarted, ToolCallWritten
from chinwag.conversation.tool_items import ToolCall
from chinwag.engines.protocols import CallDelta
from chinwag.ids import new_id
from chinwag.tools.tool import OWN_SERVER, Tool


class ToolCallAssembler:
    """Makes calls of their pieces. emit: is told; tools: those that were offered."""

    def __init__(self, response_id: str, tools: Sequence[Tool], emit: Callable[[ResponseEvent], None]) -> None:
        self.calls: list[ToolCall] = []
        self._reply_id, self._emit = response_id, emit
        self._tools = {tool.name: tool for tool in tools}
        self._open = self._over = False

    def add_delta(self, piece: CallDelta) -> None:
        """The next piece; what comes behind the end (a reply that was stopped in that moment) is nothing."""
        if self._over:
            return
        if piece.index >= len(self.calls):
            call = self._begun(piece)
            self.calls.append(call)
            self._tell(ToolCallStarted(self._reply_id, call.item_id))
        call = self.calls[piece.index]
        if piece.arguments:
            call.arguments += piece.arguments
            self._tell(ToolCallArguments(self._reply_id, call.item_id, piece.arguments))

    def open(self) -> None:
        """Tell what there is, and from now on what comes."""
        self._open = True
        for call in self.calls:
            self._emit(ToolCallStarted(self._reply_id, call.item_id))
            if call.arguments:
                self._emit(ToolCallArguments(self._reply_id, call.item_id, call.arguments))
            if self._over:
                self._emit(ToolCallWritten(self._reply_id, call.item_id))

    def end(self, *, complete: bool) -> None:
        """No more will come. complete: they were written to their end, and are to be run."""
        if self._over:
            return
        self._over = True
        for call in self.calls:
            if complete and not call.arguments.strip():
                call.arguments = "{}"
                self._tell(ToolCallArguments(self._reply_id, call.item_id, "{}"))
            call.status = "completed" if complete else "incomplete"
            self._tell(ToolCallWritten(self._reply_id, call.item_id))

    def _begun(self, piece: CallDelta) -> ToolCall:
        tool = self._tools.get(piece.name)
        call = ToolCall(new_id("item"), piece.call_id, piece.name, response_id=self._reply_id)
        if tool is None:  # made up: the server answers, as no client could
            call.server, call.called = OWN_SERVER, piece.name
        else:
            call.server, call.called = tool.server, tool.server_name
            call.approval_request_id = new_id("mcpr") if tool.needs_approval else None
        return call

    def _tell(self, event: ResponseEvent) -> None:
        if self._open:
            self._emit(event)
