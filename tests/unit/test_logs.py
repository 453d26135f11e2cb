"""What is logged: whole, in either form, and without words or keys."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from chinwag.config import Config
from chinwag.observability import logs

pytestmark = pytest.mark.unit

KEY, SAID = "a-key-of-the-server", "my cat is called Marmalade"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What a set-up changes is changed back."""
    root = logging.getLogger()
    names = ("chinwag", "uvicorn", "uvicorn.error", "uvicorn.access")
    before = root.level, root.handlers[:], {name: logging.getLogger(name).level for name in names}
    showing, hooks = warnings.showwarning, (sys.unraisablehook, threading.excepthook)
    yield
    root.level, root.handlers[:] = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)
    warnings.showwarning, (sys.unraisablehook, threading.excepthook) = showing, hooks


def logged(level: str = "info", form: str = "json") -> io.StringIO:
    out = io.StringIO()
    server = {"log_format": form, "log_level": level, "api_keys": [KEY], "metrics_key": "for-metrics-alone"}
    tools = {"mcp": [{"name": "home", "command": "x", "env": {"TOKEN": "of-the-tool"}}]}
    logs.configure_logging(
        Config.model_validate({"server": server, "tools": tools, "llm": {"api_key": "llm-secret"}}), out
    )
    return out


def records(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail() -> None:
    try:
        raise ValueError(SAID)
    except ValueError as error:
        raise RuntimeError(f"again: {SAID}") from error


def test_a_line_is_an_object_with_its_time_level_place_and_fields() -> None:
    out = logged()
    token = logs.session.set("sess_1")
    logging.getLogger("chinwag.server").info("two\nlines of %s", "text", extra={"fields": {"turns": 2}})
    logs.session.reset(token)
    (one,) = records(out)
    assert one.pop("time").endswith("+00:00")
    assert one == {
        "level": "info",
        "logger": "chinwag.server",
        "message": "two\nlines of text",
        "session": "sess_1",
        "turns": 2,
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_tells_its_kinds_and_places_and_not_what_it_says(form: str) -> None:
    out = logged(form=form)
    try:
        fail()
    except RuntimeError:
        logging.getLogger("chinwag.conversation.response").exception("a reply failed")
    told = out.getvalue()
    assert "RuntimeError" in told
    assert "ValueError" in told
    assert "test_logs.py" in told
    assert " in fail" in told
    assert "Marmalade" not in told


async def test_a_group_of_exceptions_tells_of_each() -> None:
    out = logged()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(fail))
    except ExceptionGroup:
        logging.getLogger("chinwag.conversation.response").exception("a reply broke off")
    (one,) = records(out)
    assert any("RuntimeError" in line for line in one["exception"])
    assert "Marmalade" not in out.getvalue()


def test_only_debug_tells_what_an_exception_says() -> None:
    out = logged("debug")
    try:
        fail()
    except RuntimeError:
        logging.getLogger("chinwag.conversation.response").exception("a reply failed")
    assert SAID in out.getvalue()


def test_keys_are_masked_wherever_they_stand() -> None:
    out = logged("debug")
    log = logging.getLogger("anything")
    for line in (
        f"given {KEY} and llm-secret",
        "for-metrics-alone, of-the-tool",
        "Authorization: Bearer abc.def-ghi",
        "a token resume_0123456789abcdef, ek_0123456789abcdef, sk-proj-0123456789",
        "openai-insecure-api-key.whatever",
        "postgresql://me:letmein@host/name",
        "GET http://host:8000/v1/models?key=letmein&x=1",
    ):
        log.warning(line)
    told = out.getvalue()
    for secret in (
        KEY,
        "llm-secret",
        "for-metrics-alone",
        "of-the-tool",
        "abc.def",
        "0123456789",
        "whatever",
        "letmein",
    ):
        assert secret not in told
    assert "http://host:8000/v1/models?***" in told, "an address with a port stays"
    assert "postgresql://me:***@host/name" in told


def test_what_stands_behind_a_question_mark_is_in_no_access_log() -> None:
    out = logged()
    log = logging.getLogger("uvicorn.access")
    log.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", '/api/x?query="Mar malade"', "1.1", 200)
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "127.0.0.1:5", "/v1/realtime?q='Mar m'")
    first, second = (one["message"] for one in records(out))
    assert first == '127.0.0.1:5 - "GET /api/x HTTP/1.1" 200'
    assert second == '127.0.0.1:5 - "WebSocket /v1/realtime" [accepted]'


def test_a_question_is_not_taken_for_an_address() -> None:
    out = logged()
    logging.getLogger("chinwag").info("Did you mean server.port? Or server.host?")
    assert records(out)[0]["message"] == "Did you mean server.port? Or server.host?"


@pytest.mark.parametrize(("level", "told"), [("warning", 0), ("info", 1)])
def test_the_level_is_our_own_and_uvicorns_and_libraries_tell_warnings(level: str, told: int) -> None:
    out = logged(level)
    for name in ("chinwag.server", "uvicorn.access"):
        logging.getLogger(name).info("x")
    logging.getLogger("httpx").info("HTTP Request: GET http://host/")
    assert len(records(out)) == 2 * told


async def test_what_asyncio_and_warnings_tell_has_no_words() -> None:
    out = logged()
    asyncio.get_running_loop().set_exception_handler(logs.on_loop_error)

    async def breaks() -> None:
        raise ValueError(SAID)

    task = asyncio.create_task(breaks(), name=SAID)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = logs._show_warning
        warnings.warn(SAID, UserWarning, stacklevel=1)
    kinds = [one["message"] for one in records(out)]
    assert "Task exception was never retrieved" in kinds
    assert any(message.startswith("UserWarning at ") for message in kinds)
    assert "Marmalade" not in out.getvalue()


def test_what_fails_where_nobody_can_be_told_has_no_words_either() -> None:
    out = logged()

    class Leaves:
        def __del__(self) -> None:
            raise ValueError(SAID)

    Leaves()
    thread = threading.Thread(target=fail, name="chinwag-ear")
    thread.start()
    thread.join()
    ignored, broken = records(out)
    assert ignored["message"].endswith("Leaves.__del__")
    assert ignored["exception"][0] == "builtins.ValueError"
    assert broken["message"] == "A thread failed: chinwag-ear"
    assert broken["exception"][0] == "builtins.RuntimeError"
    assert "Marmalade" not in out.getvalue()


def test_what_a_terminal_is_told_is_a_line_of_json_at_any_level() -> None:
    out = logged("error")
    shown: list[str] = []
    logs.start_messages(Config().server, shown.append)("hello")
    assert shown == ["hello"]
    logs.start_messages(Config.model_validate({"server": {"log_format": "json"}}).server, shown.append)("ready")
    assert records(out)[0]["message"] == "ready"
    assert shown == ["hello"]
