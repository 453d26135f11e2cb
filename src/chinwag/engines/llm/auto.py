"""llm.engine = "auto": Ollama if it runs and has a chat model, else the embedded model. Never a cloud."""

from __future__ import annotations

from typing import Any

from chinwag.engines.llm.ollama import detect


async def resolve_auto(settings: Any, timeout: float = 1.0) -> str:  # noqa: ASYNC109 - passed to `detect`
    """Return the engine's name, "ollama" or "embedded".

    Only llm.base_url, OLLAMA_HOST and Ollama's usual address on this machine are tried. timeout: seconds.
    """
    if settings.model.endswith(".gguf"):
        return "embedded"
    return "ollama" if await detect(settings, timeout) else "embedded"
