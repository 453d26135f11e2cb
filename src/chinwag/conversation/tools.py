"""The tools of one conversation: which are offered, and what becomes of the calls that the model makes.

A call outlives its reply: whoever interrupts "let me look" has not taken the question back. What the server runs it
runs to its end, and then has the model answer; what the client is to answer is awaited until it does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

from chinwag.conversation.events import (
    ErrorOccurred,
    Event,
    ItemAdded,
    ItemDone,
    McpToolsProgress,
    ToolCallProgress,
)
from chinwag.conversation.history import History
from chinwag.conversation.tool_items import McpItem, ToolCall, ToolFailure, ToolResult
from chinwag.errors import ChinwagError, Refused
from chinwag.ids import new_id
from chinwag.tasks import TaskSet
from chinwag.tools.mcp_server import McpServer, McpServerSpec
from chinwag.tools.offer import ToolOffer
from chinwag.tools.tool import Tool, ToolChoice, ToolError, with_unique_names

AGAIN_S = 8.0
"""Silence after which another filler is said, while a call still runs."""

MOST_FILLERS = 3
"""Said for one call; who still waits then has understood."""

NO_SUCH_TOOL = -32602
"""JSON-RPC's "invalid params", which MCP servers answer where they do not know a tool."""

log = logging.getLogger(__name__)


class Speaker(Protocol):
    """What tool work asks of its session."""

    def on_tool_results(self) -> None:
        """Nothing is run any more, and the model has not been told yet."""

    def say_filler(self, words: str, *, for_client: bool) -> bool:
        """Say that meanwhile; False where it cannot be said now."""


