"""A small model in llama.cpp's server, which runs as a child process and is used like any OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from chinwag.engines.llm.bare_calls import BareCall, calls_as_text, names_grammar, required_tool
from chinwag.engines.llm.endings import ASKED, LIKELIEST, QUESTIONS, WORTH_ASKING, sentence_end, turn_end
from chinwag.engines.llm.llama_server import LlamaServer
from chinwag.engines.llm.openai_compatible import OpenAIChat
from chinwag.engines.llm.prefills import Prefills
from chinwag.engines.llm.requantize import SUFFIX, fast_file
from chinwag.engines.llm.slots import Slots
from chinwag.engines.onnx import weights_folder
from chinwag.engines.openai_server import open_client
from chinwag.engines.protocols import About, CallDelta, Delta, Ending, EngineOptions, Message
from chinwag.errors import EngineError
from chinwag.ids import new_id

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
MODELS = (DEFAULT_MODEL, "qwen2.5-coder-1.5b", "smollm2-135m")

CALLS_AS_TEXT = "qwen2.5-coder"
"""Models of this family get tool calls and results as plain sentences (see `bare_calls`)."""

CALL_START = '<tool_call>\n{"name": "'
"""Text that begins a forced tool call; the grammar constrains the rest."""

HEALTHY_WITHIN_S = 5.0
"""Limit for the health check. A busy server answers much sooner, from another thread."""

PLACEHOLDER = "\x1a"
"""Placeholder for the user's text when a prompt is rendered."""

NO_ECHO = {"repeat_penalty": 1.15, "repeat_last_n": 192}
"""A small model that once repeats the user keeps doing so: 12 of 40 responses without a penalty, 1 with a penalty over
two or three exchanges. llama.cpp's DRY works as well, but delays the first token by 55 ms."""

log = logging.getLogger(__name__)


