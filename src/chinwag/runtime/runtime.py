"""The runtime of one server: it fetches weights, loads the engines, and holds what all sessions share."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import psutil

from chinwag import __version__
from chinwag.config import Config
from chinwag.conversation.settings import SessionSettings
from chinwag.engines import registry
from chinwag.engines.llm.auto import resolve_auto
from chinwag.engines.protocols import TASKS, ChatModel, Engine, Engines, Task, Transcriber, TurnJudge, Vad, Voice
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import primary_subtag, requested_language
from chinwag.listening.endpointing.policy import PATIENCE, Endpointer
from chinwag.listening.turn import ListenerSettings
from chinwag.load import Load
from chinwag.observability.observer import Observers
from chinwag.observability.process import release_freed_memory, resource_usage
from chinwag.realtime.extensions import AssistantProfile
from chinwag.realtime.session_config import Defaults
from chinwag.runtime.admission import Admission
from chinwag.runtime.archive import Archive
from chinwag.runtime.assistants import Assistants
from chinwag.runtime.engine_pool import EngineFinder, EnginePool, Puller, find_registered
from chinwag.runtime.peers import NoPeers, Peers
from chinwag.speech.synthesis import OTHER_ENGINE_HINT, Style, supports_language, unsupported_language_message
from chinwag.tasks import TaskSet
from chinwag.tools.offer import ToolOffer
from chinwag.tools.tool import FillerSettings
from chinwag.tools.toolbox import Toolbox
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

Stage = Literal["fetching", "loading", "ready", "failed"]

FALLBACKS: dict[Task, tuple[str, str]] = {
    "stt": ("moonshine", "Hear with Moonshine instead"),
    "llm": ("embedded", "Use the embedded model instead"),
    "tts": ("hibari", "Speak with hibari instead"),
}
"""Local engines that are offered, never chosen, in place of an engine that fails."""

COLLECT_EVERY_S = 20.0
"""Period of the garbage collection of ended sessions; no event marks the end of their last reference."""

log = logging.getLogger(__name__)


@dataclass
class EngineState:
    """Loading state of one engine, as in /api/status."""

    name: str
    state: Literal["waiting", "loading", "ready", "failed"] = "waiting"
    detail: str = ""
    load_ms: int | None = None


class Runtime:
    """The loaded engines and shared services of one server process.

    puller: fetches missing weights. find: finds an engine's class. peers: the other servers of the same application.
    settled: set once the runtime is ready or has failed.
    """

    def __init__(
        self,
        config: Config,
        store: Store | None = None,
        puller: Puller = Store.pull,
        *,
        find: EngineFinder | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.config = config
        self.store = store or Store(config.weights)
        self.progress = Progress()
        self.created = time.time()
        self.stage: Stage = "fetching"
        self.error: ChinwagError | None = None
        self.engines: Engines | None = None
        self.toolbox: Toolbox | None = None
        self.draining = False
        """The server is about to stop: running sessions end, and no new ones begin."""
        self.load = Load()
        self.admission = Admission(config.server.max_sessions, self.load, time.monotonic)
        self.states = {task: EngineState(getattr(config, task).engine) for task in TASKS}
        self.startup_s: float | None = None
        self.settled = asyncio.Event()
        self.pool = EnginePool(self.store, puller, find=find)
        self.peers = peers or NoPeers()
        self.archive = Archive(config.store, self.peers)
        self.assistants = Assistants(config)
        self.observers = Observers(config)
        self._puller, self._find = puller, find or find_registered
        self._tasks = TaskSet()
        self._left_at = -math.inf

    async def start(self) -> None:
        """Fetch weights and load the engines. After a failure the server stays up to show `error`."""
        self.observers.open()
        self._tasks.start(self.load.measure())
        self._tasks.start(self._collect_garbage())
        try:
            classes = await self._choose()
            needed = [name for task in TASKS for name in classes[task].needs(getattr(self.config, task))]
            if missing := await asyncio.to_thread(self.store.missing, needed):
                await self._puller(self.store, missing, self.progress)
            self.stage = "loading"
            self.toolbox = await asyncio.to_thread(Toolbox, self.config.tools)  # it imports the tools' modules
            self.toolbox.open()
            await self.assistants.reload()
            loaded = await asyncio.gather(*(self._load(task) for task in TASKS), self.archive.open())
            self.engines = Engines(
                vad=cast(Vad, loaded[0]),
                turn=cast(TurnJudge, loaded[1]),
                stt=cast(Transcriber, loaded[2]),
                llm=cast(ChatModel, loaded[3]),
                tts=cast(Voice, loaded[4]),
                load=self.load,
            )
            self._check_language(self.engines)
            await self.toolbox.listed_once()
            self.startup_s = round(time.time() - psutil.Process().create_time(), 2)
            self.stage = "ready"
        except ChinwagError as error:
            self._fail(error)
        except Exception as error:
            log.exception("The server could not start.")
            self._fail(EngineError(f"The server could not start: {error}.", "Run chinwag doctor to find out why."))
        finally:
            self.settled.set()

    async def close(self) -> None:
        """Close the engines and all services."""
        self.engines = None
        await self._tasks.close()
        if self.toolbox:
            await self.toolbox.close()
        await self.pool.close()
        await self.archive.close()
        await asyncio.to_thread(self.observers.close)  # sending the remaining traces may take a while

    @property
    def sessions(self) -> int:
        """Number of connected sessions."""
        return self.load.sessions

    def add_session(self) -> None:
        """Count a connected session."""
        self.load.sessions += 1

    def remove_session(self) -> None:
        """Stop counting a session: it ended, or lost its connection."""
        self.load.sessions -= 1
        self._left_at = asyncio.get_running_loop().time()

    async def _collect_garbage(self) -> None:
        """Collect garbage while sessions are connected, and until the last detached one has expired."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(COLLECT_EVERY_S)
            if self.sessions or loop.time() - self._left_at < self.config.server.resume_s + 2 * COLLECT_EVERY_S:
                gc.collect()  # not on a thread, as most of what it finds belongs to the event loop
                release_freed_memory()

    def settings_for(self, task: Task, engine: str, model: str = "") -> Any:
        """Return the task's settings for this engine; addresses, keys and options are only for the configured one."""
        section = getattr(self.config, task)
        if engine == self.states[task].name:
            return section.model_copy(update={"engine": engine, **({"model": model} if model else {})})
        defaults = type(section)(engine=engine, model=model)
        own = {"engine", "model", "voice", "base_url", "api_key", "options", "device"} & set(type(section).model_fields)
        return section.model_copy(update={key: getattr(defaults, key) for key in own})

    def fallback(self, task: Task, *others: str) -> dict[str, Any] | None:
        """Return a local engine to use in place of `others`, for `chinwag.engines.update`, with a label for a button.

        None if there is none, or its packages or weights are missing.
        """
        name, label = FALLBACKS.get(task, ("", ""))
        if name in ("", *others) or name not in registry.names(task):
            return None
        kind = registry.lookup(task, name)
        needs = kind.needs(self.settings_for(task, name))
        language = requested_language(self.config.stt.language)
        speaks_it = language is None or primary_subtag(language) in kind.about.languages or "*" in kind.about.languages
        if registry.missing_modules(kind) or self.store.missing(needs) or (task != "llm" and not speaks_it):
            return None
        return {"label": label, "engines": {task: {"engine": name}}}

    def defaults(self, engines: Engines | None = None) -> Defaults:
        """Return the defaults of a new session. engines: the session's, if not the server's, which must be loaded."""
        config, own = self.config, self.engines
        assert own is not None
        engines = engines or own
        voice = config.tts.voice if engines.tts is own.tts else ""
        plain = SessionSettings(
            listening=ListenerSettings(
                endpointer=Endpointer(PATIENCE[config.turn.eagerness]),
                language=requested_language(config.stt.language),
                partial_every_s=config.stt.partial_every_ms / 1000,
            ),
            style=Style(voice or None, config.tts.speed),
            max_tokens=config.llm.max_tokens,
            interruption=config.turn.interruption,
            idle_s=config.turn.idle_timeout_ms / 1000 or None,
            drafts=config.turn.drafts,
            context_tokens=config.llm.context_tokens,
            tools=ToolOffer(
                own=self.toolbox,
                filler=FillerSettings(
                    tuple(config.tools.filler), config.tools.filler_after_ms / 1000, config.tools.filler_for_clients
                ),
                timeout_s=config.tools.timeout_s,
            ),
        )

        def part(name: str) -> AssistantProfile:
            return self.assistants.part(name, plain, engines.tts.voices)

        return Defaults(
            part(config.assistant.name).settings,
            engines.llm.model,
            engines.stt.name,
            engines.tts.voices,
            client_mcp=tuple(config.tools.client_mcp),
            max_duration_s=config.server.max_session_minutes * 60,
            idle_timeout_s=config.server.max_idle_minutes * 60 or None,
            assistant=config.assistant.name,
            assistants=part,
        )

    @property
    def instructions(self) -> str:
        """Instructions of the server's own assistant."""
        return self.assistants.own.instructions

    @property
    def unavailable(self) -> tuple[str, str] | None:
        """Why no work can begin, as an error code and a message; None if the runtime is ready."""
        if self.draining:
            return "draining", "The server is about to stop or restart. Try again in a few seconds."
        if self.stage == "failed":
            return "not_ready", f"The server could not start: {self.error}"
        if self.engines is None:
            message = f"The server is still {self.startup_step}. Try again in a moment; /api/status shows its progress."
            return "not_ready", message
        return None

    @property
    def startup_step(self) -> str:
        """What the runtime is doing until it is ready, for messages."""
        return "fetching its models" if self.stage == "fetching" else "loading its engines"

    def status(self) -> dict[str, Any]:
        """Return the state for /api/status."""
        error = self.error
        return {
            "stage": self.stage,
            "weights": self.progress.as_dict(),
            "engines": {task: asdict(state) for task, state in self.states.items()},
            "error": {"message": error.message, "fix": error.fix} if error else None,
            "draining": self.draining,
            "sessions": self.sessions,
            "max_sessions": self.config.server.max_sessions,
            "waiting": self.admission.waiting,
            "load": self.load.as_dict(),
            "key_required": self.config.server.requires_key,
            "version": __version__,
            "process": {**resource_usage(), "tasks": len(asyncio.all_tasks()), "startup_s": self.startup_s},
        }

    def public_status(self) -> dict[str, Any]:
        """Return the part of the status for clients without a key: no sessions, addresses or figures of the machine."""
        status = self.status()
        fix = "Its log says why; so does this page, once it has a key."
        public = ("stage", "weights", "key_required", "version")
        return {
            **{name: status[name] for name in public},
            "engines": {
                task: {"name": state.name, "state": state.state, "detail": "", "load_ms": None}
                for task, state in self.states.items()
            },
            "error": {"message": "The server could not start.", "fix": fix} if self.error else None,
        }

    async def _choose(self) -> dict[Task, type[Engine]]:
        if self.config.llm.engine == "auto":
            self.states["llm"].name = await resolve_auto(self.config.llm)
        chosen: dict[Task, type[Engine]] = {}
        for task in TASKS:
            # on a thread: importing an engine's module takes long
            chosen[task] = await asyncio.to_thread(self._find, task, self.states[task].name)
        return chosen

    async def _load(self, task: Task) -> Engine:
        state = self.states[task]
        state.state = "loading"
        began = time.perf_counter()
        try:
            lease = await self.pool.lease(task, self.settings_for(task, state.name))
        except ChinwagError as error:
            state.state, state.detail = "failed", str(error)
            raise
        loaded = lease.engine
        state.state, state.load_ms = "ready", round((time.perf_counter() - began) * 1000)
        state.detail = getattr(loaded, "model", "") if task == "llm" else ""
        return loaded

    def _check_language(self, engines: Engines) -> None:
        """Raises EngineError where the language that is set, or the assistant's, cannot be heard or spoken."""
        language = requested_language(self.assistants.own.language or self.config.stt.language)
        engines.stt.open(language)
        if not supports_language(engines.tts, language):
            raise EngineError(
                unsupported_language_message(engines.tts, str(language)), OTHER_ENGINE_HINT, engines.tts.name
            )

    def _fail(self, error: ChinwagError) -> None:
        self.stage, self.error = "failed", error
        log.error("%s", error)
