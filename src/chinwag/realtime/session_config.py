"""The session object of the wire, and the settings it stands for."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from chinwag.conversation.settings import SessionSettings
from chinwag.errors import Refused
from chinwag.language import AUTO_DETECT, requested_language
from chinwag.listening.endpointing.policy import Endpointer, nearest_eagerness
from chinwag.realtime import audio_format as sound
from chinwag.realtime import tools
from chinwag.realtime import turn_detection as turns
from chinwag.realtime.audio_format import AudioFormat
from chinwag.realtime.extensions import AssistantProfile, Assistants

OPENAI_VOICES = frozenset({"alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"})
"""A client that asks for one of these gets the server's own voice, so that it need not be changed."""

Kind = Literal["realtime", "transcription"]

WHOLE = frozenset({"turn_detection", "format"})
"""Tables that an update replaces as a whole."""

SLOWEST, FASTEST = 0.25, 1.5
"""OpenAI's limits for `speed`."""


@dataclass(frozen=True)
class Defaults:
    """What a session begins with. voices: those the server can speak with, the first its own. longest_s: it lasts.

    silent_s: it ends when the person has said and sent nothing for so long; None: it does not.
    client_mcp: addresses of MCP servers that a client may name; "*" for any. assistant: whose settings they are;
    assistants: those a client may choose.
    """

    settings: SessionSettings
    model: str = ""
    transcription_model: str = ""
    voices: tuple[str, ...] = ()
    client_mcp: tuple[str, ...] = ()
    max_duration_s: float = 3600.0
    idle_timeout_s: float | None = None
    assistant: str = ""
    assistants: Assistants | None = None

    def profile(self, assistant: str) -> AssistantProfile:
        """That assistant. Raises Refused where there is none of that name."""
        if self.assistants:
            return self.assistants(assistant)
        if assistant == self.assistant:
            return AssistantProfile(self.settings)
        raise Refused("invalid_value", "This server has no assistants to choose from.", param="session.assistant")

    def with_settings(self, **own: Any) -> Defaults:
        """With those settings, whoever the assistant is."""

        def part(assistant: str) -> AssistantProfile:
            plain = self.profile(assistant)
            return replace(plain, settings=replace(plain.settings, **own))

        return replace(self, settings=replace(self.settings, **own), assistants=part)


def transcription_only(settings: SessionSettings) -> SessionSettings:
    """As a transcription session is held: nothing is answered, and no answer is got ready."""
    return replace(settings, create_response=False, drafts=False, idle_s=None, greeting="")


