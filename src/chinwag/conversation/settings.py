"""What a session is set to, and what each of its responses is made with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chinwag.engines.protocols import Message
from chinwag.listening.overlap import InterruptionMode
from chinwag.listening.turn import ListenerSettings
from chinwag.speech.synthesis import Style
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS
from chinwag.tools.offer import ToolOffer
from chinwag.tools.tool import Tool, ToolChoice

SEND_AHEAD_S = 0.4
"""Audio is sent this far ahead of playback: it covers a network's jitter, and a response still stops exactly."""


@dataclass(frozen=True)
class SessionSettings:
    """Settings of one session; a client can change them while it runs.

    audio: responses are spoken, else written. create_response: the end of a turn starts a response. interruption:
    which speech over a response stops it. drafts: begin a draft response at a likely end of turn. context_tokens: the
    model's context window. send_ahead_s: seconds of audio sent ahead of playback. client_ducks: the client lowers the
    volume itself. idle_s: seconds of silence after which the assistant speaks; None for never. greeting: spoken when
    the session begins. history_share: share of the context that stays when old items have to be left out.
    """

    instructions: str = DEFAULT_INSTRUCTIONS
    listening: ListenerSettings = field(default_factory=ListenerSettings)
    style: Style = field(default_factory=Style)
    audio: bool = True
    max_tokens: int | None = None
    create_response: bool = True
    interruption: InterruptionMode = "words"
    drafts: bool = True
    context_tokens: int = 4096
    send_ahead_s: float = SEND_AHEAD_S
    client_ducks: bool = False
    idle_s: float | None = None
    greeting: str = ""
    tools: ToolOffer = field(default_factory=ToolOffer)
    history_share: float = 0.5


@dataclass(frozen=True)
class ResponseOptions:
    """What one response is made with.

    The session derives the first part from its settings. The scheduler adds the rest.
    tag: a value of the client's that it finds again with the response. cache_key: names the session in the model's
    cache. heard_before: text of the same response that was heard earlier; the model continues it. preamble: text
    spoken before the model's. calls_model: the model writes what follows. is_filler: it only bridges the wait for a
    tool, and no prompt holds it.
    """

    instructions: str = ""
    style: Style = field(default_factory=Style)
    audio: bool = True
    max_tokens: int | None = None
    send_ahead_s: float = SEND_AHEAD_S
    client_ducks: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tag: Any = None
    messages: Sequence[Message] = ()
    cache_key: str = ""
    heard_before: str = ""
    preamble: str = ""
    calls_model: bool = True
    is_filler: bool = False

    @property
    def tool_definitions(self) -> list[dict[str, Any]]:
        """The tools as the model gets them."""
        return [tool.as_openai for tool in self.tools]

    @property
    def tools_size(self) -> int:
        """Bytes of the prompt that the tools take."""
        return len(json.dumps(self.tool_definitions).encode()) if self.tools else 0
