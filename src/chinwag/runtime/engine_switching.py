"""Switches the engines of a running session: parses the request, loads the engines, applies them."""

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
from chinwag.runtime.auth import uses_client_secret
from chinwag.runtime.engine_pool import Lease, Stage
from chinwag.runtime.runtime import Runtime
from chinwag.tasks import TaskSet
from chinwag.weights.progress import Progress

TASKS: tuple[Task, ...] = ("stt", "llm", "tts")
"""Tasks whose engine a client may choose."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine that a client requests.

    model: empty for the engine's default. voice: empty for the engine's default, None to keep the current voice.
    """

    task: Task
    engine: str
    model: str = ""
    voice: str | None = None


class EngineSwitch:
    """The engines of one session. `connection` is set once the session is connected."""

    def __init__(self, runtime: Runtime) -> None:
        assert runtime.engines is not None
        self._runtime = runtime
        self.engines: Engines = runtime.engines
        self.connection: Connection | None = None
        self._leases: dict[Task, Lease] = {}
        self._chosen: dict[Task, EngineChoice] = {
            task: EngineChoice(task, runtime.states[task].name, getattr(runtime.config, task).model) for task in TASKS
        }
        self._change_task: asyncio.Task[None] | None = None
        self._change_event_id: str | None = None
        self._tasks = TaskSet()

    def request(self, wanted: Any, event_id: str | None) -> None:
        """Load the requested engines and use them; an earlier request that is still loading is cancelled."""
        asked = [self._parse_choice(task, fields) for task, fields in _requested_tables(wanted)]
        if self._change_task and not self._change_task.done():
            self._change_task.cancel()
            superseded = Refused("superseded", "Another change of engines was requested before this one was finished.")
            self._client.send_error(superseded, self._change_event_id)
        self._change_task, self._change_event_id = self._tasks.start(self._change(asked, event_id)), event_id

    def offer(self, engine: str, *tasks: Task) -> Offer:
        """Return an installed engine that can replace a failed one, if there is one."""
        task = next((task for task in tasks if self._chosen[task].engine == engine), None)
        return self._runtime.fallback(task, engine) if task else None

    async def close(self) -> None:
        """Release the engines at the end of the session."""
        await self._tasks.close()
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    # -----------------------------------------------------------------------------------------------------------

    def _parse_choice(self, task: Task, fields: Mapping[str, Any]) -> EngineChoice:
        known = {"engine", "model", "voice"} if task == "tts" else {"engine", "model"}
        for key, value in fields.items():
            where = f"engines.{task}.{key}"
            if key not in known:
                raise Refused("unknown_parameter", f"Unknown parameter: '{where}'.", _list_names(known), where)
            if not isinstance(value, str):
                raise Refused("invalid_type", f"'{where}' must be a string.", param=where)
        now = self._chosen[task]
        engine = fields.get("engine") or now.engine
        if engine not in registry.names(task):
            message = f"There is no {task} engine called {engine[:100]!r}."
            raise Refused("invalid_value", message, _list_names(registry.names(task)), f"engines.{task}.engine")
        model = fields.get("model", now.model if engine == now.engine else "")
        return EngineChoice(task, engine, model, fields.get("voice", None if engine == now.engine else ""))

    @property
    def _client(self) -> Connection:
        assert self.connection is not None
        return self.connection

    async def _change(self, asked: list[EngineChoice], event_id: str | None) -> None:
        connection, fresh = self._client, dict[Task, Lease]()
        try:
            for wanted in asked:
                fresh[wanted.task] = await self._load(wanted)
            loaded: dict[str, Any] = {task: lease.engine for task, lease in fresh.items()}
            engines = replace(self.engines, **loaded, leases={**self._leases, **fresh})
            voice = next((wanted.voice for wanted in asked if wanted.task == "tts"), None)
            connection.change_engines(engines, self._runtime.defaults(engines), voice)
        except BaseException as error:
            for lease in fresh.values():
                lease.release()
            if not isinstance(error, ChinwagError):
                raise
            connection.send_error(_refused(error), event_id, self._fallback_for(asked, error))
            return
        self.engines = engines
        self._chosen |= {wanted.task: wanted for wanted in asked}
        for task, lease in fresh.items():
            replaced, self._leases[task] = self._leases.get(task), lease
            if replaced:  # responses and utterances that began with this engine have their own hold
                replaced.release()
        connection.send_extension("chinwag.engines.updated", engines=self.shown)

    async def _load(self, wanted: EngineChoice) -> Lease:
        settings = self._runtime.settings_for(wanted.task, wanted.engine, wanted.model)
        if wanted.model and wanted.model != getattr(self._runtime.config, wanted.task).model:
            # an unlisted name could be a path on this machine, or an unlimited download
            engine = await asyncio.to_thread(registry.find, wanted.task, wanted.engine)
            if wanted.model not in (known := await asyncio.to_thread(engine.models, settings)):
                message = f"The {wanted.task} engine {wanted.engine} offers no model {wanted.model[:100]}."
                raise EngineError(message, _list_names(known), wanted.engine)
        return await self._runtime.pool.lease(wanted.task, settings, partial(self._send_progress, wanted))

    def _send_progress(self, wanted: EngineChoice, stage: Stage, progress: Progress) -> None:
        known = {"task": wanted.task, "engine": wanted.engine, "model": wanted.model, "stage": stage}
        bytes_ = {"done": progress.done, "total": progress.total, "bytes_per_s": round(progress.bytes_per_s)}
        self._client.send_extension("chinwag.engines.updating", **known, bytes=bytes_)

    def _fallback_for(self, asked: list[EngineChoice], error: ChinwagError) -> Offer:
        failed = getattr(error, "engine", "")
        wanted = next((choice for choice in asked if failed and choice.engine == failed), None)
        return self._runtime.fallback(wanted.task, failed, self._chosen[wanted.task].engine) if wanted else None

    @property
    def shown(self) -> dict[str, Any]:
        """The engines in use, as clients get them."""
        engines, chosen = self.engines, self._chosen
        languages = {language: list(names) for language, names in engines.tts.languages.items()}
        return {
            "stt": {"engine": chosen["stt"].engine, "model": chosen["stt"].model},
            "llm": {"engine": chosen["llm"].engine, "model": chosen["llm"].model or engines.llm.model},
            "tts": {
                "engine": chosen["tts"].engine,
                "model": chosen["tts"].model,
                "voice": self._client.voice,
                "voices": list(engines.tts.voices),
                "languages": languages,
            },
        }


