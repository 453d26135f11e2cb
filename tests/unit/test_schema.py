"""Whatever is asked over HTTP, within the schema that the server tells or beyond it, the server does not fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from asking import host_of
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from chinwag.config import Config, ServerSettings, StoreSettings
from chinwag.engines.fake import FakeChat, Fakes
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

BOUNDED = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
POSTS = ("/v1/chat/completions", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/realtime/client_secrets",
         "/v1/realtime/calls", "/v1/realtime/calls/x/hangup")  # fmt: skip
KINDS = (
    "application/json",
    "application/sdp",
    "text/plain",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "",
)


def app_of(folder: Path) -> FastAPI:
    """With conversations kept in that folder."""
    host = Runtime(
        Config(server=ServerSettings(allowed_hosts=["testserver"]), store=StoreSettings(keep="all", folder=folder))
    )
    host.engines, host.stage = Fakes(llm=FakeChat(answer="Yes.", first_token_s=0.0)).engines(), "ready"
    return create_app(host)


def test_schemathesis_finds_no_fault_of_the_server(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    looked: list[str] = []
    every: list[Any] = list(schema.get_all_operations())
    for found in every:
        operation = found.ok()

        @BOUNDED
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call(headers={"Host": "localhost"})
            if answer.status_code >= 500:  # a store that is switched off says so
                assert answer.json()["error"]["code"] == "store_unavailable", answer.text

        ask()
        looked.append(operation.label)
    assert len(looked) >= 14
    assert "POST /v1/audio/speech" in looked


@pytest.mark.parametrize("path", POSTS)
def test_no_body_of_whatever_kind_is_more_than_a_mistake(path: str) -> None:
    client = TestClient(create_app(host_of()), base_url="http://localhost", raise_server_exceptions=False)
    piece = st.sampled_from(
        ["{", "}", '"messages"', ":", "[", "]", "null", "1e999", "\ud800", "--x\r\n", "v=0\r\n", "\x00"]
    )
    written = st.one_of(st.binary(max_size=200), st.lists(piece, max_size=12).map("".join))

    @BOUNDED
    @given(body=written, kind=st.sampled_from(KINDS))
    def ask(body: str | bytes, kind: str) -> None:
        sent = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        answer = client.post(path, content=sent, headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500 or (answer.status_code == 200 and path.endswith("client_secrets"))
        assert answer.json()["error"]["message"] if answer.status_code != 200 else True

    ask()
