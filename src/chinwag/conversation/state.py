"""What the parts of one session share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chinwag.audio import WIRE_RATE
from chinwag.conversation.events import Event
from chinwag.conversation.history import History
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.protocols import Engines
from chinwag.tasks import TaskSet


@dataclass(eq=False)
class SessionState:
    """The state that more than one part of a session reads.

    speech_item_id: the item that the utterance under way will be; "" while the user is silent. received_samples: audio
    that the client has sent, at 24 kHz. tasks: work that ends with the session.
    """

    session_id: str
    engines: Engines
    settings: SessionSettings
    history: History
    emit: Callable[[Event], None]
    speech_item_id: str = ""
    received_samples: int = 0
    tasks: TaskSet = field(default_factory=TaskSet)

    @property
    def received_audio_ms(self) -> int:
        """How much audio the client has sent, in ms."""
        return self.received_samples * 1000 // WIRE_RATE
