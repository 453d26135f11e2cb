"""Logs as text or JSON, without user text and without keys.

An exception's message may quote user text or a key. Therefore the log has an exception's type and traceback, and its
message only at level debug. Configured secrets, and anything that looks like a secret, are always masked.
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
"""Id of the session that the running code belongs to."""

MASK = "***"

_SECRETS = re.compile(
    r"(?P<kept>\bBearer\s+|openai-insecure-api-key\.)[^\s\"',]+"
    r"|(?P<user>://[^/\s:@]*:)[^\s/@]+(?=@)"
    r"|\bek_[\w.-]+|\bresume_\w+|\bsk-[\w-]{8,}",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=[\w/%.-])\?(?=[\w%])[^\s\"']+")
"""The query of a URL, which may have search words or a resume token."""

log = logging.getLogger(__name__)


class RedactingFormatter(logging.Formatter):
    """Formats a record as text for a terminal, or as one JSON object per line.

    secrets: texts to mask. messages: include the messages of exceptions.
    """

    def __init__(self, *, as_json: bool, secrets: Iterable[str] = (), messages: bool = False) -> None:
        super().__init__()
        self._json, self._messages = as_json, messages
        self._secrets = sorted({secret for secret in secrets if len(secret) > 3}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON, or one line of text followed by an exception's traceback."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._masked(_message(record)),
        }
        if session_id := session.get():
            entry["session"] = session_id
        entry.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1]:
            entry["exception"] = [
                self._masked(line) for line in describe_exception(record.exc_info[1], messages=self._messages)
            ]
        if self._json:
            return self._masked(json.dumps(entry, ensure_ascii=False, default=str))
        return self._as_text(entry)

    def _as_text(self, entry: dict[str, Any]) -> str:
        fields = {
            key: value for key, value in entry.items() if key not in ("time", "level", "logger", "message", "exception")
        }
        suffix = "".join(f" {key}={value}" for key, value in fields.items())
        line = f"{entry['level'].upper()} {entry['logger']}: {entry['message']}{suffix}"
        return "\n  ".join([line, *entry.get("exception", ())])

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _SECRETS.sub(lambda found: f"{found['kept'] or found['user'] or ''}{MASK}", _QUERY.sub(f"?{MASK}", text))


def _message(record: logging.LogRecord) -> str:
    """Return the message, without the query of URLs in uvicorn's messages."""
    if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
        parts = [part.partition("?")[0] if isinstance(part, str) else part for part in record.args]
        return str(record.msg) % tuple(parts) if parts else str(record.msg)
    return record.getMessage()


def describe_exception(error: BaseException, *, messages: bool = False) -> list[str]:
    """Return lines on an exception and its causes with tracebacks. messages: include messages, maybe user text."""
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
        for member in cause.exceptions if isinstance(cause, BaseExceptionGroup) else ():
            lines += [f"  with {line}" for line in describe_exception(member)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return lines


def configure_logging(config: Config, to: TextIO | None = None) -> None:
    """Configure logging from the settings, by default to stderr. Call it once, at the start."""
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
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # remove handlers that were installed before
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    sys.unraisablehook, threading.excepthook = _on_unraisable, _on_thread_exception
    if not debug:
        warnings.showwarning = _show_warning


def on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the event loop. asyncio's own handler prints whole tasks with their data."""
    error = context.get("exception")
    log.error("%s", context.get("message", "a task failed"), exc_info=error)


def _on_unraisable(failure: sys.UnraisableHookArgs) -> None:
    """Log an error in a finalizer. Python's own hook prints the exception's message."""
    where = getattr(failure.object, "__qualname__", type(failure.object).__name__)
    log.error("Exception ignored in %s", where, exc_info=failure.exc_value)


def _on_thread_exception(failure: threading.ExceptHookArgs) -> None:
    """Log the error that ended a thread, without its message."""
    log.error("A thread failed: %s", failure.thread.name if failure.thread else "unknown", exc_info=failure.exc_value)


def secrets_in(config: Config) -> set[str]:
    """Return all keys in the settings."""
    found = set(config.server.api_keys) | {config.server.metrics_key}
    found |= {getattr(config, task).api_key for task in ("stt", "llm", "tts")}
    found |= {server.credential for server in config.webrtc.ice_servers}
    for server in config.tools.mcp:
        found |= {*server.env.values(), *server.headers.values()}
    return found - {""}


def start_messages(server: ServerSettings, to_terminal: Callable[[str], None]) -> Callable[[str], None]:
    """Return the function that prints start messages: to the terminal, or to the JSON log."""
    return _log_message if server.log_format == "json" else to_terminal


def _log_message(line: str) -> None:
    own = logging.getLogger("chinwag")
    # logged at any level, as the terminal output is
    own.handle(own.makeRecord(own.name, logging.INFO, __file__, 0, line, (), None))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log only a warning's type and place, because its text may quote user data."""
    logging.getLogger("py.warnings").warning("%s at %s:%d", category.__name__, filename, lineno)
