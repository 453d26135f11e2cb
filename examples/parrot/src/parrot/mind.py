"""A mind: it says again what it was told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar, Self

from chinwag.engines.protocols import About, Delta, Ending, EngineOptions, Message, Usage


class ParrotMind:
    """Needs no thread, as it does no work."""

    name: ClassVar[str] = "parrot"
    about: ClassVar[About] = About("Says again what it was told", "MIT")
    continues: ClassVar[bool] = False

    def __init__(self, phrase: str) -> None:
        self.model = "parrot"
        self._phrase = phrase

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """None to choose from."""
        return ()

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """No weights."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """`llm.options` may have a `phrase` to begin with."""
        return cls(str(options.only(cls.name, phrase="You said:")["phrase"]))

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        cache_key: str = "",
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> AsyncGenerator[Delta, None]:
        """Word by word; the last Delta says why it ended and what it cost."""
        said = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "nothing")
        words = f"{self._phrase} {said}".split()
        told = words[:max_tokens]
        for number, word in enumerate(told):
            yield Delta(word if number == 0 else f" {word}")
        yield Delta(finish_reason="stop" if len(told) == len(words) else "length", usage=Usage(output_tokens=len(told)))

    async def prefill(
        self, messages: Sequence[Message], *, cache_key: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Ending | None:
        """There is nothing to read ahead, and it cannot tell whether a sentence ends."""
        return None

    async def close(self) -> None:
        """Nothing to give back."""
