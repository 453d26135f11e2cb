"""Fetches weights, loads the engines, and tells how far it is. All sessions share what it holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import psutil

from chinwag import __version__
from chinwag.config import Config
from chinwag.engines import registry
from chinwag.engines.llm.auto import resolve_auto
from chinwag.engines.protocols import (
    TASKS,
    ChatModel,
    Engine,
    EngineOptions,
    Engines,
    Task,
    Transcriber,
    TurnJudge,
    Vad,
    Voice,
)
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import wanted
from chinwag.listen.endpoint import Endpointer
from chinwag.listen.turn import Hearing
from chinwag.realtime.configuration import Defaults
from chinwag.respond.instructions import COMPANION
from chinwag.session import Settings
from chinwag.speak.voicing import SPEAKS_OTHERS, Style, cannot_speak, speaks
from chinwag.tools.offer import Offer
from chinwag.tools.tool import Filler
from chinwag.tools.toolbox import Toolbox
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

Stage = Literal["fetching", "loading", "ready", "failed"]
Puller = Callable[[Store, list[str], Progress], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass
class EngineState:
    """One engine on its way, as /api/status tells it."""

    name: str
    state: Literal["waiting", "loading", "ready", "failed"] = "waiting"
    detail: str = ""
    load_ms: int | None = None


class Host:
    """The engines of one server and who uses them.

    puller: fetches what is missing, so that a terminal can draw its progress. settled: it is ready, or has failed.
    """

    def __init__(self, config: Config, store: Store | None = None, puller: Puller = Store.pull) -> None:
        self.config = config
        self.store = store or Store(config.weights)
        self.progress = Progress()
        self.created = time.time()
        self.stage: Stage = "fetching"
        self.error: ChinwagError | None = None
        self.engines: Engines | None = None
        self.toolbox: Toolbox | None = None
        self.sessions = 0
        self.states = {task: EngineState(getattr(config, task).engine) for task in TASKS}
        self.startup_s: float | None = None
        self.settled = asyncio.Event()
        self._puller = puller

    async def start(self) -> None:
        """Get ready. A failure is kept for the page and the log; the server stays up to tell of it."""
        try:
            classes = await self._choose()
            needed = [name for task in TASKS for name in classes[task].needs(getattr(self.config, task))]
            if missing := await asyncio.to_thread(self.store.missing, needed):
                await self._puller(self.store, missing, self.progress)
            self.stage = "loading"
            self.toolbox = await asyncio.to_thread(Toolbox, self.config.tools)  # it imports what it offers
            self.toolbox.open()
            loaded = await asyncio.gather(*(self._load(task, classes[task]) for task in TASKS))
            self.engines = Engines(
                vad=cast(Vad, loaded[0]),
                turn=cast(TurnJudge, loaded[1]),
                stt=cast(Transcriber, loaded[2]),
                llm=cast(ChatModel, loaded[3]),
                tts=cast(Voice, loaded[4]),
            )
            self._check_language(self.engines)
            await self.toolbox.tried()
            self.startup_s = round(time.time() - psutil.Process().create_time(), 2)
            self.stage = "ready"
        except ChinwagError as error:
            self._fail(error)
        except Exception as error:
            log.exception("the server could not get ready")
            self._fail(EngineError(f"The server could not get ready: {error}.", "Run chinwag doctor to find out why."))
        finally:
            self.settled.set()

    async def close(self) -> None:
        """Let the engines go."""
        engines, self.engines = self.engines, None
        if self.toolbox:
            await self.toolbox.close()
        if engines:
            for engine in (engines.vad, engines.turn, engines.stt, engines.llm, engines.tts):
                await engine.close()

    def defaults(self) -> Defaults:
        """What a new session begins with. Only while the engines are ready."""
        config, engines = self.config, self.engines
        assert engines is not None
        settings = Settings(
            instructions=config.assistant.instructions or COMPANION,
            hearing=Hearing(
                endpointer=Endpointer(config.turn.eagerness),
                language=wanted(config.stt.language),
                partial_every_s=config.stt.partial_every_ms / 1000,
            ),
            style=Style(config.tts.voice or None, config.tts.speed),
            max_tokens=config.llm.max_tokens,
            interruption=config.turn.interruption,
            idle_s=config.turn.idle_timeout_ms / 1000 or None,
            greeting=config.assistant.greeting,
            drafts=config.turn.drafts,
            context_tokens=config.llm.context_tokens,
            offer=Offer(
                own=self.toolbox,
                filler=Filler(
                    tuple(config.tools.filler), config.tools.filler_after_ms / 1000, config.tools.filler_for_clients
                ),
                timeout_s=config.tools.timeout_s,
            ),
        )
        return Defaults(
            settings,
            engines.llm.model,
            engines.stt.name,
            engines.tts.voices,
            client_mcp=tuple(config.tools.client_mcp),
            longest_s=config.server.max_session_minutes * 60,
        )

    @property
    def doing(self) -> str:
        """What it is still at."""
        return "fetching its models" if self.stage == "fetching" else "loading its engines"

    def status(self) -> dict[str, Any]:
        """Everything the page shows while it waits, in the shape of docs/architecture.md."""
        error = self.error
        return {
            "stage": self.stage,
            "weights": self.progress.as_dict(),
            "engines": {task: asdict(state) for task, state in self.states.items()},
            "error": {"message": error.message, "fix": error.fix} if error else None,
            "sessions": self.sessions,
            "max_sessions": self.config.server.max_sessions,
            "key_required": self.config.server.wants_key,
            "version": __version__,
            "process": {**_usage(), "startup_s": self.startup_s},
        }

    async def _choose(self) -> dict[Task, type[Engine]]:
        if self.config.llm.engine == "auto":
            self.states["llm"].name = await resolve_auto(self.config.llm)
        chosen: dict[Task, type[Engine]] = {}
        for task in TASKS:
            # importing an engine's module is work that would hold up the page
            chosen[task] = await asyncio.to_thread(registry.find, task, self.states[task].name)
        return chosen

    async def _load(self, task: Task, engine: type[Engine]) -> Engine:
        state = self.states[task]
        state.state = "loading"
        began = time.perf_counter()
        settings = getattr(self.config, task)
        try:
            options = EngineOptions.gathered(engine, settings, self.store.folder)
            loaded = await asyncio.to_thread(engine.load, options)
        except Exception as error:
            state.state, state.detail = "failed", str(error)
            if isinstance(error, ChinwagError):
                raise
            message = f"The {task} engine {state.name} could not be loaded: {error}."
            raise EngineError(message, "Run chinwag doctor to find out why.", state.name) from error
        state.state, state.load_ms = "ready", round((time.perf_counter() - began) * 1000)
        state.detail = getattr(loaded, "model", "") if task == "llm" else ""
        return loaded

    def _check_language(self, engines: Engines) -> None:
        """Raises EngineError where the language that is set cannot be heard or spoken."""
        language = wanted(self.config.stt.language)
        engines.stt.open(language)
        if not speaks(engines.tts, language):
            raise EngineError(cannot_speak(engines.tts, str(language)), SPEAKS_OTHERS, engines.tts.name)

    def _fail(self, error: ChinwagError) -> None:
        self.stage, self.error = "failed", error
        log.error("%s", error)


def _usage() -> dict[str, float]:
    """Memory and processor time of the server and of the engines that run as its children."""
    memory, seconds = 0, 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                seconds += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return {"rss_mb": round(memory / 1e6, 1), "cpu_seconds": round(seconds, 2)}