def engine_switch(runtime: Runtime, connection: HTTPConnection) -> EngineSwitch | None:
    """Return the engine switch of a new session; None if it may not switch engines."""
    allowed = runtime.config.server.switching and not uses_client_secret(connection)
    return EngineSwitch(runtime) if allowed and runtime.engines else None


def _requested_tables(wanted: Any) -> list[tuple[Task, Mapping[str, Any]]]:
    if not isinstance(wanted, dict) or not wanted:
        fix = 'Send {"engines": {"tts": {"engine": "kokoro"}}}.'
        raise Refused("invalid_type", "'engines' must name at least one of stt, llm and tts.", fix, "engines")
    found: list[tuple[Task, Mapping[str, Any]]] = []
    for name, fields in wanted.items():
        task = next((task for task in TASKS if task == name), None)
        if task is None:
            message = f"Unknown parameter: 'engines.{str(name)[:100]}'."
            near = difflib.get_close_matches(str(name), TASKS, n=1)
            hint = f"Did you mean {near[0]}?" if near else _list_names(TASKS)
            raise Refused("unknown_parameter", message, hint, f"engines.{str(name)[:100]}")
        if not isinstance(fields, dict):
            raise Refused("invalid_type", f"'engines.{task}' must be an object.", param=f"engines.{task}")
        found.append((task, fields))
    return found


def _refused(error: ChinwagError) -> Refused:
    return error if isinstance(error, Refused) else Refused("engine_not_changed", error.message, error.fix, "engines")


def _list_names(names: Iterable[str]) -> str:
    listed = sorted(names)
    return f"There are: {', '.join(listed[:20])}{' …' if len(listed) > 20 else ''}." if listed else ""
