"""What `serve run chinwag.cluster:app` and a Serve config's `args` may say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chinwag import config as configuration
from chinwag.config import Config
from chinwag.engines.protocols import Task
from chinwag.errors import ConfigError
from chinwag.reach import check_reach

SERVERS = {"openai", "ollama"}
"""Engines that only ask another server: they need no deployment, and every ingress replica asks for itself."""

SERVED: tuple[Task, ...] = ("stt", "llm", "tts")
"""What may be a deployment. Speech detection and turn judgement stay in the ingress: see docs/adr/0019."""


class Options(BaseModel):
    """Arguments of the application; a name that it does not know is an error."""

    model_config = ConfigDict(extra="forbid")

    config: str = Field("", description="settings file; empty: ./chinwag.toml where there is one")
    silent_s: float = Field(8.0, gt=0, description="a replica that says nothing for so long is given up for another")

    @classmethod
    def read(cls, given: Self | Mapping[str, Any]) -> Self:
        """The options that were written so. Raises ConfigError with what is wrong, and what there is."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            known = "; ".join(f"{key} ({field.description})" for key, field in cls.model_fields.items())
            raise ConfigError(
                f"The cluster's argument {name} cannot be used: {first['msg']}.", f"There are: {known}."
            ) from None

    def settings(self) -> Config:
        """The settings as every node is given them. Raises ConfigError for what a cluster cannot do."""
        settings = configuration.load(Path(self.config) if self.config else None)
        check_reach(settings.server)
        if settings.llm.engine == "auto":
            # each node would look for an Ollama of its own, and they might not find the same
            settings.llm.engine = "embedded"
        if settings.store.keep != "off" and settings.store.audio and settings.store.url:
            raise ConfigError(
                "store.audio keeps sound in a folder, which the nodes of a cluster need not share.",
                "Set store.audio = false, or leave store.url out and give all nodes one store.folder.",
            )
        # an engine that one conversation chooses would be loaded into the ingress
        settings.server.switching = False
        return settings


def served(settings: Config) -> tuple[Task, ...]:
    """The tasks whose engines run in deployments of their own."""
    return tuple(task for task in SERVED if getattr(settings, task).engine not in SERVERS)
