"""OpenAI-compatible servers of any task: their address, their models, and their errors in plain words."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chinwag.engines.protocols import Task
from chinwag.errors import EngineError, PromptTooLong

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

OPENAI = "https://api.openai.com/v1"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LOOK_AT_ITS_LOG = "Look at that server's log, then try again."

_KINDS: dict[Task, str] = {"llm": "language model", "stt": "transcription", "tts": "speech"}


def server_name(task: Task, base_url: str) -> str:
    """Return the server's name for error messages."""
    return f"The {_KINDS[task]} server at {urlsplit(base_url).netloc}"


def open_client(base_url: str, key: str, timeout_s: float) -> AsyncOpenAI:
    """Open a client without retries. A loopback address is never reached through a proxy."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

    here = urlsplit(base_url).hostname in LOOPBACK
    return AsyncOpenAI(
        base_url=base_url,
        api_key=key or "none",
        max_retries=0,
        timeout=Timeout(timeout_s, connect=min(timeout_s, 5.0)),
        # The server may close a kept-alive connection just as we send; on loopback a new one costs nothing.
        default_headers={"Connection": "close"} if here else None,
        http_client=DefaultAsyncHttpxClient(trust_env=not here),
    )


def address_and_key(task: Task, settings: Any) -> tuple[str, str]:
    """Return the configured address and key. Raises EngineError if there is no key for OpenAI itself."""
    base_url, key = settings.base_url or OPENAI, settings.api_key
    if urlsplit(base_url).hostname == urlsplit(OPENAI).hostname:
        key = key or os.environ.get("OPENAI_API_KEY", "")
        if not key:
            raise EngineError(
                f"The {task} engine openai has neither a key nor another server's address.",
                f"Set {task}.api_key (or OPENAI_API_KEY) to use OpenAI, or {task}.base_url to the address of your own"
                " server, e.g. http://127.0.0.1:1234/v1.",
                "openai",
            )
    return base_url, key


def open_blocking_client(base_url: str, key: str, timeout_s: float) -> OpenAI:
    """Open a client for threads, without retries and without a proxy to a loopback address."""
    from openai import DefaultHttpxClient, OpenAI

    http = DefaultHttpxClient(trust_env=urlsplit(base_url).hostname not in LOOPBACK)
    return OpenAI(base_url=base_url, api_key=key or "none", max_retries=0, timeout=timeout_s, http_client=http)


def list_models(task: Task, base_url: str, key: str, model: str) -> list[str]:
    """List the server's models; none if it has no list and `model` is set."""
    from openai import NotFoundError

    with open_blocking_client(base_url, key, 10.0) as client:
        try:
            return [listed.id for listed in client.models.list()]
        except NotFoundError as error:
            if model:  # some servers have no list
                return []
            message = f"{server_name(task, base_url)} has no list of its models."
            raise EngineError(message, f"Set {task}.model to the one to use.", "openai") from error
        except Exception as error:
            raise to_engine_error(error, task, "openai", server_name(task, base_url), model, 10.0) from error


def to_engine_error(
    error: Exception, task: Task, engine: str, server: str, model: str, timeout_s: float
) -> EngineError:
    """Turn any failure of a request into an EngineError. server: from `server_name`. timeout_s: the limit it had."""
    import openai

    if isinstance(error, EngineError):
        return error
    message, fix = (
        f"{server} sent something that is not a response: {error_summary(error)}.",
        f"Check that {task}.base_url is right: most end in /v1.",
    )
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        message = f"{server} sent nothing for {timeout_s:g} s."
        fix = f"Choose a smaller or faster model, or raise {task}.timeout_s."
    elif isinstance(error, openai.APIStatusError):
        if _too_long(error):
            message = f"The conversation is too long for the model {model}."
            fix = f"Ask again: the oldest messages are left out then. Or raise {task}.context_tokens."
            return PromptTooLong(message, fix, engine)
        message, fix = _status_texts(error, task, server, model)
    elif isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        if cause is not None and "Connect" in type(cause).__name__:
            message, fix = f"{server} cannot be reached.", f"Start it, or correct {task}.base_url."
        else:
            message, fix = f"{server} broke off in the middle of its response.", LOOK_AT_ITS_LOG
    elif isinstance(error, openai.APIError) and not isinstance(error, openai.APIResponseValidationError):
        message, fix = f"{server} failed during its response: {error_summary(error)}.", LOOK_AT_ITS_LOG
    elif isinstance(error, json.JSONDecodeError):
        message = f"{server} sent something that is not JSON."
    return EngineError(message, fix, engine)


def _too_long(error: Exception) -> bool:
    said = error_summary(error).lower()
    if getattr(error, "code", None) == "context_length_exceeded" or getattr(error, "status_code", 0) == 413:
        return True
    return "context" in said and any(word in said for word in ("size", "length", "maximum", "exceed"))


def _status_texts(error: Any, task: Task, server: str, model: str) -> tuple[str, str]:
    """Return message and fix for an HTTP status."""
    status, said = error.status_code, error_summary(error)
    if status == 402 or getattr(error, "code", None) == "insufficient_quota":
        return f"{server} has no credit left: {said}.", f"Look at your plan there, or set another {task}.base_url."
    wait = error.response.headers.get("retry-after", "")
    patience = f"Wait {wait} s" if wait.isdecimal() else "Wait a little"
    by_status = {
        401: (f"{server} does not accept the key.", f"Set {task}.api_key to a valid one."),
        403: (f"{server} forbids this: {said}.", f"Check what the key in {task}.api_key may do."),
        404: (
            f"{server} does not know the model {model}: {said}.",
            f"Set {task}.model to one it has, or correct {task}.base_url.",
        ),
        429: (f"{server} refuses more requests for now: {said}.", f"{patience}, or look at your plan's limits."),
    }
    if status in by_status:
        return by_status[status]
    if status >= 500:
        return f"{server} has failed ({status}): {said}.", LOOK_AT_ITS_LOG
    return f"{server} refuses the request ({status}): {said}.", f"Check {task}.model and the other {task} settings."


def error_summary(error: Exception) -> str:
    """Return the server's own error message in one line."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return (str(said or error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
