"""The socket that `chinwag serve` listens on."""

from __future__ import annotations

import socket

import pytest

from chinwag.cli.serve import bind

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_messages_do_not_wait_for_an_acknowledgement(host: str) -> None:
    with bind(host, 0) as listening, socket.create_connection(listening.getsockname()[:2]):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
