"""What of a talk is kept, how it goes on, and that nothing of the keeping disturbs it. Real SQLite, fake engines."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from wire import LONG, Client, connected, user

from chinwag.audio import WIRE_RATE
from chinwag.engines.fake import FakeCalls, FakeChat, Fakes, loud
from chinwag.runtime.recorder import Recorder, title_of
from chinwag.store import ConversationStore, StoredConversation, StoredItem, writer

pytestmark = pytest.mark.unit

ID = "conv_" + "0" * 20
OWN = "Be brief."
LOOKED = 0.6
"""Seconds after which all that is heard has been looked at."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    one = ConversationStore(tmp_path, most_sound=10_000_000)
    yield one
    one.close()


class Talks:
    """Talks that are kept in one store. live: those that are held."""

    def __init__(self, store: ConversationStore) -> None:
        self.store = store
        self.live: dict[str, Recorder] = {}

    def begin(self, fakes: Fakes | None = None, **flags: Any) -> AbstractAsyncContextManager[Client]:
        return self._talk(StoredConversation(ID), (), fakes, flags)

    def go_on(self, fakes: Fakes | None = None, **flags: Any) -> AbstractAsyncContextManager[Client]:
        one = self.store.get(ID)
        assert one is not None
        return self._talk(one, self.store.items(ID), fakes, flags)

    def _talk(
        self, one: StoredConversation, known: Any, fakes: Fakes | None, flags: dict[str, Any]
    ) -> AbstractAsyncContextManager[Client]:
        keeper = Recorder(
            flags.pop("store", self.store), one, self.live, known=known, instructions=OWN,
            sound=flags.pop("sound", False), trouble=flags.pop("trouble", ""),
        )  # fmt: skip
        return connected(fakes, extended=True, recorder=keeper, **flags)

    def said(self) -> list[tuple[str, str]]:
        return [(item.role, item.words) for item in self.store.items(ID)]


@pytest.fixture
def talks(store: ConversationStore) -> Talks:
    return Talks(store)


async def type_in(client: Client, text: str, times: int = 1) -> None:
    client.send("conversation.item.create", item=user(text))
    client.send("response.create")
    await client.quiet_until("response.done", times)


async def test_both_sides_are_kept_as_they_were_heard(talks: Talks) -> None:
    async with talks.begin() as client:
        await client.play(loud(1.0))
        await client.quiet_until("response.done")
        await asyncio.sleep(LOOKED)
        (you, answer) = talks.store.items(ID)
        transcript = client.all("conversation.item.input_audio_transcription.completed")[0]["transcript"]
        assert (you.role, you.words, you.spoken, you.whole) == ("user", transcript, True, True)
        assert (answer.role, answer.spoken) == ("assistant", True)
        await asyncio.sleep(5)
        assert talks.said()[1] == ("assistant", "This is the answer. It has two sentences.")
        assert talks.store.items(ID)[1].whole
        one = talks.store.get(ID)
        assert one is not None
        assert (one.title, one.language, one.instructions) == (title_of(transcript), "en", "")
        shown = [event["conversation"] for event in client.all("chinwag.conversation")]
        assert shown == [
            {"id": ID, "title": "", "kept": True},
            {"id": ID, "title": title_of(transcript), "kept": True},
        ]
        assert client.kinds()[:2] == ["session.created", "chinwag.conversation"]
        assert client.all("response.done")[0]["response"]["conversation_id"] == ID


async def test_what_was_heard_so_far_is_there_at_any_moment(talks: Talks) -> None:
    """What a killed server leaves behind is what was written, so look at it while the answer is being spoken."""
    async with talks.begin(Fakes(llm=FakeChat(answer=LONG))) as client:
        client.send("conversation.item.create", item=user("Tell me all."))
        client.send("response.create")
        lengths = []
        for _ in range(6):
            await asyncio.sleep(1.0)
            lengths.append(len(talks.said()[-1][1]))
        assert lengths == sorted(set(lengths)), "more at each look"
        *_, (role, words) = talks.said()
        assert role == "assistant"
        assert LONG.startswith(words.removesuffix("."))
        now = client.connection.session.active_response
        assert now is not None
        assert len(now.heard_text) - len(words) < 12, "all but the last moment"
        assert not talks.store.items(ID)[-1].whole


async def test_an_interrupted_answer_ends_where_the_ear_did(talks: Talks) -> None:
    async with talks.begin(Fakes(llm=FakeChat(answer=LONG))) as client:
        client.send("conversation.item.create", item=user("Tell me all."))
        client.send("response.create")
        await client.quiet_until("response.output_audio.delta")
        await asyncio.sleep(3)
        client.send("response.cancel")
        item_id = client.all("response.output_audio.delta")[0]["item_id"]
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1500)
        await asyncio.sleep(LOOKED)
        answer = talks.store.items(ID)[-1]
        assert answer.words == client.connection.session.history.find(item_id).heard_text  # type: ignore[union-attr]
        assert 0 < len(answer.words) < 45
        assert not answer.whole
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
        await asyncio.sleep(LOOKED)
        assert talks.said() == [("user", "Tell me all.")], "nothing was heard"
        client.send("conversation.item.delete", item_id=talks.store.items(ID)[0].item_id)
    assert talks.store.get(ID) is None, "where nothing is left there is no conversation"


