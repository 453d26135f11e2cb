"""Faults that are injected, and what becomes of them; docs/reliability.md lists these and those of other modules."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from asking import dialled, host_of
from postgres import postgres
from talker import Talker, talking

from chinwag.audio import silence
from chinwag.conversation.events import ErrorOccurred, ResponseStarted, TranscriptionFailed
from chinwag.conversation.history import MessageItem
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, FakeVoice
from chinwag.engines.faults import as_engine_error
from chinwag.errors import EngineError, PromptTooLong, StoreError
from chinwag.runtime import client_secrets as secrets
from chinwag.server.app import create_app
from chinwag.store import ConversationStore, StoredConversation, StoredItem, writer
from chinwag.transport.live_session import MAX_UNSENT, LiveSession
from chinwag.transport.outbox import Outbox

pytestmark = pytest.mark.unit

ID = "conv_0123456789abcdef0123"


async def answers(fakes: Fakes, talker: Talker) -> None:
    """A turn works."""
    fakes.llm.failure = fakes.tts.failure = fakes.stt.failure = None
    await talker.pause(1.5)
    before = len(talker.all(ResponseStarted))
    await talker.say(0.6)
    ended = await talker.hear_out()
    assert ended.status == "completed"
    assert len(talker.all(ResponseStarted)) > before


@pytest.mark.parametrize("where", ["llm", "tts", "stt"])
async def test_memory_pressure_fails_one_reply_and_no_more(where: str) -> None:
    """What the allocator refuses in an engine is an error of that question."""
    fakes = Fakes(llm=FakeChat(), tts=FakeVoice(), stt=FakeTranscriber())
    getattr(fakes, where).failure = MemoryError()
    async with talking(fakes) as talker:
        await talker.say(0.6)
        if where == "stt":
            await talker.pause(3)
            assert talker.all(TranscriptionFailed)
            assert talker.all(ErrorOccurred)
        else:
            ended = await talker.hear_out()
            assert ended.status == "failed"
            assert ended.error
        await answers(fakes, talker)


def test_memory_that_is_short_when_an_engine_loads_says_what_to_do() -> None:
    for error in (MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory"), RuntimeError("std::bad_alloc")):
        told = as_engine_error(error, "stt", "whisper")
        assert "too little memory" in told.message
        assert "smaller engine" in told.fix


async def test_a_model_cut_in_the_middle_of_its_answer_says_what_it_had_and_the_next_is_whole() -> None:
    broken = EngineError("The server broke off in the middle of its answer.", "Look at that server's log.")
    long = " ".join(f"This is sentence number {n} of a long answer." for n in range(1, 12))
    fakes = Fakes(llm=FakeChat(answer=long, failure=broken, fails_after=20))
    async with talking(fakes) as talker:
        await talker.say(0.6)
        ended = await talker.hear_out()
        assert (ended.status, ended.error) == ("failed", str(broken))
        assert "number 1" in talker.told()
        await answers(fakes, talker)


async def test_a_prompt_that_the_model_cannot_take_fails_once_and_the_conversation_goes_on_with_less() -> None:
    fakes = Fakes(llm=FakeChat())
    async with talking(fakes) as talker:
        for number in range(29):
            talker.session.history.add(MessageItem(f"old_{number}", "user", "1 2 3 " * 60))
        fakes.llm.failure = PromptTooLong("The conversation is too long for the model.", "Ask again.")
        await talker.say(0.6)
        ended = await talker.hear_out()
        assert (ended.status, ended.error) == ("failed", "The conversation is too long for the model. Ask again.")
        too_much = sum(len(message["content"]) for message in fakes.llm.prompts[-1])
        await answers(fakes, talker)
        assert sum(len(message["content"]) for message in fakes.llm.prompts[-1]) < 0.8 * too_much


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
async def test_the_clock_of_the_machine_may_be_set_at_any_time(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns, lengths of sessions and client secrets go by a clock that is never set."""
    real, offset = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    fakes = Fakes()
    async with talking(fakes) as talker:
        await talker.say(0.6)
        offset = jump_s
        assert (await talker.hear_out()).status == "completed"
        await answers(fakes, talker)
    kept = secrets.ClientSecrets(wall=time.time)
    value, told = kept.create({"instructions": "x"}, 60)
    assert told == pytest.approx(real() + jump_s + 60, abs=5)
    offset = -jump_s
    assert kept.session_settings(value) == {"instructions": "x"}
    app = create_app(host_of())
    assert "session" in await dialled(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/healthz")).status_code == 200


class Stuck:
    """A line that takes nothing."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


async def test_a_client_that_takes_nothing_is_let_go_and_its_conversation_waits() -> None:
    class Made(LiveSession):
        def __init__(self) -> None:
            self.client, self.client_too_slow, self.expiry, self.outbox = None, False, None, Outbox()
            self._task = None

    session, line = Made(), Stuck()
    session.client = line
    for number in range(MAX_UNSENT + 1):
        assert not line.stopped
        session._send({"type": "response.output_audio.delta", "number": number})
    assert line.stopped
    assert session.client_too_slow, "the socket is closed with 1008"
    assert session.client is None, "and who comes back finds the conversation"


def test_a_disk_that_fills_up_under_the_sound_keeps_the_words_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MIN_RETRY_S", 0.02)
    full, usual = True, Path.write_bytes

    def write(path: Path, data: Any) -> int:
        if full and path.suffix == ".flac":
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    store = ConversationStore(tmp_path, most_sound=10_000_000)
    store.keep(StoredConversation(ID, created=1.0, updated=1.0))
    store.keep_item(ID, StoredItem("item_1", 1.0, "message", "user", words="Hello."))
    store.keep_sound(ID, "item_1", "user", 1.0, silence(0.5, 16000))
    wait_for(lambda: "No space" in store.trouble)
    assert not list(tmp_path.rglob("*.flac")), "no half a file is left"
    full = False
    wait_for(lambda: not store.trouble)
    assert [item.words for item in store.items(ID)] == ["Hello."]
    assert len(list(tmp_path.rglob("*.flac"))) == 1
    store.close()


def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself refuses: its file may not grow."""
    monkeypatch.setattr(writer, "MIN_RETRY_S", 0.02)
    store = ConversationStore(tmp_path)
    with store._engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = used + 2

    def hold(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit}")

    sa.event.listen(store._engine, "checkout", hold)
    store.keep(StoredConversation(ID, created=1.0, updated=1.0))
    for number in range(100):
        store.keep_item(ID, StoredItem(f"item_{number}", number, "message", "user", words="word " * 200))
    wait_for(lambda: "full" in store.trouble)
    limit = 1_000_000
    wait_for(lambda: not store.trouble)
    assert len(store.items(ID)) == 100
    store.close()


def test_a_database_that_goes_away_gets_what_it_missed_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "MIN_RETRY_S", 0.02)
    store = ConversationStore(tmp_path)
    store.keep(StoredConversation(ID, created=1.0, updated=1.0))
    store.keep_item(ID, StoredItem("item_1", 1.0, "message", "user", words="Before."))
    assert [item.words for item in store.items(ID)] == ["Before."]
    away = True

    def refuse(*_: Any) -> None:
        if away:
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

    sa.event.listen(store._engine, "do_connect", refuse)
    store._engine.dispose()
    store.keep_item(ID, StoredItem("item_2", 2.0, "message", "assistant", words="Meanwhile."))
    wait_for(lambda: "closed the connection" in store.trouble)
    with pytest.raises(StoreError, match="closed the connection"):
        store.newest(10)
    away = False
    wait_for(lambda: not store.trouble)
    assert [item.words for item in store.items(ID)] == ["Before.", "Meanwhile."]
    told = [one.getMessage() for one in caplog.records]
    assert sum("not being saved" in one for one in told) == 1
    assert sum("being saved again" in one for one in told) == 1
    store.close()


def test_a_postgresql_that_is_stopped_gets_what_it_missed_when_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MIN_RETRY_S", 0.02)
    with postgres() as running:
        store = ConversationStore(tmp_path, running.url())
        store.keep(StoredConversation(ID, created=1.0, updated=1.0))
        store.keep_item(ID, StoredItem("item_1", 1.0, "message", "user", words="Before."))
        assert [item.words for item in store.items(ID)] == ["Before."]
        running.stop()
        store.keep_item(ID, StoredItem("item_2", 2.0, "message", "assistant", words="Meanwhile."))
        wait_for(lambda: store.trouble)
        with pytest.raises(StoreError):
            store.newest(10)
        running.start()
        wait_for(lambda: not store.trouble)
        assert [item.words for item in store.items(ID)] == ["Before.", "Meanwhile."]
        store.close()


def wait_for(happened: Callable[[], object]) -> None:
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")
