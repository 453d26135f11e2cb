"""What the open network gets of a server: nothing without a key, nothing by another site, nothing without measure."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from asking import asking, dialled, host_of
from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount
from wire import connected

from chinwag import config
from chinwag.audio.codecs import DecodeError, decode_file
from chinwag.config import Config, IceServer, LlmSettings, McpSettings, ServerSettings, StoreSettings, WebrtcSettings
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import Fakes
from chinwag.errors import ConfigError
from chinwag.realtime.connection import Connection
from chinwag.realtime.session_config import Defaults
from chinwag.runtime import limits
from chinwag.runtime.auth import HEADERS, PAGE, PAGE_PATHS, PROBES, SUBPROTOCOL_KEY
from chinwag.runtime.limits import FREE_ATTEMPTS, FailedKeyAttempts, TokenBucket, address_of
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit

KEY = "a-key-of-the-server"
RIGHT, WRONG = {"Authorization": f"Bearer {KEY}"}, {"Authorization": "Bearer no-key-of-this-server"}
FOREIGN = {"Origin": "https://evil.example"}
REBOUND = {"Host": "evil.example:8000"}
NEEDS_NO_KEY = {*PROBES, "/api/status"}
"""Beside the page's files: what docs/api.md names."""
ELSEWHERE = "203.0.113.9"


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route, WEBSOCKET among the methods; the page's folder file by file."""

    def walk(found: list[BaseRoute], before: str = "") -> Iterator[tuple[str, str]]:
        for route in found:
            if isinstance(route, Mount):
                if route.routes:
                    yield from walk(list(route.routes), before + route.path)
                else:
                    yield from (("GET", path) for path in sorted(PAGE_PATHS))
                continue
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            if inner is not None:
                yield from walk(list(inner.routes), before)
                continue
            path: str = before + getattr(route, "path", "")
            assert path, f"a route of an unknown kind: {route!r}"
            path = re.sub(r"\{[^}]*\}", "anything", path)
            for method in getattr(route, "methods", None) or {"WEBSOCKET"}:
                yield method, path

    yield from walk(list(app.routes))


