"""Server events of tool calls: functions that the client runs, and tools that the server runs, as MCP calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chinwag.conversation import events
from chinwag.conversation.session import Session
from chinwag.conversation.tool_items import ToolCall
from chinwag.realtime import server_events as outbound

ToolCallWriting = events.ToolCallStarted | events.ToolCallArguments | events.ToolCallWritten
ToolProgress = events.ToolCallProgress | events.McpToolsProgress | events.ItemDone


class SendEvent(Protocol):
    """Sends a server event."""

    def __call__(self, kind: str, **fields: Any) -> None:
        """Send an event of that kind with these fields."""


class ToolCallEvents:
    """Turns session events about tool calls into server events."""

    def __init__(self, session: Session, send_event: SendEvent) -> None:
        self._session, self._send_event = session, send_event
        self._indexes: dict[str, int] = {}

    def on_writing(self, event: ToolCallWriting, index: Callable[[str], int]) -> None:
        """Send progress of a call that the model writes. index: returns the output_index of an item in its response."""
        call = self._session.history.find(event.item_id)
        if not isinstance(call, ToolCall):  # the client has deleted it
            return
        if call.approval_request_id:
            if isinstance(event, events.ToolCallWritten) and call.status == "completed":
                self._request_approval(call, event.response_id, index(call.approval_request_id))
            return
        output_index = self._indexes[call.item_id] = index(call.item_id)
        where: dict[str, Any] = {"response_id": event.response_id, "output_index": output_index}
        about = {"item_id": call.item_id, **where}
        if not call.server:
            about["call_id"] = call.call_id
        kind = "response.mcp_call_arguments" if call.server else "response.function_call_arguments"
        match event:
            case events.ToolCallStarted():
                item = {**outbound.wire_item(call), "arguments": ""}
                self._send_event("response.output_item.added", **where, item=item)
                self._send_added(call, item)
            case events.ToolCallArguments():
                self._send_event(f"{kind}.delta", **about, delta=event.delta)
            case events.ToolCallWritten():
                name = {} if call.server else {"name": call.name}
                self._send_event(f"{kind}.done", **about, **name, arguments=call.arguments)
                item = outbound.wire_item(call)
                if not call.server or call.status != "completed":  # a server's call is done after it was run
                    self._send_done(call, item)
                self._send_event("response.output_item.done", **where, item=item)

    def on_progress(self, event: ToolProgress) -> None:
        """Send progress of a call that the server runs, or of listing a server's tools."""
        match event:
            case events.ToolCallProgress():
                index = self._indexes.get(event.item_id, 0)
                self._send_event(f"response.mcp_call.{event.state}", item_id=event.item_id, output_index=index)
            case events.McpToolsProgress():
                self._send_event(f"mcp_list_tools.{event.state}", item_id=event.item_id)
            case events.ItemDone():
                entry = self._session.history.find(event.item_id)
                self._indexes.pop(event.item_id, None)
                if entry is not None:
                    self._send_done(entry, outbound.wire_item(entry))

    def _request_approval(self, call: ToolCall, response_id: str, index: int) -> None:
        item, where = outbound.approval_request(call), {"response_id": response_id, "output_index": index}
        self._send_event("response.output_item.added", **where, item=item)
        self._send_added(call, item)
        self._send_done(call, item)
        self._send_event("response.output_item.done", **where, item=item)

    def _send_added(self, entry: Any, item: dict[str, Any]) -> None:
        previous = self._session.history.id_before(entry.item_id)
        self._send_event("conversation.item.added", item=item, previous_item_id=previous)

    def _send_done(self, entry: Any, item: dict[str, Any]) -> None:
        previous = self._session.history.id_before(entry.item_id)
        self._send_event("conversation.item.done", item=item, previous_item_id=previous)
