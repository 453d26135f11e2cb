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
        self._refused: set[str] = set()
        self._in_thought = begins_thinking(model)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Those the server lists."""
        base_url, key = address_and_key("llm", settings)
        return tuple(list_models("llm", base_url, key, settings.model))

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the server has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Reach the server and choose its first model where none is set."""
        options.only(cls.name)
        settings = options.settings
        base_url, key = address_and_key("llm", settings)
        return cls(open_client(base_url, key, settings.timeout_s), _choose(base_url, key, settings), settings)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Stream the answer, thinking left out. Every failure is an EngineError that says what to do."""
        request: dict[str, Any] = {"messages": list(messages)}
        if tools:
            request["tools"] = list(tools)
            if tool_choice != "auto":  # what every server does unasked, and some refuse to be asked for
                request["tool_choice"] = tool_choice
        async with aclosing(self.stream(request, max_tokens)) as deltas:
            async for delta in deltas:
                yield delta

    async def stream(
        self, asked: Mapping[str, Any], max_tokens: int | None, extra: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """`chat`, or the completion of a raw prompt.

        asked: the fields that say what for, "messages" or "prompt" among them. extra: fields of no standard.
        """
        settings = self._settings
        request: dict[str, Any] = {
            **asked,
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
            raise self._explained(error, tools="tools" in asked) from error
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(chunks, None)
                except Exception as error:
                    raise self._explained(error) from error
                if chunk is None:
                    break
                text, thought, ended, cost = _read(chunk)
                finish, usage = ended or finish, cost or usage
                said = (think.answers() if thought and think.in_thought else "") + think.feed(text)
                made = _calls(chunk, calls)
                if said:
                    yield Delta(said)
                for call in made:
                    yield Delta(call=call)
                if said or made:
                    deadline = loop.time() + settings.timeout_s
        finally:
            await chunks.aclose()
        if finish is None:
            raise EngineError(
                f"{self._who} broke off in the middle of its answer.",
                "Look at that server's log, then ask again.",
                self._name,
            )
        rest = think.end(cut=finish == "length")
        self._in_thought = think.in_thought
        if rest:
            yield Delta(rest)
        ended = "tool_calls" if calls else "stop"  # some servers say "stop" behind a call
        yield Delta(finish_reason="length" if finish == "length" else ended, usage=usage)

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Nothing: there is no way to ask a server of an unknown kind for it that costs nothing."""
        return None

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def _begin(self, request: dict[str, Any]) -> Any:
        """Send the request, again without a field that this model refuses (as OpenAI's reasoning models do)."""
        from openai import BadRequestError

        while True:
            sent = {key: value for key, value in request.items() if key not in self._refused}
            if "max_tokens" in self._refused and "max_completion_tokens" not in self._refused:
                sent["max_completion_tokens"] = request["max_tokens"]
            wire = self._client.completions if "prompt" in sent else self._client.chat.completions
            try:
                return await wire.create(**sent)
            except BadRequestError as error:
                if error.param not in sent or error.param not in {"temperature", "max_tokens", "stream_options"}:
                    raise
                self._refused.add(error.param)

    @property
    def _who(self) -> str:
        return server_name("llm", str(self._client.base_url))

    def _explained(self, error: Exception, *, tools: bool = False) -> EngineError:
        explained = to_engine_error(error, "llm", self._name, self._who, self.model, self._settings.timeout_s)
        if tools and isinstance(getattr(error, "status_code", None), int) and "tool" in error_summary(error).lower():
            return EngineError(
                f"{self._who} takes no tools for the model {self.model}: {error_summary(error)}.",
                "Choose a model that can call tools (vLLM: start it with --enable-auto-tool-choice and a"
                " --tool-call-parser; llama.cpp: with --jinja), or leave session.tools and [tools] empty.",
                self._name,
            )
        return explained


def _choose(base_url: str, key: str, settings: Any) -> str:
    """The model set, else the server's first. Asks the server in both cases, so that a fault shows at the start."""
    names = list_models("llm", base_url, key, settings.model)
    if not settings.model and not names:
        raise EngineError(
            f"{server_name('llm', base_url)} has no model loaded.", "Load one there, or set llm.model.", "openai"
        )
    return str(settings.model or names[0])


def _read(chunk: Any) -> tuple[str, bool, str | None, Usage | None]:
    """The text, whether a thought came in a field of its own, the finish reason and the cost in one chunk.

    What is not there is empty. Thoughts come as `reasoning_content` (DeepSeek, vLLM, llama.cpp), as `reasoning`
    (OpenRouter, Ollama, newer vLLM) or as a part of the content (Mistral).
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
    thought = any(getattr(delta, field, None) for field in ("reasoning_content", "reasoning"))
    if isinstance(text, list):
        parts = [part for part in text if isinstance(part, dict)]
        thought = thought or any(part.get("type") == "thinking" for part in parts)
        text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    return text or "", thought, choice.finish_reason, usage


def _calls(chunk: Any, reader: CallReader) -> list[CallDelta]:
    """What one chunk holds of calls."""
    choice = chunk.choices[0] if getattr(chunk, "choices", None) else None
    found = []
    for piece in getattr(getattr(choice, "delta", None), "tool_calls", None) or ():
        asked = piece.function
        name, arguments = (asked.name or "", asked.arguments or "") if asked else ("", "")
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments)
        if call := reader.read(piece.index, piece.id or "", name, arguments):
            found.append(call)
    return found
