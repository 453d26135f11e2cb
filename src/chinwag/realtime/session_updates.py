"""Changes of a session's settings during the session: each is applied as a whole, or refused and nothing changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from chinwag.conversation.session import Session
from chinwag.engines.protocols import Engines
from chinwag.errors import EngineError, Refused
from chinwag.realtime import extensions
from chinwag.realtime.audio_format import InputDecoder
from chinwag.realtime.session_config import Defaults, SessionConfig
from chinwag.realtime.tool_events import SendEvent


class SessionUpdates:
    """Applies updates to a session and reports them to the client.

    config: the session object as it is now. input: decodes the client's audio.
    """

    def __init__(self, session: Session, config: SessionConfig, send_event: SendEvent) -> None:
        self._session, self.config, self._send_event = session, config, send_event
        self.input = InputDecoder(config.input_format)

    def apply(self, update: dict[str, Any]) -> None:
        """Apply the fields of a session object. Raises Refused or EngineError."""
        config, settings = self.config.with_update(update)
        self._session.update(settings)
        self.config = config

    def update(self, update: dict[str, Any]) -> None:
        """Apply a `session.update` and send `session.updated`. Raises Refused or EngineError."""
        self.apply(update)
        if self.config.kind == "transcription":
            self._session.cancel_response()
        self.set_input_format()
        self._send_event("session.updated", session=self.config.session_object)

    def set_input_format(self) -> None:
        """Decode the audio that follows in the format of the session object."""
        if self.config.input_format is not self.input.form:
            self.flush_input()
            self.input = InputDecoder(self.config.input_format)

    def flush_input(self) -> None:
        """Append the audio that the resampler still holds."""
        with suppress(Refused):  # the buffer was full
            self._session.append_audio(self.input.flush())

    def set_detector(self, event: dict[str, Any]) -> None:
        """Apply `chinwag.detector`, for comparisons: detect turns by the audio model alone ("ear") or by all cues."""
        detector = event.get("detector")
        if detector not in ("all", "ear"):
            raise Refused("invalid_value", "chinwag.detector has a detector: 'all' or 'ear'.", param="detector")
        self.config.detector = detector
        settings = self._session.settings
        self._session.update(replace(settings, listening=replace(settings.listening, detector=detector)))

    def update_extensions(self, event: dict[str, Any]) -> None:
        """Apply a `chinwag.session.update`. Raises Refused."""
        fields, before = extensions.read_fields(event.get("session")), self.config
        after, settings = before.with_extensions(fields)
        try:
            self._session.update(settings)
        except EngineError as error:  # an engine does not support the language
            param = f"session.{'language' if 'language' in fields else 'assistant'}"
            raise Refused("invalid_value", error.message, error.fix, param) from error
        self.config = after
        if after.wire != before.wire:
            self._send_event("session.updated", session=after.session_object)
        self._send_event("chinwag.session.updated", session=after.extension_fields)
        if after.assistant != before.assistant:
            self._session.greet()

    def change_engines(self, engines: Engines, defaults: Defaults, voice: str | None) -> None:
        """Continue with other engines. voice: empty for the engine's own, None for the present one.

        Raises Refused or EngineError.
        """
        config, settings = self.config.with_engines(defaults, voice)
        self._session.change_engines(engines, settings)
        self.config = config
        self._send_event("session.updated", session=config.session_object)
