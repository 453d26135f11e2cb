"""Fetches weights, loads the engines, and tells how far it is. All sessions share what it holds."""

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
from chinwag.conversation.session import SessionSettings
from chinwag.engines import registry
from chinwag.engines.llm.auto import resolve_auto
from chinwag.engines.protocols import TASKS, ChatModel, Engine, Engines, Task, Transcriber, TurnJudge, Vad, Voice
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import primary_subtag, requested_language
from chinwag.listening.endpointing.policy import PATIENCE, Endpointer
from chinwag.listening.turn import ListenerSettings
from chinwag.load import Load
from chinwag.observability.observer import Observers
from chinwag.observability.process import give_back, usage
from chinwag.realtime.extensions import AssistantProfile
from chinwag.realtime.session_config import Defaults
from chinwag.runtime.admission import Admission
from chinwag.runtime.archive import Archive
from chinwag.runtime.assistants import Assistants
from chinwag.runtime.engine_pool import EnginePool, Finder, Puller, registered
from chinwag.runtime.peers import Alone, Peers
from chinwag.runtime.state_metrics import RuntimeCollector
from chinwag.speech.synthesis import OTHER_ENGINE_HINT, Style, supports_language, unsupported_language_message
from chinwag.tasks import TaskSet
from chinwag.tools.offer import ToolOffer
from chinwag.tools.tool import FillerSettings
from chinwag.tools.toolbox import Toolbox
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

Stage = Literal["fetching", "loading", "ready", "failed"]

IN_PLACE: dict[Task, tuple[str, str]] = {
    "stt": ("moonshine", "Hear with Moonshine instead"),
    "llm": ("embedded", "Use the embedded model instead"),
    "tts": ("hibari", "Speak with hibari instead"),
}
"""What needs no server and no account, to be offered where another engine fails; never taken unasked."""

TIDIES_EVERY_S = 20.0
"""So often what conversations have left behind is let go: nobody tells when the last trace of one is gone."""

log = logging.getLogger(__name__)


@dataclass
class EngineState:
    """One engine on its way, as /api/status tells it."""

    name: str
    state: Literal["waiting", "loading", "ready", "failed"] = "waiting"
    detail: str = ""
    load_ms: int | None = None


class Runtime:
    """The engines of one server and who uses them.

    puller: fetches what is missing, so that a terminal can draw its progress. find: where the engines come from.
    peers: the other servers of the same application. settled: it is ready, or has failed.
    """

    def __init__(
        self,
        config: Config,
        store: Store | None = None,
        puller: Puller = Store.pull,
        *,
        find: Finder | None = None,
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
        """It is about to stop: what is under way comes to its end, and nothing new begins."""
        self.load = Load()
        self.admission = Admission(config.server.max_sessions, self.load, time.monotonic)
        self.states = {task: EngineState(getattr(config, task).engine) for task in TASKS}
        self.startup_s: float | None = None
        self.settled = asyncio.Event()
        self.pool = EnginePool(self.store, puller, find=find)
        self.peers = peers or Alone()
        self.keeping = Archive(config.store, self.peers)
        self.assistants = Assistants(config)
        self.watching = Observers(config)
        self.watching.metrics.registry.register(RuntimeCollector(self))
        self._puller, self._find = puller, find or registered
        self._tasks = TaskSet()
        self._left_at = -math.inf

    async def start(self) -> None:
        """Get ready. A failure is kept for the page and the log; the server stays up to tell of it."""
        self.watching.open()
        self._tasks.start(self.load.measure())
        self._tasks.start(self._tidy())
        try:
            classes = await self._choose()
            needed = [name for task in TASKS for name in classes[task].needs(getattr(self.config, task))]
            if missing := await asyncio.to_thread(self.store.missing, needed):
                await self._puller(self.store, missing, self.progress)
            self.stage = "loading"
            self.toolbox = await asyncio.to_thread(Toolbox, self.config.tools)  # it imports what it offers
            self.toolbox.open()
            await self.assistants.look()
            loaded = await asyncio.gather(*(self._load(task) for task in TASKS), self.keeping.open())
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
            log.exception("the server could not get ready")
            self._fail(EngineError(f"The server could not get ready: {error}.", "Run chinwag doctor to find out why."))
        finally:
            self.settled.set()

    async def close(self) -> None:
        """Let the engines go."""
        self.engines = None
        await self._tasks.close()
        if self.toolbox:
            await self.toolbox.close()
        await self.pool.close()
        await self.keeping.close()
        await asyncio.to_thread(self.watching.close)  # what waits to be sent may take a while

    @property
    def sessions(self) -> int:
        """Conversations that are held."""
        return self.load.sessions

    def entered(self) -> None:
        """One more is held."""
        self.load.sessions += 1

    def left(self) -> None:
        """One of them is over, or waits for its client."""
        self.load.sessions -= 1
        self._left_at = asyncio.get_running_loop().time()

    async def _tidy(self) -> None:
        """While conversations are held, and until the last one that waited for its client is over."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TIDIES_EVERY_S)
            if self.sessions or loop.time() - self._left_at < self.config.server.resume_s + 2 * TIDIES_EVERY_S:
                gc.collect()  # here and not on a thread, as most of what it finds is the event loop's
                give_back()

    def settings_for(self, task: Task, engine: str, model: str = "") -> Any:
        """The section of the settings for that engine. What is set of addresses, keys and options is another's."""
        section = getattr(self.config, task)
        if engine == self.states[task].name:
            return section.model_copy(update={"engine": engine, **({"model": model} if model else {})})
        usual = type(section)(engine=engine, model=model)
        own = {"engine", "model", "voice", "base_url", "api_key", "options", "device"} & set(type(section).model_fields)
        return section.model_copy(update={key: getattr(usual, key) for key in own})

    def fallback(self, task: Task, *others: str) -> dict[str, Any] | None:
        """What works here in place of those others, as `chinwag.engines.update` takes it, with words for a button."""
        name, label = IN_PLACE.get(task, ("", ""))
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
        """What a new session begins with; engines: with others than the server's own. Only while those are ready."""
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
        """That a conversation is held with where nobody gives others."""
        return self.assistants.own.instructions

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
            "draining": self.draining,
            "sessions": self.sessions,
            "max_sessions": self.config.server.max_sessions,
            "waiting": self.admission.waiting,
            "load": self.load.as_dict(),
            "key_required": self.config.server.requires_key,
            "version": __version__,
            "process": {**usage(), "tasks": len(asyncio.all_tasks()), "startup_s": self.startup_s},
        }

    def progress_alone(self) -> dict[str, Any]:
        """What of it a page shows before it has a key: nothing of who talks, of addresses or of the machine."""
        told = self.status()
        fix = "Its log tells why; so does this page, once it has a key."
        kept = ("stage", "weights", "key_required", "version")
        return {
            **{name: told[name] for name in kept},
            "engines": {
                task: {"name": state.name, "state": state.state, "detail": "", "load_ms": None}
                for task, state in self.states.items()
            },
            "error": {"message": "The server cannot talk.", "fix": fix} if self.error else None,
        }

    async def _choose(self) -> dict[Task, type[Engine]]:
        if self.config.llm.engine == "auto":
            self.states["llm"].name = await resolve_auto(self.config.llm)
        chosen: dict[Task, type[Engine]] = {}
        for task in TASKS:
            # importing an engine's module is work that would hold up the page
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
