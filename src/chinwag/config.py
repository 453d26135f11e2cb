"""Settings: defaults < chinwag.toml < CHINWAG_* environment variables < command-line flags.

In the environment a section and its key are joined by two underscores: CHINWAG_SERVER__PORT=9000.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from chinwag.errors import ConfigError

CONFIG_FILE = "chinwag.toml"


class Section(BaseModel):
    """A table of chinwag.toml; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid")


class ServerSettings(Section):
    """Where the server listens and what it takes in."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    max_sessions: int = Field(8, ge=1, description="conversations at once; the next one is told to wait")
    max_session_minutes: float = Field(60, gt=0, description="then a conversation ends, as at OpenAI")
    max_message_bytes: int = Field(15 * 1024 * 1024, ge=1024, description="as OpenAI's limit for one audio append")


class VadSettings(Section):
    """Is somebody speaking?"""

    engine: str = "silero"


class TurnSettings(Section):
    """Have they finished?"""

    engine: str = "smart-turn"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    drafts: bool = Field(True, description="begin the answer silently at a likely end of the turn")
    interruption: Literal["words", "speech", "off"] = Field(
        "words", description="what stops an answer: words that are meant to, any speech, or nothing"
    )
    idle_timeout_ms: int = Field(0, ge=0, description="silence after which the assistant speaks first; 0: never")


class SttSettings(Section):
    """What did they say?"""

    engine: str = "moonshine"
    language: str = "en"
    partial_every_ms: int = Field(160, ge=50, le=5000)


class LlmSettings(Section):
    """What to answer? `auto`: Ollama where one answers with a chat model, else the embedded model."""

    engine: str = "auto"
    model: str = Field("", description="empty: the engine's own choice")
    base_url: str = Field("", description="of an OpenAI-compatible server, or of Ollama; empty: the usual one")
    api_key: str = Field("", repr=False)
    temperature: float = Field(0.6, ge=0, le=2)
    max_tokens: int = Field(300, ge=1)
    context_tokens: int = Field(2048, ge=512, description="what the model reads at once; older words are left out")
    slots: int = Field(4, ge=1, description="conversations whose prompt the embedded model keeps ready")
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores, 8 at most")
    timeout_s: float = Field(30, gt=0, description="without a word from the model, the reply fails")


class TtsSettings(Section):
    """How does it sound?"""

    engine: str = "hibari"
    voice: str = Field("", description="empty: the engine's first")
    speed: float = Field(1.0, ge=0.25, le=4.0)


class AssistantSettings(Section):
    """Who answers."""

    instructions: str = Field("", description="empty: a plain, brief companion")
    greeting: str = Field("", description="said at the beginning of each conversation; empty: nothing")


class WeightsSettings(Section):
    """Where the models' files are kept."""

    folder: Path = Field(default_factory=lambda: user_cache_path("chinwag") / "weights")
    offline: bool = Field(False, description="never reach for the network")
    sources: list[Literal["index", "hub"]] = ["index", "hub"]


class Config(BaseSettings):
    """All settings; `load` reads them."""

    model_config = SettingsConfigDict(
        env_prefix="CHINWAG_",
        env_nested_delimiter="__",
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    vad: VadSettings = Field(default_factory=VadSettings)
    turn: TurnSettings = Field(default_factory=TurnSettings)
    stt: SttSettings = Field(default_factory=SttSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)
    tts: TtsSettings = Field(default_factory=TtsSettings)
    assistant: AssistantSettings = Field(default_factory=AssistantSettings)
    weights: WeightsSettings = Field(default_factory=WeightsSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what `load` read from the file; flags are laid over both afterwards."""
        return (env_settings, init_settings)


def load(path: Path | None = None, flags: dict[str, dict[str, Any]] | None = None) -> Config:
    """Read the settings.

    path: the file; None for ./chinwag.toml where there is one.
    flags: values by section and key that win over all else.
    Raises ConfigError naming the key, and the nearest one that exists.
    """
    where = path or Path(CONFIG_FILE)
    tables = _read(where) if path or where.is_file() else {}
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix("CHINWAG_").partition("__")
        if nested and name.upper().startswith("CHINWAG_") and section.lower() not in Config.model_fields:
            raise _unknown("The environment", [section.lower()])
    try:
        config = Config(**tables)
    except ValidationError as error:
        raise _explained(error, [], lambda keys: str(where) if _holds(tables, keys) else "The environment") from None
    except SettingsError as error:
        fix = "Set one key at a time, as in CHINWAG_SERVER__PORT=9000."
        raise ConfigError(f"The environment cannot be read: {error}.", fix) from None
    for section, values in (flags or {}).items():
        if section not in Config.model_fields:
            raise _unknown("The command line", [section])
        before = getattr(config, section)
        try:
            setattr(config, section, type(before)(**{**before.model_dump(), **values}))
        except ValidationError as error:
            raise _explained(error, [section], lambda _: "The command line") from None
    return config


def _read(where: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(where.read_text("utf-8-sig"))  # some editors on Windows begin a file with a mark
    except FileNotFoundError:
        raise ConfigError(f"{where} does not exist.", "Name a file that does, or leave --config out.") from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.", "Name a file that can.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.", "Mend that line and start again.") from error


def _holds(tables: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(tables, dict) or key not in tables:
            return not isinstance(tables, dict)
        tables = tables[key]
    return True


def _explained(error: ValidationError, section: list[str], where: Callable[[list[str]], str]) -> ConfigError:
    first = error.errors()[0]
    path = section + [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return _unknown(where(path), path)
    key = ".".join(path)
    return ConfigError(
        f"{where(path)}: {key} = {first['input']!r} cannot be used: {first['msg']}.", "Change that value."
    )


def _unknown(where: str, path: list[str]) -> ConfigError:
    known = list(_keys_at(Config, path[:-1]))
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    fix = f"Did you mean {'.'.join([*path[:-1], near[0]])}?" if near else f"There are: {', '.join(known)}."
    return ConfigError(f"{where} has an unknown key: {'.'.join(path)}.", fix)


def _keys_at(model: Any, path: list[str]) -> typing.Iterable[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None or isinstance(field.annotation, types.GenericAlias):
            return []
        model = field.annotation
    return model.model_fields.keys()  # type: ignore[no-any-return]
