"""Ollama, through its own client: models that the user has pulled, kept in memory between turns."""

from __future__ import annotations

import asyncio
import difflib
import json
import logging
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from chinwag.engines.llm.calls import CallReader
from chinwag.engines.llm.prefills import Prefills
from chinwag.engines.llm.reasoning import ThinkFilter, begins_thinking
from chinwag.engines.openai_server import LOOPBACK
from chinwag.engines.protocols import About, Delta, Ending, EngineOptions, Message, Usage
from chinwag.errors import EngineError
from chinwag.ids import new_id

if TYPE_CHECKING:
    from ollama import AsyncClient, Client

KEEP_ALIVE = "30m"
"""How long Ollama keeps the model in memory after a request. Its default of five minutes makes pauses expensive."""

PULL_SILENCE_S = 120.0
"""A pull fails after this much silence; Ollama normally reports progress many times a second."""

LOOK_AT_LOG = "Look at Ollama's log, then try again."

_CLOUD = ("-cloud", ":cloud")
_EMBEDS = ("embed", "bge-", "minilm", "rerank")

log = logging.getLogger(__name__)


class OllamaChat:
    """A chat model in Ollama."""

    name: ClassVar[str] = "ollama"
    about: ClassVar[About] = About("Ollama on this machine or another", "the model's")
    continues: ClassVar[bool] = False

    def __init__(self, client: AsyncClient, model: str, thinks: bool, settings: Any) -> None:
        self._client, self.model, self._settings = client, model, settings
        # Some versions of Ollama refuse the field for a model that cannot think.
        self._think = False if thinks else None
        self._in_thought = begins_thinking(model)
        self._prefills = Prefills()

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return Ollama's chat models, the newest first."""
        try:
            with _client(settings, timeout=10.0) as client:
                return tuple(_chat_models(client))
        except Exception as error:
            raise _explain(error, settings.model, settings) from error

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: Ollama has the weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Choose the model and make Ollama load it; with `llm.options.pull`, fetch a missing model first."""
        import httpx
        from ollama import AsyncClient

        settings, fetch = options.settings, options.only(cls.name, pull=False)["pull"]
        try:
            with _client(settings, timeout=10.0) as client:
                model = _choose_model(client, settings.model)
                if model is None and fetch and settings.model:
                    _fetch_model(settings, settings.model)
                    model = _choose_model(client, settings.model)
                if model is None:
                    raise _no_model(settings.model, _names(client))
                thinks = "thinking" in _capabilities(client, model)
            with _client(settings, timeout=300.0) as client:
                client.generate(model, keep_alive=KEEP_ALIVE)
        except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
            raise _explain(error, settings.model, settings) from error
        except Exception as error:  # ollama.ResponseError derives from Exception alone
            raise _explain(error, settings.model, settings) from error
        timeout = httpx.Timeout(settings.timeout_s, connect=5.0)
        return cls(AsyncClient(_host(settings), timeout=timeout, **_client_options(settings)), model, thinks, settings)

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
        if tools and tool_choice not in ("auto", "none"):
            raise EngineError(
                "Ollama cannot make a model call a tool.", "Set tool_choice to 'auto' or 'none'.", self.name
            )
        await self._prefills.stop(cache_key)
        settings, loop = self._settings, asyncio.get_running_loop()
        think, calls, deadline = ThinkFilter(self._in_thought), CallReader(), loop.time() + settings.timeout_s
        parts = await self._request(messages, max_tokens or settings.max_tokens, () if tool_choice == "none" else tools)
        last: Any = None
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        part = await anext(parts, None)
                except Exception as error:
                    raise _explain(error, self.model, settings) from error
                if part is None:
                    break
                last = part
                thought = part.message.thinking and think.in_thought
                text = (think.answers() if thought else "") + think.feed(part.message.content or "")
                tool_calls = part.message.tool_calls or ()  # Ollama sends each call whole
                if text:
                    yield Delta(text)
                for call in tool_calls:
                    arguments = json.dumps(dict(call.function.arguments or {}), ensure_ascii=False)
                    yield Delta(call=calls.read(None, new_id("call"), call.function.name, arguments))
                if text or tool_calls:
                    deadline = loop.time() + settings.timeout_s
        finally:
            await parts.aclose()
        if last is None or not last.done:
            raise EngineError("Ollama broke off in the middle of its response.", LOOK_AT_LOG, self.name)
        rest = think.end(cut=last.done_reason == "length")
        self._in_thought = think.in_thought
        if rest:
            yield Delta(rest)
        usage = Usage(last.prompt_eval_count or 0, 0, last.eval_count or 0)
        reason = "tool_calls" if calls else "stop"
        yield Delta(finish_reason="length" if last.done_reason == "length" else reason, usage=usage)

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """Make Ollama read the prompt: request one token and discard it. Return None, as there are no probabilities."""
        if messages:
            await self._prefills.run(cache_key, self._prefill(messages, tools))
        return None

    async def close(self) -> None:
        """Close the connections; Ollama keeps running."""
        await self._prefills.close()
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _request(self, messages: Sequence[Message], tokens: int, tools: Sequence[Mapping[str, Any]]) -> Any:
        return await self._client.chat(
            self.model,
            _as_ollama(messages),
            tools=[dict(tool) for tool in tools] or None,
            stream=True,
            think=self._think,
            keep_alive=KEEP_ALIVE,
            options={"temperature": self._settings.temperature, "num_predict": tokens},
        )

    async def _prefill(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> None:
        try:
            parts = await self._request(messages, 1, tools)
            try:
                async for _ in parts:
                    pass
            finally:
                await parts.aclose()
        except Exception:  # the chat itself reports the same error
            return


def _as_ollama(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the messages in Ollama's form: arguments as objects, results by the tool's name instead of an id."""
    names: dict[str, str] = {}
    converted: list[dict[str, Any]] = []
    for message in messages:
        plain: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        if calls := message.get("tool_calls"):
            names.update({call["id"]: call["function"]["name"] for call in calls})
            functions = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
            plain["tool_calls"] = [{"function": {"name": name, "arguments": value}} for name, value in functions]
        if message["role"] == "tool":
            plain["tool_name"] = names.get(message.get("tool_call_id", ""), "")
        converted.append(plain)
    return converted


