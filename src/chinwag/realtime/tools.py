"""session.tools and tool_choice: from the wire to what is offered."""

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

MOST = 128
"""OpenAI's limit."""


def offer(
    tools: Sequence[Mapping[str, Any]], choice: Any, before: ToolOffer, allowed: Sequence[str], where: str
) -> ToolOffer:
    """What is offered from now on. Raises Refused for what cannot be.

    before: as the session began, with the server's own tools. allowed: addresses of MCP servers that a client may name.
    where: "session" or "response".
    """
    functions: list[Tool] = []
    servers: list[McpServerSpec] = []
    if len(tools) > MOST:
        message = f"There are {len(tools)} tools; at most {MOST} are taken."
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
            raise Refused("invalid_value", f"Two tools are called {name!r}.", "Name each once.", f"{where}.tools")
    if taken := {OWN_SERVER, *(tool.server for tool in own)} & set(labels):
        message = f"The label {taken.pop()!r} is one of this server's own."
        raise Refused("invalid_value", message, "Choose another.", f"{where}.tools")
    known = {*names, *(tool.name for tool in own)}
    return replace(before, functions=tuple(functions), servers=tuple(servers),
                   choice=_choice(choice, known, {*labels, *(tool.server for tool in own)}, where))  # fmt: skip


def _function(tool: Mapping[str, Any], param: str) -> Tool:
    name = tool.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = f"A function's name has 1 to 64 letters, digits, _ or -, not {name!r}."
        raise Refused("invalid_value", message, param=f"{param}.name")
    schema = tool.get("parameters")
    if schema is None:
        return Tool(name, tool.get("description") or "")
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        message = f"The parameters of {name} are no JSON Schema of an object."
        raise Refused("invalid_value", message, 'Write {"type": "object", "properties": …}.', f"{param}.parameters")
    return Tool(name, tool.get("description") or "", {"type": "object", "properties": {}, **schema})


def _server(tool: Mapping[str, Any], allowed: Sequence[str], param: str) -> McpServerSpec:
    label, url = tool["server_label"], tool.get("server_url")
    if tool.get("connector_id") or tool.get("tunnel_id"):
        message = "Connectors and tunnels are services of OpenAI's."
        raise Refused("unsupported_value", message, "Name a server_url.", param)
    if not _NAME.fullmatch(label):
        message = f"A server_label has 1 to 64 letters, digits, _ or -, not {label!r}."
        raise Refused("invalid_value", message, param=f"{param}.server_label")
    if not url or not _is_http(url):
        message = "An MCP server needs a server_url that begins with http:// or https://."
        raise Refused("invalid_value", message, param=f"{param}.server_url")
    if not any(_covers(one, url) for one in allowed):
        message = f"This server does not call {url} for its clients."
        fix = "Its owner can allow it: client_mcp under [tools] in chinwag.toml lists the addresses."
        raise Refused("mcp_server_not_allowed", message, fix, f"{param}.server_url")
    headers = dict(tool.get("headers") or {})
    if token := tool.get("authorization"):
        headers["Authorization"] = f"Bearer {token}"
    names, read_only = _filter(tool.get("allowed_tools"))
    asked = tool.get("require_approval")
    spec = McpServerSpec(label, url, tuple(sorted(headers.items())), allowed=names, read_only=read_only)
    if not isinstance(asked, Mapping):
        return replace(spec, approval_for_others=asked != "never")
    always, never = (frozenset(_filter(asked.get(key))[0] or ()) for key in ("always", "never"))
    return replace(spec, approval_tools=always, no_approval_tools=never)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _filter(value: Any) -> tuple[frozenset[str] | None, bool]:
    """Names, None for all; and whether only tools that change nothing are meant."""
    if not isinstance(value, Mapping):
        return (None if value is None else frozenset(value)), False
    names = value.get("tool_names")
    return (None if names is None else frozenset(names)), bool(value.get("read_only"))


def _covers(allowed: str, url: str) -> bool:
    """Whether an address is that one, or lies beneath it. Names and ports are compared as such, and never as text."""
    if allowed == "*":
        return True
    one, other = urlsplit(allowed), urlsplit(url)
    same = (one.scheme, one.hostname, _port(one)) == (other.scheme, other.hostname, _port(other))
    path = unquote(other.path).replace("\\", "/")
    beneath = (path.rstrip("/") + "/").startswith(one.path.rstrip("/") + "/") and ".." not in path.split("/")
    return same and beneath and other.username is None


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
    message = f"tool_choice names {wanted!r}, which is not among the tools."
    fix = f"There are: {', '.join(sorted(labels if kind == 'mcp' else names)) or 'none'}."
    raise Refused("invalid_value", message, fix, f"{where}.tool_choice")