class SessionConfig:
    """A session's object on the wire and what it has no field for; each update is taken whole or not at all.

    wire: all of it; `shown` is what a client sees. live: what `chinwag.session.update` changes.
    """

    def __init__(self, session_id: str, defaults: Defaults, kind: Kind = "realtime") -> None:
        settings = defaults.settings
        self._defaults = defaults
        self.assistant = defaults.assistant
        self._language = settings.listening.language or AUTO_DETECT
        self._interruption = settings.interruption
        self._patience = settings.listening.endpointer.patience
        self.detector: Literal["all", "ear"] = "all"
        self.wire: dict[str, Any] = {
            "id": session_id,
            "object": "realtime.session",
            "type": kind,
            "model": defaults.model,
            "output_modalities": ["audio"],
            "instructions": settings.instructions,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
            "expires_at": int(time.time() + defaults.max_duration_s),
            "audio": {
                "input": {
                    "format": dict(sound.PCM.wire),
                    "transcription": {
                        "model": defaults.transcription_model,
                        "language": self._language,
                    },
                    "noise_reduction": None,
                    "turn_detection": turns.complete({"type": "semantic_vad"}, settings),
                },
                "output": {
                    "format": dict(sound.PCM.wire),
                    "voice": _own_voice(defaults),
                    "speed": settings.style.speed,
                },
            },
        }

    @property
    def transcribes(self) -> bool:
        """The client wants to be told the words of its sound."""
        return self.wire["audio"]["input"]["transcription"] is not None

    def with_update(self, update: dict[str, Any]) -> tuple[SessionConfig, SessionSettings]:
        """This one and the settings after a session.update that is not yet taken. Raises Refused for what cannot be."""
        kind = update.get("type") or self.kind
        if kind == "transcription":
            _check_transcription(update)
        fixed = {"id", "object", "model", "expires_at"}
        wire = _merged(self.wire, {key: value for key, value in update.items() if key not in fixed})
        wire["type"] = kind
        _name_formats(wire, "session")
        heard = wire["audio"]["input"]
        heard["turn_detection"] = turns.complete(heard["turn_detection"], self._before)
        _check_details(wire)
        return self._with(wire)

    def with_engines(self, defaults: Defaults, voice: str | None) -> tuple[SessionConfig, SessionSettings]:
        """This one, and the settings, as they are with other engines. Raises Refused for a voice they do not have.

        voice: empty for the engine's own, None for the one that is set.
        """
        other = copy.copy(self)
        settings = self._defaults.settings
        if settings.style.voice not in defaults.voices:
            settings = replace(settings, style=replace(settings.style, voice=defaults.settings.style.voice))
        other._defaults = replace(defaults, settings=settings, assistant=self.assistant)
        heard, spoken = self.wire["audio"]["input"], self.wire["audio"]["output"]
        transcription = heard["transcription"]
        if transcription is not None:
            transcription = {**transcription, "model": defaults.transcription_model}
        if voice is not None:
            spoken = {**spoken, "voice": voice or _own_voice(other._defaults)}
        audio = {"input": {**heard, "transcription": transcription}, "output": spoken}
        return other._with({**self.wire, "model": defaults.model, "audio": audio})

    # --- what the protocol has no field for ------------------------------------------------------------------

    @property
    def extension_fields(self) -> dict[str, Any]:
        """As `chinwag.session.updated` tells it."""
        settings = turns.apply(self.wire["audio"]["input"]["turn_detection"], self._before)
        ends = settings.listening.endpointer
        return {
            "assistant": self.assistant,
            "language": self._spoken(self.wire),
            "interruption": settings.interruption,
            "patience": self._patience if ends.fixed_s is not None else ends.patience,
        }

    def with_extensions(self, asked: dict[str, Any]) -> tuple[SessionConfig, SessionSettings]:
        """This one, and the settings, after a `chinwag.session.update`, as `live.read` checked it, that is not yet
        taken. Raises Refused for what cannot be."""
        other = copy.copy(self)
        wire = copy.deepcopy(self.wire)
        if "assistant" in asked:
            wire = other._play(asked["assistant"], wire)
        if "language" in asked:
            other._speak(asked["language"], wire)
        detection = wire["audio"]["input"]["turn_detection"]
        if "interruption" in asked:
            other._interruption = asked["interruption"]
            if detection:
                detection["interrupt_response"] = other._interruption != "off"
        if "patience" in asked:
            other._wait(float(asked["patience"]), wire)
        return other._with(wire)

    def _play(self, name: str, wire: dict[str, Any]) -> dict[str, Any]:
        """Another assistant: what it does not set itself stays as the client has set it."""
        part, before, voice = self._defaults.profile(name), self._defaults.settings, _own_voice(self._defaults)
        after, self.assistant = part.settings, name
        self._defaults = replace(self._defaults, settings=after, assistant=name)
        wire["instructions"], spoken = after.instructions, wire["audio"]["output"]
        if "voice" in part.fixed or spoken["voice"] == voice:
            spoken["voice"] = _own_voice(self._defaults)
        if "speed" in part.fixed or spoken["speed"] == before.style.speed:
            spoken["speed"] = after.style.speed
        if "language" in part.fixed or self._spoken(wire) == (before.listening.language or AUTO_DETECT):
            self._speak(after.listening.language or AUTO_DETECT, wire)
        if "patience" in part.fixed or self.extension_fields["patience"] == before.listening.endpointer.patience:
            self._wait(after.listening.endpointer.patience, wire)
        return wire

    def _speak(self, language: str, wire: dict[str, Any]) -> None:
        self._language = language
        if transcription := wire["audio"]["input"]["transcription"]:
            transcription["language"] = language

    def _wait(self, patience: float, wire: dict[str, Any]) -> None:
        self._patience = patience
        detection = wire["audio"]["input"]["turn_detection"]
        if detection and detection["type"] == "semantic_vad":
            detection["eagerness"] = nearest_eagerness(patience)

    def _spoken(self, wire: dict[str, Any]) -> str:
        """The language, or that it is to be heard."""
        return str((wire["audio"]["input"]["transcription"] or {}).get("language") or self._language)

    @property
    def _before(self) -> SessionSettings:
        """What the wire's fields are laid over."""
        settings = self._defaults.settings
        hearing = replace(settings.listening, endpointer=Endpointer(self._patience))
        return replace(settings, listening=hearing, interruption=self._interruption)

    def _with(self, wire: dict[str, Any]) -> tuple[SessionConfig, SessionSettings]:
        """This one with another object, and its settings. Raises Refused for what cannot be."""
        other = copy.copy(self)
        other.wire = wire
        return other, other._settings(wire)

    # ---------------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind:
        """Whether it is answered, or only transcribed."""
        return cast(Kind, self.wire["type"])

    @property
    def session_object(self) -> dict[str, Any]:
        """The session object, as GA has it for the session's type."""
        if self.kind == "realtime":
            return self.wire
        wire = {key: self.wire[key] for key in ("id", "type", "expires_at", "include")}
        heard = dict(self.wire["audio"]["input"])
        if heard["turn_detection"]:
            answering = {"create_response", "interrupt_response", "idle_timeout_ms"}
            heard["turn_detection"] = {k: v for k, v in heard["turn_detection"].items() if k not in answering}
        return {**wire, "object": "realtime.transcription_session", "audio": {"input": heard}}

    @property
    def input_format(self) -> AudioFormat:
        """What the client's sound is."""
        return sound.find_format(self.wire["audio"]["input"]["format"], "session.audio.input.format")

    @property
    def output_format(self) -> AudioFormat:
        """What it is sent."""
        return sound.find_format(self.wire["audio"]["output"]["format"], "session.audio.output.format")

    def for_response(self, asked: dict[str, Any]) -> tuple[SessionSettings, AudioFormat]:
        """The settings of one response and the form of its sound. Raises Refused for what cannot be."""
        if self.kind == "transcription":
            fix = "Send a session.update with type 'realtime' first."
            raise Refused("unsupported_event", "A transcription session gives no responses.", fix, "type")
        if asked.get("prompt"):
            raise _unsupported("response.prompt", "a value for prompt", "Leave it out.")
        if asked.get("conversation") not in (None, "auto", "none"):
            raise _unsupported("response.conversation", asked["conversation"], "Use 'auto' or 'none'.")
        if asked.get("tools") and asked.get("conversation") == "none":
            raise _unsupported("response.tools", "tools outside of the conversation", "Answer in the conversation.")
        fields = ["instructions", "output_modalities", "max_output_tokens", "audio", "tools", "tool_choice"]
        known = {field: asked[field] for field in fields if field in asked}
        wire = _merged(self.wire, known)
        _name_formats(wire, "response")
        own = asked.get("tools") is None  # a response with tools of its own has no others
        settings = self._settings(wire, own=own, where="response")
        return settings, sound.find_format(wire["audio"]["output"]["format"], "response.audio.output.format")

    def _settings(self, wire: dict[str, Any], *, own: bool = True, where: str = "session") -> SessionSettings:
        before = self._before
        offered = before.tools if own else replace(before.tools, own=None)
        heard, spoken = wire["audio"]["input"], wire["audio"]["output"]
        settings = turns.apply(heard["turn_detection"], before)
        speed = 1.0 if spoken["speed"] is None else spoken["speed"]
        if not SLOWEST <= speed <= FASTEST:
            message = f"speed must be between {SLOWEST} and {FASTEST}."
            raise Refused("invalid_value", message, param="session.audio.output.speed")
        limit = wire["max_output_tokens"]
        if isinstance(limit, int) and limit < 1:
            raise Refused("invalid_value", "max_output_tokens must be at least 1, or 'inf'.", param="max_output_tokens")
        settings = replace(
            settings,
            instructions=wire["instructions"] if wire["instructions"] is not None else before.instructions,
            listening=replace(
                settings.listening, language=requested_language(self._spoken(wire)), detector=self.detector
            ),
            style=replace(before.style, voice=self._voice(spoken["voice"]), speed=speed),
            audio="audio" in (wire["output_modalities"] or ["audio"]),
            max_tokens=before.max_tokens if limit in (None, "inf") else int(limit),
            tools=tools.offer(wire["tools"] or (), wire["tool_choice"], offered, self._defaults.client_mcp, where),
            history_share=before.history_share
            if isinstance(wire["truncation"], str)
            else wire["truncation"]["retention_ratio"],
        )
        return transcription_only(settings) if wire["type"] == "transcription" else settings

    def _voice(self, voice: Any) -> str | None:
        name = voice["id"] if isinstance(voice, dict) else voice
        if not name or name in OPENAI_VOICES or not self._defaults.voices:
            return None
        if name not in self._defaults.voices:
            known = ", ".join(self._defaults.voices)
            raise Refused(
                "invalid_value",
                f"There is no voice {name!r}.",
                f"There are: {known}.",
                "session.audio.output.voice",
            )
        return str(name)


