"""A scripted server with the real page and a real WebSocket: for troubles that a healthy server does not make."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

import chinwag

CLIENT = Path(chinwag.__file__).parent / "page"
RATE = 24_000
POLICY = "default-src 'self'; worker-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

ENGINES = {"vad": "silero", "turn": "smart-turn", "stt": "moonshine", "llm": "embedded", "tts": "hibari"}


def status(stage: str = "ready", **changes: Any) -> dict[str, Any]:
    """What /api/status answers."""
    return {
        "stage": stage,
        "weights": {"done": 0, "total": 0, "bytes_per_s": 0.0, "seconds_left": None, "files": []},
        "engines": {
            task: {"name": name, "state": "ready", "detail": "", "load_ms": 120} for task, name in ENGINES.items()
        },
        "error": None,
        "sessions": 0,
        "max_sessions": 8,
        "version": "0",
        "process": {"rss_mb": 1.0, "cpu_seconds": 1.0, "startup_s": 1.0},
    } | changes


class Wire:
    """One session as its server sees it."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._news = asyncio.Condition()
        self.events: list[dict[str, Any]] = []
        self.frames: list[bytes] = []
        self.closed: int | None = None
        self.conversation: str | None = None

    async def send(self, type: str, **fields: Any) -> None:
        await self._websocket.send_text(json.dumps({"type": type, "event_id": "event_1", **fields}))

    async def send_audio(self, samples: NDArray[np.float32]) -> None:
        """Send sound in 40 ms frames, all at once."""
        data = (samples * 32767).astype("<i2").tobytes()
        for start in range(0, len(data), 1920):
            await self._websocket.send_bytes(data[start : start + 1920])

    async def close(self, code: int = 1000) -> None:
        await self._websocket.close(code)

    def of(self, type: str) -> list[dict[str, Any]]:
        """The client's events of that type."""
        return [event for event in self.events if event["type"] == type]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what has come from the client fulfils the condition."""
        async with asyncio.timeout(15), self._news:
            await self._news.wait_for(condition)

    async def expect(self, type: str, number: int = 1) -> dict[str, Any]:
        """Wait for the client's nth event of that type."""
        try:
            await self.until(lambda: len(self.of(type)) >= number)
        except TimeoutError:
            raise AssertionError(f"no {type} came, only {[event['type'] for event in self.events]}") from None
        return self.of(type)[number - 1]

    async def begin_answer(self, item: str = "item_a", response: str = "resp_a") -> None:
        """The events in front of an answer's text and sound."""
        await self.send("response.created", response={"id": response, "status": "in_progress"})
        message = {"id": item, "type": "message", "role": "assistant", "content": []}
        await self.send("response.output_item.added", response_id=response, item=message)
        await self.send("conversation.item.added", item=message)
        await self.send("response.content_part.added", response_id=response, item_id=item, part={"type": "audio"})

    async def say(self, text: str, samples: NDArray[np.float32], item: str = "item_a") -> None:
        """A clause and its sound."""
        await self.send("response.output_audio_transcript.delta", item_id=item, delta=text)
        await self.send_audio(samples)

    async def end_answer(self, response: str = "resp_a", outcome: str = "completed", **details: Any) -> None:
        await self.send("response.done", response={"id": response, "status": outcome, **details})

    async def receive_all(self) -> None:
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message["code"])
                async with self._news:
                    if (text := message.get("text")) is not None:
                        self.events.append(json.loads(text))
                    else:
                        self.frames.append(message["bytes"])
                    self._news.notify_all()
        except WebSocketDisconnect as gone:
            async with self._news:
                self.closed = gone.code
                self._news.notify_all()

    @property
    def heard(self) -> NDArray[np.float32]:
        """All sound of the client, float32 at 24 kHz."""
        return np.frombuffer(b"".join(self.frames), "<i2").astype(np.float32) / 32768.0


