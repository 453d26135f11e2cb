"""The configuration: defaults < a preset < chinwag.toml < CHINWAG_* environment variables < command-line flags.

An environment variable joins a section and its key with two underscores: CHINWAG_SERVER__PORT=9000.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from chinwag import presets
from chinwag.errors import ConfigError
from chinwag.language import primary_subtag

CONFIG_FILE = "chinwag.toml"

MIN_KEY_CHARACTERS = 16
"""Least length of an API key; a shorter one could be guessed."""
TOKEN = re.compile(r"[A-Za-z0-9._-]+")
"""Characters of an API key: those that a browser's WebSocket allows in a subprotocol."""
HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*]+", re.IGNORECASE)


class Section(BaseModel):
    """A table of chinwag.toml; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class ServerSettings(Section):
    """Address, limits and access of the server."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    max_sessions: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="maximum concurrent sessions, further clients are queued; auto: as many as it answers in time",
    )
    switching: bool = Field(True, description="clients may change the engines of their own session")
    max_sessions_per_address: int = Field(
        4, ge=0, description="concurrent sessions of one address of another machine; 0: no limit"
    )
    max_session_minutes: float = Field(60, gt=0, description="longest session, as at OpenAI")
    max_idle_minutes: float = Field(15, ge=0, description="a session ends after so much silence of the user; 0: never")
    messages_per_second: int = Field(
        250, ge=50, description="of one session; the server reads a faster client more slowly"
    )
    requests_per_minute: int = Field(
        600, ge=0, description="HTTP requests of one address of another machine; 0: no limit"
    )
    resume_s: float = Field(
        60, ge=0, le=3600, description="how long a client may resume its session after a lost connection; 0: never"
    )
    drain_s: float = Field(
        20, ge=0, le=3600, description="graceful shutdown: on SIGTERM, sessions may finish their sentence for so long"
    )
    log_format: Literal["text", "json"] = Field("text", description="json: one object a line, for log collectors")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="info logs each session and request; only debug may log spoken words"
    )
    metrics_key: str = Field("", repr=False, description="key for /metrics alone, from other machines")
    max_message_bytes: int = Field(15 * 1024 * 1024, ge=1024, description="OpenAI's limit for one audio append")
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="limit of any other request body")
    max_upload_bytes: int = Field(25 * 1024 * 1024, ge=1024, description="OpenAI's limit for a file to transcribe")
    api_keys: Annotated[list[str], NoDecode] = Field(
        default_factory=list, repr=False, description="keys for /v1; in the environment, separated by commas"
    )
    auth: Literal["auto", "code", "off"] = Field(
        "auto",
        description="auto: keys if there are any, and loopback only without keys;"
        " code: without keys, the server makes, saves and prints a login code; off: no keys",
    )
    https: Literal["auto", "off"] = Field(
        "auto", description="auto: with keys, plain HTTP on loopback only; off: plain HTTP on every address"
    )
    tls_cert: Path | None = Field(None, description="certificate chain in PEM, for HTTPS")
    tls_key: Path | None = Field(None, description="key of the certificate in PEM, without a password")
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="addresses or networks of HTTPS proxies whose X-Forwarded-For is trusted",
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="other sites whose pages may use the server, such as https://chat.example"
    )
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="host names of a server without keys, such as chinwag.example"
    )

    @field_validator("api_keys", "allowed_origins", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Read a value of the environment: a JSON list, or names separated by commas."""
        if not isinstance(value, str):
            return value
        with contextlib.suppress(ValueError):
            if isinstance(values := json.loads(value), list):
                return values
        return [name.strip() for name in value.split(",") if name.strip()]

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: list[str]) -> list[str]:
        for key in keys:
            if len(key) < MIN_KEY_CHARACTERS or not TOKEN.fullmatch(key):
                raise ValueError(
                    f"a key needs at least {MIN_KEY_CHARACTERS} characters, each a letter, a digit, '-', '_' or '.';"
                    " `openssl rand -hex 24` makes one"
                )
            if key.startswith("ek_"):
                raise ValueError("a key must not begin with ek_, which marks client secrets")
        return keys

    @field_validator("metrics_key")
    @classmethod
    def _check_metrics_key(cls, key: str) -> str:
        return cls._check_keys([key])[0] if key else ""

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not an origin; write it like https://chat.example or http://10.0.0.2:3000"
                )
        return [origin.lower() for origin in origins]

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, names: list[str]) -> list[str]:
        for name in names:
            if not HOST.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name; write it like chinwag.example, without a port")
        return [name.lower() for name in names]

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is not an address; write it like 127.0.0.1 or 172.18.0.0/16") from None
        return networks

    @property
    def requires_key(self) -> bool:
        """Return whether a client must send one of `api_keys`."""
        return self.auth == "code" or (bool(self.api_keys) and self.auth != "off")


class IceServer(Section):
    """A STUN or TURN server, with the fields of WebRTC's RTCIceServer."""

    urls: list[str]
    username: str = ""
    credential: str = Field("", repr=False)

    @field_validator("urls")
    @classmethod
    def _check_urls(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not re.fullmatch(r"(stuns?:[^/?\s]+|turns?:[^/?\s]+(\?transport=(udp|tcp))?)", url):
                raise ValueError(
                    f"{url!r} is not like stun:stun.example.org:3478 or turn:turn.example.org?transport=udp"
                )
        return urls


class WebrtcSettings(Section):
    """WebRTC connections."""

    ice_servers: list[IceServer] = Field([], description="for clients that cannot reach this machine directly")


class VadSettings(Section):
    """Voice activity detection."""

    engine: str = "silero"


class TurnSettings(Section):
    """Turn detection, drafts and barge-in."""

    engine: str = "smart-turn"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    drafts: bool = Field(True, description="start a draft response at a likely end of the turn")
    interruption: Literal["words", "speech", "off"] = Field(
        "words", description="what stops a response: words of the user (no backchannels), any speech, or nothing"
    )
    idle_timeout_ms: int = Field(0, ge=0, description="silence after which the assistant speaks first; 0: never")


Device = Literal["auto", "cpu", "cuda"]


class SttSettings(Section):
    """Speech to text."""

    engine: str = "moonshine"
    model: str = Field("", description="empty: the engine's own choice")
    language: str = Field("en", description="such as en or pt-BR; auto: detected, and the responses follow it")
    partial_every_ms: int = Field(160, ge=50, le=5000)
    base_url: str = Field("", description="of a transcription server; empty: the engine's default")
    api_key: str = Field("", repr=False)
    device: Device = "auto"
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores")
    timeout_s: float = Field(30, gt=0, description="the turn fails if a server sends no words for so long")
    options: dict[str, Any] = Field(default_factory=dict, description="options of this engine alone")


class LlmSettings(Section):
    """The language model. `auto`: Ollama if it runs on this machine with a chat model, else the embedded model."""

    engine: str = "auto"
    model: str = Field("", description="empty: the engine's own choice")
    base_url: str = Field("", description="of an OpenAI-compatible server or of Ollama; empty: the engine's default")
    api_key: str = Field("", repr=False)
    temperature: float = Field(0.6, ge=0, le=2)
    max_tokens: int = Field(300, ge=1)
    context_tokens: int = Field(2048, ge=512, description="length of the context; older items are left out")
    slots: int = Field(8, ge=1, description="sessions whose prompt the embedded model keeps in its cache")
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores, 8 at most")
    timeout_s: float = Field(30, gt=0, description="the response fails if the model writes nothing for so long")
    options: dict[str, Any] = Field(default_factory=dict, description="options of this engine alone")


class TtsSettings(Section):
    """Text to speech."""

    engine: str = "hibari"
    model: str = Field("", description="empty: the engine's own choice")
    voice: str = Field("", description="empty: the engine's first voice for the language")
    speed: float = Field(1.0, ge=0.25, le=4.0)
    base_url: str = Field("", description="of a speech server; empty: the engine's default")
    api_key: str = Field("", repr=False)
    device: Device = "auto"
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores")
    timeout_s: float = Field(30, gt=0, description="the clause fails if a server sends no sound for so long")
    options: dict[str, Any] = Field(default_factory=dict, description="options of this engine alone")


class AssistantSettings(Section):
    """The assistant that answers."""

    name: str = Field("companion", description="a built-in assistant, or one from a file in the folder")
    folder: Path = Field(default_factory=lambda: user_data_path("chinwag") / "assistants")
    instructions: str = Field("", description="replaces the assistant's own instructions")
    greeting: str = Field("", description="spoken at the start of each conversation; empty: the assistant's own")


class McpSettings(Section):
    """An MCP server whose tools every session may use: a program on this machine, or an address."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    command: str = ""
    args: list[str] = []
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    allowed_tools: list[str] | None = Field(None, description="names of the usable tools; not set: all")
    require_approval: Literal["always", "never"] | list[str] = Field(
        "never", description="whether, or for which tools, the client must approve a call"
    )


class ToolsSettings(Section):
    """Tools that the model may call."""

    enabled: list[str] = Field([], description="entry points of chinwag.tools: time, notes, and those you install")
    mcp: list[McpSettings] = []
    client_mcp: list[str] = Field([], description="addresses of MCP servers that clients may name; '*' for any")
    timeout_s: float = Field(30, gt=0, description="limit of one call")
    filler: list[str] = Field(
        ["One moment.", "Let me see.", "Just a second."],
        description="phrases spoken in turn while a tool takes long; []: none",
    )
    filler_after_ms: int = Field(700, ge=100)
    filler_for_clients: bool = Field(True, description="also while a client runs a tool")


class WeightsSettings(Section):
    """Where the models' files are stored and fetched from."""

    folder: Path = Field(default_factory=lambda: user_cache_path("chinwag") / "weights")
    offline: bool = Field(False, description="never use the network")
    sources: list[Literal["index", "hub"]] = ["index", "hub"]


class StoreSettings(Section):
    """Which conversations are stored, and where."""

    keep: Literal["asked", "all", "off"] = Field(
        "asked",
        description="asked: those of the page and of clients that ask for it; all; off or false: none",
    )
    folder: Path = Field(default_factory=lambda: user_data_path("chinwag"))
    url: str = Field("", repr=False, description="postgresql://user:password@host/name; empty: SQLite in the folder")
    audio: bool = Field(False, description="also store the audio of both sides, as FLAC files in the folder")
    audio_max_mb: int = Field(2000, ge=1, description="limit of stored audio; beyond it the oldest is deleted")

    @field_validator("keep", mode="before")
    @classmethod
    def _from_boolean(cls, value: Any) -> Any:
        """Accept true and false as well."""
        modes = {"false": "off", "no": "off", "0": "off", "true": "asked", "yes": "asked", "1": "asked"}
        return modes.get(str(value).lower(), value)


class Config(BaseSettings):
    """The whole configuration; `load` reads it."""

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
    tools: ToolsSettings = Field(default_factory=ToolsSettings)
    weights: WeightsSettings = Field(default_factory=WeightsSettings)
    webrtc: WebrtcSettings = Field(default_factory=WebrtcSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    preset: presets.Name | None = Field(None, description="engines chosen together by the machine's resources")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file's values that `load` passes in; `load` applies flags afterwards."""
        return (env_settings, init_settings)


def load(path: Path | None = None, flags: dict[str, dict[str, Any]] | None = None, preset: str | None = None) -> Config:
    """Read the configuration.

    path: the file; None for ./chinwag.toml if it exists. flags: values by section and key that override all others.
    preset: overrides the preset set elsewhere. Raises ConfigError that names the key and the nearest known one.
    """
    where = path or Path(CONFIG_FILE)
    tables = _read(where) if path or where.is_file() else {}
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix("CHINWAG_").partition("__")
        if nested and name.upper().startswith("CHINWAG_") and section.lower() not in Config.model_fields:
            raise _unknown("The environment", [section.lower()])
    preset_name = preset or _environment("preset") or tables.get("preset")
    if preset and preset not in presets.NAMES:
        raise ConfigError(f"There is no preset {preset}.", f"There are: {', '.join(presets.NAMES)}.")
    if preset_name in presets.NAMES:
        by_hand = (flags or {}, _environments(), tables)
        machine = presets.MachineResources.detect()
        chosen = presets.preset_tables(cast(presets.Name, preset_name), machine, english=_is_english(by_hand))
        below = presets.without_overridden(chosen, *by_hand)
        tables = {**tables, **{section: {**values, **_table(tables, section)} for section, values in below.items()}}
    try:
        config = Config(**tables)
        config.preset = cast(presets.Name, preset_name) if preset_name in presets.NAMES else config.preset
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


def _environment(section: str, key: str = "") -> str | None:
    wanted = f"CHINWAG_{section}__{key}" if key else f"CHINWAG_{section}"
    return next((value for name, value in os.environ.items() if name.upper() == wanted.upper()), None)


def _environments() -> dict[str, dict[str, Any]]:
    """The settings of the environment that override a preset."""
    keys = ("engine", "language")
    return {
        section: {key: value for key in keys if (value := _environment(section, key))}
        for section in ("stt", "llm", "tts")
    }


def _is_english(by_hand: tuple[Mapping[str, Any], ...]) -> bool:
    language = next((value for tables in by_hand if (value := _table(tables, "stt").get("language"))), "en")
    return not isinstance(language, str) or primary_subtag(language) == "en"


def _table(tables: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    table = tables.get(section)
    return table if isinstance(table, Mapping) else {}


def _read(where: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(where.read_text("utf-8-sig"))  # some editors on Windows write a byte order mark
    except FileNotFoundError:
        raise ConfigError(f"{where} does not exist.", "Name an existing file, or leave --config out.") from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.", "Name a readable file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.", "Correct that line and start again.") from error


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
    shown = "" if _is_secret(path) else f" = {first['input']!r}"
    return ConfigError(f"{where(path)}: {key}{shown} cannot be used: {first['msg']}.", "Change that value.")


def _is_secret(path: list[str]) -> bool:
    """Return whether a key or one of its parents must not be shown."""
    model: Any = Config
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # a place in a list
        if not field.repr:
            return True
        inner = [type_ for type_ in typing.get_args(field.annotation) if hasattr(type_, "model_fields")]
        model = inner[0] if inner else field.annotation
    return False


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
