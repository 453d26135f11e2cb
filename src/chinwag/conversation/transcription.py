"""The words of items that the client committed or added as sound: awaited, found, told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chinwag.audio import Audio
from chinwag.conversation.events import Event, TranscriptionCompleted, TranscriptionFailed
from chinwag.conversation.history import History, MessageItem
from chinwag.engines.protocols import Transcriber
from chinwag.errors import ChinwagError

HEARING_TIMEOUT_S = 30.0
"""For the words of a whole recording that the client put into the conversation."""

log = logging.getLogger(__name__)


class ItemTranscriber:
    """Knows which items of the history still wait for their words. emit: is told of those that came."""

    def __init__(self, transcriber: Transcriber, history: History, emit: Callable[[Event], None]) -> None:
        self.transcriber, self._history, self._emit = transcriber, history, emit
        self._unknown: dict[str, asyncio.Future[None]] = {}

    @property
    def pending(self) -> bool:
        """Some item's words are still to come."""
        return bool(self._unknown)

    def expect(self, item_id: str) -> None:
        """The words of that item will come."""
        self._unknown[item_id] = asyncio.get_running_loop().create_future()

    async def wait_for_all(self) -> None:
        """Wait until the words expected now have come."""
        await asyncio.wait(list(self._unknown.values()))

    async def transcribe_item(self, entry: MessageItem, audio: Audio, language: str | None) -> None:
        """Transcribe an item's sound (16 kHz)."""
        text = await self.transcribe(audio, language)
        self.complete(entry.item_id, text or "", audio, failed=text is None)

    async def transcribe(self, audio: Audio, language: str | None) -> str | None:
        """The words of some sound (16 kHz); None where that failed."""
        try:
            utterance = self.transcriber.open(language)
            utterance.push(audio)
            async with asyncio.timeout(HEARING_TIMEOUT_S):
                return (await utterance.finish()).text.strip()
        except (ChinwagError, TimeoutError):
            log.warning("an item's sound was not recognised", exc_info=True)
            return None

    def complete(self, item_id: str, text: str, audio: Audio, *, failed: bool) -> None:
        """They came: into the history, and out to the client."""
        entry = self._history.find(item_id)
        if isinstance(entry, MessageItem):
            entry.heard_text, entry.audio = text, audio
        self.emit_transcript(item_id, text, audio, failed=failed)
        if waiting := self._unknown.pop(item_id, None):
            waiting.set_result(None)

    def emit_transcript(self, item_id: str, text: str, audio: Audio, *, failed: bool) -> None:
        """Out to the client alone."""
        if failed:
            message = "The words could not be recognised; please say it again."
            self._emit(TranscriptionFailed(item_id, message, self.transcriber.name))
        else:
            self._emit(TranscriptionCompleted(item_id, text, audio.seconds))
