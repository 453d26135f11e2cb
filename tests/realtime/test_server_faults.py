"""The network in front of a real server: proxies that are trusted or not, and HTTPS."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from serving import serving

from chinwag.server import lan

pytestmark = pytest.mark.realtime


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """A server that is up at once, as it has no weights to load."""
    return {"CHINWAG_WEIGHTS__FOLDER": str(tmp_path / "none")}


def test_the_address_behind_a_trusted_proxy_counts_and_no_other(empty: dict[str, str]) -> None:
    env = {**empty, "CHINWAG_SERVER__REQUESTS_PER_MINUTE": "5"}
    for trusted, counted in (("127.0.0.1", True), ("10.9.9.9", False)):
        with serving("--offline", env={**env, "CHINWAG_SERVER__TRUSTED_PROXIES": trusted}) as server:
            url = server.url.replace("localhost", "127.0.0.1") + "/healthz"

            def answers(told: str, url: str = url) -> list[int]:
                return [httpx.get(url, headers={"X-Forwarded-For": told}).status_code for _ in range(7)]

            first = answers("203.0.113.7")
            assert (429 in first) is counted
            assert (429 in answers("198.51.100.1, 203.0.113.7")) is counted, "what a client wrote itself is no address"
            assert 429 not in answers("203.0.113.8")[:5]
            assert httpx.get(url).status_code == 200


def test_https_with_a_certificate_of_ones_own_and_no_plain_http(empty: dict[str, str], tmp_path: Path) -> None:
    made = lan.ensure_certificate(tmp_path, [])
    env = {
        **empty,
        "CHINWAG_SERVER__API_KEYS": "a-key-of-the-server",
        "CHINWAG_SERVER__TLS_CERT": str(made.file),
        "CHINWAG_SERVER__TLS_KEY": str(made.key),
    }
    with serving("--offline", "--host", "0.0.0.0", env=env) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(made.file))
        with httpx.Client(verify=trust, base_url=server.url) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/models").status_code == 401
            assert "server" not in client.get("/").headers
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https", "http") + "/healthz")
