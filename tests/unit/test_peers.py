"""Several servers of one application: a conversation is held once, and outlives the server that held it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from virtual_time import at_once

from chinwag.cluster import NAMES, config_file, deployments
from chinwag.cluster.options import Options, served_tasks
from chinwag.config import Config, StoreSettings
from chinwag.engines.fake import Fakes
from chinwag.errors import ConfigError
from chinwag.runtime.client_secrets import ClientSecrets
from chinwag.runtime.peers import PeerEvent, with_replica_id
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "to_thread", at_once)


class Server:
    """One of several that share a folder."""

    def __init__(self, replica_id: str, folder: Path, others: list[Server]) -> None:
        config = Config()
        config.store = StoreSettings(folder=folder, keep="all")  # the environment of the tests has it off
        self.replica_id, self._others = replica_id, others
        self.host = Runtime(config, peers=self)
        self.host.engines, self.host.stage = Fakes().engines(), "ready"
        self.secrets = ClientSecrets()
        self.app = create_app(self.host, self.secrets)
        others.append(self)

    async def notify(self, what: PeerEvent, **facts: Any) -> None:
        for other in self._others:
            if other is not self:
                await other.hear(what, facts)

    async def hear(self, what: PeerEvent, facts: dict[str, Any]) -> None:
        match what:
            case "taken_over":
                await self.host.archive.let_go(**facts)
            case "renamed":
                self.host.archive.renamed(**facts)
            case "forgotten":
                self.host.archive.forgotten(**facts)
            case "secret":
                self.secrets.add(**facts)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost:8000")


class Socket:
    """A client of /v1/realtime, without a network."""

    def __init__(self, server: Server, query: str = "", key: str = "") -> None:
        headers = [(b"host", b"localhost"), *([(b"authorization", f"Bearer {key}".encode())] if key else [])]
        scope = {
            "type": "websocket", "path": "/v1/realtime", "query_string": f"chinwag=events{query}".encode(),
            "headers": headers, "subprotocols": [], "client": ("127.0.0.1", 1), "scheme": "ws",
        }  # fmt: skip
        self._in: asyncio.Queue[Any] = asyncio.Queue()
        self._out: asyncio.Queue[Any] = asyncio.Queue()
        self._in.put_nowait({"type": "websocket.connect"})
        self.running = asyncio.create_task(server.app(scope, self._in.get, self._out.put))
        self.told: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self._in.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": kind, **fields})})

    def ask(self, text: str) -> None:
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.send("conversation.item.create", item=said)
        self.send("response.create")

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = await asyncio.wait_for(self._out.get(), 60)
            if message["type"] == "websocket.close":
                assert kind == "close", f"closed with {message}, told {[one['type'] for one in self.told]}"
                return message
            if "text" in message:
                self.told.append(json.loads(message["text"]))
                if self.told[-1]["type"] == kind:
                    return self.told[-1]

    async def goes(self, code: int = 1006) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.running


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Server, Server]]:
    others: list[Server] = []
    servers = Server("a1", folder, others), Server("b2", folder, others)
    try:
        yield servers
    finally:
        for server in servers:
            await server.host.archive.close()


async def spoken(socket: Socket) -> tuple[str, str]:
    """One answer; the token and the conversation's id."""
    token = (await socket.until("chinwag.session.resumable"))["resume"]
    conversation = next(one for one in socket.told if one["type"] == "chinwag.conversation")["conversation"]["id"]
    socket.ask("Are you there?")
    await socket.until("response.done")
    await asyncio.sleep(3)  # it has been heard, and is written down
    return token, conversation


