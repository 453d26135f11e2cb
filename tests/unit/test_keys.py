"""Who may use the server: keys, client secrets, origins and names, through the whole application with fake engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import asking, dialled, host_of

from chinwag import config
from chinwag.cli import doctor
from chinwag.config import Config, ServerSettings
from chinwag.errors import ConfigError
from chinwag.reach import check_exposure, is_loopback
from chinwag.runtime.auth import SUBPROTOCOL_KEY
from chinwag.runtime.client_secrets import MAX_SECRETS, ClientSecrets
from chinwag.server import lan
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit

KEY, OTHER = "a-key-of-the-server", "another-key-of-it"
RIGHT = {"Authorization": f"Bearer {KEY}"}
EVIL, FRIEND = "https://evil.example", "https://chat.example"


async def new_secret(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/realtime/client_secrets", json=body, headers=RIGHT)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-key-of-nobody"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": KEY},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KEY}"},
    ],
)
async def test_without_a_right_key_nothing_under_v1_answers(headers: dict[str, str]) -> None:
    async with asking(api_keys=[KEY]) as client:
        for path in ("/v1/realtime/client_secrets", "/v1/models", "/v1/chat/completions", "/v1/nothing", "/v1"):
            answer = await client.post(path, json={}, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
            assert KEY not in answer.text


async def test_each_key_is_right_and_what_tells_nothing_needs_none() -> None:
    async with asking(api_keys=[KEY, OTHER]) as client:
        for key in (KEY, OTHER):
            answer = await client.get("/v1/nothing", headers={"Authorization": f"bearer {key}"})
            assert answer.status_code == 404
        for path in ("/", "/main.js", "/healthz", "/api/status"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert KEY not in answer.text
        assert (await client.get("/api/status")).json()["key_required"] is True


@pytest.mark.parametrize("server", [{}, {"api_keys": [KEY], "auth": "off"}])
async def test_no_key_is_asked_for_where_there_is_none_or_it_is_off(server: dict[str, Any]) -> None:
    async with asking(**server) as client:
        assert (await client.post("/v1/realtime/client_secrets")).status_code == 200
        assert (await client.get("/api/status")).json()["key_required"] is False


async def test_a_wrong_key_is_refused_before_the_socket_opens_and_a_right_one_comes_as_browsers_send_it() -> None:
    app = create_app(host_of(api_keys=[KEY]))
    for offered in ([], ["realtime"], ["realtime", f"{SUBPROTOCOL_KEY}{OTHER}"]):
        assert await dialled(app, offered) == {"status": 401}
    assert await dialled(app, authorization=f"Bearer {OTHER}") == {"status": 401}
    for offered, chosen in (
        (["realtime", f"{SUBPROTOCOL_KEY}{KEY}"], "realtime"),
        (["chinwag.pcm", "realtime", f"{SUBPROTOCOL_KEY}{KEY}"], "chinwag.pcm"),
    ):
        opened = await dialled(app, offered)
        assert (opened["status"], opened["subprotocol"]) == (101, chosen)
    assert (await dialled(app, authorization=f"Bearer {KEY}"))["subprotocol"] is None


async def test_a_client_secret_opens_sessions_that_begin_as_it_says() -> None:
    app = create_app(host_of(api_keys=[KEY]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        session = {"instructions": "Speak like a pirate.", "audio": {"output": {"voice": "two"}}}
        made = (await new_secret(client, session=session, expires_after={"seconds": 10})).json()
        assert made["value"].startswith("ek_")
        assert made["session"]["instructions"] == "Speak like a pirate."
        assert made["session"]["audio"]["output"]["voice"] == "two"
        bearer = {"Authorization": f"Bearer {made['value']}"}
        for path in ("/v1/realtime/client_secrets", "/v1/models"):
            answer = await client.post(path, json={}, headers=bearer)
            assert answer.status_code == 401, "it opens sessions and does nothing else"
            assert "can only open sessions" in answer.json()["error"]["message"]
    for _ in range(2):
        opened = (await dialled(app, ["realtime", SUBPROTOCOL_KEY + made["value"]]))["session"]
        assert opened["instructions"] == "Speak like a pirate."
        assert opened["audio"]["output"]["voice"] == "two"
    assert await dialled(app, authorization="Bearer ek_made_up") == {"status": 401}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after.anchor"),
        ({"session": {"audio": {"output": {"voice": "nobody"}}}}, "session.audio.output.voice"),
        ({"session": {"instructions": 5}}, "session.instructions"),
        ({"session": 5}, "session"),
    ],
)
async def test_what_a_secret_cannot_be_made_with_is_named(body: dict[str, Any], param: str) -> None:
    async with asking(api_keys=[KEY]) as client:
        answer = await new_secret(client, **body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


def test_secrets_expire_and_do_not_pile_up() -> None:
    now = 1000.0
    secrets = ClientSecrets(lambda: now, lambda: 5000.5)
    value, expires_at = secrets.create({"instructions": "x"}, 10)
    assert expires_at == 5010
    assert secrets.session_settings(value) == {"instructions": "x"}
    now = 1010.0
    assert secrets.session_settings(value) is None
    made = [secrets.create({})[0] for _ in range(MAX_SECRETS + 1)]
    assert secrets.session_settings(made[0]) is None
    assert secrets.session_settings(made[-1]) == {}
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("origin", [EVIL, "null", "", "http://localhost:9000", "http://localhost:8000.evil.example"])
async def test_a_page_of_another_origin_gets_nothing(origin: str) -> None:
    async with asking() as client:
        for method in ("GET", "POST", "OPTIONS"):
            preflight = {"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {}
            answer = await client.request(method, "/v1/models", headers={"Origin": origin, **preflight})
            assert answer.status_code == 403
            assert answer.json()["error"]["code"] == "forbidden_origin"
            assert not [name for name in answer.headers if name.startswith("access-control")]
        own = await client.post("/v1/realtime/client_secrets", headers={"Origin": "http://localhost:8000"})
        assert own.status_code == 200
    assert await dialled(create_app(host_of()), origin=origin) == {"status": 403}


async def test_a_picture_or_script_on_another_site_gets_nothing() -> None:
    """Those name no Origin."""
    async with asking() as client:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)):
            answer = await client.get("/v1/nothing", headers={"Sec-Fetch-Site": site})
            assert answer.status_code == status


async def test_an_allowed_origin_is_answered_with_cors() -> None:
    async with asking(allowed_origins=[FRIEND], api_keys=[KEY]) as client:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-other"}
        preflight = await client.options("/v1/models", headers={"Origin": FRIEND, **asked})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == FRIEND
        assert "x-other" in preflight.headers["access-control-allow-headers"]
        wrong = await client.get("/v1/nothing", headers={"Origin": FRIEND})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, FRIEND)
        right = await client.get("/v1/nothing", headers={"Origin": FRIEND, **RIGHT})
        assert (right.status_code, right.headers["access-control-allow-origin"]) == (404, FRIEND)
        assert "Origin" in right.headers["vary"]
        other = await client.get("/v1/nothing", headers={"Origin": EVIL, **RIGHT})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("page.localhost", 200),
        ("chat.example", 200),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("[", 403),
    ],
)
async def test_on_loopback_only_names_of_this_machine_are_answered(name: str, status: int) -> None:
    async with asking(allowed_origins=[FRIEND]) as client:
        for path in ("/", "/api/status", "/healthz"):
            assert (await client.get(path, headers={"Host": name})).status_code == status


async def test_elsewhere_any_name_is_answered() -> None:
    async with asking("http://chinwag.lan", host="0.0.0.0", api_keys=[KEY]) as client:
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", ""])
def test_listening_elsewhere_needs_a_key_or_a_word(host: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_exposure(ServerSettings(host=host))
    assert "CHINWAG_SERVER__API_KEYS" in raised.value.fix
    assert "CHINWAG_SERVER__AUTH=off" in raised.value.fix
    check_exposure(ServerSettings(host=host, auth="off"))
    check_exposure(ServerSettings(host=host, auth="code", https="off"))


def test_until_a_login_code_is_made_nobody_gets_in() -> None:
    assert ServerSettings(auth="code").requires_key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", ""])
def test_a_key_does_not_cross_the_network_in_the_clear_unasked(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        check_exposure(ServerSettings(host=host, api_keys=[KEY]))
    for way in ("--lan", "server.tls_cert", "server.trusted_proxies", "CHINWAG_SERVER__HTTPS=off"):
        assert way in raised.value.fix
    check_exposure(ServerSettings(host=host, api_keys=[KEY]), encrypted=True)
    check_exposure(ServerSettings(host=host, api_keys=[KEY], trusted_proxies=["10.0.0.7"]))
    check_exposure(ServerSettings(host=host, api_keys=[KEY], https="off"))
    made = lan.ensure_certificate(tmp_path, ["192.168.1.5"])
    check_exposure(ServerSettings(host=host, api_keys=[KEY], tls_cert=made.file, tls_key=made.key))


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    made = lan.ensure_certificate(tmp_path / "one", [])
    other = lan.ensure_certificate(tmp_path / "two", [])
    for cert, key, says in (
        (made.file, None, "server.tls_key is not set"),
        (None, made.key, "server.tls_cert is not set"),
        (made.file, other.key, "cannot be used"),
        (made.file, tmp_path / "nothing.pem", "cannot be used"),
        (made.key, made.key, "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=says):
            check_exposure(ServerSettings(tls_cert=cert, tls_key=key))


@pytest.mark.parametrize(
    ("server", "state"),
    [
        ({}, "ok"),
        ({"host": "0.0.0.0", "api_keys": [KEY], "trusted_proxies": ["10.0.0.7"]}, "ok"),
        ({"host": "0.0.0.0", "api_keys": [KEY], "https": "off"}, "hint"),
        ({"host": "0.0.0.0", "api_keys": [KEY]}, "fault"),
        ({"host": "0.0.0.0"}, "fault"),
        ({"host": "0.0.0.0", "auth": "off"}, "hint"),
    ],
)
def test_the_doctor_tells_who_may_use_it(server: dict[str, Any], state: str) -> None:
    check = doctor.check_access(Config(server=ServerSettings(**server)))
    assert check.state == state
    assert bool(check.fix) == (state != "ok")
    assert KEY not in check.detail


def test_loopback_needs_none() -> None:
    for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost"):
        assert is_loopback(host)
        check_exposure(ServerSettings(host=host))


@pytest.mark.parametrize("written", [f"{KEY},{OTHER}", f'["{KEY}", "{OTHER}"]', f" {KEY} , {OTHER} "])
def test_keys_from_the_environment(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_SERVER__API_KEYS", written)
    found = config.load()
    assert found.server.api_keys == [KEY, OTHER]
    assert KEY not in repr(found)


@pytest.mark.parametrize("wrong", ["short", "with a space in it....", "ek_0123456789abcdef", "tail=0123456789abcdef"])
def test_a_key_that_cannot_be_used_is_explained_and_not_shown(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_SERVER__API_KEYS", wrong)
    with pytest.raises(ConfigError) as raised:
        config.load()
    assert "server.api_keys" in str(raised.value)
    assert wrong not in str(raised.value)


@pytest.mark.parametrize("wrong", ["*", "null", "chat.example", "https://chat.example/page"])
def test_an_allowed_origin_is_an_origin(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.allowed_origins"):
        config.load(flags={"server": {"allowed_origins": [wrong]}})