def _own_voice(defaults: Defaults) -> str:
    return defaults.settings.style.voice or next(iter(defaults.voices), "")


def _check_transcription(update: dict[str, Any]) -> None:
    """Raises Refused for what a transcription session has not."""
    beyond = set(update) - {"id", "object", "type", "audio", "include", "expires_at"}
    audio = update.get("audio") or {}
    if "output" in audio:
        beyond.add("audio.output")
    for field in sorted(beyond):
        message = f"A transcription session has no '{field}'."
        raise Refused("unknown_parameter", message, "Leave it out.", f"session.{field}")
    if (audio.get("input") or {}).get("transcription", {}) is None:
        message = "A transcription session cannot be without transcription."
        raise Refused("invalid_value", message, param="session.audio.input.transcription")


def _check_details(wire: dict[str, Any]) -> None:
    """Raises Refused for what this server cannot do. Tracing and noise reduction are taken and change nothing."""
    if wire["prompt"]:
        raise _unsupported("session.prompt", "a stored prompt", "Send its words as instructions.")
    if wire["include"]:
        raise _unsupported("session.include", wire["include"][0], "The words come without probabilities: leave it out.")
    truncation = wire["truncation"] = wire["truncation"] or "auto"
    if truncation == "disabled":
        fix = "Use 'auto' or a retention_ratio: the oldest words are no longer asked about once all do not fit."
        raise _unsupported("session.truncation", truncation, fix)
    if isinstance(truncation, dict):
        if not 0 <= truncation["retention_ratio"] <= 1:
            param = "session.truncation.retention_ratio"
            raise Refused("invalid_value", "retention_ratio must be between 0 and 1.", param=param)
        if truncation.get("token_limits"):
            fix = "Leave it out, or set llm.context_tokens in chinwag.toml."
            raise _unsupported("session.truncation.token_limits", "limits of its own", fix)


def _name_formats(wire: dict[str, Any], where: str) -> None:
    """Each side's format in full. Raises Refused for one there is not."""
    for side, table in wire["audio"].items():
        table["format"] = dict(sound.find_format(table["format"], f"{where}.audio.{side}.format").wire)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with the known keys of `new` laid over it, tables within tables; some are replaced as a whole."""
    merged = dict(old)
    for key, value in new.items():
        if key not in old or (value is None and key in {"audio", "input", "output"}):
            continue
        if isinstance(old[key], dict) and isinstance(value, dict) and key not in WHOLE:
            merged[key] = _merged(old[key], value) if key in {"audio", "input", "output"} else {**old[key], **value}
        else:
            merged[key] = value
    return merged


def _unsupported(param: str, value: Any, fix: str) -> Refused:
    return Refused("unsupported_value", f"This server does not support {value!r} for '{param}'.", fix, param)
