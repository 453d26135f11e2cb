"""POST /v1/realtime/calls: what is refused, and how."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from chinwag.config import Config
from chinwag.engines.fake import Fakes
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit

CALLS = "/v1/realtime/calls"
VIDEO = "\r\n".join(
    (
        "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:0", "a=rtcp-mux", "a=rtpmap:96 VP8/90000",
        "a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=setup:actpass", "a=sendrecv",
        f"a=fingerprint:sha-256 {':'.join(['AA'] * 32)}", "",
    )
)  # fmt: skip


def ready(**changes: Any) -> Runtime:
    host = Runtime(Config(**changes))
    host.engines, host.stage = Fakes().engines(), "ready"
    return host


async def post(host: Runtime, path: str = CALLS, **request: Any) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(host))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post(path, **request)


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()["error"]
    assert set(told) >= {"message", "type", "code", "param"}
    assert told["message"]
    return told


SDP = {"Content-Type": "application/sdp"}


@pytest.mark.parametrize("offer", ["nonsense", "v=0\r\n", "v=0\r\nm=audio x\r\n", VIDEO, "\x00\xff"])
async def test_an_offer_that_cannot_be_used(offer: str) -> None:
    host = ready()
    told = error(await post(host, content=offer, headers=SDP), 400)
    assert (told["type"], told["code"], told["param"]) == ("invalid_request_error", "invalid_offer", "sdp")
    assert host.sessions == 0, "its place is free again"


async def test_no_offer_at_all_and_one_of_another_kind() -> None:
    assert error(await post(ready(), headers=SDP), 400)["param"] == "sdp"
    assert error(await post(ready(), json={"sdp": "v=0"}), 400)["code"] == "unsupported_content_type"
    assert error(await post(ready(), content="v=0" * 500_000, headers=SDP), 413)["code"] == "body_too_large"


async def test_a_form_whose_session_is_wrong() -> None:
    def form(session: str) -> dict[str, Any]:
        return {"files": {"sdp": (None, VIDEO), "session": (None, session)}}

    assert error(await post(ready(), **form("{")), 400)["code"] == "invalid_json"
    assert error(await post(ready(), **form("[]")), 400)["code"] == "invalid_type"
    host = ready()
    wrong = {"type": "realtime", "audio": {"output": {"voice": "nobody"}}}
    assert error(await post(host, **form(json.dumps(wrong))), 400)["param"] == "session.audio.output.voice"
    assert host.sessions == 0
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await post(ready(), content="--x\r\nno", headers=broken)
    assert error(answer, 400)["code"] in ("invalid_form", "missing_required_parameter")


async def test_not_ready_and_full() -> None:
    loading = Runtime(Config())
    assert error(await post(loading, content=VIDEO, headers=SDP), 503)["code"] == "not_ready"
    host = ready(server={"max_sessions": 1})
    host.load.sessions = 1
    answer = await post(host, f"{CALLS}?ticket=new", content=VIDEO, headers=SDP)
    told = error(answer, 503)
    assert (told["code"], told["type"], told["place"]) == ("server_full", "server_error", 1)
    assert answer.headers["Retry-After"] == str(told["retry_after_s"])
    again = error(await post(host, f"{CALLS}?ticket={told['ticket']}", content=VIDEO, headers=SDP), 503)
    assert (again["place"], again["ticket"]) == (1, told["ticket"])
    assert error(await post(host, content=VIDEO, headers=SDP), 503)["place"] == 2
    assert host.sessions == 1
    host.load.sessions = 0
    error(await post(host, content=VIDEO, headers=SDP), 503)  # whoever waits goes first
    invalid = error(await post(host, f"{CALLS}?ticket={told['ticket']}", content=VIDEO, headers=SDP), 400)
    assert invalid["code"] == "invalid_offer", "it came in"
    assert host.sessions == 0, "its place is free again"


async def test_another_sites_page_gets_nothing() -> None:
    origin = {**SDP, "Origin": "https://elsewhere.example"}
    assert error(await post(ready(), content=VIDEO, headers=origin), 403)["code"] == "forbidden_origin"
    assert error(await post(ready(), f"{CALLS}/rtc_1/hangup", headers=origin), 403)
    assert error(await post(ready(), f"{CALLS}/rtc_1/hangup"), 404)["code"] == "call_not_found"


async def test_the_page_is_told_the_ice_servers() -> None:
    servers = [{"urls": ["turn:turn.example.org"], "username": "me", "credential": "secret"}, {"urls": ["stun:a.b:1"]}]
    transport = httpx.ASGITransport(create_app(ready(webrtc={"ice_servers": servers})))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/v1/realtime/ice_servers")).json() == {"iceServers": servers}
        assert (
            await client.get("/v1/realtime/ice_servers", headers={"Origin": "https://elsewhere.example"})
        ).status_code == 403


def test_an_ice_server_that_cannot_be_is_named() -> None:
    with pytest.raises(ValidationError, match="is not like stun:"):
        Config(webrtc={"ice_servers": [{"urls": ["http://example.org"]}]})
