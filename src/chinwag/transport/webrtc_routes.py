"""Routes that start and end WebRTC calls: POST /v1/realtime/calls and its neighbours."""

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
from chinwag.runtime.peers import with_replica_id
from chinwag.runtime.runtime import Runtime
from chinwag.transport.registry import SessionRegistry, acknowledged_messages
from chinwag.transport.session_opening import SessionRefused, open_session

if TYPE_CHECKING:
    from chinwag.transport.webrtc import WebRtcConnection

MAX_OFFER_BYTES = 1024 * 1024
"""Size of an SDP offer with its session object; a browser's has about five thousand bytes."""

log = logging.getLogger(__name__)


class WebRtcCalls:
    """The WebRTC calls of one server, by their id."""

    def __init__(self, runtime: Runtime, registry: SessionRegistry) -> None:
        self._runtime, self._registry = runtime, registry
        self._calls: dict[str, WebRtcConnection] = {}

    def add_routes(self, app: FastAPI) -> None:
        """Add the routes to an application."""

        @app.post("/v1/realtime/calls")
        async def create(request: Request) -> Response:
            """Start a call from an SDP offer, alone or in a form with a session object; 201 with the SDP answer."""
            return await self._create(request)

        @app.post("/v1/realtime/calls/{call_id}/hangup")
        async def hang_up(call_id: str, request: Request) -> Response:
            """End a call."""
            if (call := self._calls.get(call_id)) is None:
                raise ApiError(404, f"There is no call {call_id!r}.", "call_not_found")
            await call.hang_up()
            return Response(status_code=200)

        @app.get(ICE_SERVERS)
        async def settings() -> Response:
            """Return the configuration for the page's RTCPeerConnection."""
            servers = self._runtime.config.webrtc.ice_servers
            return JSONResponse({"iceServers": [server.model_dump(exclude_defaults=True) for server in servers]})

    async def close(self) -> None:
        """End all calls."""
        await asyncio.gather(*(call.hang_up() for call in list(self._calls.values())))

    async def _create(self, request: Request) -> Response:
        sdp, session = await _offer(request)
        # imported on a thread: aiortc takes half a second, which would interrupt running sessions
        webrtc = await asyncio.to_thread(importlib.import_module, "chinwag.transport.webrtc")
        try:
            live_session = await open_session(self._runtime, self._registry, request, "track")
        except SessionRefused as refused:
            raise _session_refused(refused) from refused
        except Refused as error:
            raise _refused(error) from error
        runtime = self._runtime
        call_id = with_replica_id(new_id("rtc"), runtime.peers)

        def on_end() -> None:
            runtime.remove_session()
            self._calls.pop(call_id, None)
            self._registry.detach(live_session, call, for_good=call.said_goodbye)

        call: WebRtcConnection = webrtc.WebRtcConnection(
            live_session, runtime.config.webrtc.ice_servers, on_end, acknowledged_messages(request)
        )
        self._calls[call_id] = call
        try:
            if session is not None:
                call.configure(session)
            answer = await call.answer(sdp)
        except BaseException as error:
            await call.hang_up(for_good=not live_session.started)
            if client_error := _client_error(error):
                raise client_error from error
            raise
        headers = {"Location": f"/v1/realtime/calls/{call_id}"}
        return Response(answer, 201, headers, "application/sdp")


def _client_error(error: BaseException) -> ApiError | None:
    """Return the error for the client if its request caused it."""
    match error:
        case Refused():
            return _refused(error)
        case ChinwagError():
            return ApiError(400, str(error), "invalid_value")
        case ValueError():
            return ApiError(400, f"The SDP offer cannot be used: {error}.", "invalid_offer", "sdp")
    return None


def _session_refused(refused: SessionRefused) -> ApiError:
    error, place = refused.event["error"], refused.place
    if place:
        return ApiError(503, error["message"], error["code"], retry_after_s=place.retry_after_s, more=place.as_dict())
    return ApiError(404 if refused.session_ended else 503, error["message"], error["code"])


def _refused(error: Refused) -> ApiError:
    status = {"conversation_not_found": 404, "too_many_sessions": 429}.get(error.code, 400)
    return ApiError(status, str(error), error.code, error.param)


async def _offer(request: Request) -> tuple[str, dict[str, Any] | None]:
    """Read the SDP offer and the session object of a request."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_OFFER_BYTES:
            raise ApiError(413, f"An offer has at most {MAX_OFFER_BYTES} bytes.", "body_too_large")
    session = None
    if media_type == "multipart/form-data":
        sdp, session = await _form(request, bytes(body))
    elif media_type in ("application/sdp", "text/plain", ""):
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
        async with Request(request.scope, receive).form(max_part_size=MAX_OFFER_BYTES) as form:
            parts = {
                name: (await part.read()).decode("utf-8", "replace") if isinstance(part, UploadFile) else part
                for name, part in form.items()
            }
    except Exception as error:  # starlette's own and its parser's
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
