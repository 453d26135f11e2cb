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

from chinwag.errors import ChinwagError
from chinwag.ids import new_id
from chinwag.session import Refused
from chinwag.web.host import Host
from chinwag.web.security import same_origin
from chinwag.web.websocket import refusal

if TYPE_CHECKING:
    from chinwag.web.webrtc import Call

LARGEST_BODY = 1024 * 1024
"""Bytes of an offer with its session; a browser's has about five thousand."""

log = logging.getLogger(__name__)


class NotTaken(Exception):
    """What was asked for is answered with an error, in OpenAI's shape."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "code": code, "param": param}
        self.response = JSONResponse({"error": error}, status)


class Calls:
    """The calls of one server, by their id."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._calls: dict[str, Call] = {}

    def add_routes(self, app: FastAPI) -> None:
        """Let the application take calls."""

        @app.post("/v1/realtime/calls")
        async def create(request: Request) -> Response:
            """An SDP offer, alone or in a form with a session object; 201 with the answer."""
            try:
                return await self._create(request)
            except NotTaken as error:
                return error.response

        @app.post("/v1/realtime/calls/{call_id}/hangup")
        async def hang_up(call_id: str, request: Request) -> Response:
            """End a call."""
            try:
                _admit(request)
                if (call := self._calls.get(call_id)) is None:
                    raise NotTaken(404, "call_not_found", f"There is no call {call_id!r}.")
            except NotTaken as error:
                return error.response
            await call.end()
            return Response(status_code=200)

        @app.get("/api/webrtc")
        async def settings(request: Request) -> Response:
            """What the page's RTCPeerConnection is made with."""
            try:
                _admit(request)
            except NotTaken as error:
                return error.response
            servers = self._host.config.webrtc.ice_servers
            return JSONResponse({"iceServers": [server.model_dump(exclude_defaults=True) for server in servers]})

    async def close(self) -> None:
        """End all calls."""
        await asyncio.gather(*(call.end() for call in list(self._calls.values())))

    async def _create(self, request: Request) -> Response:
        _admit(request)
        sdp, session = await _offer(request)
        # imported late, on a thread: aiortc takes half a second, which no other conversation should notice
        webrtc = await asyncio.to_thread(importlib.import_module, "chinwag.web.webrtc")
        if no := refusal(self._host):
            raise NotTaken(503, *no)
        call_id, host = new_id("rtc"), self._host
        host.sessions += 1
        call: Call | None = None

        def over() -> None:
            host.sessions -= 1
            self._calls.pop(call_id, None)

        try:
            call = webrtc.Call(host, over, extended=request.query_params.get("chinwag") == "events")
            self._calls[call_id] = call
            if session is not None:
                call.configure(session)
            answer = await call.answer(sdp)
        except BaseException as error:
            if call:
                await call.end()
            else:
                over()
            if told := _explained(error):
                raise told from error
            raise
        headers = {"Location": f"/v1/realtime/calls/{call_id}"}
        return Response(answer, 201, headers, "application/sdp")


def _explained(error: BaseException) -> NotTaken | None:
    """What the client is told, where it can do something about it."""
    match error:
        case Refused():
            return NotTaken(400, error.code, str(error), error.param)
        case ChinwagError():
            return NotTaken(400, "invalid_value", str(error))
        case ValueError():
            return NotTaken(400, "invalid_offer", f"The SDP offer cannot be used: {error}.", "sdp")
    return None


def _admit(request: Request) -> None:
    """Who may call. The one place where a request for a call is let in."""
    if not same_origin(request):
        raise NotTaken(403, "forbidden_origin", "A page of another origin may not talk to this server.")


async def _offer(request: Request) -> tuple[str, dict[str, Any] | None]:
    """The SDP and the session object of a request."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise NotTaken(413, "body_too_large", f"An offer has at most {LARGEST_BODY} bytes.")
    session = None
    if kind == "multipart/form-data":
        sdp, session = await _form(request, bytes(body))
    elif kind in ("application/sdp", "text/plain", ""):
        sdp = bytes(body).decode("utf-8", "replace")
    else:
        raise NotTaken(
            400, "unsupported_content_type", "Send the offer as application/sdp, or in a form with 'sdp' and 'session'."
        )
    if not sdp.strip():
        raise NotTaken(400, "missing_required_parameter", "There is no SDP offer.", "sdp")
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
        raise NotTaken(400, "invalid_form", f"The form cannot be read: {getattr(error, 'detail', error)}.") from None
    if "session" not in parts:
        return parts.get("sdp", ""), None
    try:
        session = json.loads(parts["session"])
    except ValueError as error:
        raise NotTaken(400, "invalid_json", f"'session' is not valid JSON: {error}.", "session") from None
    if not isinstance(session, dict):
        raise NotTaken(400, "invalid_type", "'session' must be an object.", "session")
    return parts.get("sdp", ""), session
