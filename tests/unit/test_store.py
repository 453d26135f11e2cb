"""What is kept: the same tests on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import sys
import time
import wave
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as Alembic
from alembic.migration import MigrationContext
from postgres import postgres

from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio
from chinwag.cli import doctor
from chinwag.config import Config, StoreSettings
from chinwag.errors import StoreError
from chinwag.store import ConversationStore, StoredConversation, StoredItem, database, export, writer
from chinwag.store.schema import metadata
from chinwag.store.search import MAX_INDEXED, excerpt, searchable, terms

pytestmark = pytest.mark.unit

ID, OTHER = "conv_" + "0" * 20, "conv_" + "1" * 20
NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with postgres() as running:
        yield running.address


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Of an empty database; empty for SQLite."""
    if request.param == "sqlite":
        return ""
    address: str = request.getfixturevalue("address")
    name = f"test_{next(NUMBERS)}"
    with psycopg.connect(address.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return address.format(name)


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[ConversationStore]:
    one = ConversationStore(tmp_path, url, most_sound=10_000_000)
    yield one
    one.close()


def held(store: ConversationStore, *words: str, id: str = ID, at: float = 1000.0, title: str = "") -> None:
    """A conversation in which both sides spoke in turn."""
    store.keep(StoredConversation(id, title or words[0], "en", "", at, at + len(words)))
    for number, said in enumerate(words):
        role: Any = ("user", "assistant")[number % 2]
        store.keep_item(id, StoredItem(f"item_{number}", number, "message", role, said, True, created=at + number))


def found(store: ConversationStore, query: str) -> list[str]:
    return [one.id for one in store.newest(10, query=query)]


def test_what_was_said_is_read_again_in_its_order(store: ConversationStore) -> None:
    held(store, "Hello.", "Hi there.")
    between = StoredItem(
        "call", 0.5, "function_call", "assistant", call_id="c", name="time", arguments="{}", output="noon"
    )
    store.keep_item(ID, between)
    first, call, last = store.items(ID)
    assert (first.words, last.words) == ("Hello.", "Hi there.")
    assert call == between
    assert store.items(ID, last=1) == [last]
    one = store.get(ID)
    assert one is not None
    assert (one.title, one.items, one.seconds) == ("Hello.", 3, 0.0)
    assert store.get(OTHER) is None


def test_what_changes_replaces_what_was(store: ConversationStore) -> None:
    held(store, "Hello.", "Once upon a time")
    store.keep_item(ID, StoredItem("item_1", 1, "message", "assistant", "Once upon a time there was", whole=False))
    store.keep_without(ID, "item_0")
    (only,) = store.items(ID)
    assert (only.words, only.whole) == ("Once upon a time there was", False)
    assert found(store, "there was") == [ID]
    assert found(store, "hello") == [ID], "its title is searched as well"
    assert store.newest(10, query="hello")[0].found is None


def test_the_newest_come_first_a_page_at_a_time(store: ConversationStore) -> None:
    ids = [f"conv_{number:020x}" for number in range(7)]
    for number, one in enumerate(ids):
        held(store, f"Number {number}", id=one, at=1000.0 + number // 2)  # some at the same moment
    pages, after = [], None
    while page := store.newest(3, after):
        pages.append([one.id for one in page])
        after = page[-1].id
    assert [len(page) for page in pages] == [3, 3, 1]
    assert list(itertools.chain(*pages)) == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("query", "finds"),
    [
        ("wörld", True), ("WORL", True), ("hello big", True), ("big hello", True), ("elephants", False),
        ("東京", True), ("京東", False), ("行きたい", True), ("don't", True), ("नमस्ते", True), ("c++", True),
        ("\"'*:()&|!<->\\ ", False), ("o'clock AND", False), ("%", False), ("big% _", True), ("\0", False),
    ],
)  # fmt: skip
def test_words_are_found_in_any_script_and_no_sign_means_anything(
    store: ConversationStore, query: str, finds: bool
) -> None:
    held(store, "Hello big Wörld, 東京に行きたい. Don't! नमस्ते, C++ o'clock", title="A title")
    held(store, "Something else.", id=OTHER, title="Another")
    assert found(store, query) == ([ID] if finds else [])


def test_a_search_shows_the_words_around(store: ConversationStore) -> None:
    held(store, "Hello.", "word " * 100 + "giraffe " + "word " * 100)
    (one,) = store.newest(10, query="giraff")
    assert one.found is not None
    assert one.found.item_id == "item_1"
    assert "giraffe" in one.found.words
    assert len(one.found.words) < 150
    assert excerpt("東京に行きたい" * 40, terms("東京"))
    assert len(searchable("a " * MAX_INDEXED)) <= MAX_INDEXED


def test_a_name_given_by_hand_stays(store: ConversationStore) -> None:
    held(store, "Hello.")
    assert store.rename(ID, "The first one")
    held(store, "Hello.", "And more.", title="Found by machine")
    one = store.get(ID)
    assert one is not None
    assert one.title == "The first one"
    assert found(store, "first one") == [ID]
    assert found(store, "machine") == []
    assert not store.rename(OTHER, "nobody")


def test_deleted_is_gone_for_good(store: ConversationStore, url: str, tmp_path: Path) -> None:
    held(store, "The secret word is xylophone.")
    held(store, "Something else.", id=OTHER)
    store.keep_sound(ID, "item_0", "user", 1.0, tone(1.0))
    store.keep_sound(OTHER, "item_0", "user", 1.0, tone(1.0))
    assert store.wav(ID) is not None
    assert store.delete(ID)
    assert not store.delete(ID)
    assert store.get(ID) is None
    assert found(store, "xylophone") == []
    assert len(list(tmp_path.rglob("*.flac"))) == 1
    if not url:
        held_in = b"".join(path.read_bytes() for path in tmp_path.glob("conversations.db*"))
        assert b"xylophone" not in held_in
        assert b"Something" in held_in
    assert store.delete_all() == 1
    assert store.newest(10) == []
    assert not list(tmp_path.rglob("*.flac"))


def test_where_nothing_was_said_nothing_is_kept(store: ConversationStore) -> None:
    held(store, "A cough.")
    store.keep_without(ID, "item_0")
    store.keep_no_empty(ID)
    held(store, "Words.", id=OTHER)
    store.keep_no_empty(OTHER)
    assert [one.id for one in store.newest(10)] == [OTHER]


def test_odd_characters_are_no_fault_of_the_talk(store: ConversationStore) -> None:
    held(store, "nul \0 and half \ud800 a pair")
    assert store.items(ID)[0].words == "nul  and half ? a pair"
    assert not store.trouble


# --- migrations --------------------------------------------------------------------------------------------------


def at_version(url: str, folder: Path, version: str, then: Callable[[sa.Connection], None]) -> None:
    """Make the database as that version of Chinwag had it."""
    place = database._address(url, folder)
    engine = sa.create_engine(place)
    settings = Alembic()
    settings.set_main_option("script_location", str(database.MIGRATIONS))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, version)
        then(connection)
    engine.dispose()


