"""The arguments of `serve run chinwag.cluster:app` and of a Serve config's `args`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chinwag import config as configuration
from chinwag.config import Config
from chinwag.engines.protocols import Task
from chinwag.errors import ConfigError
from chinwag.reach import check_exposure

INGRESS = "Talking"
"""Name of the deployment that runs the server and its sessions."""

EXTERNAL_SERVERS = {"openai", "ollama"}
"""Engines that are clients of another server: each ingress replica uses them without a deployment."""

SERVED: tuple[Task, ...] = ("stt", "llm", "tts")
"""Tasks that may be a deployment. VAD and turn detection stay in the ingress: see docs/adr/0019."""


class Options(BaseModel):
    """Arguments of the application; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")

    config: str = Field("", description="settings file; empty: ./chinwag.toml where there is one")
    silent_s: float = Field(8.0, gt=0, description="a request moves to another replica after so much silence")

    @classmethod
    def read(cls, given: Self | Mapping[str, Any]) -> Self:
        """Check the given arguments. Raises ConfigError that names the fault and the known arguments."""
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
        """Return the settings for every node. Raises ConfigError for settings that a cluster does not support."""
        settings = configuration.load(Path(self.config) if self.config else None)
        check_exposure(settings.server)
        if settings.llm.engine == "auto":
            # each node would look for its own Ollama, and the results might differ
            settings.llm.engine = "embedded"
        if settings.store.keep != "off" and settings.store.audio and settings.store.url:
            raise ConfigError(
                "store.audio stores sound in a folder, which the nodes of a cluster may not share.",
                "Set store.audio = false, or leave store.url out and give all nodes one store.folder.",
            )
        # an engine chosen by one session would be loaded into the ingress
        settings.server.switching = False
        return settings


def served_tasks(settings: Config) -> tuple[Task, ...]:
    """Return the tasks whose engines run in deployments of their own."""
    return tuple(task for task in SERVED if getattr(settings, task).engine not in EXTERNAL_SERVERS)
