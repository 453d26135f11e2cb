"""Converts `tools` and `tool_choice` of a session or response to a tool offer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from chinwag.errors import Refused
from chinwag.tools.mcp_server import McpServerSpec
from chinwag.tools.offer import ToolOffer
from chinwag.tools.tool import OWN_SERVER, Tool, ToolChoice

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

CHOICES = ("auto", "none", "required")

MAX_TOOLS = 128
"""OpenAI's limit."""


def offer(
    tools: Sequence[Mapping[str, Any]], choice: Any, before: ToolOffer, allowed: Sequence[str], where: str
) -> ToolOffer:
    """Make the tool offer of a session or response. Raises Refused if a tool or the choice is invalid.

    before: the offer at the session's start, with the server's own tools. allowed: addresses of MCP servers that a
    client may name.
    where: "session" or "response".
    """
    functions: list[Tool] = []
    servers: list[McpServerSpec] = []
    if len(tools) > MAX_TOOLS:
        message = f"There are {len(tools)} tools; at most {MAX_TOOLS} are allowed."
        raise Refused("invalid_value", message, "Leave some out.", f"{where}.tools")
    for number, tool in enumerate(tools):
        param = f"{where}.tools.{number}"
        if tool.get("type") == "mcp":
            servers.append(_server(tool, allowed, param))
        else:
            functions.append(_function(tool, param))
    names = [tool.name for tool in functions]
    labels = [spec.label for spec in servers]
    own = before.own.tools() if before.own else ()
    for name in [*names, *labels]:
        if [*names, *labels].count(name) > 1:
            raise Refused(
                "invalid_value", f"Two tools have the name {name!r}.", "Give each tool its own name.", f"{where}.tools"
            )
    if reserved := {OWN_SERVER, *(tool.server for tool in own)} & set(labels):
        message = f"This server itself uses the label {reserved.pop()!r}."
        raise Refused("invalid_value", message, "Choose another label.", f"{where}.tools")
    callable_names = {*names, *(tool.name for tool in own)}
    chosen = _choice(choice, callable_names, {*labels, *(tool.server for tool in own)}, where)
    return replace(before, functions=tuple(functions), servers=tuple(servers), choice=chosen)


def _function(tool: Mapping[str, Any], param: str) -> Tool:
    name = tool.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = f"A function's name has 1 to 64 letters, digits, _ or -, not {name!r}."
        raise Refused("invalid_value", message, param=f"{param}.name")
    schema = tool.get("parameters")
    if schema is None:
        return Tool(name, tool.get("description") or "")
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        message = f"The parameters of {name} are not a JSON Schema of type object."
        raise Refused("invalid_value", message, 'Write {"type": "object", "properties": …}.', f"{param}.parameters")
    return Tool(name, tool.get("description") or "", {"type": "object", "properties": {}, **schema})


def _server(tool: Mapping[str, Any], allowed: Sequence[str], param: str) -> McpServerSpec:
    label, url = tool["server_label"], tool.get("server_url")
    if tool.get("connector_id") or tool.get("tunnel_id"):
        message = "Connectors and tunnels are services of OpenAI, which this server does not support."
        raise Refused("unsupported_value", message, "Send a server_url instead.", param)
    if not _NAME.fullmatch(label):
        message = f"A server_label has 1 to 64 letters, digits, _ or -, not {label!r}."
        raise Refused("invalid_value", message, param=f"{param}.server_label")
    if not url or not _is_http(url):
        message = "An MCP server needs a server_url that begins with http:// or https://."
        raise Refused("invalid_value", message, param=f"{param}.server_url")
    if not any(_covers(address, url) for address in allowed):
        message = f"Clients of this server may not use the MCP server {url}."
        fix = "The server's owner can add the address to client_mcp under [tools] in chinwag.toml."
        raise Refused("mcp_server_not_allowed", message, fix, f"{param}.server_url")
    headers = dict(tool.get("headers") or {})
    if token := tool.get("authorization"):
        headers["Authorization"] = f"Bearer {token}"
    names, read_only = _filter(tool.get("allowed_tools"))
    approval = tool.get("require_approval")
    spec = McpServerSpec(label, url, tuple(sorted(headers.items())), allowed=names, read_only=read_only)
    if not isinstance(approval, Mapping):
        return replace(spec, approval_for_others=approval != "never")
    always, never = (frozenset(_filter(approval.get(key))[0] or ()) for key in ("always", "never"))
    return replace(spec, approval_tools=always, no_approval_tools=never)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _filter(value: Any) -> tuple[frozenset[str] | None, bool]:
    """Read a tool filter: the tool names, None for all; and whether it selects only read-only tools."""
    if not isinstance(value, Mapping):
        return (None if value is None else frozenset(value)), False
    names = value.get("tool_names")
    return (None if names is None else frozenset(names)), bool(value.get("read_only"))


def _covers(allowed: str, url: str) -> bool:
    """Whether a URL is the allowed address or lies below it. Scheme, host, port and path are compared after parsing."""
    if allowed == "*":
        return True
    base, other = urlsplit(allowed), urlsplit(url)
    same = (base.scheme, base.hostname, _port(base)) == (other.scheme, other.hostname, _port(other))
    path = unquote(other.path).replace("\\", "/")
    below = (path.rstrip("/") + "/").startswith(base.path.rstrip("/") + "/") and ".." not in path.split("/")
    return same and below and other.username is None


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _choice(choice: Any, names: set[str], labels: set[str], where: str) -> ToolChoice:
    if choice is None or choice in CHOICES:
        return choice or "auto"
    kind = choice.get("type")
    if kind == "mcp" and choice.get("server_label") in labels:
        return dict(choice)
    if kind == "function" and choice.get("name") in names:
        return {"type": "function", "function": {"name": choice["name"]}}
    wanted = choice.get("server_label") if kind == "mcp" else choice.get("name")
    message = f"tool_choice names {wanted!r}, which is not one of the tools."
    fix = f"There are: {', '.join(sorted(labels if kind == 'mcp' else names)) or 'none'}."
    raise Refused("invalid_value", message, fix, f"{where}.tool_choice")