def test_the_first_version_is_brought_up_to_date_and_its_words_are_found(url: str, tmp_path: Path) -> None:
    def said(connection: sa.Connection) -> None:
        one = "INSERT INTO conversations VALUES (:id, 'Old title', :no, 'en', '', 1.0, 2.0)"
        connection.execute(sa.text(one), {"id": ID, "no": False})
        item = (
            "INSERT INTO items (conversation_id, item_id, place, kind, role, words, spoken, whole, call_id, name,"
            " arguments, output, server, called, created)"
            " VALUES (:id, 'a', 1.0, 'message', 'user', 'An old giraffe', :yes, :yes, '', '', '', NULL, '', '', 1.0)"
        )
        connection.execute(sa.text(item), {"id": ID, "yes": True})

    at_version(url, tmp_path, "0001", said)
    store = ConversationStore(tmp_path, url, most_sound=1000)
    try:
        assert found(store, "giraffe") == found(store, "title") == [ID]
        assert [item.words for item in store.items(ID)] == ["An old giraffe"]
    finally:
        store.close()


def test_the_migrations_make_what_the_code_expects(url: str, tmp_path: Path) -> None:
    engine = database.open_database(url, tmp_path)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    known = ("items_search",)  # the index of the words, and SQLite's tables behind it
    left = [one for one in differences if not str(getattr(one[1], "name", "")).startswith(known)]
    assert not left