class FakeServer:
    """Answers /api/status with `status` (None: 503) and greets sessions, unless `refuse` holds an error.

    silent: the sessions' lines break at once. stop(): it goes away, and `stopped` is set.

    engines, assistants: what /api/engines and /api/assistants list. conversations: those that are kept, as
    /api/conversations has them, with their items; asked: what was asked of them.
    """

    def __init__(self, folder: Path = CLIENT) -> None:
        self.url = ""
        self.folder = folder
        self.status: dict[str, Any] | None = status()
        self.refuse: dict[str, Any] | None = None
        self.silent = False
        self.tickets: list[str | None] = []
        self.wires: list[Wire] = []
        self.engines: list[dict[str, Any]] = []
        self.assistants: list[dict[str, Any]] = []
        self.conversations: list[dict[str, Any]] = []
        self.keep = "asked"
        self.asked: list[tuple[str, str]] = []
        self.stop: Callable[[], None] = lambda: None
        self.stopped = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def session(self, number: int = 1) -> Wire:
        """The nth session, once it is there."""
        async with asyncio.timeout(15), self._arrived:
            await self._arrived.wait_for(lambda: len(self.wires) >= number)
        return self.wires[number - 1]

    async def _status(self, _request: Request) -> Response:
        return JSONResponse(self.status) if self.status else Response(status_code=503)

    async def _engines(self, _request: Request) -> Response:
        return JSONResponse({"switching": True, "engines": self.engines})

    async def _assistants(self, _request: Request) -> Response:
        return JSONResponse({"assistants": self.assistants, "default": "companion", "faults": []})

    async def _conversations(self, request: Request) -> Response:
        """One page of them, two at most."""
        self.asked.append((request.method, str(request.url.query)))
        if request.method == "DELETE":
            gone, self.conversations = len(self.conversations), []
            return JSONResponse({"object": "list.deleted", "deleted": gone})
        query, after = request.query_params.get("q", "").lower(), request.query_params.get("after")
        data = [one for one in self.conversations if query in json.dumps(one).lower()]
        start = next((number + 1 for number, one in enumerate(data) if one["id"] == after), 0)
        page = [{**one, "items": len(one["items"])} for one in data[start : start + 2]]
        told = {"data": page, "last_id": page[-1]["id"] if page else None, "has_more": len(data) > start + 2}
        return JSONResponse({"object": "list", **told, "keep": self.keep, "audio": False})

    async def _conversation(self, request: Request) -> Response:
        self.asked.append((request.method, request.url.path))
        one = next((one for one in self.conversations if one["id"] == request.path_params["id"]), None)
        if one is None:
            return JSONResponse({"error": {"message": "There is no such conversation."}}, 404)
        if request.url.path.endswith("/export"):
            return Response(f"# {one['title']}", headers={"Content-Type": "text/markdown"})
        if request.method == "DELETE":
            self.conversations.remove(one)
            return JSONResponse({"id": one["id"], "deleted": True})
        if request.method == "PATCH":
            one["title"] = (await request.json())["title"]
        return JSONResponse(one)

    async def _realtime(self, websocket: WebSocket) -> None:
        assert "chinwag.pcm" in websocket.scope["subprotocols"]
        assert websocket.query_params["chinwag"] == "events"
        await websocket.accept("chinwag.pcm")
        wire = Wire(websocket)
        wire.conversation = websocket.query_params.get("conversation")
        self.tickets.append(websocket.query_params.get("ticket"))
        if self.refuse:
            await wire.send("error", error={"type": "server_error", **self.refuse})
            await wire.close(1013)
            return
        if self.silent:
            await wire.close(1011)
            return
        await wire.send("session.created", session={"type": "realtime", "id": "sess_1"})
        async with self._arrived:
            self.wires.append(wire)
            self._arrived.notify_all()
        await wire.receive_all()

    def app(self) -> Callable[..., Awaitable[None]]:
        inner = Starlette(
            routes=[
                Route("/healthz", lambda _: JSONResponse({"status": "ok"})),
                Route("/api/status", self._status),
                Route("/api/engines", self._engines),
                Route("/api/assistants", self._assistants),
                Route("/api/conversations", self._conversations, methods=["GET", "DELETE"]),
                Route("/api/conversations/{id}", self._conversation, methods=["GET", "PATCH", "DELETE"]),
                Route("/api/conversations/{id}/export", self._conversation),
                WebSocketRoute("/v1/realtime", self._realtime),
                Mount("/", StaticFiles(directory=self.folder, html=True)),
            ]
        )

        async def strict(scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                if message["type"] == "http.response.start":
                    own = ((b"content-security-policy", POLICY.encode()), (b"cache-control", b"no-cache"))
                    message["headers"] = [*message["headers"], *own]
                await send(message)

            await inner(scope, receive, sending)

        return strict


@asynccontextmanager
async def fake_server(port: int = 0, folder: Path = CLIENT) -> AsyncIterator[FakeServer]:
    """The server, listening on loopback. folder: of the page's files."""
    server = FakeServer(folder)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server.url = f"http://localhost:{listener.getsockname()[1]}"
        config = uvicorn.Config(server.app(), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        engine = uvicorn.Server(config)
        server.stop = lambda: setattr(engine, "should_exit", True)
        serving = asyncio.create_task(engine.serve(sockets=[listener]))

        def gone(_: asyncio.Task[None]) -> None:
            listener.close()
            server.stopped.set()

        serving.add_done_callback(gone)
        try:
            yield server
        finally:
            server.stop()
            await serving


def tone(seconds: float, hertz: float = 440, volume: float = 0.3) -> NDArray[np.float32]:
    """A sine at 24 kHz."""
    return (volume * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
