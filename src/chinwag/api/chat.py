"""POST /v1/chat/completions: direct access to the language model."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from chinwag.api.stops import StopSequences
from chinwag.api.streams import run_unless_disconnected, stream_events
from chinwag.engines.protocols import ChatModel, Delta, Message, Usage
from chinwag.ids import new_id
from chinwag.runtime.http_errors import invalid_value, require_engines
from chinwag.runtime.runtime import Runtime

ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
"""The engines' role for each role of the API."""


class StreamOptions(BaseModel):
    """Options of a streamed response."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The supported fields of the body. The server sets sampling itself and ignores unknown fields."""

    model: str = ""
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    n: int | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None


def router(runtime: Runtime) -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions", response_model=None)
    async def completions(asked: ChatRequest, request: Request) -> Response | dict[str, Any]:
        """Return a response, whole or streamed."""
        model = require_engines(runtime).llm
        messages = _messages(asked)
        _check(asked)
        answer = _answer(model, messages, asked)
        if asked.stream:
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return await stream_events(request, _chunks(model.model, answer, usage=usage), done=True)
        return await run_unless_disconnected(request, _whole(model.model, answer))

    return routes


async def _answer(model: ChatModel, messages: list[Message], asked: ChatRequest) -> AsyncGenerator[Delta, None]:
    """Yield the model's deltas, up to a stop sequence."""
    stops = StopSequences([asked.stop] if isinstance(asked.stop, str) else asked.stop or [])
    tools: dict[str, Any] = {}
    if asked.tools:
        tools = {"tools": asked.tools, "tool_choice": asked.tool_choice or "auto"}
    written = 0
    limit = asked.max_completion_tokens or asked.max_tokens
    async with aclosing(model.chat(messages, max_tokens=limit, **tools)) as deltas:
        async for delta in deltas:
            text = stops.push(delta.text) + (stops.finish() if delta.finish_reason else "")
            written += bool(delta.text)
            if stops.met:
                # the model is stopped here, so tokens are counted here: a delta is about one token
                yield Delta(text, finish_reason="stop", usage=delta.usage or Usage(output_tokens=written))
                return
            if text or delta.call or delta.finish_reason:
                yield Delta(text, delta.call, delta.finish_reason, delta.usage)


async def _whole(name: str, answer: AsyncGenerator[Delta, None]) -> dict[str, Any]:
    text, calls, finish, usage = "", dict[int, dict[str, Any]](), "stop", Usage()
    async with aclosing(answer) as deltas:
        async for delta in deltas:
            text += delta.text
            if call := delta.call:
                function = calls.setdefault(
                    call.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                )
                function["id"] = function["id"] or call.call_id
                function["function"]["name"] = function["function"]["name"] or call.name
                function["function"]["arguments"] += call.arguments
            finish, usage = delta.finish_reason or finish, delta.usage or usage
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {**_head(name, "chat.completion"), "choices": [choice], "usage": _cost(usage)}


async def _chunks(
    name: str, answer: AsyncGenerator[Delta, None], *, usage: bool
) -> AsyncGenerator[dict[str, Any], None]:
    head = _head(name, "chat.completion.chunk")
    cost = Usage()

    def chunk(said: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": said, "finish_reason": finish, "logprobs": None}
        return {**head, "choices": [choice], **({"usage": None} if usage else {})}

    begun = False
    async with aclosing(answer) as deltas:
        async for delta in deltas:
            said: dict[str, Any] = {} if begun else {"role": "assistant", "content": ""}
            if delta.text:
                said["content"] = delta.text
            if call := delta.call:
                function: dict[str, Any] = {"arguments": call.arguments}
                more: dict[str, Any] = {"index": call.index, "function": function}
                if call.call_id or call.name:
                    function["name"] = call.name
                    more |= {"id": call.call_id, "type": "function"}
                said["tool_calls"] = [more]
            begun = True
            cost = delta.usage or cost
            if said:
                yield chunk(said)
            if delta.finish_reason:
                yield chunk({}, delta.finish_reason)
    if usage:
        yield {**head, "choices": [], "usage": _cost(cost)}


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": new_id("chatcmpl"), "object": kind, "created": int(time.time()), "model": name}


def _cost(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _check(asked: ChatRequest) -> None:
    """Raise ApiError for requests that the server would otherwise silently ignore."""
    if asked.n not in (None, 1):
        raise invalid_value("This server gives one answer: n must be 1.", "n")
    if asked.logprobs:
        raise invalid_value("This server gives no log probabilities.", "logprobs", "unsupported_value")
    if (asked.response_format or {}).get("type", "text") != "text":
        raise invalid_value(
            "This server answers in text: ask for JSON in words.", "response_format", "unsupported_value"
        )
    if asked.modalities not in (None, ["text"]):
        raise invalid_value("Answers are text here; /v1/audio/speech speaks them.", "modalities", "unsupported_value")
    for index, tool in enumerate(asked.tools or []):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
            raise invalid_value("A tool has type 'function' and a function with a name.", f"tools.{index}")


def _messages(asked: ChatRequest) -> list[Message]:
    return [_message(message, f"messages.{index}") for index, message in enumerate(asked.messages)]


def _message(message: dict[str, Any], where: str) -> Message:
    role = str(message.get("role"))
    if role not in ROLES:
        raise invalid_value(f"Unknown role {role!r}. There are: {', '.join(ROLES)}.", f"{where}.role")
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not (role == "assistant" and calls):
        raise invalid_value("The message has no content.", f"{where}.content", "missing_required_parameter")
    parsed: Message = {"role": ROLES[role], "content": _text(content, f"{where}.content")}
    if calls is not None and role == "assistant":
        if not isinstance(calls, list) or not all(isinstance(call, dict) and "function" in call for call in calls):
            raise invalid_value("tool_calls is a list of calls, each with its function.", f"{where}.tool_calls")
        parsed["tool_calls"] = calls
    if role == "tool":
        if not isinstance(message.get("tool_call_id"), str):
            raise invalid_value("A tool's message names its tool_call_id.", f"{where}.tool_call_id")
        parsed["tool_call_id"] = message["tool_call_id"]
    return parsed


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise invalid_value("Content is a string or a list of parts.", where, "invalid_type")
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            message = f"Parts of type {kind!r} are not supported: the model reads text. Describe it in words."
            raise invalid_value(message, f"{where}.{index}", "unsupported_value")
        texts.append(part[kind])
    return "\n".join(texts)