class EmbeddedChat:
    """A GGUF model in llama.cpp's server (xllamacpp): batched, with a prompt cache and a slot for each session.

    If the server crashes or hangs, the current response fails, and the next one starts the server again.
    """

    name: ClassVar[str] = "embedded"
    about: ClassVar[About] = About("A small model in this program's own llama.cpp: offline, no account", "MIT")
    continues: ClassVar[bool] = True

    def __init__(self, server: LlamaServer, start: Callable[[], LlamaServer], key: str, settings: Any) -> None:
        self._server, self._start, self._key, self._settings = server, start, key, settings
        self.model = _model_name(settings)
        self._starting = asyncio.Lock()
        self._last_token_at = time.monotonic()
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        import httpx

        address, settings = self._server.address, self._settings
        self._inner = OpenAIChat(
            open_client(f"{address}/v1", self._key, settings.timeout_s), self.model, settings, self.name
        )
        self._http = httpx.AsyncClient(
            base_url=address, headers=_headers(self._key), trust_env=False, timeout=settings.timeout_s
        )
        self._slots = Slots(settings.slots)
        self._prefills = Prefills()
        self._chats: Counter[str] = Counter()
        self._rendered = "", ""

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the models of the catalog; the path of a .gguf file is accepted as well."""
        return MODELS

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the model's catalog name; nothing for a .gguf file. Raises EngineError for an unknown model."""
        if settings.model.endswith(".gguf"):
            return ()
        name = settings.model or DEFAULT_MODEL
        if name not in MODELS:
            nearest = difflib.get_close_matches(name, MODELS, n=1)
            hint = f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(MODELS)}."
            raise EngineError(
                f"The embedded engine has no model {name}.", f"{hint} Or set the path of a .gguf file.", cls.name
            )
        return (name,)

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Start a server with the model on a free loopback port, protected by a random key, and warm it up."""
        options.only(cls.name)
        settings, key = options.settings, secrets.token_urlsafe(32)
        server_settings = {
            "path": str(_model_path(options)),
            "key": key,
            "slots": settings.slots,
            "context_tokens": settings.context_tokens,
            "threads": settings.threads,
        }
        start = partial(LlamaServer, server_settings)
        server = start()
        try:
            asyncio.run(_warm_up(f"{server.address}/v1", key, settings))
            return cls(server, start, key, settings)
        except Exception as error:
            server.close()
            raise EngineError(
                f"The embedded language model does not respond: {error}.", "Set another llm.model.", cls.name
            ) from error

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Stream the response from the slot whose cache has this session's prompt.

        The arguments of a required call, and of a call that the model writes as text, follow the tool's schema.
        """
        await self._ensure_running()
        await self._prefills.stop(cache_key)
        self._chats[cache_key] += 1
        try:
            with self._slots.use(cache_key) as slot:
                extra: dict[str, Any] = {"id_slot": slot, "cache_prompt": True}
                request: dict[str, Any] = {"messages": self._prepare(messages)}
                if tools and tool_choice != "none":
                    response = self._chat_with_tools({**request, "tools": list(tools)}, tool_choice, max_tokens, extra)
                else:
                    response = self._inner.stream(request, max_tokens, {**extra, **NO_ECHO})
                async with aclosing(response) as deltas:
                    async for delta in deltas:
                        self._last_token_at = time.monotonic()
                        yield delta
        except EngineError as error:
            if _timed_out(error):
                await self._kill_if_hung()
            raise
        finally:
            self._chats[cache_key] -= 1
            if not self._chats[cache_key]:
                del self._chats[cache_key]

    async def _chat_with_tools(
        self,
        request: dict[str, Any],
        tool_choice: str | Mapping[str, Any],
        max_tokens: int | None,
        extra: dict[str, Any],
    ) -> AsyncGenerator[Delta, None]:
        text_extra = {**extra, **NO_ECHO}  # not for arguments, which repeat the user's words
        schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in request["tools"]}
        name = required_tool(tool_choice)
        if name is None and tool_choice == "required":
            name = await self._choose_tool(request, list(schemas), extra)
        if name is None:
            call_filter, last = BareCall(), Delta()
            async with aclosing(self._inner.stream(request, max_tokens, text_extra)) as deltas:
                async for delta in deltas:
                    if delta.call:
                        yield delta
                    elif delta.finish_reason:
                        last = delta
                    elif text := call_filter.feed(delta.text):
                        yield Delta(text)
                    if call_filter.name is not None:
                        break
            name = call_filter.name
            if name is None:
                if rest := call_filter.end():
                    yield Delta(rest)
                yield last
                return
        if name in schemas:
            response = self._stream_call(request, name, schemas[name], max_tokens, extra)
        else:  # the model invented the tool: respond without tools
            response = self._inner.stream({"messages": request["messages"]}, max_tokens, text_extra)
        async with aclosing(response) as deltas:
            async for delta in deltas:
                yield delta

    async def _choose_tool(self, request: Mapping[str, Any], names: Sequence[str], extra: Mapping[str, Any]) -> str:
        """Return the tool that the model prefers."""
        if len(names) == 1:
            return names[0]
        prompt = await self._render(request) + CALL_START
        stream = self._inner.stream({"prompt": prompt}, 40, {**extra, "grammar": names_grammar(names)})
        async with aclosing(stream) as deltas:
            return "".join([delta.text async for delta in deltas])

    async def _stream_call(
        self, request: Mapping[str, Any], name: str, schema: Any, max_tokens: int | None, extra: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        """Stream a call of that tool; the model generates only the arguments, if the tool has any."""
        yield Delta(call=CallDelta(0, new_id("call"), name))
        if not schema.get("properties"):
            yield Delta(call=CallDelta(0, arguments="{}"))
            yield Delta(finish_reason="tool_calls")
            return
        prompt = await self._render(request) + f'{CALL_START}{name}", "arguments": '
        stream = self._inner.stream({"prompt": prompt}, max_tokens, {**extra, "json_schema": schema})
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                if delta.text:
                    yield Delta(call=CallDelta(0, arguments=delta.text))
                if delta.finish_reason:
                    ended = "length" if delta.finish_reason == "length" else "tool_calls"
                    yield Delta(finish_reason=ended, usage=delta.usage)

    async def _render(self, request: Mapping[str, Any]) -> str:
        """Return messages and tools as rendered by the model's chat template."""
        import httpx

        try:
            response = await self._http.post("/apply-template", json=request)
            return str(response.raise_for_status().json()["prompt"])
        except (httpx.HTTPError, LookupError, ValueError) as error:
            message = f"The embedded language model cannot be made to call a tool: {error}."
            raise EngineError(message, "Remove the tools, or set another llm.model.", self.name) from error

    def _prepare(self, messages: Sequence[Message]) -> list[Message]:
        return calls_as_text(messages) if self.model.startswith(CALLS_AS_TEXT) else list(messages)

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Read the prompt into the cache, up to the last word of the last message.

        Return the model's probabilities that the sentence ends here, and that the turn ends after its likeliest closing
        mark. After a question the latter is a constant, as a question awaits a response. None if a newer prefill or a
        chat of the same key replaced this one.
        """
        if not cache_key or not messages or cache_key in self._chats:
            return None
        return await self._prefills.run(cache_key, self._prefill(self._prepare(messages), cache_key, tools))

    async def close(self) -> None:
        """Stop the server."""
        self._closed = True
        await self._prefills.close()
        await self._inner.close()
        await self._http.aclose()
        await asyncio.to_thread(self._server.close)

    async def _kill_if_hung(self) -> None:
        """Kill the server if it hangs, so that the next response starts another. A slow server is left alone."""
        import httpx

        silent_s = time.monotonic() - self._last_token_at
        try:
            await self._http.get("/health", timeout=HEALTHY_WITHIN_S)
        except httpx.HTTPError:
            silent_s = math.inf
        if silent_s >= self._settings.timeout_s:
            log.warning("The embedded language model hangs; its process was killed.")
            await asyncio.to_thread(self._server.kill)

    async def _ensure_running(self) -> None:
        """Start the server again if its process has ended."""
        if self._closed:
            raise EngineError("The embedded language model is closed.", "Start the server again.", self.name)
        async with self._starting:
            if self._server.running:
                return
            log.warning("The process of the embedded language model has ended; starting it again.")
            await self._inner.close()
            await self._http.aclose()
            await asyncio.to_thread(self._server.close)
            self._server = await asyncio.to_thread(self._start)
            self._connect()

    async def _prefill(
        self, messages: Sequence[Message], cache_key: str, tools: Sequence[Mapping[str, Any]]
    ) -> Ending | None:
        import httpx

        # A failed prefill is ignored: the chat itself reports the same error.
        with contextlib.suppress(httpx.HTTPError, LookupError, ValueError), self._slots.use(cache_key) as slot:
            if slot < 0:
                return None
            head = await self._render_before(messages[:-1], messages[-1]["role"], tools)
            prompt = head + messages[-1]["content"].strip()
            sentence, mark = sentence_end(await self._next_tokens(prompt, slot))
            if sentence < WORTH_ASKING:
                return Ending(sentence)
            if mark in QUESTIONS:
                return Ending(sentence, ASKED)
            return Ending(sentence, turn_end(await self._next_tokens(prompt + mark, slot)) if mark else 1.0)
        return None

    async def _next_tokens(self, prompt: str, slot: int) -> Sequence[Mapping[str, Any]]:
        """Return the likeliest next tokens with their log probabilities."""
        body = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": LIKELIEST,
            "temperature": 0,
            "id_slot": slot,
            "cache_prompt": True,
        }
        response = (await self._http.post("/completion", json=body)).json()
        likeliest: list[Mapping[str, Any]] = response["completion_probabilities"][0]["top_logprobs"]
        return likeliest

    async def _render_before(self, earlier: Sequence[Message], role: str, tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the rendered prompt up to the place where the text of one more message begins."""
        key = json.dumps([earlier, role, tools])
        if key != self._rendered[0]:
            request: dict[str, Any] = {"messages": [*earlier, {"role": role, "content": PLACEHOLDER}]}
            if tools:
                request["tools"] = list(tools)
            response = await self._http.post("/apply-template", json=request)
            self._rendered = key, str(response.json()["prompt"]).rpartition(PLACEHOLDER)[0]
        return self._rendered[1]


def _timed_out(error: EngineError) -> bool:
    from openai import APITimeoutError

    return isinstance(error.__cause__, TimeoutError | APITimeoutError)


async def _warm_up(base_url: str, key: str, settings: Any) -> None:
    """Generate two tokens: modules that the client loads at its first use would delay the first response."""
    chat = OpenAIChat(
        open_client(base_url, key, settings.timeout_s), _model_name(settings), settings, EmbeddedChat.name
    )
    hello = {"messages": [{"role": "user", "content": "Hello."}]}
    async with aclosing(chat.stream(hello, max_tokens=2)) as deltas:
        async for _ in deltas:
            continue
    await chat.close()


def _model_path(options: EngineOptions) -> Path:
    settings = options.settings
    if settings.model.endswith(".gguf"):
        path = Path(settings.model).expanduser()
        if not path.is_file():
            raise EngineError(f"There is no model file {path}.", "Correct llm.model.", EmbeddedChat.name)
        return path
    name = settings.model or DEFAULT_MODEL
    folder = weights_folder(options.weights, name, EmbeddedChat.name)
    files = sorted(file for file in folder.glob("*.gguf") if not file.name.endswith(SUFFIX))
    if not files:
        raise EngineError(
            f"The weights {name} hold no .gguf file.", f"Run `chinwag models pull {name}`.", EmbeddedChat.name
        )
    return fast_file(files[0]) if name == DEFAULT_MODEL else files[0]


def _model_name(settings: Any) -> str:
    return Path(settings.model).stem if settings.model.endswith(".gguf") else settings.model or DEFAULT_MODEL


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Connection": "close"}
