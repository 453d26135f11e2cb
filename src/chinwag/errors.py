"""The errors that a person can meet: each says what happened and what to do."""

from __future__ import annotations


class ChinwagError(Exception):
    """Base class of all errors with a next step.

    message: one sentence that says what happened.
    fix: one sentence that says what to do about it; may be empty.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message, self.fix = message, fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class ConfigError(ChinwagError):
    """A setting is unknown or has a value that cannot be used."""


class WeightsError(ChinwagError):
    """Weights are missing, damaged, or could not be fetched."""


class EngineError(ChinwagError):
    """An engine could not load or failed later. `engine` is its name."""

    def __init__(self, message: str, fix: str = "", engine: str = "") -> None:
        super().__init__(message, fix)
        self.engine = engine


class PromptTooLong(EngineError):
    """The prompt is longer than the language model's context."""


class Refused(ChinwagError):
    """A client's request is not possible now. code, param: the fields of the error event on the wire."""

    def __init__(self, code: str, message: str, fix: str = "", param: str | None = None) -> None:
        super().__init__(message, fix)
        self.code, self.param = code, param


class StoreError(ChinwagError):
    """Conversations cannot be stored, or stored ones cannot be read."""