async def answered(app: FastAPI, method: str, path: str, headers: dict[str, str]) -> int:
    if method == "WEBSOCKET":
        given = {"host": "localhost:8000", **{name.lower(): value for name, value in headers.items()}}
        return int((await dialled(app, path=path, address=ELSEWHERE, **given))["status"])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(ELSEWHERE, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        body: dict[str, Any] | None = None if method in ("GET", "HEAD") else {}
        return (await client.request(method, path, headers=headers, json=body)).status_code


async def test_every_route_gives_nothing_without_a_key_nor_to_another_site() -> None:
    app = create_app(host_of(api_keys=[KEY], requests_per_minute=0))
    every = sorted(set(routes(app)))
    assert {("WEBSOCKET", "/v1/realtime"), ("POST", "/v1/realtime/calls"), ("GET", "/openapi.json")} <= set(every)
    assert len({path for _, path in every if path.startswith(("/v1", "/api"))}) >= 15
    for method, path in [*every, ("GET", "/nothing"), ("GET", "/api/nothing"), ("GET", "/metrics")]:
        where = f"{method} {path}"
        page, free = path in PAGE_PATHS, path in NEEDS_NO_KEY
        for keys in ({}, WRONG):
            assert await answered(app, method, path, keys) == (200 if page or free else 401), where
        cross = await answered(app, method, path, {**RIGHT, **FOREIGN})
        assert cross == (200 if page or path in PROBES else 403), where
        assert await answered(app, method, path, {**RIGHT, **REBOUND}) == 403, where
        assert await answered(app, method, path, RIGHT) not in (401, 403), where


async def test_without_a_key_the_status_tells_how_far_the_server_is_and_nothing_else() -> None:
    async with asking(api_keys=[KEY]) as client:
        told = (await client.get("/api/status")).json()
        assert set(told) == {"stage", "weights", "engines", "error", "key_required", "version"}
        assert all(one["detail"] == "" for one in told["engines"].values())
        assert set((await client.get("/api/status", headers=RIGHT)).json()) > {"process", "sessions"}
    host = host_of(api_keys=[KEY])
    host.stage, host.error = "failed", ConfigError("http://10.0.0.8:1234 refuses.", "Look at /srv/models.")
    assert "10.0.0.8" not in json.dumps(host.public_status())
    assert "10.0.0.8" in json.dumps(host.status())


@pytest.mark.parametrize(
    ("name", "status"),
    [("10.0.0.7:8000", 200), ("chinwag:8000", 200), ("box.local", 200), ("localhost", 200), ("chinwag.example", 200),
     ("evil.example", 403), ("10.0.0.7.evil.example", 403), ("", 403)],
)  # fmt: skip
async def test_elsewhere_without_a_key_a_strangers_name_is_not_answered(name: str, status: int) -> None:
    """A page of evil.example, whose name was pointed here after it was loaded, is of the same origin."""
    async with asking(host="0.0.0.0", auth="off", allowed_hosts=["chinwag.example"]) as client:
        for path in ("/", "/v1/models", "/api/status"):
            answer = await client.get(path, headers={"Host": name, "Origin": f"http://{name}"})
            assert answer.status_code == status


# --- limits ------------------------------------------------------------------------------------------------------


async def test_wrong_keys_are_slowed_down_and_forgiven() -> None:
    loop = asyncio.get_running_loop()
    async with asking(address=ELSEWHERE, api_keys=[KEY]) as client:
        for place in range(FREE_ATTEMPTS):
            guess = {"Authorization": f"Bearer guess-number-{place}-of-many"}
            assert (await client.get("/v1/models", headers=guess)).status_code == 401
        slowed = await client.get("/v1/models", headers=RIGHT)
        assert (slowed.status_code, slowed.json()["error"]["code"]) == (429, "too_many_wrong_keys")
        assert int(slowed.headers["retry-after"]) >= 1
        assert "sessions" not in (await client.get("/api/status", headers=RIGHT)).json(), "no way round it"
        began = loop.time()
        await asyncio.sleep(int(slowed.headers["retry-after"]))
        assert (await client.get("/v1/models", headers=RIGHT)).status_code == 200
        assert loop.time() - began < 5
    async with asking(api_keys=[KEY]) as client:  # on this machine: what a proxy passes on would lock out everybody
        for place in range(FREE_ATTEMPTS * 2):
            guess = {"Authorization": f"Bearer guess-number-{place}-of-many"}
            assert (await client.get("/v1/models", headers=guess)).status_code == 401


def test_the_wait_doubles_up_to_a_minute_and_a_page_that_repeats_its_old_key_is_no_guesser() -> None:
    now = 0.0
    tries = FailedKeyAttempts(lambda: now)
    waits = []
    for place in range(FREE_ATTEMPTS + 8):
        tries.record("a", str(place).encode())
        waits.append(tries.wait_s("a"))
    assert waits == [0] * (FREE_ATTEMPTS - 1) + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert tries.wait_s("b") == 0
    now = 61.0
    assert tries.wait_s("a") == 0
    for _ in range(100):
        tries.record("c", b"the same")
    assert tries.wait_s("c") == 0
    for place in range(limits.MAX_ADDRESSES + 5):
        tries.record(str(place), b"x")
    assert len(tries._failures) == limits.MAX_ADDRESSES


async def test_an_address_that_asks_too_often_waits_and_others_do_not() -> None:
    app = create_app(host_of(requests_per_minute=20))

    async def ask(address: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/healthz")

    assert [(await ask(ELSEWHERE)).status_code for _ in range(21)] == [200] * 20 + [429]
    refused = await ask(ELSEWHERE)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert (await dialled(app, address=ELSEWHERE))["status"] == 429, "a socket as well"
    assert (await ask("203.0.113.10")).status_code == 200
    assert (await ask("127.0.0.1")).status_code == 200
    await asyncio.sleep(int(refused.headers["retry-after"]))
    assert (await ask(ELSEWHERE)).status_code == 200


def test_whom_limits_are_counted_against() -> None:
    def counted(host: str | None) -> str:
        return address_of(HTTPConnection({"type": "http", "headers": [], "client": (host, 1) if host else None}))

    assert [counted(one) for one in (None, "127.0.0.1", "::1", "::ffff:127.0.0.1")] == [""] * 4
    assert counted("::ffff:10.1.2.3") == counted("10.1.2.3") == "10.1.2.3"
    assert counted("2001:db8::1") == counted("2001:db8::ffff:2") != counted("2001:db8:0:1::1")


async def test_a_body_too_large_is_refused_and_one_that_never_ends_given_up() -> None:
    async with asking(max_body_bytes=2000) as client:
        for size, status in ((1900, 400), (3000, 413), (1_000_000, 413)):
            answer = await client.post("/v1/chat/completions", content=b'{"messages": 5, "x": "' + b"a" * size + b'"}')
            assert answer.status_code == status
        assert answer.json()["error"]["code"] == "body_too_large"

        async def drip() -> AsyncIterator[bytes]:
            while True:
                yield b"a"
                await asyncio.sleep(10)

        slow = await client.post("/v1/chat/completions", content=drip())
        assert (slow.status_code, slow.json()["error"]["code"]) == (408, "body_too_slow")

        async def flood() -> AsyncIterator[bytes]:
            while True:
                yield b"a" * 1000

        assert (await client.post("/v1/chat/completions", content=flood())).status_code == 413


async def test_one_address_has_so_many_conversations() -> None:
    app = create_app(host_of(max_sessions_per_address=1, resume_s=0))
    held = asyncio.create_task(dialled_for(app, 5.0))
    await asyncio.sleep(1)
    assert await dialled(app, address=ELSEWHERE) == {"status": 101, "error": "too_many_sessions"}
    assert "session" in await dialled(app, address="203.0.113.10")
    assert "session" in await dialled(app, address="127.0.0.1")
    await held
    assert "session" in await dialled(app, address=ELSEWHERE)


async def dialled_for(app: FastAPI, seconds: float) -> None:
    sent: asyncio.Queue[Any] = asyncio.Queue()
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    scope = {
        "type": "websocket", "path": "/v1/realtime", "query_string": b"", "client": (ELSEWHERE, 1),
        "headers": [(b"host", b"localhost")], "subprotocols": [], "extensions": {},
    }  # fmt: skip
    running = asyncio.ensure_future(app(scope, received.get, sent.put))
    await asyncio.sleep(seconds)
    received.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await running


async def test_a_flood_of_messages_is_read_slowly_and_told_once() -> None:
    app = create_app(host_of(messages_per_second=50))
    sent: asyncio.Queue[Any] = asyncio.Queue()
    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    for _ in range(1000):
        received.put_nowait({"type": "websocket.receive", "text": '{"type": "input_audio_buffer.clear"}'})
    received.put_nowait({"type": "websocket.disconnect", "code": 1000})
    scope = {
        "type": "websocket", "path": "/v1/realtime", "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost")], "subprotocols": [], "extensions": {},
    }  # fmt: skip
    began = asyncio.get_running_loop().time()
    await app(scope, received.get, sent.put)
    took = asyncio.get_running_loop().time() - began
    assert 9.5 <= took <= 11, "ten seconds' worth at once, the other 500 at 50 a second"
    codes = []
    while not sent.empty():
        event = json.loads(sent.get_nowait().get("text") or "{}")
        codes += [event["error"]["code"]] if event.get("type") == "error" else []
    assert codes == ["rate_limit_exceeded"]