def test_a_newer_database_is_refused_and_left_as_it_is(url: str, tmp_path: Path) -> None:
    def newer(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    at_version(url, tmp_path, "head", newer)
    with pytest.raises(StoreError, match="newer Chinwag") as refused:
        ConversationStore(tmp_path, url)
    assert refused.value.fix


# --- what cannot be opened, and what fails later --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://somewhere/x", "not the address of a supported database"),
        ("not an address", "not the address of a supported database"),
        ("postgresql://me:hidden@127.0.0.1:9/x?connect_timeout=2", "127.0.0.1"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=says) as refused:
        ConversationStore(tmp_path, url)
    assert refused.value.fix
    assert "hidden" not in str(refused.value)


def test_without_its_driver_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match="driver") as refused:
        ConversationStore(tmp_path, "postgres://127.0.0.1/x")
    assert refused.value.fix == "pip install 'chinwag[postgres]'"


def test_a_folder_that_is_a_file_and_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be saved"):
        ConversationStore(tmp_path / "file" / "folder")
    (tmp_path / database.FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        ConversationStore(tmp_path)


def test_the_doctor_tells_where_they_are_and_what_is_wrong(tmp_path: Path) -> None:
    config = Config()
    config.store = StoreSettings(folder=tmp_path / "new")
    check = doctor.check_conversations(config)
    assert check.state == "ok"
    assert str(tmp_path / "new") in check.detail
    config.store = StoreSettings(url="mysql://x")
    assert doctor.check_conversations(config).state == "hint", "talks go on without"
    config.store = StoreSettings(keep=False, folder=tmp_path / "none")
    assert "not kept" in doctor.check_conversations(config).detail
    assert not (tmp_path / "none").exists()


def test_others_may_not_read_it(tmp_path: Path) -> None:
    ConversationStore(tmp_path / "new").close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / database.FILE).stat().st_mode & 0o077 == 0


def test_a_full_disk_is_told_once_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "MIN_RETRY_S", 0.02)
    store = ConversationStore(tmp_path)
    engine, full = store._engine, [True]

    def no_room(*_: Any) -> None:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")

    sa.event.listen(engine, "before_cursor_execute", no_room)
    with caplog.at_level(logging.WARNING):
        held(store, "Hello.", "Hi.")
        until(lambda: "full" in store.trouble)
        with pytest.raises(StoreError, match="full"):
            store.newest(10)
        held(store, "Hello.", "Hi there.", "More.")
        time.sleep(0.1)
        full[0] = False
        until(lambda: not store.trouble)
    assert [item.words for item in store.items(ID)] == ["Hello.", "Hi there.", "More."]
    assert len([one for one in caplog.records if "not being saved" in one.getMessage()]) == 1
    store.close()


def test_a_write_that_can_never_succeed_holds_up_no_other(store: ConversationStore) -> None:
    store.keep_item(OTHER, StoredItem("orphan", 1, "message", "user", "Of no conversation."))
    held(store, "Hello.")
    assert [item.words for item in store.items(ID)] == ["Hello."]
    assert store.items(OTHER) == []
    assert not store.trouble


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- sound ---------------------------------------------------------------------------------------------------------


def tone(seconds: float, level: float = 0.5, rate: int = WIRE_RATE) -> Audio:
    return Audio(np.full(round(seconds * rate), level, np.float32), rate)


