"""/api/conversations through the whole application, with a real SQLite and fake engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from chinwag.audio import WIRE_RATE, Audio
from chinwag.config import Config, ServerSettings, StoreSettings
from chinwag.engines.fake import Fakes
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app
from chinwag.store import ConversationStore, StoredConversation, StoredItem

pytestmark = pytest.mark.unit

HERE = "/api/conversations"
KEY = "a-key-of-the-server"


def name(number: int) -> str:
    return f"conv_{number:020x}"


@asynccontextmanager
async def asking(
    folder: Path, keep: Any = "asked", conversations: int = 3, server: ServerSettings | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that has kept some conversations."""
    settings = StoreSettings(folder=folder, keep=keep)
    config = Config(server=server or ServerSettings())
    config.store = settings  # the environment of the tests has it off
    host = Runtime(config)
    host.engines, host.stage = Fakes().engines(), "ready"
    if settings.keep != "off":
        store = await host.archive.open()
        if store:
            fill(store, conversations)
    transport = httpx.ASGITransport(create_app(host), raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
            yield client
    finally:
        await host.archive.close()


def fill(store: ConversationStore, conversations: int) -> None:
    for number in range(conversations):
        one, at = name(number), 1000.0 + number
        store.keep(StoredConversation(one, f"Über {number}", "en", "", at, at))
        store.keep_item(one, StoredItem("a", 1, "message", "user", f"Question {number}?", True, created=at))
        store.keep_item(one, StoredItem("b", 2, "message", "assistant", "An answer", whole=False, created=at + 1))


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert told["message"]
    return str(told["code"])


async def test_the_list_is_paged_newest_first(tmp_path: Path) -> None:
    async with asking(tmp_path, conversations=5) as client:
        first = (await client.get(HERE, params={"limit": 3})).json()
        assert [one["id"] for one in first["data"]] == [name(4), name(3), name(2)]
        assert first["has_more"]
        assert first["data"][0] == {
            "id": name(4), "object": "conversation", "title": "Über 4", "language": "en",
            "created_at": 1004, "updated_at": 1004, "items": 2, "audio_seconds": 0.0,
        }  # fmt: skip
        rest = (await client.get(HERE, params={"limit": 3, "after": first["last_id"]})).json()
        assert [one["id"] for one in rest["data"]] == [name(1), name(0)]
        assert not rest["has_more"]
        assert (rest["keep"], rest["audio"]) == ("asked", False)


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 1000}, {"limit": "x"}])
async def test_a_page_of_no_size_is_refused(parameters: dict[str, Any], tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        error(await client.get(HERE, params=parameters), 400)


async def test_a_search_tells_where_it_found_the_words(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        found = (await client.get(HERE, params={"q": "question 1"})).json()["data"]
        assert [(one["id"], one["found"]) for one in found] == [(name(1), {"item_id": "a", "words": "Question 1?"})]
        assert (await client.get(HERE, params={"q": "uber"})).json()["data"][0]["id"] == name(2)
        assert (await client.get(HERE, params={"q": "nothing of that"})).json()["data"] == []


async def test_one_of_them_with_its_items(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        one = (await client.get(f"{HERE}/{name(1)}")).json()
        assert [(item["role"], item["text"], item["whole"]) for item in one["items"]] == [
            ("user", "Question 1?", True),
            ("assistant", "An answer", False),
        ]


async def test_a_new_name_stays(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        changed = await client.patch(f"{HERE}/{name(1)}", json={"title": "  A better \n name "})
        assert changed.json()["title"] == "A better name"
        assert (await client.get(f"{HERE}/{name(1)}")).json()["title"] == "A better name"
        for wrong in ({"title": ""}, {"title": "  "}, {"title": "x" * 201}, {"title": 3}, {}):
            error(await client.patch(f"{HERE}/{name(1)}", json=wrong), 400)


async def test_one_is_deleted_and_then_all(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        deleted = await client.delete(f"{HERE}/{name(1)}")
        assert deleted.json() == {"id": name(1), "object": "conversation.deleted", "deleted": True}
        assert error(await client.delete(f"{HERE}/{name(1)}"), 404) == "conversation_not_found"
        assert len((await client.get(HERE)).json()["data"]) == 2
        assert (await client.delete(HERE)).json()["deleted"] == 2
        assert (await client.get(HERE)).json()["data"] == []


async def test_it_is_taken_away_as_markdown_and_json(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        markdown = await client.get(f"{HERE}/{name(1)}/export")
        assert "**You** (00:16:41): Question 1?" in markdown.text
        assert "An answer —" in markdown.text
        told = markdown.headers["content-disposition"]
        assert told == "attachment; filename=\"Uber 1.md\"; filename*=UTF-8''%C3%9Cber%201.md"
        as_json = await client.get(f"{HERE}/{name(1)}/export", params={"format": "json"})
        assert as_json.json()["items"][1]["text"] == "An answer"
        assert error(await client.get(f"{HERE}/{name(1)}/export", params={"format": "wav"}), 404) == "audio_not_kept"
        error(await client.get(f"{HERE}/{name(1)}/export", params={"format": "exe"}), 400)


async def test_it_is_taken_away_as_sound(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        store = ConversationStore(tmp_path, most_sound=10_000_000)
        store.keep_sound(name(1), "a", "user", 1.0, Audio(np.full(WIRE_RATE, 0.5, np.float32), WIRE_RATE))
        store.close()
        sound = await client.get(f"{HERE}/{name(1)}/export", params={"format": "wav"})
        assert sound.headers["content-type"] == "audio/wav"
        assert len(sound.content) == 44 + WIRE_RATE * 4


@pytest.mark.parametrize("id", ["conv_x", name(77), "..%2F..%2Fetc", "conv_" + "G" * 20, "%00"])
async def test_what_is_not_there(id: str, tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/export"), ("PATCH", "")):
            answer = await client.request(
                method, f"{HERE}/{id}{path}", json={"title": "x"} if method == "PATCH" else None
            )
            assert answer.status_code in (404, 405)
            assert "error" in answer.json()


async def test_a_key_is_wanted_and_other_sites_are_turned_away(tmp_path: Path) -> None:
    async with asking(tmp_path, server=ServerSettings(api_keys=[KEY])) as client:
        right = {"Authorization": f"Bearer {KEY}"}
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", f"/{name(1)}"), ("GET", f"/{name(1)}/export")):
            assert (await client.request(method, HERE + path)).status_code == 401
            evil = {**right, "Origin": "https://evil.example"}
            assert (await client.request(method, HERE + path, headers=evil)).status_code == 403
        secret = (await client.post("/v1/realtime/client_secrets", json={}, headers=right)).json()["value"]
        assert (await client.get(HERE, headers={"Authorization": f"Bearer {secret}"})).status_code == 401
        assert (await client.get(HERE, headers=right)).status_code == 200


async def test_off_writes_nothing_and_lists_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path / "nothing", keep=False) as client:
        listed = (await client.get(HERE)).json()
        assert (listed["data"], listed["keep"]) == ([], "off")
        error(await client.get(f"{HERE}/{name(1)}"), 503)
    assert not exists(tmp_path / "nothing")


async def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    write(tmp_path / "file")
    async with asking(tmp_path / "file") as client:
        assert error(await client.get(HERE), 503) == "store_unavailable"
        assert "cannot be saved" in (await client.get(HERE)).json()["error"]["message"]


@pytest.mark.parametrize(
    ("keep", "wanted", "code"),
    [
        ("asked", name(77), "conversation_not_found"),
        ("asked", "../x", "conversation_not_found"),
        ("off", name(1), "conversation_not_found"),
    ],
)
async def test_a_call_of_what_is_not_there(keep: str, wanted: str, code: str, tmp_path: Path) -> None:
    async with asking(tmp_path, keep=keep) as client:
        offer = {"Content-Type": "application/sdp"}
        answer = await client.post("/v1/realtime/calls", params={"conversation": wanted}, content="v=0", headers=offer)
        assert error(answer, 404) == code


async def test_a_client_secret_reopens_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path, server=ServerSettings(api_keys=[KEY])) as client:
        right = {"Authorization": f"Bearer {KEY}"}
        secret = (await client.post("/v1/realtime/client_secrets", json={}, headers=right)).json()["value"]
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {secret}"}
        where = {"conversation": name(1)}
        answer = await client.post("/v1/realtime/calls", params=where, content="v=0", headers=headers)
        assert error(answer, 400) == "conversation_not_allowed"


def exists(path: Path) -> bool:
    return path.exists()


def write(path: Path) -> None:
    path.write_text("x")
