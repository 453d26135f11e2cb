"""Any server that speaks OpenAI's chat completions: OpenAI, LM Studio, vLLM, llama.cpp and many more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Self

from chinwag.engines.llm.calls import CallReader
from chinwag.engines.llm.reasoning import ThinkFilter, begins_thinking
from chinwag.engines.openai_server import (
    LOOK_AT_ITS_LOG,
    address_and_key,
    error_summary,
    list_models,
    open_client,
    server_name,
    to_engine_error,
)
from chinwag.engines.protocols import About, CallDelta, Delta, Ending, EngineOptions, Message, Usage
from chinwag.errors import EngineError

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIChat:
    """A chat model behind an OpenAI-compatible address."""

    name: ClassVar[str] = "openai"
    about: ClassVar[About] = About("OpenAI, or any server that speaks its language", "the server's")
    continues: ClassVar[bool] = False

    def __init__(self, client: AsyncOpenAI, model: str, settings: Any, name: str = "openai") -> None:
        self._client, self.model, self._settings, self._name = client, model, settings, name
        self._refused_fields: set[str] = set()
        self._in_thought = begins_thinking(model)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the models that the server lists."""
        base_url, key = address_and_key("llm", settings)
        return tuple(list_models("llm", base_url, key, settings.model))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the server has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Connect to the server; without llm.model use its first model."""
        options.only(cls.name)
        settings = options.settings
        base_url, key = address_and_key("llm", settings)
        return cls(open_client(base_url, key, settings.timeout_s), _choose_model(base_url, key, settings), settings)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Stream the response without its reasoning. Every failure raises an EngineError."""
        request: dict[str, Any] = {"messages": list(messages)}
        if tools:
            request["tools"] = list(tools)
            if tool_choice != "auto":  # the default everywhere; some servers refuse the field
                request["tool_choice"] = tool_choice
        async with aclosing(self.stream(request, max_tokens)) as deltas:
            async for delta in deltas:
                yield delta

    async def stream(
        self, fields: Mapping[str, Any], max_tokens: int | None, extra: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Stream a chat, or the completion of a raw prompt.

        fields: request fields, among them "messages" or "prompt". extra: fields that are not part of OpenAI's API.
        """
        settings = self._settings
        request: dict[str, Any] = {
            **fields,
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": settings.temperature,
            "max_tokens": max_tokens or settings.max_tokens,
            "extra_body": dict(extra or {}),
        }
        loop = asyncio.get_running_loop()
        think, calls, finish, usage = ThinkFilter(self._in_thought), CallReader(), None, Usage()
        deadline = loop.time() + settings.timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                chunks = await self._begin(request)
        except Exception as error:
            raise self._to_engine_error(error, tools="tools" in fields) from error
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(chunks, None)
                except Exception as error:
                    raise self._to_engine_error(error) from error
                if chunk is None:
                    break
                text, has_reasoning, reason, chunk_usage = _parse_chunk(chunk)
                finish, usage = reason or finish, chunk_usage or usage
                spoken_text = (think.answers() if has_reasoning and think.in_thought else "") + think.feed(text)
                new_calls = _parse_calls(chunk, calls)
                if spoken_text:
                    yield Delta(spoken_text)
                for call in new_calls:
                    yield Delta(call=call)
                if spoken_text or new_calls:
                    deadline = loop.time() + settings.timeout_s
        finally:
            await chunks.aclose()
        if finish is None:
            raise EngineError(
                f"{self._server_name} broke off in the middle of its response.",
                LOOK_AT_ITS_LOG,
                self._name,
            )
        rest = think.end(cut=finish == "length")
        self._in_thought = think.in_thought
        if rest:
            yield Delta(rest)
        reason = "tool_calls" if calls else "stop"  # some servers send "stop" after a call
        yield Delta(finish_reason="length" if finish == "length" else reason, usage=usage)

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Do nothing: an unknown server has no free way to prefill."""
        return None

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def _begin(self, request: dict[str, Any]) -> Any:
        """Send the request; repeat it without a field that the model refuses, as OpenAI's reasoning models do."""
        from openai import BadRequestError

        while True:
            body = {key: value for key, value in request.items() if key not in self._refused_fields}
            if "max_tokens" in self._refused_fields and "max_completion_tokens" not in self._refused_fields:
                body["max_completion_tokens"] = request["max_tokens"]
            endpoint = self._client.completions if "prompt" in body else self._client.chat.completions
            try:
                return await endpoint.create(**body)
            except BadRequestError as error:
                if error.param not in body or error.param not in {"temperature", "max_tokens", "stream_options"}:
                    raise
                self._refused_fields.add(error.param)

    @property
    def _server_name(self) -> str:
        return server_name("llm", str(self._client.base_url))

    def _to_engine_error(self, error: Exception, *, tools: bool = False) -> EngineError:
        engine_error = to_engine_error(
            error, "llm", self._name, self._server_name, self.model, self._settings.timeout_s
        )
        if tools and isinstance(getattr(error, "status_code", None), int) and "tool" in error_summary(error).lower():
            return EngineError(
                f"{self._server_name} takes no tools for the model {self.model}: {error_summary(error)}.",
                "Choose a model that can call tools (vLLM: start it with --enable-auto-tool-choice and a"
                " --tool-call-parser; llama.cpp: with --jinja), or leave session.tools and [tools] empty.",
                self._name,
            )
        return engine_error


def _choose_model(base_url: str, key: str, settings: Any) -> str:
    """Return the configured model, or the server's first. Always request the list, so that faults show at the start."""
    names = list_models("llm", base_url, key, settings.model)
    if not settings.model and not names:
        raise EngineError(
            f"{server_name('llm', base_url)} has no model loaded.", "Load one there, or set llm.model.", "openai"
        )
    return str(settings.model or names[0])


def _parse_chunk(chunk: Any) -> tuple[str, bool, str | None, Usage | None]:
    """Return a chunk's text, whether it has reasoning in a separate field, its finish reason and its usage.

    Reasoning comes as `reasoning_content` (DeepSeek, vLLM, llama.cpp), as `reasoning` (OpenRouter, Ollama, newer vLLM)
    or as a part of the content (Mistral).
    """
    choice = chunk.choices[0] if getattr(chunk, "choices", None) else None
    usage = None
    if getattr(chunk, "usage", None):
        details = getattr(chunk.usage, "prompt_tokens_details", None)
        usage = Usage(
            chunk.usage.prompt_tokens or 0,
            (details.cached_tokens if details else 0) or 0,
            chunk.usage.completion_tokens or 0,
        )
    if choice is None:
        return "", False, None, usage
    delta = getattr(choice, "delta", None)
    text = delta.content if delta else getattr(choice, "text", None)
    has_reasoning = any(getattr(delta, field, None) for field in ("reasoning_content", "reasoning"))
    if isinstance(text, list):
        parts = [part for part in text if isinstance(part, dict)]
        has_reasoning = has_reasoning or any(part.get("type") == "thinking" for part in parts)
        text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    return text or "", has_reasoning, choice.finish_reason, usage


def _parse_calls(chunk: Any, reader: CallReader) -> list[CallDelta]:
    """Return the pieces of tool calls in one chunk."""
    choice = chunk.choices[0] if getattr(chunk, "choices", None) else None
    deltas_found = []
    for piece in getattr(getattr(choice, "delta", None), "tool_calls", None) or ():
        function = piece.function
        name, arguments = (function.name or "", function.arguments or "") if function else ("", "")
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments)
        if call := reader.read(piece.index, piece.id or "", name, arguments):
            deltas_found.append(call)
    return deltas_found
