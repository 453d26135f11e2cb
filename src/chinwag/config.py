"""Settings: defaults < a preset < chinwag.toml < CHINWAG_* environment variables < command-line flags.

In the environment a section and its key are joined by two underscores: CHINWAG_SERVER__PORT=9000.
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
from chinwag.language import base

CONFIG_FILE = "chinwag.toml"

SHORTEST_KEY = 16
"""Characters of an API key: fewer could be guessed."""
TOKEN = re.compile(r"[A-Za-z0-9._-]+")
"""What an API key is made of: a browser's WebSocket takes no other characters in a subprotocol."""
HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*]+", re.IGNORECASE)


class Section(BaseModel):
    """A table of chinwag.toml; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid")


class ServerSettings(Section):
    """Where the server listens and what it takes in."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    max_sessions: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="conversations at once, who comes then waits in a queue; auto: as many as it answers in time",
    )
    switching: bool = Field(True, description="clients may change the engines of their own conversation")
    max_sessions_per_address: int = Field(
        4, ge=0, description="conversations of one address of another machine; 0: as many as there is room for"
    )
    max_session_minutes: float = Field(60, gt=0, description="then a conversation ends, as at OpenAI")
    max_idle_minutes: float = Field(
        15, ge=0, description="a conversation ends in which the person was silent for so long; 0: it does not"
    )
    messages_per_second: int = Field(
        250, ge=50, description="of one conversation; a client that sends more is read more slowly"
    )
    requests_per_minute: int = Field(
        600, ge=0, description="over HTTP by one address of another machine; 0: as many as it likes"
    )
    resume_s: float = Field(
        60, ge=0, le=3600, description="a page that was cut off finds its conversation again for so long; 0: never"
    )
    drain_s: float = Field(
        20, ge=0, le=3600, description="on SIGTERM, conversations have so long to come to the end of a sentence"
    )
    log_format: Literal["text", "json"] = Field("text", description="json: one object a line, for what gathers logs")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="info tells each conversation and request; only debug may tell what was said"
    )
    metrics_key: str = Field("", repr=False, description="opens /metrics, and nothing else, from other machines")
    max_message_bytes: int = Field(15 * 1024 * 1024, ge=1024, description="as OpenAI's limit for one audio append")
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="of any other request's body")
    max_upload_bytes: int = Field(25 * 1024 * 1024, ge=1024, description="as OpenAI's limit for a file to transcribe")
    api_keys: Annotated[list[str], NoDecode] = Field(
        default_factory=list, repr=False, description="any of them opens /v1; in the environment, parted by commas"
    )
    auth: Literal["auto", "code", "off"] = Field(
        "auto",
        description="auto: keys where there are any, and no other address than loopback without;"
        " code: where there are none, a login code is made, kept, and told when the server is ready; off: no keys",
    )
    https: Literal["auto", "off"] = Field(
        "auto", description="auto: with keys, no other address than loopback over plain HTTP; off: also over plain HTTP"
    )
    tls_cert: Path | None = Field(None, description="a certificate in PEM, with those it is signed by: HTTPS")
    tls_key: Path | None = Field(None, description="its key in PEM, without a password")
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="addresses or networks of proxies that speak HTTPS, and tell who asks",
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="other sites whose pages may use the server, as https://chat.example"
    )
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="names of its own, where it asks for no key, as chinwag.example"
    )

    @field_validator("api_keys", "allowed_origins", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _parted(cls, value: Any) -> Any:
        """From the environment: a JSON list, or names parted by commas."""
        if not isinstance(value, str):
            return value
        with contextlib.suppress(ValueError):
            if isinstance(listed := json.loads(value), list):
                return listed
        return [name.strip() for name in value.split(",") if name.strip()]

    @field_validator("api_keys")
    @classmethod
    def _usable(cls, keys: list[str]) -> list[str]:
        for key in keys:
            if len(key) < SHORTEST_KEY or not TOKEN.fullmatch(key):
                raise ValueError(
                    f"a key has at least {SHORTEST_KEY} characters, all of them letters, digits, '-', '_' or '.';"
                    " `openssl rand -hex 24` makes one"
                )
            if key.startswith("ek_"):
                raise ValueError("a key does not begin with ek_, which marks client secrets")
        return keys

    @field_validator("metrics_key")
    @classmethod
    def _usable_one(cls, key: str) -> str:
        return cls._usable([key])[0] if key else ""

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; write it like https://chat.example or http://10.0.0.2:3000")
        return [origin.lower() for origin in origins]

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not HOST.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a server; write it like chinwag.example, without a port")
        return [name.lower() for name in names]

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is no address; write it like 127.0.0.1 or 172.18.0.0/16") from None
        return networks

    @property
    def wants_key(self) -> bool:
        """Whether a client must bring one of `api_keys`."""
        return self.auth == "code" or (bool(self.api_keys) and self.auth != "off")


class IceServer(Section):
    """A STUN or TURN server, as WebRTC's RTCIceServer has it."""

    urls: list[str]
    username: str = ""
    credential: str = Field("", repr=False)

    @field_validator("urls")
    @classmethod
    def _known(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not re.fullmatch(r"(stuns?:[^/?\s]+|turns?:[^/?\s]+(\?transport=(udp|tcp))?)", url):
                raise ValueError(
                    f"{url!r} is not like stun:stun.example.org:3478 or turn:turn.example.org?transport=udp"
                )
        return urls


class WebrtcSettings(Section):
    """Calls over WebRTC."""

    ice_servers: list[IceServer] = Field([], description="for clients that cannot reach this machine directly")


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


Device = Literal["auto", "cpu", "cuda"]


class SttSettings(Section):
    """What did they say?"""

    engine: str = "moonshine"
    model: str = Field("", description="empty: the engine's own choice")
    language: str = Field("en", description="as en or pt-BR; auto: heard, and the voice and the answers follow")
    partial_every_ms: int = Field(160, ge=50, le=5000)
    base_url: str = Field("", description="of a server that transcribes; empty: the usual one")
    api_key: str = Field("", repr=False)
    device: Device = "auto"
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores")
    timeout_s: float = Field(30, gt=0, description="without words from a server, the turn fails")
    options: dict[str, Any] = Field(default_factory=dict, description="what this engine alone knows")


class LlmSettings(Section):
    """What to answer? `auto`: Ollama where one answers with a chat model, else the embedded model."""

    engine: str = "auto"
    model: str = Field("", description="empty: the engine's own choice")
    base_url: str = Field("", description="of an OpenAI-compatible server, or of Ollama; empty: the usual one")
    api_key: str = Field("", repr=False)
    temperature: float = Field(0.6, ge=0, le=2)
    max_tokens: int = Field(300, ge=1)
    context_tokens: int = Field(2048, ge=512, description="what the model reads at once; older words are left out")
    slots: int = Field(8, ge=1, description="conversations whose prompt the embedded model keeps ready")
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores, 8 at most")
    timeout_s: float = Field(30, gt=0, description="without a word from the model, the reply fails")
    options: dict[str, Any] = Field(default_factory=dict, description="what this engine alone knows")


class TtsSettings(Section):
    """How does it sound?"""

    engine: str = "hibari"
    model: str = Field("", description="empty: the engine's own choice")
    voice: str = Field("", description="empty: the engine's first that speaks the language")
    speed: float = Field(1.0, ge=0.25, le=4.0)
    base_url: str = Field("", description="of a server that speaks; empty: the usual one")
    api_key: str = Field("", repr=False)
    device: Device = "auto"
    threads: int = Field(0, ge=0, description="0: chosen by the machine's cores")
    timeout_s: float = Field(30, gt=0, description="without sound from a server, the clause fails")
    options: dict[str, Any] = Field(default_factory=dict, description="what this engine alone knows")


class AssistantSettings(Section):
    """Who answers."""

    name: str = Field("companion", description="one of those that come with Chinwag, or a file's of the folder")
    folder: Path = Field(default_factory=lambda: user_data_path("chinwag") / "assistants")
    instructions: str = Field("", description="in place of that assistant's own")
    greeting: str = Field("", description="said at the beginning of each conversation; empty: the assistant's own")


class McpSettings(Section):
    """An MCP server whose tools every conversation may use: a program on this machine, or an address."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    command: str = ""
    args: list[str] = []
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    url: str = ""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    allowed_tools: list[str] | None = Field(None, description="names; none given: all")
    require_approval: Literal["always", "never"] | list[str] = Field(
        "never", description="whether the client is asked before a call, or for which tools"
    )


class ToolsSettings(Section):
    """What the model may call."""

    enabled: list[str] = Field([], description="entry points of chinwag.tools: time, notes, and those you install")
    mcp: list[McpSettings] = []
    client_mcp: list[str] = Field(
        [], description="addresses of MCP servers that clients may have this server call; '*' for any"
    )
    timeout_s: float = Field(30, gt=0, description="after which a call has failed")
    filler: list[str] = Field(
        ["One moment.", "Let me see.", "Just a second."],
        description="said in turn while a tool takes long; []: nothing",
    )
    filler_after_ms: int = Field(700, ge=100)
    filler_for_clients: bool = Field(True, description="also while a client works out a result")


class WeightsSettings(Section):
    """Where the models' files are kept."""

    folder: Path = Field(default_factory=lambda: user_cache_path("chinwag") / "weights")
    offline: bool = Field(False, description="never reach for the network")
    sources: list[Literal["index", "hub"]] = ["index", "hub"]


class StoreSettings(Section):
    """Which conversations are kept, and where."""

    keep: Literal["asked", "all", "off"] = Field(
        "asked",
        description="asked: those of the page, and of clients that ask for it; all; off, or false: nothing is written",
    )
    folder: Path = Field(default_factory=lambda: user_data_path("chinwag"))
    url: str = Field("", repr=False, description="postgresql://user:password@host/name; empty: SQLite in the folder")
    audio: bool = Field(False, description="keep the sound as well, of both sides, as FLAC files in the folder")
    audio_max_mb: int = Field(2000, ge=1, description="of sound; of more, the oldest conversations lose theirs")

    @field_validator("keep", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        """As a switch: true or false."""
        switched = {"false": "off", "no": "off", "0": "off", "true": "asked", "yes": "asked", "1": "asked"}
        return switched.get(str(value).lower(), value)


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
    tools: ToolsSettings = Field(default_factory=ToolsSettings)
    weights: WeightsSettings = Field(default_factory=WeightsSettings)
    webrtc: WebrtcSettings = Field(default_factory=WebrtcSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    preset: presets.Name | None = Field(None, description="engines chosen together, by what the machine has")

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


def load(path: Path | None = None, flags: dict[str, dict[str, Any]] | None = None, preset: str | None = None) -> Config:
    """Read the settings.

    path: the file; None for ./chinwag.toml where there is one.
    flags: values by section and key that win over all else. preset: in place of the one set elsewhere.
    Raises ConfigError naming the key, and the nearest one that exists.
    """
    where = path or Path(CONFIG_FILE)
    tables = _read(where) if path or where.is_file() else {}
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix("CHINWAG_").partition("__")
        if nested and name.upper().startswith("CHINWAG_") and section.lower() not in Config.model_fields:
            raise _unknown("The environment", [section.lower()])
    named = preset or _environment("preset") or tables.get("preset")
    if preset and preset not in presets.NAMES:
        raise ConfigError(f"There is no preset {preset}.", f"There are: {', '.join(presets.NAMES)}.")
    if named in presets.NAMES:
        by_hand = (flags or {}, _environments(), tables)
        chosen = presets.tables(cast(presets.Name, named), presets.Machine.here(), english=_english(by_hand))
        below = presets.under(chosen, *by_hand)
        given = {section: {**values, **_table(tables, section)} for section, values in below.items()}
        tables = {**tables, **given}
    try:
        config = Config(**tables)
        config.preset = cast(presets.Name, named) if named in presets.NAMES else config.preset
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
    """What of the environment a preset gives way to."""
    keys = ("engine", "language")
    return {
        section: {key: value for key in keys if (value := _environment(section, key))}
        for section in ("stt", "llm", "tts")
    }


def _english(by_hand: tuple[Mapping[str, Any], ...]) -> bool:
    asked = next((language for tables in by_hand if (language := _table(tables, "stt").get("language"))), "en")
    return not isinstance(asked, str) or base(asked) == "en"


def _table(tables: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    table = tables.get(section)
    return table if isinstance(table, Mapping) else {}


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
    shown = "" if _is_secret(path) else f" = {first['input']!r}"
    return ConfigError(f"{where(path)}: {key}{shown} cannot be used: {first['msg']}.", "Change that value.")


def _is_secret(path: list[str]) -> bool:
    """Whether a key, or one that it is part of, is not to be shown."""
    model: Any = Config
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # a place in a list
        if not field.repr:
            return True
        inner = [one for one in typing.get_args(field.annotation) if hasattr(one, "model_fields")]
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
