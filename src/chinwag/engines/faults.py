"""Whatever a library raises while an engine loads, as one sentence with the next step."""

from __future__ import annotations

import errno

from chinwag.engines.protocols import Task
from chinwag.errors import ChinwagError, EngineError

NO_MEMORY = ("out of memory", "bad_alloc", "cannot allocate memory", "failed to allocate", "alloc_failed")
GPU = ("cuda", "cudnn", "cublas", "nvidia")
LONGEST = 300
"""Characters that are told: some libraries print their whole stack."""


def as_engine_error(error: Exception, task: Task, name: str) -> ChinwagError:
    """An error that says what to do stays as it is."""
    if isinstance(error, ChinwagError):
        return error
    what, said = f"The {task} engine {name}", _said(error)
    low = said.lower()
    on_gpu = any(word in low for word in GPU)
    if isinstance(error, MemoryError) or _number(error) == errno.ENOMEM or any(word in low for word in NO_MEMORY):
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
            f'Set {task}.device = "cpu", or update the driver: `nvidia-smi` tells its version.',
            name,
        )
    if _number(error) == errno.ENOSPC:
        return EngineError(f"{what} cannot be loaded: the disk is full.", "Free some space and try again.", name)
    if isinstance(error, ConnectionError | TimeoutError):
        return EngineError(
            f"{what} reaches no server: {said}.", f"Start that server, or correct {task}.base_url.", name
        )
    if isinstance(error, ImportError):
        return EngineError(
            f"{what} cannot be loaded: {said}.", "Install what it needs: `chinwag engines` tells the command.", name
        )
    return EngineError(f"{what} could not be loaded: {said}.", "Run chinwag doctor to find out why.", name)


def _said(error: Exception) -> str:
    """Its first line, without the full stop, which follows; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0].strip().rstrip(".")[:LONGEST] if lines else "") or type(error).__name__


def _number(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None
