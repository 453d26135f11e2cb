"""What the server logs: as text or as JSON, without a word that was said, and without keys.

A message of an exception may quote what somebody said, or a key: of an exception the kind and the places in the code
are logged, and only at level debug what it says. What looks like a secret, or is one of the settings', is masked in any
case.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from chinwag.config import Config, ServerSettings

session: ContextVar[str] = ContextVar("session", default="")
"""Id of the conversation that what runs now belongs to."""

MASK = "***"

_SECRETS = re.compile(
    r"(?P<kept>\bBearer\s+|openai-insecure-api-key\.)[^\s\"',]+"
    r"|(?P<user>://[^/\s:@]*:)[^\s/@]+(?=@)"
    r"|\bek_[\w.-]+|\bresume_\w+|\bsk-[\w-]{8,}",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=[\w/%.-])\?(?=[\w%])[^\s\"']+")
"""Of an address: a search's words, a token to resume with."""

log = logging.getLogger(__name__)


class RedactingFormatter(logging.Formatter):
    """Text for a terminal, or a JSON object a line.

    secrets: what must never be logged. telling: exceptions may say what they say.
    """

    def __init__(self, *, as_json: bool, secrets: Iterable[str] = (), messages: bool = False) -> None:
        super().__init__()
        self._json, self._messages = as_json, messages
        self._secrets = sorted({secret for secret in secrets if len(secret) > 3}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """One line as JSON; as text, one and those of an exception's places."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._masked(_message(record)),
        }
        if of := session.get():
            told["session"] = of
        told.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1]:
            told["exception"] = [
                self._masked(line) for line in describe_exception(record.exc_info[1], messages=self._messages)
            ]
        if self._json:
            return self._masked(json.dumps(told, ensure_ascii=False, default=str))
        return self._as_text(told)

    def _as_text(self, told: dict[str, Any]) -> str:
        fields = {
            key: value for key, value in told.items() if key not in ("time", "level", "logger", "message", "exception")
        }
        behind = "".join(f" {key}={value}" for key, value in fields.items())
        line = f"{told['level'].upper()} {told['logger']}: {told['message']}{behind}"
        return "\n  ".join([line, *told.get("exception", ())])

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _SECRETS.sub(lambda found: f"{found['kept'] or found['user'] or ''}{MASK}", _QUERY.sub(f"?{MASK}", text))


def _message(record: logging.LogRecord) -> str:
    """The message. Of the addresses in uvicorn's, what stands behind the question mark is left out, whatever it is."""
    if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
        parts = [part.partition("?")[0] if isinstance(part, str) else part for part in record.args]
        return str(record.msg) % tuple(parts) if parts else str(record.msg)
    return record.getMessage()


def describe_exception(error: BaseException, *, messages: bool = False) -> list[str]:
    """An exception, those it came from, and where. telling: with what they say, which may be somebody's words."""
    lines: list[str] = []
    for part in traceback.TracebackException.from_exception(error).format() if messages else ():
        lines += part.rstrip().splitlines()
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and not messages and id(cause) not in seen:
        seen.add(id(cause))
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        frames = traceback.extract_tb(cause.__traceback__)
        lines += [f"  at {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        for one in cause.exceptions if isinstance(cause, BaseExceptionGroup) else ():
            lines += [f"  with {line}" for line in describe_exception(one)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return lines


def configure_logging(config: Config, to: TextIO | None = None) -> None:
    """Log as the settings say, to the standard error output unless another is given. Call it once, at the start."""
    server = config.server
    debug = server.log_level == "debug"
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(
        RedactingFormatter(as_json=server.log_format == "json", secrets=secrets_in(config), messages=debug)
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    level = server.log_level.upper()
    for name in ("chinwag", "uvicorn"):
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # whatever set them up before
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    sys.unraisablehook, threading.excepthook = _on_unraisable, _on_thread_exception
    if not debug:
        warnings.showwarning = _show_warning


def on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """In place of asyncio's own handler, which writes out whole tasks, and with them what they work on."""
    error = context.get("exception")
    log.error("%s", context.get("message", "a task failed"), exc_info=error)


def _on_unraisable(told: sys.UnraisableHookArgs) -> None:
    """In place of Python's own, for what fails while an object is let go: that writes out what the exception says."""
    where = getattr(told.object, "__qualname__", type(told.object).__name__)
    log.error("Exception ignored in %s", where, exc_info=told.exc_value)


def _on_thread_exception(told: threading.ExceptHookArgs) -> None:
    """In place of threading's own, for the same reason."""
    log.error("A thread broke off: %s", told.thread.name if told.thread else "unknown", exc_info=told.exc_value)


def secrets_in(config: Config) -> set[str]:
    """All keys of the settings."""
    found = set(config.server.api_keys) | {config.server.metrics_key}
    found |= {getattr(config, task).api_key for task in ("stt", "llm", "tts")}
    found |= {server.credential for server in config.webrtc.ice_servers}
    for server in config.tools.mcp:
        found |= {*server.env.values(), *server.headers.values()}
    return found - {""}


def start_messages(server: ServerSettings, to_terminal: Callable[[str], None]) -> Callable[[str], None]:
    """What tells a person how the server starts: their terminal, or in JSON the log."""
    return _log_message if server.log_format == "json" else to_terminal


def _log_message(line: str) -> None:
    own = logging.getLogger("chinwag")
    # at any level, as a terminal would show it too
    own.handle(own.makeRecord(own.name, logging.INFO, __file__, 0, line, (), None))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A library's warning may quote what it was given: its kind and its place are told."""
    logging.getLogger("py.warnings").warning("%s at %s:%d", category.__name__, filename, lineno)