def test_a_bucket_gives_its_rate_in_the_long_run() -> None:
    bucket = TokenBucket(10, 5, 0.0)
    assert [bucket.take(0.0) for _ in range(6)] == pytest.approx([0, 0, 0, 0, 0, 0.1])
    assert bucket.take(100.0) == 0


async def test_a_conversation_in_which_nobody_says_anything_ends() -> None:
    told: list[dict[str, Any]] = []

    def take(event: dict[str, Any] | bytes) -> None:
        assert isinstance(event, dict)
        told.append(event)

    defaults = Defaults(SessionSettings(instructions="Be brief."), "llm", "stt", ("one",), idle_timeout_s=60.0)
    wire = Connection(Fakes().engines(), defaults, take, longest_message=10_000)
    running = asyncio.create_task(wire.run())
    loop = asyncio.get_running_loop()
    for _ in range(2):
        await asyncio.sleep(40)
        wire.receive_text('{"type": "response.cancel"}')  # somebody is there
    while not running.done():
        await asyncio.sleep(1)
        wire.receive_text('{"type": "chinwag.playback", "item_id": "x", "played_ms": 1}')  # sent by itself
        assert loop.time() < 200
    assert 140 <= loop.time() <= 142
    assert told[-1]["error"]["code"] == "session_idle"
    assert "1 minutes" in told[-1]["error"]["message"]


# --- secrets, the page, paths ------------------------------------------------------------------------------------


def test_no_secret_is_shown_whatever_is_printed_or_wrong(tmp_path: Path) -> None:
    hush = "hush-hush-hush-hush"
    made = Config(
        server=ServerSettings(api_keys=[hush]),
        llm=LlmSettings(api_key=hush),
        store=StoreSettings(url=f"postgresql://me:{hush}@host/db"),
        webrtc=WebrtcSettings(ice_servers=[IceServer(urls=["turn:a.example"], credential=hush)]),
    )
    made.tools.mcp = [
        McpSettings(name="one", url="https://a.example", headers={"Authorization": hush}, env={"A": hush})
    ]
    assert hush not in repr(made) + str(made)
    file = tmp_path / "chinwag.toml"
    for wrong in (
        f'[server]\napi_keys = ["{hush} "]',
        f'[llm]\napi_key = ["{hush}"]',
        f'[store]\nurl = ["{hush}"]',
        f'[[webrtc.ice_servers]]\nurls = ["turn:a.example"]\ncredential = ["{hush}"]',
        f'[[tools.mcp]]\nname = "one"\nheaders = {{ Authorization = ["{hush}"] }}',
        f'[[tools.mcp]]\nname = "one"\nenv = ["{hush}"]',
    ):
        file.write_text(wrong)
        with pytest.raises(ConfigError) as raised:
            config.load(file)
        assert hush not in str(raised.value), wrong
    file.write_text('[server]\nport = "hello"')
    with pytest.raises(ConfigError, match="hello"):
        config.load(file)


