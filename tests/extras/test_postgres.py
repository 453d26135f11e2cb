"""Conversations in a real PostgreSQL, with nothing but chinwag[postgres]."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from postgres import postgres

from chinwag.store import ConversationStore, StoredConversation, StoredItem

pytestmark = pytest.mark.engines

FILES = (
    "src/chinwag/store/*.py",
    "src/chinwag/store/*/*.py",
)

ID = "conv_" + "0" * 20


def test_what_was_said_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    assert psycopg.pq.version() > 0
    with postgres() as running:
        store = ConversationStore(tmp_path, running.url())
        store.keep(StoredConversation(ID, "Hello", created=1.0, updated=1.0))
        store.keep_item(ID, StoredItem("a", 1, "message", "user", "Hello, big world."))
        store.close()
        store = ConversationStore(tmp_path, running.url())
        assert [item.words for item in store.items(ID)] == ["Hello, big world."]
        assert [one.id for one in store.newest(5, query="WORL")] == [ID]
        store.close()