async def test_a_conversation_goes_on_at_another_server(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        first = Socket(here)
        token, conversation = await spoken(first)
        assert token.endswith(".a1")
        # `here` knows nothing more of it: it might as well have been killed
        second = Socket(there, f"&resume={token}&after=7&conversation={conversation}")
        resumed = await second.until("chinwag.session.resumed")
        assert (resumed["received"], resumed["anew"]) == (0, True)
        assert (await second.until("chinwag.session.resumable"))["resume"].endswith(".b2")
        assert (await first.until("error"))["error"]["code"] == "conversation_taken_over"
        items = [one["item"]["content"][0] for one in second.told if one["type"] == "conversation.item.done"]
        assert [one.get("text") or one.get("transcript") for one in items] == [
            "Are you there?", "This is the answer. It has two sentences.",
        ]  # fmt: skip
        second.ask("And now?")
        assert (await second.until("response.done"))["response"]["status"] == "completed"
        await first.goes()
        await second.goes(1000)


async def test_who_names_no_conversation_that_is_kept_begins_anew(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        for query in ("", "&conversation=new", "&conversation=conv_" + "0" * 20):
            socket = Socket(there, f"&resume=resume_{'0' * 32}.a1{query}")
            assert (await socket.until("error"))["error"]["code"] == "session_not_found"
            await socket.running
        assert here.host.sessions == there.host.sessions == 0


async def test_who_comes_back_while_the_server_still_loads_is_told_so_and_may_ask_again(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, there):
        engines, there.host.engines, there.host.stage = there.host.engines, None, "loading"
        again = f"&resume=resume_{'0' * 32}.a1&conversation=conv_{'0' * 20}"
        early = Socket(there, again)
        assert (await early.until("error"))["error"]["code"] == "not_ready"
        await early.running
        there.host.engines, there.host.stage = engines, "ready"
        late = Socket(there, again)
        assert (await late.until("error"))["error"]["code"] == "session_not_found"
        await late.running


def test_the_applications_arguments_come_as_they_were_written() -> None:
    assert Options.read({}) == Options.read(Options()) == Options()
    assert Options.read({"silent_s": "3"}).silent_s == 3.0
    with pytest.raises(ConfigError, match=r"silent cannot be used: Extra inputs.*There are: config.*silent_s"):
        Options.read({"silent": 3})


async def test_a_client_secret_is_good_at_every_server_and_opens_nobody_elses_conversation(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        first = Socket(here)
        token, conversation = await spoken(first)
        async with here.client() as client:
            secret = (await client.post("/v1/realtime/client_secrets")).json()["value"]
        allowed = Socket(there, key=secret)
        await allowed.until("session.created")
        refused = Socket(there, f"&resume={token}&conversation={conversation}", key=secret)
        assert (await refused.until("error"))["error"]["code"] == "session_not_found"
        await refused.running
        for socket in (first, allowed):
            await socket.goes(1000)


async def test_a_new_name_and_a_deletion_reach_who_holds_it(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        first = Socket(here)
        _, conversation = await spoken(first)
        async with there.client() as client:
            await client.patch(f"/api/conversations/{conversation}", json={"title": "Renamed"})
            renamed = await first.until("chinwag.conversation")
            while renamed["conversation"]["title"] != "Renamed":
                renamed = await first.until("chinwag.conversation")
            assert (await client.delete(f"/api/conversations/{conversation}")).status_code == 200
            assert (await first.until("chinwag.conversation"))["conversation"]["kept"] is False
            await first.goes(1000)
            assert (await client.get(f"/api/conversations/{conversation}")).status_code == 404


def test_alone_nothing_is_marked() -> None:
    assert with_replica_id("rtc_1", Runtime(Config()).peers) == "rtc_1"


def configured(folder: Path, text: str) -> Options:
    (folder / "chinwag.toml").write_text(text)
    return Options(config=str(folder / "chinwag.toml"))


def test_what_asks_a_server_needs_no_deployment(tmp_path: Path) -> None:
    options = configured(tmp_path, '[llm]\nengine = "openai"\nbase_url = "http://127.0.0.1:8001/v1"')
    settings = options.settings()
    assert served_tasks(settings) == ("stt", "tts")
    assert "Thinking" not in deployments(settings)
    assert "Thinking" not in config_file(options)


def test_every_engine_of_its_own_is_in_the_config_file(tmp_path: Path) -> None:
    text = config_file(configured(tmp_path, "[server]\nport = 8123"))
    assert all(f"- name: {name}\n" in text for name in ("Talking", *NAMES.values()))
    assert "port: 8123" in text
    assert f"config: {tmp_path}" in text


def test_no_node_looks_for_an_ollama_of_its_own(tmp_path: Path) -> None:
    settings = configured(tmp_path, "").settings()
    assert (settings.llm.engine, settings.server.switching) == ("embedded", False)


@pytest.mark.parametrize(
    "text",
    [
        '[server]\nhost = "0.0.0.0"',
        '[store]\nurl = "postgresql://chinwag@127.0.0.1/chinwag"\naudio = true',
    ],
)
def test_what_a_cluster_cannot_do_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_STORE__KEEP", "all")
    with pytest.raises(ConfigError) as refused:
        configured(tmp_path, text).settings()
    assert refused.value.fix
