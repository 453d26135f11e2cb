"""Connect a client of /v1/realtime over WebSocket or WebRTC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from chinwag.client_sdk.client import RealtimeClient, Transport, connect_websocket
from chinwag.client_sdk.playback import ListenerPlayback, Playback


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    api_key: str | None = None,
    playback: Playback | None = None,
    noise_dbfs: float | None = None,
    session: dict[str, Any] | None = None,
    extended: bool = True,
    transport: Transport = "websocket",
) -> AsyncGenerator[RealtimeClient, None]:
    """Connect to a server, wait for the session, and yield the client; disconnect at the end.

    noise_dbfs: level of the microphone's background noise; None for digital silence. session: sent as a session.update.
    extended: use Chinwag's events: follow duck and resume, and report the playout position. Otherwise the client is a
    stock client of the Realtime API, which only drops its audio at `speech_started`.
    Raises ClientError.
    """
    playback = playback or ListenerPlayback()
    if transport == "websocket":
        async with connect_websocket(url, api_key, playback, noise_dbfs, session, extended) as client:
            yield client
        return
    # aiortc takes half a second to import, which other commands need not wait for
    from chinwag.client_sdk.webrtc import connect_webrtc

    async with connect_webrtc(url, api_key, playback, noise_dbfs, extended) as webrtc_client:
        await webrtc_client.begin(session)
        yield webrtc_client
