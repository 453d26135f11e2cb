"""Errors of the engines' libraries, turned into one sentence with the next step; checks that engines share."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from chinwag.audio import LISTEN_RATE, Audio
from chinwag.engines.protocols import Task
from chinwag.errors import ChinwagError, EngineError
from chinwag.language import primary_subtag

NO_MEMORY = ("out of memory", "bad_alloc", "cannot allocate memory", "failed to allocate", "alloc_failed")
GPU = ("cuda", "cudnn", "cublas", "nvidia")
LONGEST = 300
"""Most characters of a library's message that are shown: some print their whole stack."""


def as_engine_error(error: Exception, task: Task, name: str) -> ChinwagError:
    """Turn an exception of an engine's `load` into an EngineError; a ChinwagError is returned unchanged."""
    if isinstance(error, ChinwagError):
        return error
    what, said = f"The {task} engine {name}", first_line(error)
    low = said.lower()
    on_gpu = any(word in low for word in GPU)
    if isinstance(error, MemoryError) or _errno(error) == errno.ENOMEM or any(word in low for word in NO_MEMORY):
        where = "the GPU has too little memory" if on_gpu else "there is too little memory"
        cpu = f', or set {task}.device = "cpu"' if on_gpu else ""
        return EngineError(
            f"{what} cannot be loaded: {where} ({said}).",
            f"Close other programs, or choose a smaller engine or model{cpu}.",
            name,
        )
    if on_gpu:
        return EngineError(
            f"{what} cannot use the GPU: {said}.",
            f'Set {task}.device = "cpu", or update the driver: `nvidia-smi` shows its version.',
            name,
        )
    if _errno(error) == errno.ENOSPC:
        return EngineError(f"{what} cannot be loaded: the disk is full.", "Free some space and try again.", name)
    if isinstance(error, ConnectionError | TimeoutError):
        return EngineError(
            f"{what} cannot reach its server: {said}.", f"Start that server, or correct {task}.base_url.", name
        )
    if isinstance(error, ImportError):
        return EngineError(
            f"{what} cannot be loaded: {said}.", "Install what it needs: `chinwag engines` shows the command.", name
        )
    return EngineError(f"{what} could not be loaded: {said}.", "Run chinwag doctor to find out why.", name)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text without a full stop; the class name if it has no text."""
    lines = str(error).strip().splitlines()
    return (lines[0].strip().rstrip(".")[:LONGEST] if lines else "") or type(error).__name__


def require_rate(audio: Audio, engine: str) -> None:
    """Raise EngineError unless the sound has 16 kHz."""
    if audio.rate != LISTEN_RATE:
        message = f"The engine {engine} takes sound at {LISTEN_RATE} Hz, not {audio.rate} Hz."
        raise EngineError(message, "Resample it first.", engine)


def require_language(languages: Sequence[str], language: str | None, model: str, engine: str) -> str | None:
    """Return the primary subtag of a language, or None; raise EngineError if it is not among `languages`.

    languages: supported subtags; ("*",) accepts all. model: how the error names the model.
    """
    code = primary_subtag(language) if language else None
    if code and "*" not in languages and code not in languages:
        supported = ", ".join(languages[:12]) + " …" * (len(languages) > 12)
        fix = "Correct stt.language, set it to auto, or choose another stt.model."
        raise EngineError(f"{model} supports {supported}, not {language}.", fix, engine)
    return code


def _errno(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None
