"""The session object of the wire, and the settings it stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from chinwag.listen.endpoint import Endpointer
from chinwag.realtime import tools
from chinwag.session import Refused, Settings

OPENAI_VOICES = frozenset({"alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"})
"""A client that asks for one of these gets the server's own voice, so that it need not be changed."""

SERVER_VAD = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
"""OpenAI's defaults for `server_vad`."""

SLOWEST, FASTEST = 0.25, 1.5
"""OpenAI's limits for `speed`."""

SHORTEST_IDLE_MS, LONGEST_IDLE_MS = 5_000, 30_000
"""OpenAI's limits for `idle_timeout_ms`."""

PCM = {"type": "audio/pcm", "rate": 24000}


@dataclass(frozen=True)
class Defaults:
    """What a session begins with. voices: those the server can speak with, the first its own.

    client_mcp: addresses of MCP servers that a client may name; "*" for any.
    """

    settings: Settings
    model: str = ""
    transcription_model: str = ""
    voices: tuple[str, ...] = ()
    client_mcp: tuple[str, ...] = ()


class Configuration:
    """A session's object on the wire; each update is taken whole or not at all."""

    def __init__(self, session_id: str, defaults: Defaults) -> None:
        settings = defaults.settings
        self._defaults = defaults
        self.detector: Literal["all", "ear"] = "all"
        self.wire: dict[str, Any] = {
            "id": session_id,
            "object": "realtime.session",
            "type": "realtime",
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
            "audio": {
                "input": {
                    "format": PCM,
                    "transcription": {
                        "model": defaults.transcription_model,
                        "language": settings.hearing.language,
                    },
                    "noise_reduction": None,
                    "turn_detection": {
                        "type": "semantic_vad",
                        "eagerness": settings.hearing.endpointer.eagerness,
                        "create_response": True,
                        "interrupt_response": settings.interruption != "off",
                    },
                },
                "output": {
                    "format": PCM,
                    "voice": settings.style.voice or next(iter(defaults.voices), ""),
                    "speed": settings.style.speed,
                },
            },
        }

    @property
    def transcribes(self) -> bool:
        """The client wants to be told the words of its sound."""
        return self.wire["audio"]["input"]["transcription"] is not None

    def updated(self, update: dict[str, Any]) -> tuple[dict[str, Any], Settings]:
        """The object and the settings after an update that is not yet taken. Raises Refused for what cannot be."""
        kind = update.get("type", "realtime")
        if kind != "realtime":
            raise _unsupported("session.type", kind, "Sessions are of type 'realtime'.")
        wire = _merged(self.wire, {key: value for key, value in update.items() if key not in {"id", "object", "model"}})
        return wire, self._settings(wire)

    def for_response(self, asked: dict[str, Any]) -> Settings:
        """The settings of one response. Raises Refused for what cannot be."""
        for field in ("input", "prompt"):
            if asked.get(field):
                raise _unsupported(f"response.{field}", f"a value for {field}", "Leave it out.")
        if asked.get("conversation") not in (None, "auto"):
            raise _unsupported("response.conversation", asked["conversation"], "Use 'auto'.")
        fields = ["instructions", "output_modalities", "max_output_tokens", "audio", "tools", "tool_choice"]
        known = {field: asked[field] for field in fields if field in asked}
        own = asked.get("tools") is None  # a response with tools of its own has no others
        return self._settings(_merged(self.wire, known), own=own, where="response")

    def _settings(self, wire: dict[str, Any], *, own: bool = True, where: str = "session") -> Settings:
        before = self._defaults.settings
        offered = before.offer if own else replace(before.offer, own=None)
        heard, spoken = wire["audio"]["input"], wire["audio"]["output"]
        for side, form in (("input", heard["format"]), ("output", spoken["format"])):
            if form is not None and form.get("type") not in (None, "audio/pcm"):
                raise _unsupported(f"session.audio.{side}.format.type", form["type"], "Use 'audio/pcm' at 24000.")
        settings = self._turns(heard["turn_detection"], before)
        speed = 1.0 if spoken["speed"] is None else spoken["speed"]
        if not SLOWEST <= speed <= FASTEST:
            message = f"speed must be between {SLOWEST} and {FASTEST}."
            raise Refused("invalid_value", message, param="session.audio.output.speed")
        language = (heard["transcription"] or {}).get("language") or before.hearing.language
        limit = wire["max_output_tokens"]
        return replace(
            settings,
            instructions=wire["instructions"] if wire["instructions"] is not None else before.instructions,
            hearing=replace(settings.hearing, language=language, detector=self.detector),
            style=replace(before.style, voice=self._voice(spoken["voice"]), speed=speed),
            audio="audio" in (wire["output_modalities"] or ["audio"]),
            max_tokens=before.max_tokens if limit in (None, "inf") else int(limit),
            offer=tools.offer(wire["tools"] or (), wire["tool_choice"], offered, self._defaults.client_mcp, where),
        )

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

    def _turns(self, detection: dict[str, Any] | None, before: Settings) -> Settings:
        if detection is None:
            return replace(before, hearing=replace(before.hearing, automatic=False))
        answering = replace(
            before,
            create_response=detection.get("create_response") is not False,
            interruption=before.interruption if detection.get("interrupt_response") is not False else "off",
            idle_s=_idle_s(detection.get("idle_timeout_ms")) or before.idle_s,
        )
        if detection["type"] == "server_vad":
            vad = {**SERVER_VAD, **{key: value for key, value in detection.items() if value is not None}}
            for key, lowest, highest in (
                ("threshold", 0, 1),
                ("prefix_padding_ms", 0, 10_000),
                ("silence_duration_ms", 0, 10_000),
            ):
                if not lowest <= vad[key] <= highest:
                    param = f"session.audio.input.turn_detection.{key}"
                    raise Refused("invalid_value", f"{key} must be between {lowest} and {highest}.", param=param)
            hearing = replace(
                before.hearing,
                automatic=True,
                threshold=max(0.05, vad["threshold"]),
                padding_s=vad["prefix_padding_ms"] / 1000,
                endpointer=Endpointer(fixed_s=vad["silence_duration_ms"] / 1000),
            )
        else:
            eagerness = cast(Literal["low", "medium", "high", "auto"], detection.get("eagerness") or "auto")
            hearing = replace(before.hearing, automatic=True, endpointer=Endpointer(eagerness))
        return replace(answering, hearing=hearing)


def _idle_s(timeout_ms: int | None) -> float | None:
    """OpenAI's limits are 5 and 30 seconds."""
    if timeout_ms is None:
        return None
    if not SHORTEST_IDLE_MS <= timeout_ms <= LONGEST_IDLE_MS:
        message = f"idle_timeout_ms must be between {SHORTEST_IDLE_MS} and {LONGEST_IDLE_MS}."
        raise Refused("invalid_value", message, param="session.audio.input.turn_detection.idle_timeout_ms")
    return timeout_ms / 1000


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with the known keys of `new` laid over it, tables within tables; turn detection is replaced as a whole."""
    merged = dict(old)
    for key, value in new.items():
        if key not in old:
            continue
        if isinstance(old[key], dict) and isinstance(value, dict) and key != "turn_detection":
            merged[key] = _merged(old[key], value) if key in {"audio", "input", "output"} else {**old[key], **value}
        else:
            merged[key] = value
    return merged


def _unsupported(param: str, value: Any, fix: str) -> Refused:
    return Refused("unsupported_value", f"This server does not support {value!r} for '{param}'.", fix, param)