async def test_no_log_holds_a_key_or_a_persons_words(caplog: pytest.LogCaptureFixture) -> None:
    secret, words = "a-wrong-key-nobody-has", "something that was said in confidence"
    with caplog.at_level(logging.DEBUG):
        app = create_app(host_of(api_keys=[KEY]))
        await dialled(app, [f"{SUBPROTOCOL_KEY}{secret}"])
        await dialled(app, ["realtime", f"{SUBPROTOCOL_KEY}{KEY}"])
        await answered(app, "POST", "/v1/chat/completions", {"Authorization": f"Bearer {secret}"})
        async with asking(api_keys=[KEY]) as client:
            body = {"messages": [{"role": "user", "content": words}]}
            await client.post("/v1/chat/completions", json=body, headers=RIGHT)
    logged = caplog.text
    assert secret not in logged
    assert KEY not in logged
    assert words not in logged


async def test_every_answer_has_the_headers_and_the_policy_allows_no_inline() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    async with asking(api_keys=[KEY]) as client:
        for path in ("/", "/main.js", "/healthz", "/v1/models", "/nothing", "/api/status"):
            answer = await client.get(path)
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, path


def test_the_page_has_nothing_inline() -> None:
    class Inline(HTMLParser):
        found: ClassVar[list[str]] = []

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            names = dict(attributes)
            if tag == "style" or (tag == "script" and not names.get("src")):
                self.found.append(tag)
            self.found.extend(f"{tag} {name}" for name in names if name == "style" or name.startswith("on"))
            for name in ("src", "href", "action"):
                if re.match(r"(?i)\s*(https?:|//|javascript:)", names.get(name) or ""):
                    self.found.append(f"{tag} {name}={names[name]}")

    page = Inline()
    page.feed((PAGE / "index.html").read_text("utf-8"))
    assert page.found == []
    for file in PAGE.glob("*.js"):
        text = file.read_text("utf-8")
        for forbidden in (
            r"\beval\(",
            r"new Function\(",
            r"\.innerHTML\b",
            r"insertAdjacentHTML",
            r"setAttribute\(\"style\"",
        ):
            assert not re.search(forbidden, text), f"{file.name}: {forbidden}"


UP = ("../pyproject.toml", "..%2f..%2fpyproject.toml", "%2e%2e/%2e%2e/config.py", "..\\config.py", "/etc/passwd",
      "....//config.py", "conv_../../x", "a%00b", "%c0%ae%c0%ae/config.py", "client/../../config.py")  # fmt: skip


@pytest.mark.parametrize("name", UP)
async def test_no_name_leads_out_of_its_folder(name: str) -> None:
    async with asking() as client:
        for before in ("/", "/api/conversations/", "/v1/models/", "/v1/realtime/calls/"):
            for after in ("", "/export", "/hangup"):
                request = httpx.Request("GET", f"http://localhost:8000{before}x", headers={"Host": "localhost:8000"})
                request.url = request.url.copy_with(raw_path=(before + name + after).encode())
                answer = await client.send(request)
                assert answer.status_code in (400, 404, 405, 503), (before, name, answer.status_code)
                assert "root:" not in answer.text
                assert "BaseSettings" not in answer.text
        spoken = await client.post("/v1/audio/speech", json={"input": "Hello.", "voice": name})
        assert spoken.status_code == 400
    refused: list[dict[str, Any]] = []
    async with connected() as wire:
        refused.append(
            wire.refused("session.update", session={"type": "realtime", "audio": {"output": {"voice": name}}})
        )
        refused.append(wire.refused("chinwag.session.update", session={"assistant": name}))
    assert all("BaseSettings" not in json.dumps(one) for one in refused)


@pytest.mark.parametrize(
    "written", [b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"RIFFxxxx", b""]
)
def test_a_file_that_names_others_is_not_followed(written: bytes) -> None:
    with pytest.raises(DecodeError):
        list(decode_file(BytesIO(written)))


def test_folders_are_the_servers_own_and_no_file_of_elsewhere_is_followed(tmp_path: Path) -> None:
    """What a client names is looked up among what there is, and never joined to a path."""
    from chinwag import assistants

    outside = tmp_path / "outside.toml"
    outside.write_text('instructions = "x"')
    folder = tmp_path / "assistants"
    folder.mkdir()
    found = assistants.read_assistants(folder)
    for name in ("../outside", str(outside), "outside"):
        with pytest.raises(ConfigError):
            found.get(name)
