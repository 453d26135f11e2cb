"""What the model is asked, given what was said and heard."""

from __future__ import annotations

import pytest

from chinwag.conversation.history import History, MessageItem, prompt_budget

pytestmark = pytest.mark.unit


def contents(history: History, said: str = "") -> list[str]:
    return [message["content"] for message in history.prompt("Be brief.", said)]


def test_entries_without_words_leave_no_trace_and_neighbours_merge() -> None:
    history = History()
    for item_id, role, words in (("a", "user", "Book a table"), ("b", "assistant", " "), ("c", "user", "for two.")):
        history.add(MessageItem(item_id, role, words))  # type: ignore[arg-type]
    assert contents(history, "Please.") == ["Be brief.", "Book a table for two. Please."]


def test_a_long_conversation_forgets_its_beginning_in_large_steps() -> None:
    history = History(tokens=300)
    starts = []
    for number in range(60):
        history.add(MessageItem(f"i{number}", "user" if number % 2 == 0 else "assistant", f"{number:03} " + "x" * 56))
        words = contents(history, "And now?")
        assert sum(len(text) for text in words) <= 300 * 3
        assert words[-1].endswith("And now?")
        starts.append(words[1][:3])
    assert len(set(starts)) < 12, "each change of the beginning costs the whole cache"
    assert len(list(history)) == 60, "nothing is lost"


def test_instructions_longer_than_the_budget_still_leave_the_question() -> None:
    history = History(tokens=5)
    history.add(MessageItem("a", "user", "Hello there, my good friend"))
    assert contents(history, "Are you well?") == ["Be brief.", "Are you well?"]


def test_what_the_template_writes_around_short_turns_counts_too() -> None:
    history = History(tokens=300)
    for number in range(200):
        history.add(MessageItem(f"i{number}", "user" if number % 2 == 0 else "assistant", "Yes."))
        messages = history.prompt("", "Yes.")
        assert len(messages) * 5 + sum(len(message["content"]) / 4 for message in messages) <= 300


def test_a_model_that_cannot_take_so_much_is_asked_less_but_never_nothing() -> None:
    history = History(tokens=300)
    for number in range(12):
        history.add(MessageItem(f"i{number}", "user" if number % 2 == 0 else "assistant", "x" * 56))
    before = len(contents(history, "And now?"))
    history.shrink()
    assert 2 < len(contents(history, "And now?")) < before
    for _ in range(20):
        history.shrink()
    history.add(MessageItem("last", "user", "Hello."))
    assert contents(history)[-1].endswith("Hello.")
    assert len(contents(history)) > 1


@pytest.mark.parametrize(
    ("context", "most", "left"), [(2048, None, 1748), (2048, 40, 2008), (2048, 4096, 1536), (512, None, 384)]
)
def test_an_answer_finds_room_behind_the_prompt(context: int, most: int | None, left: int) -> None:
    assert prompt_budget(context, most) == left


def test_places() -> None:
    history = History()
    assert history.add(MessageItem("b", "user", "b")) is None
    assert history.add(MessageItem("a", "user", "a"), "root") is None
    assert history.add(MessageItem("c", "user", "c"), "a") == "a"
    assert [entry.item_id for entry in history] == ["a", "c", "b"]
    assert history.id_before("b") == "c"
    assert history.id_before("a") is None
    with pytest.raises(KeyError):
        history.add(MessageItem("d", "user", "d"), "z")
    assert history.remove("c")
    assert not history.remove("c")
