"""The server's assistants, as settings of sessions."""

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
    """An assistant's own tools and the tools of every session."""

    common: ToolSource | None
    own: tuple[Tool, ...]

    def tools(self) -> tuple[Tool, ...]:
        return with_unique_names([*(self.common.tools() if self.common else ()), *self.own])


class Assistants:
    """The assistants, read from their files by `reload` at the start and whenever a client lists them."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._read: tuple[AssistantCatalog, dict[str, tuple[Tool, ...]]] | None = None
        self._reported_faults: set[str] = set()

    async def reload(self) -> AssistantCatalog:
        """Read the files. Raises ConfigError if the server's default assistant is not among them."""
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
        """The server's default assistant; texts in chinwag.toml replace those of its file."""
        return self._named(self._config.assistant.name)

    def part(self, name: str, plain: SessionSettings, voices: Sequence[str]) -> AssistantProfile:
        """Return the settings of an assistant over the server's settings. voices: of the TTS engine; ignore others.

        Raises Refused if the assistant does not exist.
        """
        try:
            assistant = self._named(name)
        except ConfigError as error:
            raise Refused("invalid_value", error.message, error.fix, "session.assistant") from error
        voice = assistant.voice if assistant.voice in voices else ""
        given = {
            "voice": voice,
            "speed": assistant.speed,
            "language": assistant.language,
            "patience": assistant.patience,
        }
        listening, style = plain.listening, plain.style
        if assistant.language:
            listening = replace(listening, language=requested_language(assistant.language))
        if assistant.patience is not None:
            listening = replace(listening, endpointer=Endpointer(assistant.patience))
        settings = replace(
            plain,
            instructions=assistant.instructions,
            greeting=assistant.greeting,
            listening=listening,
            style=replace(
                style, voice=voice or style.voice, speed=style.speed if assistant.speed is None else assistant.speed
            ),
        )
        if tools := self._loaded()[1].get(assistant.name):
            settings = replace(settings, tools=replace(plain.tools, own=_AssistantTools(plain.tools.own, tools)))
        return AssistantProfile(settings, frozenset(key for key, value in given.items() if value not in ("", None)))

    def _loaded(self) -> tuple[AssistantCatalog, dict[str, tuple[Tool, ...]]]:
        self._read = self._read or self._read_files()  # blocks shortly: a few small files
        return self._read

    def _named(self, name: str) -> Assistant:
        assistant, default = self._loaded()[0].get(name), self._config.assistant
        if name != default.name:
            return assistant
        texts = {"instructions": default.instructions, "greeting": default.greeting}
        return assistant.model_copy(update={key: value for key, value in texts.items() if value})
