"""A model that comes with the program: llama.cpp's server as its child, spoken to like any other server."""

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

from chinwag.engines.llm.bare_calls import BareCall, named, one_of, plainly
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

TOLD_PLAINLY = "qwen2.5-coder"
"""Models of this family are told of calls and results in words; for what that changes see `bare_calls`."""

CALL_BEGINS = '<tool_call>\n{"name": "'
"""How a call begins where one is asked for; the grammar sees to the rest."""

HEALTHY_WITHIN_S = 5.0
"""A server that is only busy tells so much sooner that it lives: another of its threads does."""

PLACE = "\x1a"
"""Stands for words that are still to come when a prompt is rendered."""

NO_ECHO = {"repeat_penalty": 1.15, "repeat_last_n": 192}
"""A small model that once repeats its listener goes on to: 12 of 40 answers did so with this one, and 1 with a penalty
over two or three exchanges. llama.cpp's DRY did as well, but costs 55 ms before the first token."""

log = logging.getLogger(__name__)


class EmbeddedChat:
    """A GGUF model in llama.cpp's server (xllamacpp): batched, with a prompt cache and a slot per conversation.

    A server that has died, or hangs, fails the reply it was at, and is started again for the next.
    """

    name: ClassVar[str] = "embedded"
    about: ClassVar[About] = About("A small model in this program's own llama.cpp: offline, no account", "MIT")
    continues: ClassVar[bool] = True

    def __init__(self, server: LlamaServer, start: Callable[[], LlamaServer], key: str, settings: Any) -> None:
        self._server, self._start, self._key, self._settings = server, start, key, settings
        self.model = _model_name(settings)
        self._starting = asyncio.Lock()
        self._heard_at = time.monotonic()
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
        """Those in the catalog; a .gguf file's path does as well."""
        return MODELS

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The model's catalog name; nothing for a .gguf file. Raises EngineError, with the nearest, for another."""
        if settings.model.endswith(".gguf"):
            return ()
        name = settings.model or DEFAULT_MODEL
        if name not in MODELS:
            near = difflib.get_close_matches(name, MODELS, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(MODELS)}."
            raise EngineError(
                f"The embedded engine has no model {name}.", f"{meant} A .gguf file's path does as well.", cls.name
            )
        return (name,)

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Load the model, start its server on a free loopback port that only this program has the key of, warm up."""
        options.only(cls.name)
        settings, key = options.settings, secrets.token_urlsafe(32)
        wanted = {
            "path": str(_model_path(options)),
            "key": key,
            "slots": settings.slots,
            "context_tokens": settings.context_tokens,
            "threads": settings.threads,
        }
        start = partial(LlamaServer, wanted)
        server = start()
        try:
            asyncio.run(_warm_up(f"{server.address}/v1", key, settings))
            return cls(server, start, key, settings)
        except Exception as error:
            server.close()
            raise EngineError(
                f"The embedded language model does not answer: {error}.", "Set another llm.model.", cls.name
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
        """Stream the answer, from the slot that has this conversation's prompt in its cache.

        A call that is asked for, or that the model writes out as text, has arguments held to the tool's schema.
        """
        await self._revive()
        await self._prefills.stop(cache_key)
        self._chats[cache_key] += 1
        try:
            with self._slots.use(cache_key) as slot:
                extra: dict[str, Any] = {"id_slot": slot, "cache_prompt": True}
                asked: dict[str, Any] = {"messages": self._told(messages)}
                if tools and tool_choice != "none":
                    answer = self._with_tools({**asked, "tools": list(tools)}, tool_choice, max_tokens, extra)
                else:
                    answer = self._inner.stream(asked, max_tokens, {**extra, **NO_ECHO})
                async with aclosing(answer) as deltas:
                    async for delta in deltas:
                        self._heard_at = time.monotonic()
                        yield delta
        except EngineError as error:
            if _timed_out(error):
                await self._end_hung()
            raise
        finally:
            self._chats[cache_key] -= 1
            if not self._chats[cache_key]:
                del self._chats[cache_key]

    async def _with_tools(
        self,
        asked: dict[str, Any],
        tool_choice: str | Mapping[str, Any],
        max_tokens: int | None,
        extra: dict[str, Any],
    ) -> AsyncGenerator[Delta, None]:
        spoken = {**extra, **NO_ECHO}  # a call's arguments are to say again what was said
        schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in asked["tools"]}
        name = named(tool_choice)
        if name is None and tool_choice == "required":
            name = await self._choose(asked, list(schemas), extra)
        if name is None:
            written, last = BareCall(), Delta()
            async with aclosing(self._inner.stream(asked, max_tokens, spoken)) as deltas:
                async for delta in deltas:
                    if delta.call:
                        yield delta
                    elif delta.finish_reason:
                        last = delta
                    elif said := written.feed(delta.text):
                        yield Delta(said)
                    if written.name is not None:
                        break
            name = written.name
            if name is None:
                if rest := written.end():
                    yield Delta(rest)
                yield last
                return
        if name in schemas:
            answer = self._call(asked, name, schemas[name], max_tokens, extra)
        else:  # a tool that it made up: it is to answer as well as it can
            answer = self._inner.stream({"messages": asked["messages"]}, max_tokens, spoken)
        async with aclosing(answer) as deltas:
            async for delta in deltas:
                yield delta

    async def _choose(self, asked: Mapping[str, Any], names: Sequence[str], extra: Mapping[str, Any]) -> str:
        """The tool that the model would sooner call than the others."""
        if len(names) == 1:
            return names[0]
        prompt = await self._prompt(asked) + CALL_BEGINS
        stream = self._inner.stream({"prompt": prompt}, 40, {**extra, "grammar": one_of(names)})
        async with aclosing(stream) as deltas:
            return "".join([delta.text async for delta in deltas])

    async def _call(
        self, asked: Mapping[str, Any], name: str, schema: Any, max_tokens: int | None, extra: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        """A call of that tool; the model writes nothing but its arguments, and none where there are none."""
        yield Delta(call=CallDelta(0, new_id("call"), name))
        if not schema.get("properties"):
            yield Delta(call=CallDelta(0, arguments="{}"))
            yield Delta(finish_reason="tool_calls")
            return
        prompt = await self._prompt(asked) + f'{CALL_BEGINS}{name}", "arguments": '
        stream = self._inner.stream({"prompt": prompt}, max_tokens, {**extra, "json_schema": schema})
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                if delta.text:
                    yield Delta(call=CallDelta(0, arguments=delta.text))
                if delta.finish_reason:
                    ended = "length" if delta.finish_reason == "length" else "tool_calls"
                    yield Delta(finish_reason=ended, usage=delta.usage)

    async def _prompt(self, asked: Mapping[str, Any]) -> str:
        """The messages and tools as the model's own template writes them."""
        import httpx

        try:
            answer = await self._http.post("/apply-template", json=asked)
            return str(answer.raise_for_status().json()["prompt"])
        except (httpx.HTTPError, LookupError, ValueError) as error:
            message = f"The embedded language model cannot be asked for a call: {error}."
            raise EngineError(message, "Leave the tools out, or set another llm.model.", self.name) from error

    def _told(self, messages: Sequence[Message]) -> list[Message]:
        return plainly(messages) if self.model.startswith(TOLD_PLAINLY) else list(messages)

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Read the prompt up to the last word of the last message; a newer one, or a chat, takes its place.

        Returns what the model gives to a full stop, a question or an exclamation mark or the end of the turn as the
        next token, and then to the end of the turn behind the likeliest mark, but for a question: who asks wants an
        answer. None where something took its place.
        """
        if not cache_key or not messages or cache_key in self._chats:
            return None
        return await self._prefills.run(cache_key, self._read(self._told(messages), cache_key, tools))

    async def close(self) -> None:
        """End the server."""
        self._closed = True
        await self._prefills.close()
        await self._inner.close()
        await self._http.aclose()
        await asyncio.to_thread(self._server.close)

    async def _end_hung(self) -> None:
        """A server that answers nobody is ended, so that the next reply finds another; one that is only slow is not."""
        import httpx

        silent_s = time.monotonic() - self._heard_at
        try:
            await self._http.get("/health", timeout=HEALTHY_WITHIN_S)
        except httpx.HTTPError:
            silent_s = math.inf
        if silent_s >= self._settings.timeout_s:
            log.warning("The embedded language model hangs; it is ended.")
            await asyncio.to_thread(self._server.kill)

    async def _revive(self) -> None:
        """Start the server again where its process has died."""
        if self._closed:
            raise EngineError("The embedded language model is closed.", "Start the server again.", self.name)
        async with self._starting:
            if self._server.running:
                return
            log.warning("The embedded language model has ended; starting it again.")
            await self._inner.close()
            await self._http.aclose()
            await asyncio.to_thread(self._server.close)
            self._server = await asyncio.to_thread(self._start)
            self._connect()

    async def _read(
        self, messages: Sequence[Message], cache_key: str, tools: Sequence[Mapping[str, Any]]
    ) -> Ending | None:
        import httpx

        # A hint: whatever goes wrong here shows, with its reason, when the chat itself is asked for.
        with contextlib.suppress(httpx.HTTPError, LookupError, ValueError), self._slots.use(cache_key) as slot:
            if slot < 0:
                return None
            before = await self._before(messages[:-1], messages[-1]["role"], tools)
            prompt = before + messages[-1]["content"].strip()
            sentence, mark = sentence_end(await self._next(prompt, slot))
            if sentence < WORTH_ASKING:
                return Ending(sentence)
            if mark in QUESTIONS:
                return Ending(sentence, ASKED)
            return Ending(sentence, turn_end(await self._next(prompt + mark, slot)) if mark else 1.0)
        return None

    async def _next(self, prompt: str, slot: int) -> Sequence[Mapping[str, Any]]:
        """The likeliest next tokens."""
        body = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": LIKELIEST,
            "temperature": 0,
            "id_slot": slot,
            "cache_prompt": True,
        }
        answer = (await self._http.post("/completion", json=body)).json()
        likeliest: list[Mapping[str, Any]] = answer["completion_probabilities"][0]["top_logprobs"]
        return likeliest

    async def _before(self, earlier: Sequence[Message], role: str, tools: Sequence[Mapping[str, Any]]) -> str:
        """The prompt up to where the words of one more message begin."""
        key = json.dumps([earlier, role, tools])
        if key != self._rendered[0]:
            asked: dict[str, Any] = {"messages": [*earlier, {"role": role, "content": PLACE}]}
            if tools:
                asked["tools"] = list(tools)
            answer = await self._http.post("/apply-template", json=asked)
            self._rendered = key, str(answer.json()["prompt"]).rpartition(PLACE)[0]
        return self._rendered[1]


def _timed_out(error: EngineError) -> bool:
    from openai import APITimeoutError

    return isinstance(error.__cause__, TimeoutError | APITimeoutError)


async def _warm_up(base_url: str, key: str, settings: Any) -> None:
    """A word through the very client of every answer: what that loads at its first use would delay the first one."""
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