class ToolRunner:
    """Knows the calls whose results are to come. emit: is told; history: where calls and results stand."""

    def __init__(self, history: History, emit: Callable[[Event], None], speaker: Speaker) -> None:
        self._history, self._emit, self._speaker = history, emit, speaker
        self._offer = ToolOffer()
        self._servers: dict[McpServerSpec, McpServer] = {}
        self._known: dict[tuple[str, str], Tool] = {}
        self._running: dict[str, tuple[ToolCall, asyncio.Task[None]]] = {}
        self._asking: dict[str, ToolCall] = {}
        self._awaited: dict[str, ToolCall] = {}
        self._unheeded: set[str] = set()
        self._said = self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = TaskSet()

    async def close(self) -> None:
        """End what still runs, and let the client's MCP servers go."""
        self._disarm()
        await self._tasks.close()
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    # --- what may be called ----------------------------------------------------------------------------------

    def set_offer(self, offer: ToolOffer) -> None:
        """From now on this. MCP servers that were not named before are asked for their tools."""
        self._offer = offer
        for spec in offer.servers:
            if spec not in self._servers:
                server = self._servers[spec] = McpServer(spec, offer.timeout_s)
                self._tasks.start(self._list(server))
        for spec in set(self._servers) - set(offer.servers):
            self._tasks.start(self._servers.pop(spec).close())

    def tools_for(self, offer: ToolOffer) -> tuple[tuple[Tool, ...], ToolChoice]:
        """The tools for a reply, and the choice as the model takes it."""
        named = [tool for spec in offer.servers if spec in self._servers for tool in self._servers[spec].tools()]
        tools = with_unique_names([*offer.functions, *named, *(offer.own.tools() if offer.own else ())])
        choice = offer.choice
        if not isinstance(choice, str) and choice.get("type") == "mcp":
            tools = tuple(tool for tool in tools if tool.server == choice["server_label"])
            wanted = next((tool for tool in tools if tool.server_name == choice.get("name")), None)
            choice = {"type": "function", "function": {"name": wanted.name}} if wanted else "required"
        self._known.update({(tool.server, tool.name): tool for tool in tools})
        return tools, choice if tools else "auto"

    async def _list(self, server: McpServer) -> None:
        label = server.spec.label
        item = McpItem(new_id("mcpl"), {"type": "mcp_list_tools", "server_label": label, "tools": []})
        self._emit(ItemAdded(item.item_id, self._history.add(item), done=False))
        self._emit(McpToolsProgress(item.item_id, "in_progress"))
        try:
            tools = await server.list_tools()
        except ChinwagError as error:
            self._emit(McpToolsProgress(item.item_id, "failed"))
            self._emit(ErrorOccurred("mcp_list_tools_failed", str(error)))
            return
        item.fields = {**item.fields, "tools": [_listed(tool) for tool in tools]}
        self._emit(McpToolsProgress(item.item_id, "completed"))
        self._emit(ItemDone(item.item_id))

    # --- calls -----------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Somebody works on a call."""
        return self.running or bool(self._awaited)

    @property
    def running(self) -> bool:
        """The server runs a call whose result the model is to be told."""
        return bool(self._running.keys() - self._unheeded)

    async def wait_for_calls(self) -> None:
        """Wait until the calls that run now have ended."""
        if self._running:
            await asyncio.wait([task for _, task in self._running.values()])

    def start_call(self, item_id: str) -> None:
        """Start a call that a response has written, if it is complete and in the history."""
        call = self._history.find(item_id)
        if isinstance(call, ToolCall) and call.status == "completed":
            self._begin(call)

    def check_result(self, result: ToolResult) -> None:
        """The client's result of a call. Raises Refused for a call that is not the client's to answer, or not there."""
        call = self._history.find_call(result.call_id)
        if call is None or call.server:
            message = f"Tool call ID {result.call_id!r} not found in conversation."
            raise Refused("invalid_tool_call_id", message, "Send the call_id of a function_call item.", "item.call_id")
        if self._history.find_result(call) is not None:
            message = f"Tool call ID {result.call_id!r} has its result already."
            raise Refused("invalid_tool_call_id", message, "Delete that item first.", "item.call_id")
        result.late = call if self._history.is_late(call) else None

    def result_added(self, result: ToolResult) -> None:
        """It is in the history."""
        self._awaited.pop(result.call_id, None)
        if not self.busy:
            self._disarm()

    def approve(self, request_id: str, approve: bool, reason: str | None) -> Callable[[], None]:
        """The client's answer to being asked; to be acted on by what comes back. Raises Refused where it was not."""
        call = self._asking.get(request_id)
        if call is None:
            message = f"There is no approval request {request_id} that waits for an answer."
            raise Refused("item_not_found", message, param="item.approval_request_id")

        def act() -> None:
            del self._asking[request_id]
            if approve:
                call.announced = True
                self._emit(ItemAdded(call.item_id, self._history.id_before(call.item_id), done=False))
                self._run(call)
            else:
                call.result = f"The user did not allow this call. {reason or ''}".strip()
                self._ended(call)

        return act

    def forget_item(self, item_id: str) -> None:
        """The client deleted that item: nothing of it is awaited any more."""
        if item_id in self._running:
            self._running[item_id][1].cancel()
        self._asking.pop(item_id, None)
        entry = self._history.find(item_id)
        if isinstance(entry, ToolCall):
            self._awaited.pop(entry.call_id, None)

    def ignore_running_calls(self) -> bool:
        """Nobody wants to be told of what runs now. False where nothing does."""
        was, self._unheeded = self.running, set(self._running)
        self._disarm()
        return was

    def _begin(self, call: ToolCall) -> None:
        if call.approval_request_id:
            asks = {"type": "mcp_approval_request", "server_label": call.server, "name": call.called}
            self._history.add(
                McpItem(call.approval_request_id, {**asks, "arguments": call.arguments}), after=call.item_id
            )
            self._asking[call.approval_request_id] = call
        elif call.server:
            self._run(call)
        else:
            self._awaited[call.call_id] = call
            self._cover()

    def _run(self, call: ToolCall) -> None:
        self._emit(ToolCallProgress(call.item_id, "in_progress"))
        self._running[call.item_id] = call, self._tasks.start(self._work(call))
        self._cover()

    async def _work(self, call: ToolCall) -> None:
        try:
            call.result = await self._result(call)
        except ToolError as error:
            call.failure = ToolFailure(error.kind, str(error), error.code)
        except Exception as error:
            log.exception("the tool %s failed", call.name)
            call.failure = ToolFailure("tool_execution_error", f"It failed unexpectedly: {error}.")
        finally:
            del self._running[call.item_id]
            heeded = call.item_id not in self._unheeded
            self._unheeded.discard(call.item_id)
        if call.failure:
            call.result = f"Error: {call.failure.message}"
        if self._history.is_late(call):
            self._history.add(ToolResult(new_id("item"), call.call_id, call.result or "", late=call, announced=False))
        self._emit(ToolCallProgress(call.item_id, "failed" if call.failure else "completed"))
        self._emit(ItemDone(call.item_id))
        if heeded:
            self._ended(call)

    async def _result(self, call: ToolCall) -> str:
        tool = self._known.get((call.server, call.name))
        if tool is None or tool.run is None:
            known = ", ".join(sorted(name for _, name in self._known)) or "none"
            message = f"There is no tool called {call.name}."
            raise ToolError(message, f"There are: {known}.", "protocol_error", NO_SUCH_TOOL)
        try:
            arguments: Any = json.loads(call.arguments)
        except ValueError as error:
            raise ToolError(
                f"The arguments are not valid JSON: {error}.", "Call it again with a JSON object."
            ) from error
        if not isinstance(arguments, dict):
            raise ToolError("The arguments are no JSON object.", "Call it again with one.")
        return await tool.run(arguments)

    def _ended(self, call: ToolCall) -> None:
        """The model goes on once all that it called together is there; where the client answers too, when that asks."""
        if not self.busy:
            self._disarm()
        running = (other for other, _ in self._running.values())
        others = (*running, *self._asking.values(), *self._awaited.values())
        if not any(other.response_id == call.response_id for other in others):
            self._speaker.on_tool_results()

    # --- no dead air -----------------------------------------------------------------------------------------

    def _cover(self) -> None:
        self._left = MOST_FILLERS
        self._arm(self._offer.filler.after_s)

    def _arm(self, after_s: float) -> None:
        if self._timer is None and self._offer.filler.phrases:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._long)

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _long(self) -> None:
        self._timer = None
        filler, for_client = self._offer.filler, not self.running
        if not self._left or (for_client and not (self._awaited and filler.for_clients)):
            return
        said = self._speaker.say_filler(filler.phrases[self._said % len(filler.phrases)], for_client=for_client)
        self._said, self._left = self._said + said, self._left - said
        self._arm(AGAIN_S if said else filler.after_s)


def _listed(tool: Tool) -> dict[str, Any]:
    return {"name": tool.server_name, "description": tool.description, "input_schema": dict(tool.parameters)}
