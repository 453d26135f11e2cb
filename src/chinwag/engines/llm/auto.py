"""llm.engine = "auto": Ollama where one answers with a chat model, else the embedded model. Never a cloud."""

from __future__ import annotations

from typing import Any

from chinwag.engines.llm.ollama import detect


async def resolve_auto(settings: Any, timeout: float = 1.0) -> str:  # noqa: ASYNC109 - handed on
    """The engine's name, "ollama" or "embedded".

    Ollama is looked for only at llm.base_url, OLLAMA_HOST, or its usual address on this machine.
    """
    if settings.model.endswith(".gguf"):
        return "embedded"
    return "ollama" if await detect(settings, timeout) else "embedded"