async def test_items_put_in_front_or_between_stand_there(talks: Talks) -> None:
    async with talks.begin() as client:
        for text, where in (("third", {}), ("first", {"previous_item_id": "root"})):
            client.send("conversation.item.create", item=user(text, id=text), **where)
            await asyncio.sleep(LOOKED)
        client.send("conversation.item.create", item=user("second"), previous_item_id="first")
        await asyncio.sleep(LOOKED)
        assert [words for _, words in talks.said()] == ["first", "second", "third"]


async def test_it_goes_on_with_its_memory(talks: Talks) -> None:
    async with talks.begin() as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be a pirate."})
        await type_in(client, "My cat is called Tibbles.")
        await asyncio.sleep(5)
    fakes = Fakes(llm=FakeChat(answer="Tibbles, you said."))
    async with talks.go_on(fakes, setup=lambda usual: replace(usual, greeting="Good day!")) as client:
        assert client.kinds()[:4] == [
            "session.created", "chinwag.conversation", "conversation.item.added", "conversation.item.done",
        ]  # fmt: skip
        assert client.all("chinwag.conversation")[0]["conversation"]["title"] == "My cat is called Tibbles"
        told = [event["item"] for event in client.all("conversation.item.added")]
        assert [item["role"] for item in told] == ["user", "assistant"]
        assert told[0]["content"][0]["text"] == "My cat is called Tibbles."
        assert client.all("conversation.item.added")[1]["previous_item_id"] == told[0]["id"]
        await type_in(client, "What is it called?")
        await asyncio.sleep(5)
        assert [message["content"] for message in fakes.llm.prompts[-1]][1:] == [
            "My cat is called Tibbles.",
            "This is the answer. It has two sentences.",
            "What is it called?",
        ]
        assert not any("Good day" in words for _, words in talks.said()), "it was greeted at its beginning"
        assert [words for _, words in talks.said()][2:] == ["What is it called?", "Tibbles, you said."]
        one = talks.store.get(ID)
        assert one is not None
        assert (one.title, one.instructions) == ("My cat is called Tibbles", "")
        assert talks.store.newest(5, query="tibbles")


async def test_instructions_of_its_own_are_kept(talks: Talks) -> None:
    async with talks.begin() as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be a pirate."})
        await type_in(client, "Hello.")
    one = talks.store.get(ID)
    assert one is not None
    assert one.instructions == "Be a pirate."


async def test_a_long_past_is_trimmed_as_any_other(talks: Talks) -> None:
    talks.store.keep(StoredConversation(ID, "Long", created=1.0, updated=1.0))
    for number in range(200):
        talks.store.keep_item(
            ID, StoredItem(f"i{number}", number, "message", "user", f"Fact {number}: " + "so it is. " * 5)
        )
    fakes = Fakes()
    async with talks.go_on(fakes, setup=lambda usual: replace(usual, context_tokens=1024)) as client:
        assert len(client.all("conversation.item.added")) == 200
        await type_in(client, "And?")
        asked = fakes.llm.prompts[-1]
        assert sum(len(message["content"]) for message in asked) < 1024 * 3
        assert "Fact 199" in asked[-1]["content"]
        assert "Fact 0:" not in str(asked)


async def test_calls_and_their_results_are_part_of_the_memory(talks: Talks) -> None:
    tool = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    fakes = Fakes(llm=FakeChat(answers=[FakeCalls((("look", '{"at": "it"}'),)), "I see a cat."]))
    async with talks.begin(fakes) as client:
        client.send("session.update", session={"type": "realtime", "tools": [tool]})
        await type_in(client, "What is there?")
        call = next(item for item in client.all("response.done")[0]["response"]["output"])
        client.send(
            "conversation.item.create",
            item={"type": "function_call_output", "call_id": call["call_id"], "output": "a cat"},
        )
        client.send("response.create")
        await client.quiet_until("response.done", 2)
        await asyncio.sleep(3)
    assert [item.kind for item in talks.store.items(ID)] == [
        "message", "function_call", "function_call_output", "message",
    ]  # fmt: skip
    fakes = Fakes()
    async with talks.go_on(fakes) as client:
        await type_in(client, "Again?")
        asked = fakes.llm.prompts[-1]
        assert [message["role"] for message in asked] == ["system", "user", "assistant", "tool", "assistant", "user"]
        assert asked[3]["content"] == "a cat"


async def test_what_is_beside_the_conversation_is_not_kept(talks: Talks) -> None:
    async with talks.begin() as client:
        client.send("conversation.item.create", item=user("Hello."))
        client.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
        await client.quiet_until("response.done")
        await asyncio.sleep(LOOKED)
        assert talks.said() == [("user", "Hello.")]