async def detect(settings: Any, timeout: float = 1.0) -> str | None:  # noqa: ASYNC109 - it bounds requests on a thread
    """Return the chat model that would be used, or None if no Ollama with one answers within `timeout` seconds.

    Only the configured address (llm.base_url, OLLAMA_HOST) or else the usual one on this machine is tried.
    """

    def find_model() -> str | None:
        try:
            with _client(settings, timeout) as client:
                return _choose_model(client, settings.model)
        except Exception:  # no usable Ollama there
            return None

    try:
        return await asyncio.wait_for(asyncio.to_thread(find_model), 2 * timeout)
    except TimeoutError:
        return None


def pull(settings: Any, model: str) -> Iterator[tuple[str, int, int]]:
    """Make Ollama fetch a model; yield its current step, the bytes received and the total bytes of that step. Blocks.

    Raises EngineError if Ollama is not running, does not know the model, or breaks off.
    """
    status = ""
    try:
        with _client(settings, timeout=PULL_SILENCE_S) as client:
            for part in client.pull(model, stream=True):
                status = part.status or ""
                yield status, part.completed or 0, part.total or 0
    except Exception as error:
        raise _pull_failed(error, model, settings) from error
    if status != "success":
        raise EngineError(
            f"Ollama broke off while it fetched {model}.", "Try again: it continues from there.", "ollama"
        )


