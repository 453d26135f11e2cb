"""ONNX models: how every engine opens them, and a base class for engines with one small model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from chinwag.engines.faults import first_line
from chinwag.engines.worker import Worker
from chinwag.errors import EngineError


class OnnxEngine:
    """An engine with one ONNX model and no choice of models. weights: its catalog name."""

    name: ClassVar[str]
    weights: ClassVar[str]

    def __init__(self, model: Any) -> None:
        self._model = model
        self._worker = Worker(self.name)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: there is no choice."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the model's catalog name."""
        return (cls.weights,)

    async def close(self) -> None:
        """End the thread and release the model."""
        self._worker.close()
        self._model = None


def open_model(path: Path, engine: str, threads: int = 1) -> Any:
    """Open an onnxruntime session on the CPU, for use by one thread at a time.

    threads: 1 for small models; 2 for models that a person waits for (at most the number of cores).
    Raises EngineError if the file is missing or cannot be read.
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
    # Threads spin during a call (which halves its time), but not between calls: other engines need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no other base
        raise EngineError(
            f"The {engine} model {path.name} cannot be loaded: {first_line(error)}.",
            "Run `chinwag models verify`, then `chinwag models pull` for damaged models.",
            engine,
        ) from error


def weights_folder(weights: Any, name: str, engine: str) -> Path:
    """Return the folder of a catalog name. Raises EngineError if the weights are not there."""
    folder = weights.get(name)
    if folder is None:
        raise EngineError(
            f"The weights {name} of the {engine} engine are not here.", f"Run `chinwag models pull {name}`.", engine
        )
    return Path(folder)
