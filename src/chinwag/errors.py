"""What can go wrong, in words a person can act on."""

from __future__ import annotations


class ChinwagError(Exception):
    """A fault with a next step.

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
    """An engine could not load or failed at its work. `engine` names it."""

    def __init__(self, message: str, fix: str = "", engine: str = "") -> None:
        super().__init__(message, fix)
        self.engine = engine


class PromptTooLong(EngineError):
    """What was asked is more than the language model can read."""


class Refused(ChinwagError):
    """The client asked for what cannot be done now. code, param: as an error on the wire names them."""

    def __init__(self, code: str, message: str, fix: str = "", param: str | None = None) -> None:
        super().__init__(message, fix)
        self.code, self.param = code, param


class StoreError(ChinwagError):
    """Conversations cannot be kept, or what is kept cannot be read."""
