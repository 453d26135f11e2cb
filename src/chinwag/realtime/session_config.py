"""The session object of the wire, and its conversion to session settings."""

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
"""OpenAI's voices. A client that names one gets the server's default voice, so that it works unchanged."""

Kind = Literal["realtime", "transcription"]

REPLACED_FIELDS = frozenset({"turn_detection", "format"})
"""Objects that an update replaces instead of merging into them."""

MIN_SPEED, MAX_SPEED = 0.25, 1.5
"""OpenAI's limits for `speed`."""


@dataclass(frozen=True)
class Defaults:
    """The initial configuration of a session.

    voices: the server's voices, the default first. client_mcp: addresses of MCP servers that a client may name; "*"
    for any. max_duration_s: the session's longest duration. idle_timeout_s: the session ends after this time without
    activity of the user; None: never. assistant: the name of the assistant that the settings belong to. assistants:
    finds the assistants that a client may choose.
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
        """Find an assistant by name. Raises Refused if there is none."""
        if self.assistants:
            return self.assistants(assistant)
        if assistant == self.assistant:
            return AssistantProfile(self.settings)
        raise Refused("invalid_value", "This server has no assistants to choose from.", param="session.assistant")

    def with_settings(self, **overrides: Any) -> Defaults:
        """Return a copy that overrides these settings for every assistant."""

        def find(assistant: str) -> AssistantProfile:
            profile = self.profile(assistant)
            return replace(profile, settings=replace(profile.settings, **overrides))

        return replace(self, settings=replace(self.settings, **overrides), assistants=find)


def transcription_only(settings: SessionSettings) -> SessionSettings:
    """Return the settings of a transcription session, which makes no responses."""
    return replace(settings, create_response=False, drafts=False, idle_s=None, greeting="")


class SessionConfig:
    """The configuration of a session: its session object and the settings that the object has no field for.

    wire: the complete object; `session_object` is the part that a client gets. An update returns a changed copy, so
    that a refused update changes nothing.
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
                    "voice": _default_voice(defaults),
                    "speed": settings.style.speed,
                },
            },
        }

    @property
    def transcribes(self) -> bool:
        """Whether the client wants transcripts of its audio."""
        return self.wire["audio"]["input"]["transcription"] is not None

    def with_update(self, update: dict[str, Any]) -> tuple[SessionConfig, SessionSettings]:
        """Return the configuration and settings after a session.update. Raises Refused if the update is invalid."""
        kind = update.get("type") or self.kind
        if kind == "transcription":
            _check_transcription(update)
        fixed = {"id", "object", "model", "expires_at"}
        wire = _merged(self.wire, {key: value for key, value in update.items() if key not in fixed})
        wire["type"] = kind
        _name_formats(wire, "session")
        heard = wire["audio"]["input"]
        heard["turn_detection"] = turns.complete(heard["turn_detection"], self._base_settings)
        _check_details(wire)
        return self._with_wire(wire)

    def with_engines(self, defaults: Defaults, voice: str | None) -> tuple[SessionConfig, SessionSettings]:
        """Return the configuration and settings with other engines. Raises Refused if they lack the voice.

        voice: empty for the engine's default; None keeps the present one.
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
            spoken = {**spoken, "voice": voice or _default_voice(other._defaults)}
        audio = {"input": {**heard, "transcription": transcription}, "output": spoken}
        return other._with_wire({**self.wire, "model": defaults.model, "audio": audio})

    # --- settings without a field in the protocol ------------------------------------------------------------------

    @property
    def extension_fields(self) -> dict[str, Any]:
        """The fields of `chinwag.session.updated`."""
        settings = turns.apply(self.wire["audio"]["input"]["turn_detection"], self._base_settings)
        endpointer = settings.listening.endpointer
        return {
            "assistant": self.assistant,
            "language": self._spoken_language(self.wire),
            "interruption": settings.interruption,
            "patience": self._patience if endpointer.fixed_s is not None else endpointer.patience,
        }

    def with_extensions(self, fields: dict[str, Any]) -> tuple[SessionConfig, SessionSettings]:
        """Return the configuration and settings after a `chinwag.session.update`. Raises Refused if it is invalid.

        fields: as `extensions.read_fields` returns them.
        """
        other = copy.copy(self)
        wire = copy.deepcopy(self.wire)
        if "assistant" in fields:
            wire = other._set_assistant(fields["assistant"], wire)
        if "language" in fields:
            other._set_language(fields["language"], wire)
        detection = wire["audio"]["input"]["turn_detection"]
        if "interruption" in fields:
            other._interruption = fields["interruption"]
            if detection:
                detection["interrupt_response"] = other._interruption != "off"
        if "patience" in fields:
            other._set_patience(float(fields["patience"]), wire)
        return other._with_wire(wire)

    def _set_assistant(self, name: str, wire: dict[str, Any]) -> dict[str, Any]:
        """Change the assistant. Settings that it does not define stay as the client has set them."""
        profile, before, voice = self._defaults.profile(name), self._defaults.settings, _default_voice(self._defaults)
        after, self.assistant = profile.settings, name
        self._defaults = replace(self._defaults, settings=after, assistant=name)
        wire["instructions"], spoken = after.instructions, wire["audio"]["output"]
        if "voice" in profile.fixed or spoken["voice"] == voice:
            spoken["voice"] = _default_voice(self._defaults)
        if "speed" in profile.fixed or spoken["speed"] == before.style.speed:
            spoken["speed"] = after.style.speed
        if "language" in profile.fixed or self._spoken_language(wire) == (before.listening.language or AUTO_DETECT):
            self._set_language(after.listening.language or AUTO_DETECT, wire)
        if "patience" in profile.fixed or self.extension_fields["patience"] == before.listening.endpointer.patience:
            self._set_patience(after.listening.endpointer.patience, wire)
        return wire

    def _set_language(self, language: str, wire: dict[str, Any]) -> None:
        self._language = language
        if transcription := wire["audio"]["input"]["transcription"]:
            transcription["language"] = language

    def _set_patience(self, patience: float, wire: dict[str, Any]) -> None:
        self._patience = patience
        detection = wire["audio"]["input"]["turn_detection"]
        if detection and detection["type"] == "semantic_vad":
            detection["eagerness"] = nearest_eagerness(patience)

    def _spoken_language(self, wire: dict[str, Any]) -> str:
        """The language tag, or AUTO_DETECT."""
        return str((wire["audio"]["input"]["transcription"] or {}).get("language") or self._language)

    @property
    def _base_settings(self) -> SessionSettings:
        """The settings that the fields of the session object override."""
        settings = self._defaults.settings
        listening = replace(settings.listening, endpointer=Endpointer(self._patience))
        return replace(settings, listening=listening, interruption=self._interruption)

    def _with_wire(self, wire: dict[str, Any]) -> tuple[SessionConfig, SessionSettings]:
        """Return a copy with another session object, and its settings. Raises Refused if a value is invalid."""
        other = copy.copy(self)
        other.wire = wire
        return other, other._settings(wire)

    # ---------------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind:
        """Whether the session makes responses or only transcripts."""
        return cast(Kind, self.wire["type"])

    @property
    def session_object(self) -> dict[str, Any]:
        """The session object of the GA protocol for this type of session."""
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
        """The format of the client's audio."""
        return sound.find_format(self.wire["audio"]["input"]["format"], "session.audio.input.format")

    @property
    def output_format(self) -> AudioFormat:
        """The format of the audio that the client gets."""
        return sound.find_format(self.wire["audio"]["output"]["format"], "session.audio.output.format")

    def for_response(self, request: dict[str, Any]) -> tuple[SessionSettings, AudioFormat]:
        """Return the settings of one response and its audio format. Raises Refused if the request is invalid."""
        if self.kind == "transcription":
            fix = "Send a session.update with type 'realtime' first."
            raise Refused("unsupported_event", "A transcription session makes no responses.", fix, "type")
        if request.get("prompt"):
            raise _unsupported("response.prompt", "a value for prompt", "Leave it out.")
        if request.get("conversation") not in (None, "auto", "none"):
            raise _unsupported("response.conversation", request["conversation"], "Use 'auto' or 'none'.")
        if request.get("tools") and request.get("conversation") == "none":
            raise _unsupported(
                "response.tools",
                "tools outside of the conversation",
                "Leave the tools out, or set conversation to 'auto'.",
            )
        fields = ["instructions", "output_modalities", "max_output_tokens", "audio", "tools", "tool_choice"]
        wire = _merged(self.wire, {field: request[field] for field in fields if field in request})
        _name_formats(wire, "response")
        own_tools = request.get("tools") is None  # tools of the request replace the server's own
        settings = self._settings(wire, own_tools=own_tools, where="response")
        return settings, sound.find_format(wire["audio"]["output"]["format"], "response.audio.output.format")

    def _settings(self, wire: dict[str, Any], *, own_tools: bool = True, where: str = "session") -> SessionSettings:
        before = self._base_settings
        offered = before.tools if own_tools else replace(before.tools, own=None)
        heard, spoken = wire["audio"]["input"], wire["audio"]["output"]
        settings = turns.apply(heard["turn_detection"], before)
        speed = 1.0 if spoken["speed"] is None else spoken["speed"]
        if not MIN_SPEED <= speed <= MAX_SPEED:
            message = f"speed must be between {MIN_SPEED} and {MAX_SPEED}."
            raise Refused("invalid_value", message, param="session.audio.output.speed")
        limit = wire["max_output_tokens"]
        if isinstance(limit, int) and limit < 1:
            raise Refused("invalid_value", "max_output_tokens must be at least 1, or 'inf'.", param="max_output_tokens")
        settings = replace(
            settings,
            instructions=wire["instructions"] if wire["instructions"] is not None else before.instructions,
            listening=replace(
                settings.listening, language=requested_language(self._spoken_language(wire)), detector=self.detector
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
            voices = ", ".join(self._defaults.voices)
            raise Refused(
                "invalid_value",
                f"There is no voice {name!r}.",
                f"There are: {voices}.",
                "session.audio.output.voice",
            )
        return str(name)


def _default_voice(defaults: Defaults) -> str:
    return defaults.settings.style.voice or next(iter(defaults.voices), "")


def _check_transcription(update: dict[str, Any]) -> None:
    """Raise Refused if an update has fields that a transcription session lacks."""
    unknown = set(update) - {"id", "object", "type", "audio", "include", "expires_at"}
    audio = update.get("audio") or {}
    if "output" in audio:
        unknown.add("audio.output")
    for field in sorted(unknown):
        message = f"A transcription session has no '{field}'."
        raise Refused("unknown_parameter", message, "Leave it out.", f"session.{field}")
    if (audio.get("input") or {}).get("transcription", {}) is None:
        message = "A transcription session needs transcription."
        raise Refused("invalid_value", message, param="session.audio.input.transcription")


def _check_details(wire: dict[str, Any]) -> None:
    """Raise Refused for unsupported fields. Tracing and noise reduction are accepted without effect."""
    if wire["prompt"]:
        raise _unsupported("session.prompt", "a stored prompt", "Send its text as instructions.")
    if wire["include"]:
        raise _unsupported("session.include", wire["include"][0], "Leave it out: transcripts have no probabilities.")
    truncation = wire["truncation"] = wire["truncation"] or "auto"
    if truncation == "disabled":
        fix = "Use 'auto' or a retention_ratio: the oldest items are left out of a prompt that is too long."
        raise _unsupported("session.truncation", truncation, fix)
    if isinstance(truncation, dict):
        if not 0 <= truncation["retention_ratio"] <= 1:
            param = "session.truncation.retention_ratio"
            raise Refused("invalid_value", "retention_ratio must be between 0 and 1.", param=param)
        if truncation.get("token_limits"):
            fix = "Leave it out, or set llm.context_tokens in chinwag.toml."
            raise _unsupported("session.truncation.token_limits", "token limits", fix)


def _name_formats(wire: dict[str, Any], where: str) -> None:
    """Complete the audio formats. Raises Refused if one is unknown."""
    for side, fields in wire["audio"].items():
        fields["format"] = dict(sound.find_format(fields["format"], f"{where}.audio.{side}.format").wire)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge the known keys of `new` into a copy of `old`, recursively; REPLACED_FIELDS are replaced."""
    merged = dict(old)
    for key, value in new.items():
        if key not in old or (value is None and key in {"audio", "input", "output"}):
            continue
        if isinstance(old[key], dict) and isinstance(value, dict) and key not in REPLACED_FIELDS:
            merged[key] = _merged(old[key], value) if key in {"audio", "input", "output"} else {**old[key], **value}
        else:
            merged[key] = value
    return merged


def _unsupported(param: str, value: Any, fix: str) -> Refused:
    return Refused("unsupported_value", f"This server does not support {value!r} for '{param}'.", fix, param)
