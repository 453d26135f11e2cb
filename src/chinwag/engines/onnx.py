"""Opens ONNX models the same way for every engine that runs one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chinwag.errors import EngineError


def open_model(path: Path, engine: str, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU, used by one thread at a time.

    threads: 1 for small models; 2 for those a person waits for (no more than the machine has cores).
    Raises EngineError where the file is missing or cannot be read.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported: {error}.", "Install it: pip install onnxruntime.", engine
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(threads, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin while a call is on (it halves its time), never between calls: the cores are everybody's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, which share no base but this
        raise EngineError(
            f"The {engine} model {path.name} cannot be loaded: {_first_line(error)}.",
            "Run `chinwag models verify`, then `chinwag models pull` for what is damaged.",
            engine,
        ) from error


def weights_folder(weights: Any, name: str, engine: str) -> Path:
    """The folder of a catalog entry. Raises EngineError where it was not handed over."""
    folder = weights.get(name)
    if folder is None:
        raise EngineError(
            f"The weights {name} of the {engine} engine are not here.", f"Run `chinwag models pull {name}`.", engine
        )
    return Path(folder)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