def test_both_sides_are_heard_in_their_places_and_long_silences_are_short(store: ConversationStore) -> None:
    held(store, "One.", "Two.", "Three.")
    store.keep_sound(ID, "item_1", "assistant", 101.5, tone(1.0, 0.25))
    store.keep_sound(ID, "item_0", "user", 100.0, tone(1.0, 0.5, LISTEN_RATE))
    store.keep_sound(ID, "item_2", "user", 102.0, tone(1.0, 0.125))  # cuts in
    store.keep_sound(ID, "item_3", "user", 999_999.0, tone(1.0, 0.75))  # days later
    pieces = store.wav(ID)
    assert pieces is not None
    with wave.open(BytesIO(b"".join(pieces))) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, WIRE_RATE)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768
    you, answer = pcm[:, 0], pcm[:, 1]

    def level(side: Any, at: float) -> float:
        return round(float(side[round(at * WIRE_RATE)]), 3)

    assert len(pcm) == round(6.0 * WIRE_RATE), "1 s, half a second, 1.5 s of both, 2 s of what was days, 1 s"
    assert [level(you, at) for at in (0.5, 1.2, 2.5, 3.5, 5.5)] == [0.5, 0, 0.125, 0, 0.75]
    assert [level(answer, at) for at in (0.5, 1.2, 1.6, 2.3, 2.7)] == [0, 0, 0.25, 0.25, 0]
    one = store.get(ID)
    assert one is not None
    assert one.seconds == 4.0


def test_the_oldest_conversations_lose_their_sound_where_there_is_too_much(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    store = ConversationStore(tmp_path, most_sound=180_000)
    for number in range(4):
        one = f"conv_{number:020x}"
        held(store, "Words.", id=one, at=1000.0 + number)
        sound = Audio(noise.uniform(-0.5, 0.5, WIRE_RATE).astype(np.float32), WIRE_RATE)  # about 56 kB as FLAC
        store.keep_sound(one, "item_0", "user", 1.0, sound)
        assert store.get(one)
    kept = [store.wav(f"conv_{number:020x}") is not None for number in range(4)]
    assert kept == [False, True, True, True]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.flac")) <= 180_000
    assert len(store.newest(10)) == 4, "the words stay"
    store.close()


def test_a_file_that_is_gone_is_silence(store: ConversationStore, tmp_path: Path) -> None:
    held(store, "One.", "Two.")
    store.keep_sound(ID, "item_0", "user", 1.0, tone(1.0))
    store.keep_sound(ID, "item_1", "assistant", 2.0, tone(1.0))
    assert store.get(ID)
    next(tmp_path.rglob("*.flac")).unlink()
    pieces = store.wav(ID)
    assert pieces is not None
    assert len(b"".join(pieces)) == 44 + 2 * WIRE_RATE * 4


# --- taken away ----------------------------------------------------------------------------------------------------


def test_markdown_is_what_was_heard_and_nothing_of_it_is_markup() -> None:
    one = StoredConversation(ID, "Of giraffes", "en", "", 0.0, 60.0)
    items = [
        StoredItem("a", 1, "message", "user", "# Hello\n- you", created=0.0),
        StoredItem(
            "b", 2, "function_call", "assistant", call_id="c", name="look", arguments='{"a": "`"}', output="seen"
        ),
        StoredItem("c", 3, "message", "assistant", "Once upon a", whole=False, created=61.0),
    ]
    assert export.as_markdown(one, items).splitlines() == [
        "# Of giraffes", "", "*1970-01-01 00:00 UTC*", "",
        "**You** (00:00:00): # Hello - you", "",
        '*look*(`` {"a": "`"} ``)', "", "→ `seen`", "",
        "**Chinwag** (00:01:01): Once upon a —",
    ]  # fmt: skip
    shown = export.as_json(one, items)
    assert [item["type"] for item in shown["items"]] == ["message", "function_call", "message"]
    assert shown["items"][2]["whole"] is False


@pytest.mark.parametrize(
    ("value", "means"), [(False, "off"), (True, "asked"), ("FALSE", "off"), ("all", "all"), ("off", "off")]
)
def test_one_switch_turns_it_off(value: Any, means: str) -> None:
    assert StoreSettings(keep=value).keep == means