async def test_a_full_disk_is_told_once_and_the_talk_goes_on(talks: Talks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MIN_RETRY_S", 0.02)
    full = [True]

    def no_room(*_: Any) -> None:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")

    sa.event.listen(talks.store._engine, "before_cursor_execute", no_room)
    async with talks.begin() as client:
        client.send("conversation.item.create", item=user("Hello."))
        await trouble(client, lambda: bool(talks.store.trouble))
        for number in range(3):
            await type_in(client, "And?", number + 1)
            await asyncio.sleep(1)
        errors = client.all("error")
        assert [event["error"]["code"] for event in errors] == ["conversation_not_kept"]
        assert "full" in errors[0]["error"]["message"]
        assert len(client.all("response.done")) == 3
        assert client.all("chinwag.conversation")[-1]["conversation"]["kept"] is False
        full[0] = False
        await trouble(client, lambda: not talks.store.trouble)
        assert client.all("chinwag.conversation")[-1]["conversation"]["kept"] is True
    assert [words for role, words in talks.said() if role == "user"] == ["Hello.", "And?", "And?", "And?"]


async def trouble(client: Client, begins: Callable[[], bool]) -> None:
    """Until the store's thread, which lives in real time, has come to it, and the recorder has looked."""
    end = time.monotonic() + 10
    while not begins():
        assert time.monotonic() < end
        time.sleep(0.01)  # noqa: ASYNC251
        await asyncio.sleep(0.3)
    await asyncio.sleep(LOOKED)


async def test_a_store_that_could_not_be_opened_is_told(talks: Talks) -> None:
    async with talks.begin(store=None, trouble="There is no room.") as client:
        assert client.all("chinwag.conversation")[0]["conversation"]["kept"] is False
        await asyncio.sleep(0)
        assert "There is no room." in client.all("error")[0]["error"]["message"]
        await type_in(client, "Hello.")
    assert talks.store.newest(5) == []


async def test_opened_elsewhere_it_goes_on_there_alone(talks: Talks) -> None:
    keeper = Recorder(talks.store, StoredConversation(ID), talks.live, instructions=OWN)
    first = Client(Fakes(), extended=True, recorder=keeper)
    running = asyncio.create_task(first.connection.run())
    await asyncio.sleep(0.1)
    await type_in(first, "Hello.")
    await asyncio.sleep(3)
    async with talks.go_on() as second:
        await asyncio.wait({running}, timeout=1)
        assert running.done()
        assert first.all("error")[-1]["error"]["code"] == "conversation_taken_over"
        assert set(talks.live) == {ID}
        await type_in(second, "I am here now.")
        await asyncio.sleep(3)
    assert [words for role, words in talks.said() if role == "user"] == ["Hello.", "I am here now."]
    assert not talks.live


async def test_a_name_given_while_it_is_held_is_told_and_stays(talks: Talks) -> None:
    async with talks.begin() as client:
        await type_in(client, "Hello.")
        await asyncio.sleep(LOOKED)
        assert talks.store.rename(ID, "Greetings")
        talks.live[ID].renamed("Greetings")
        await type_in(client, "And more.", 2)
        assert client.all("chinwag.conversation")[-1]["conversation"]["title"] == "Greetings"
    one = talks.store.get(ID)
    assert one is not None
    assert one.title == "Greetings"


async def test_deleted_while_it_is_held_it_goes_on_and_is_not_kept(talks: Talks) -> None:
    async with talks.begin() as client:
        await type_in(client, "Hello.")
        await asyncio.sleep(LOOKED)
        talks.live[ID].forget()
        assert talks.store.delete(ID)
        await type_in(client, "Still here?", 2)
        assert client.all("chinwag.conversation")[-1]["conversation"]["kept"] is False
    assert talks.store.get(ID) is None


async def test_the_sound_of_both_sides_is_kept_where_that_is_wanted(talks: Talks, tmp_path: Path) -> None:
    async with talks.begin(sound=True) as client:
        await client.play(loud(1.0))
        await client.quiet_until("response.done")
        await asyncio.sleep(5)
    one = talks.store.get(ID)
    assert one is not None
    assert 3 < one.seconds < 5, "about 1.3 s of speech, and 2 s of answer"
    assert files(tmp_path) == 2
    pieces = talks.store.wav(ID)
    assert pieces is not None
    assert len(b"".join(pieces)) > 2 * WIRE_RATE * 4
    async with talks.go_on() as client:
        await type_in(client, "Quietly now.")
        await asyncio.sleep(3)
    assert files(tmp_path) == 2


def files(folder: Path) -> int:
    return len(list(folder.rglob("*.flac")))


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("Hello there.", "Hello there"),
        ("  What\nis\tit? ", "What is it?"),
        ("one two three four five six seven eight nine ten eleven twelve thirteen",
         "one two three four five six seven eight nine ten eleven …"),
        ("x" * 100, "x" * 60 + " …"),
    ],
)  # fmt: skip
def test_a_title_is_the_first_words(words: str, title: str) -> None:
    assert title_of(words) == title
