"""The assistants of a server, as conversations take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chinwag import assistants
from chinwag.assistants import Assistant, AssistantCatalog
from chinwag.config import Config
from chinwag.conversation.settings import SessionSettings
from chinwag.errors import ConfigError, Refused
from chinwag.language import requested_language
from chinwag.listening.endpointing.policy import Endpointer
from chinwag.realtime.extensions import AssistantProfile
from chinwag.tools import functions
from chinwag.tools.tool import Tool, ToolSource, with_unique_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _AssistantTools:
    """An assistant's own tools, and those that every conversation has."""

    common: ToolSource | None
    own: tuple[Tool, ...]

    def tools(self) -> tuple[Tool, ...]:
        return with_unique_names([*(self.common.tools() if self.common else ()), *self.own])


class Assistants:
    """Read from their files by `look`, at the start and whenever somebody asks what there is."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._read: tuple[AssistantCatalog, dict[str, tuple[Tool, ...]]] | None = None
        self._reported_faults: set[str] = set()

    async def reload(self) -> AssistantCatalog:
        """Read the files. Raises ConfigError where the server's own assistant is not among them."""
        read = await asyncio.to_thread(self._read_files)
        found, _ = read
        found.get(self._config.assistant.name)
        self._read = read
        for fault in map(str, found.faults):
            if fault not in self._reported_faults:
                log.warning("an assistant cannot be used: %s", fault)
        self._reported_faults = set(map(str, found.faults))
        return found

    def _read_files(self) -> tuple[AssistantCatalog, dict[str, tuple[Tool, ...]]]:
        found = assistants.read_assistants(self._config.assistant.folder)
        timeout_s = self._config.tools.timeout_s
        return found, {one.name: tuple(functions.load_tools(one.tools, timeout_s)) for one in found.assistants.values()}

    @property
    def own(self) -> Assistant:
        """The server's, with what chinwag.toml says in place of the file's words."""
        return self._named(self._config.assistant.name)

    def part(self, name: str, plain: SessionSettings, voices: Sequence[str]) -> AssistantProfile:
        """An assistant laid over the server's other settings. voices: of the engine that speaks; another one is left.

        Raises Refused for one there is not.
        """
        try:
            one = self._named(name)
        except ConfigError as error:
            raise Refused("invalid_value", error.message, error.fix, "session.assistant") from error
        speaks = one.voice if one.voice in voices else ""
        given = {"voice": speaks, "speed": one.speed, "language": one.language, "patience": one.patience}
        hearing, style = plain.listening, plain.style
        if one.language:
            hearing = replace(hearing, language=requested_language(one.language))
        if one.patience is not None:
            hearing = replace(hearing, endpointer=Endpointer(one.patience))
        settings = replace(
            plain,
            instructions=one.instructions,
            greeting=one.greeting,
            listening=hearing,
            style=replace(style, voice=speaks or style.voice, speed=style.speed if one.speed is None else one.speed),
        )
        if tools := self._loaded()[1].get(one.name):
            settings = replace(settings, tools=replace(plain.tools, own=_AssistantTools(plain.tools.own, tools)))
        return AssistantProfile(settings, frozenset(key for key, value in given.items() if value not in ("", None)))

    def _loaded(self) -> tuple[AssistantCatalog, dict[str, tuple[Tool, ...]]]:
        self._read = self._read or self._read_files()  # a few small files
        return self._read

    def _named(self, name: str) -> Assistant:
        one, said = self._loaded()[0].get(name), self._config.assistant
        if name != said.name:
            return one
        words = {"instructions": said.instructions, "greeting": said.greeting}
        return one.model_copy(update={key: value for key, value in words.items() if value})
