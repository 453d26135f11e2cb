"""What the model is told of calls, and where a client may have this server go."""

from __future__ import annotations

import pytest

from chinwag.conversation.history import History, MessageItem
from chinwag.conversation.tool_items import ToolCall, ToolResult
from chinwag.engines.protocols import Message
from chinwag.realtime.tools import _covers

pytestmark = pytest.mark.unit


def call(number: int, reply: str = "r") -> ToolCall:
    made = ToolCall(f"c{number}", f"call_{number}", "look", '{"at": 1}', response_id=reply)
    made.status = "completed"
    return made


def shape(messages: list[Message]) -> list[str]:
    return [f"{m['role']}{len(m['tool_calls'])}" if "tool_calls" in m else m["role"] for m in messages]


def test_the_calls_of_one_reply_stand_together_and_those_of_two_apart() -> None:
    history = History()
    history.add(MessageItem("u", "user", "Where?"))
    history.add(MessageItem("a", "assistant", "Let me look."))
    for number, reply in ((1, "r1"), (2, "r1"), (3, "r2")):
        history.add(call(number, reply))
        history.add(ToolResult(f"o{number}", f"call_{number}", f"place {number}"))
    history.add(MessageItem("b", "assistant", "There."))
    made = history.prompt("Be brief.")
    assert shape(made) == ["system", "user", "assistant2", "tool", "tool", "assistant1", "tool", "assistant"]
    assert made[2]["content"] == "Let me look."
    assert [m["content"] for m in made if m["role"] == "tool"] == ["place 1", "place 2", "place 3"]
    assert [m["tool_call_id"] for m in made if m["role"] == "tool"] == ["call_1", "call_2", "call_3"]


def test_a_call_and_its_result_are_forgotten_together() -> None:
    history = History(tokens=300)
    for number in range(40):
        history.add(MessageItem(f"u{number}", "user", f"Question number {number}?"))
        history.add(call(number, f"r{number}"))
        history.add(ToolResult(f"o{number}", f"call_{number}", "found " * 8))
        history.add(MessageItem(f"a{number}", "assistant", "There it is."))
        made = history.prompt("Be brief.", "And now?")
        calls = [one["id"] for m in made for one in m.get("tool_calls", ())]
        assert calls == [m["tool_call_id"] for m in made if m["role"] == "tool"]
        assert sum(len(m["content"]) for m in made) <= 300 * 3
    assert 0 < len(calls) < 10


def test_the_question_and_what_was_found_for_it_are_never_forgotten() -> None:
    history = History(tokens=300)
    for number in range(10):
        history.add(MessageItem(f"x{number}", "user" if number % 2 == 0 else "assistant", "x" * 80))
    history.add(MessageItem("u", "user", "Where?"))
    history.add(call(1))
    history.add(ToolResult("o", "call_1", "y" * 5000))
    made = history.prompt("Be brief.", reserved=600)
    assert shape(made)[-3:] == ["user", "assistant1", "tool"]
    assert len(made[-1]["content"]) < 300, "a result takes a quarter at most"
    assert made[-1]["content"].endswith("(the rest is left out)")


def test_what_tools_take_of_the_context_is_reckoned_with() -> None:
    history = History(tokens=100)
    for number in range(4):
        history.add(MessageItem(f"x{number}", "user" if number % 2 == 0 else "assistant", "x" * 40))
    assert len(history.prompt("", "Now?")) == 5
    assert len(history.prompt("", "Now?", reserved=200)) < 5


def test_an_incomplete_call_leaves_no_trace() -> None:
    history = History()
    history.add(MessageItem("u", "user", "Where?"))
    broken = call(1)
    broken.status = "incomplete"
    history.add(broken)
    assert shape(history.prompt("")) == ["user"]


@pytest.mark.parametrize(
    ("allowed", "url", "covers"),
    [
        ("http://10.0.0.5:9000/mcp", "http://10.0.0.5:9000/mcp", True),
        ("http://10.0.0.5:9000/mcp", "http://10.0.0.5:9000/mcp/", True),
        ("http://10.0.0.5:9000", "http://10.0.0.5:9000/any/thing", True),
        ("https://tools.example", "https://tools.example:443/mcp", True),
        ("*", "http://10.0.0.5:1/x", True),
        ("http://10.0.0.5:9000/mcp", "http://10.0.0.5:9000/mcpx", False),
        ("http://10.0.0.5:9000/mcp", "http://10.0.0.5:9000/mcp/../admin", False),
        ("http://10.0.0.5:9000/mcp", "http://10.0.0.5:9000/mcp/%2e%2e/admin", False),
        ("http://10.0.0.5:9000/mcp", "http://10.0.0.5:9001/mcp", False),
        ("http://10.0.0.5", "https://10.0.0.5", False),
        ("https://tools.example", "https://tools.example.evil.example/", False),
        ("https://tools.example", "https://tools.example@evil.example/", False),
        ("https://tools.example", "https://me:secret@tools.example/", False),
    ],
)
def test_a_client_may_name_what_was_allowed_and_nothing_like_it(allowed: str, url: str, covers: bool) -> None:
    assert _covers(allowed, url) is covers
