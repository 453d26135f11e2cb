"""HTTP that begins and ends calls over WebRTC: POST /v1/realtime/calls and its neighbours."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from chinwag.errors import ChinwagError, Refused
from chinwag.ids import new_id
from chinwag.runtime.auth import ICE_SERVERS
from chinwag.runtime.http_errors import ApiError
from chinwag.runtime.peers import marked
from chinwag.runtime.runtime import Runtime
from chinwag.transport.entry import TurnedAway, enter
from chinwag.transport.live_session import SessionRegistry, after

if TYPE_CHECKING:
    from chinwag.transport.webrtc import WebRtcConnection

LARGEST_BODY = 1024 * 1024
"""Bytes of an offer with its session; a browser's has about five thousand."""

log = logging.getLogger(__name__)


class WebRtcCalls:
    """The calls of one server, by their id."""

    def __init__(self, host: Runtime, talks: SessionRegistry) -> None:
        self._host, self._talks = host, talks
        self._calls: dict[str, WebRtcConnection] = {}

    def add_routes(self, app: FastAPI) -> None:
        """Let the application take calls."""

        @app.post("/v1/realtime/calls")
        async def create(request: Request) -> Response:
            """An SDP offer, alone or in a form with a session object; 201 with the answer."""
            return await self._create(request)

        @app.post("/v1/realtime/calls/{call_id}/hangup")
        async def hang_up(call_id: str, request: Request) -> Response:
            """End a call."""
            if (call := self._calls.get(call_id)) is None:
                raise ApiError(404, f"There is no call {call_id!r}.", "call_not_found")
            await call.end()
            return Response(status_code=200)

        @app.get(ICE_SERVERS)
        async def settings() -> Response:
            """What the page's RTCPeerConnection is made with."""
            servers = self._host.config.webrtc.ice_servers
            return JSONResponse({"iceServers": [server.model_dump(exclude_defaults=True) for server in servers]})

    async def close(self) -> None:
        """End all calls."""
        await asyncio.gather(*(call.end() for call in list(self._calls.values())))

    async def _create(self, request: Request) -> Response:
        sdp, session = await _offer(request)
        # imported late, on a thread: aiortc takes half a second, which no other conversation should notice
        webrtc = await asyncio.to_thread(importlib.import_module, "chinwag.transport.webrtc")
        try:
            talk = await enter(self._host, self._talks, request, "track")
        except TurnedAway as away:
            raise _turned_away(away) from away
        except Refused as refused:
            raise _refused(refused) from refused
        host = self._host
        call_id = marked(new_id("rtc"), host.peers)

        def over() -> None:
            host.left()
            self._calls.pop(call_id, None)
            self._talks.leave(talk, call, for_good=call.said_goodbye)

        call: WebRtcConnection = webrtc.WebRtcConnection(talk, host.config.webrtc.ice_servers, over, after(request))
        self._calls[call_id] = call
        try:
            if session is not None:
                call.configure(session)
            answer = await call.answer(sdp)
        except BaseException as error:
            await call.end(for_good=not talk.begun)
            if told := _explained(error):
                raise told from error
            raise
        headers = {"Location": f"/v1/realtime/calls/{call_id}"}
        return Response(answer, 201, headers, "application/sdp")


def _explained(error: BaseException) -> ApiError | None:
    """What the client is told, where it can do something about it."""
    match error:
        case Refused():
            return _refused(error)
        case ChinwagError():
            return ApiError(400, str(error), "invalid_value")
        case ValueError():
            return ApiError(400, f"The SDP offer cannot be used: {error}.", "invalid_offer", "sdp")
    return None


def _turned_away(away: TurnedAway) -> ApiError:
    told, full = away.event["error"], away.full
    if full:
        return ApiError(503, told["message"], told["code"], retry_after_s=full.retry_after_s, more=full.as_dict())
    return ApiError(404 if away.over else 503, told["message"], told["code"])


def _refused(error: Refused) -> ApiError:
    status = {"conversation_not_found": 404, "too_many_sessions": 429}.get(error.code, 400)
    return ApiError(status, str(error), error.code, error.param)


async def _offer(request: Request) -> tuple[str, dict[str, Any] | None]:
    """The SDP and the session object of a request."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise ApiError(413, f"An offer has at most {LARGEST_BODY} bytes.", "body_too_large")
    session = None
    if kind == "multipart/form-data":
        sdp, session = await _form(request, bytes(body))
    elif kind in ("application/sdp", "text/plain", ""):
        sdp = bytes(body).decode("utf-8", "replace")
    else:
        raise ApiError(
            400, "Send the offer as application/sdp, or in a form with 'sdp' and 'session'.", "unsupported_content_type"
        )
    if not sdp.strip():
        raise ApiError(400, "There is no SDP offer.", "missing_required_parameter", "sdp")
    return sdp, session


async def _form(request: Request, body: bytes) -> tuple[str, dict[str, Any] | None]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form(max_part_size=LARGEST_BODY) as form:
            parts = {
                name: (await part.read()).decode("utf-8", "replace") if isinstance(part, UploadFile) else part
                for name, part in form.items()
            }
    except Exception as error:  # starlette's own and the parser's
        raise ApiError(400, f"The form cannot be read: {getattr(error, 'detail', error)}.", "invalid_form") from None
    if "session" not in parts:
        return parts.get("sdp", ""), None
    try:
        session = json.loads(parts["session"])
    except ValueError as error:
        raise ApiError(400, f"'session' is not valid JSON: {error}.", "invalid_json", "session") from None
    if not isinstance(session, dict):
        raise ApiError(400, "'session' must be an object.", "invalid_type", "session")
    return parts.get("sdp", ""), session