def _fetch_model(settings: Any, model: str) -> None:
    """Fetch a model and log each tenth of each layer."""
    logged = ("", -1)
    log.info("Ollama has no %s; it is fetching it.", model)
    for status, done, total in pull(settings, model):
        tenth = (status, 10 * done // total if total else 0)
        if total and tenth != logged:
            logged = tenth
            log.info("Ollama fetches %s: %.0f of %.0f MB", model, done / 1e6, total / 1e6)


def _pull_failed(error: Exception, model: str, settings: Any) -> EngineError:
    from ollama import ResponseError

    if isinstance(error, ResponseError):
        text = error.error.strip().rstrip(".")
        unknown = "file does not exist" in text or "not found" in text
        fix = (
            "Look its name up at ollama.com/library." if unknown else "Check the network and the disk, then try again."
        )
        return EngineError(f"Ollama cannot fetch {model}: {text}.", fix, OllamaChat.name)
    return _explain(error, model, settings)


def _no_model(wanted: str, names: Sequence[str]) -> EngineError:
    if not wanted:
        fix = "Run `ollama pull llama3.2`, or `chinwag models pull ollama:llama3.2`."
        return EngineError("Ollama has no chat model.", fix, OllamaChat.name)
    nearest = difflib.get_close_matches(wanted, [*names, *(name.removesuffix(":latest") for name in names)], n=1)
    hint = f" Or did you mean {nearest[0]}?" if nearest else ""
    fix = f"Run `ollama pull {wanted}`, or `chinwag models pull ollama:{wanted}`, or set llm.options.pull = true.{hint}"
    return EngineError(f"Ollama has no {wanted}.", fix, OllamaChat.name)


def _how_to_start(where: str) -> str:
    """Return advice for this system to start an Ollama that does not respond."""
    if urlsplit(where if "//" in where else f"//{where}").hostname not in LOOPBACK:
        return "Start it there with OLLAMA_HOST=0.0.0.0, so that it listens to other machines, or correct llm.base_url."
    if shutil.which("ollama") is None and sys.platform != "darwin":
        return "Install it from ollama.com/download and run `ollama serve`, or correct llm.base_url."
    started = {
        "darwin": "Open the Ollama app, or run `ollama serve`",
        "win32": "Start Ollama from the Start menu, or run `ollama serve`",
    }
    usual = "Start it with `systemctl start ollama`, or `ollama serve`"
    return f"{started.get(sys.platform, usual)}, or correct llm.base_url."


def _host(settings: Any) -> str | None:
    return settings.base_url.removesuffix("/").removesuffix("/v1") or None


def _address(settings: Any) -> str:
    return _host(settings) or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"


def _client_options(settings: Any) -> dict[str, Any]:
    address = _address(settings)
    host = urlsplit(address if "//" in address else f"//{address}").hostname
    return {"trust_env": host not in LOOPBACK, "headers": {"Connection": "close"} if host in LOOPBACK else {}}


def _client(settings: Any, timeout: float) -> Client:
    from ollama import Client

    return Client(_host(settings), timeout=timeout, **_client_options(settings))


def _choose_model(client: Client, wanted: str) -> str | None:
    """Return the configured model if Ollama has it (`name` means `name:latest`); without one, the newest chat model.

    A model that runs in Ollama's cloud is used only if it is configured by name.
    """
    names = _names(client)
    if wanted:
        return next((name for name in (wanted, f"{wanted}:latest") if name in names), None)
    return next(_chat_models(client, names), None)


def _chat_models(client: Client, names: Iterable[str] | None = None) -> Iterator[str]:
    for name in _names(client) if names is None else names:
        if not name.endswith(_CLOUD) and "completion" in _capabilities(client, name):
            yield name


def _names(client: Client) -> list[str]:
    return [model.model for model in client.list().models if model.model]


def _capabilities(client: Client, model: str) -> list[str]:
    capabilities = client.show(model).capabilities
    if capabilities is not None:
        return list(capabilities)
    return [] if any(part in model for part in _EMBEDS) else ["completion"]  # Ollama before 0.6.4 lists none


def _explain(error: Exception, model: str, settings: Any) -> EngineError:
    import httpx
    from ollama import ResponseError

    if isinstance(error, EngineError):
        return error
    where = _address(settings)
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) or type(error) is ConnectionError:
        message, fix = f"Ollama does not answer at {where}.", _how_to_start(where)
    elif isinstance(error, (TimeoutError, httpx.TimeoutException)):
        message = f"Ollama sent nothing for {settings.timeout_s:g} s."
        fix = "Choose a smaller model, or raise llm.timeout_s."
    elif isinstance(error, ResponseError) and error.status_code == 404:
        message, fix = f"Ollama has no {model}.", f"Run `ollama pull {model}`."
    elif isinstance(error, ResponseError) and "does not support tools" in error.error:
        message = f"The model {model} cannot call tools."
        fix = "Set llm.model to one that can (`ollama pull qwen3:4b`), or leave session.tools and [tools] empty."
    elif isinstance(error, ResponseError):
        message, fix = f"Ollama failed: {error.error.strip().rstrip('.')}.", LOOK_AT_LOG
    elif isinstance(error, httpx.TransportError):
        message, fix = "Ollama broke off in the middle of its response.", LOOK_AT_LOG
    elif isinstance(error, json.JSONDecodeError):
        message, fix = f"The server at {where} is not Ollama: it sends no JSON.", "Correct llm.base_url."
    else:
        message, fix = f"Ollama sent something that cannot be read: {error}.", "Update Ollama."
    return EngineError(message, fix, OllamaChat.name)
