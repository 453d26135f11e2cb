"""Changes the engines of one conversation while it goes on: asked for, loaded, and taken by the session."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.requests import HTTPConnection

from chinwag.engines import registry
from chinwag.engines.protocols import Engines, Task
from chinwag.errors import ChinwagError, EngineError, Refused
from chinwag.realtime.connection import Connection
from chinwag.realtime.server_events import Offer
from chinwag.runtime.auth import by_secret
from chinwag.runtime.engine_pool import Lease, Stage
from chinwag.runtime.runtime import Runtime
from chinwag.tasks import TaskSet
from chinwag.weights.progress import Progress

TASKS: tuple[Task, ...] = ("stt", "llm", "tts")
"""Those a client may choose for."""


@dataclass(frozen=True)
class Wanted:
    """An engine that a client asks for.

    model: empty for the engine's own choice. voice: empty for the engine's own, None for the one there is.
    """

    task: Task
    engine: str
    model: str = ""
    voice: str | None = None


class EngineSwitch:
    """The engines that one conversation uses. `connection` is set as soon as there is one."""

    def __init__(self, host: Runtime) -> None:
        assert host.engines is not None
        self._host = host
        self.engines: Engines = host.engines
        self.connection: Connection | None = None
        self._leases: dict[Task, Lease] = {}
        self._chosen: dict[Task, Wanted] = {
            task: Wanted(task, host.states[task].name, getattr(host.config, task).model) for task in TASKS
        }
        self._changing: asyncio.Task[None] | None = None
        self._changing_for: str | None = None
        self._tasks = TaskSet()

    def request(self, wanted: Any, event_id: str | None) -> None:
        """Load what is wanted and go on with it; what was asked before and is not done yet is dropped."""
        asked = [self._read(task, fields) for task, fields in _tables(wanted)]
        if self._changing and not self._changing.done():
            self._changing.cancel()
            superseded = Refused("superseded", "Another change of engines was asked for before this one was done.")
            self._told_to.send_error(superseded, self._changing_for)
        self._changing, self._changing_for = self._tasks.start(self._change(asked, event_id)), event_id

    def offer(self, engine: str, *tasks: Task) -> Offer:
        """The engine that could stand in for the one that failed, if it is here and needs nothing else."""
        task = next((task for task in tasks if self._chosen[task].engine == engine), None)
        return self._host.fallback(task, engine) if task else None

    async def close(self) -> None:
        """The conversation is over."""
        await self._tasks.close()
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    # -----------------------------------------------------------------------------------------------------------

    def _read(self, task: Task, fields: Mapping[str, Any]) -> Wanted:
        known = {"engine", "model", "voice"} if task == "tts" else {"engine", "model"}
        for key, value in fields.items():
            where = f"engines.{task}.{key}"
            if key not in known:
                raise Refused("unknown_parameter", f"Unknown parameter: '{where}'.", _there_are(known), where)
            if not isinstance(value, str):
                raise Refused("invalid_type", f"'{where}' must be a string.", param=where)
        now = self._chosen[task]
        engine = fields.get("engine") or now.engine
        if engine not in registry.names(task):
            message = f"There is no {task} engine called {engine[:100]!r}."
            raise Refused("invalid_value", message, _there_are(registry.names(task)), f"engines.{task}.engine")
        model = fields.get("model", now.model if engine == now.engine else "")
        return Wanted(task, engine, model, fields.get("voice", None if engine == now.engine else ""))

    @property
    def _told_to(self) -> Connection:
        assert self.connection is not None
        return self.connection

    async def _change(self, asked: list[Wanted], event_id: str | None) -> None:
        connection, fresh = self._told_to, dict[Task, Lease]()
        try:
            for wanted in asked:
                fresh[wanted.task] = await self._load(wanted)
            loaded: dict[str, Any] = {task: lease.engine for task, lease in fresh.items()}
            engines = replace(self.engines, **loaded, leases={**self._leases, **fresh})
            voice = next((wanted.voice for wanted in asked if wanted.task == "tts"), None)
            connection.change_engines(engines, self._host.defaults(engines), voice)
        except BaseException as error:
            for lease in fresh.values():
                lease.release()
            if not isinstance(error, ChinwagError):
                raise
            connection.send_error(_told(error), event_id, self._offer_in_place_of(asked, error))
            return
        self.engines = engines
        self._chosen |= {wanted.task: wanted for wanted in asked}
        for task, lease in fresh.items():
            replaced, self._leases[task] = self._leases.get(task), lease
            if replaced:  # responses and utterances that began with its engine hold it on
                replaced.release()
        connection.send_extension("chinwag.engines.updated", engines=self.shown)

    async def _load(self, wanted: Wanted) -> Lease:
        settings = self._host.settings_for(wanted.task, wanted.engine, wanted.model)
        if wanted.model and wanted.model != getattr(self._host.config, wanted.task).model:
            # any other name could be a path on this machine, or a download without end
            engine = await asyncio.to_thread(registry.find, wanted.task, wanted.engine)
            if wanted.model not in (known := await asyncio.to_thread(engine.models, settings)):
                message = f"The {wanted.task} engine {wanted.engine} offers no model {wanted.model[:100]}."
                raise EngineError(message, _there_are(known), wanted.engine)
        return await self._host.pool.lease(wanted.task, settings, partial(self._tell, wanted))

    def _tell(self, wanted: Wanted, stage: Stage, progress: Progress) -> None:
        known = {"task": wanted.task, "engine": wanted.engine, "model": wanted.model, "stage": stage}
        bytes_ = {"done": progress.done, "total": progress.total, "bytes_per_s": round(progress.bytes_per_s)}
        self._told_to.send_extension("chinwag.engines.updating", **known, bytes=bytes_)

    def _offer_in_place_of(self, asked: list[Wanted], error: ChinwagError) -> Offer:
        failed = getattr(error, "engine", "")
        wanted = next((one for one in asked if failed and one.engine == failed), None)
        return self._host.fallback(wanted.task, failed, self._chosen[wanted.task].engine) if wanted else None

    @property
    def shown(self) -> dict[str, Any]:
        """What is in use, as clients are told."""
        engines, chosen = self.engines, self._chosen
        languages = {language: list(names) for language, names in engines.tts.languages.items()}
        return {
            "stt": {"engine": chosen["stt"].engine, "model": chosen["stt"].model},
            "llm": {"engine": chosen["llm"].engine, "model": chosen["llm"].model or engines.llm.model},
            "tts": {
                "engine": chosen["tts"].engine,
                "model": chosen["tts"].model,
                "voice": self._told_to.voice,
                "voices": list(engines.tts.voices),
                "languages": languages,
            },
        }


def switch(host: Runtime, connection: HTTPConnection) -> EngineSwitch | None:
    """For a conversation that begins; None where it may not change its engines."""
    allowed = host.config.server.switching and not by_secret(connection)
    return EngineSwitch(host) if allowed and host.engines else None


def _tables(wanted: Any) -> list[tuple[Task, Mapping[str, Any]]]:
    if not isinstance(wanted, dict) or not wanted:
        fix = 'Send {"engines": {"tts": {"engine": "kokoro"}}}.'
        raise Refused("invalid_type", "'engines' must name at least one of stt, llm and tts.", fix, "engines")
    found: list[tuple[Task, Mapping[str, Any]]] = []
    for name, fields in wanted.items():
        task = next((task for task in TASKS if task == name), None)
        if task is None:
            message = f"Unknown parameter: 'engines.{str(name)[:100]}'."
            near = difflib.get_close_matches(str(name), TASKS, n=1)
            hint = f"Did you mean {near[0]}?" if near else _there_are(TASKS)
            raise Refused("unknown_parameter", message, hint, f"engines.{str(name)[:100]}")
        if not isinstance(fields, dict):
            raise Refused("invalid_type", f"'engines.{task}' must be an object.", param=f"engines.{task}")
        found.append((task, fields))
    return found


def _told(error: ChinwagError) -> Refused:
    return error if isinstance(error, Refused) else Refused("engine_not_changed", error.message, error.fix, "engines")


def _there_are(names: Iterable[str]) -> str:
    listed = sorted(names)
    return f"There are: {', '.join(listed[:20])}{' …' if len(listed) > 20 else ''}." if listed else ""
