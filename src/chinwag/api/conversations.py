"""/api/conversations: list, search, rename, delete and export stored conversations."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from chinwag.runtime.archive import ID
from chinwag.runtime.http_errors import ApiError, invalid_value
from chinwag.runtime.runtime import Runtime

if TYPE_CHECKING:
    from chinwag.store import StoredConversation, StoredItem

LONGEST_TITLE = 200
MOST = 100
"""Maximum conversations on one page of the list."""


class Change(BaseModel):
    """The new title of a conversation."""

    title: str = Field(min_length=1, max_length=LONGEST_TITLE)


def router(runtime: Runtime) -> APIRouter:
    """Return the routes."""
    routes, archive = APIRouter(prefix="/api/conversations"), runtime.archive

    async def one(conversation_id: str) -> StoredConversation:
        known = await archive.ask(lambda store: store.get(conversation_id)) if ID.fullmatch(conversation_id) else None
        if known is None:
            raise _missing(conversation_id)
        return known

    async def whole(conversation_id: str) -> tuple[StoredConversation, list[StoredItem]]:
        known = await one(conversation_id)
        return known, await archive.ask(lambda store: store.items(conversation_id))

    @routes.get("")
    async def newest(
        q: str = "", after: str | None = None, limit: Annotated[int, Query(ge=1, le=MOST)] = 20
    ) -> dict[str, Any]:
        """List conversations, latest first. q: words that they contain. after: last id of the previous page."""
        found: list[StoredConversation] = []
        if archive.on:
            found = await archive.ask(lambda store: store.newest(limit + 1, after, q))
        data = [_export().summary(each) for each in found[:limit]]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(found) > limit,
            "keep": archive.settings.keep,
            "audio": archive.settings.audio,
        }

    @routes.delete("")
    async def delete_all() -> dict[str, Any]:
        """Delete all conversations permanently."""
        return {"object": "list.deleted", "deleted": await archive.forget_all()}

    @routes.get("/{conversation_id}")
    async def get(conversation_id: str) -> dict[str, Any]:
        """Return a conversation with its items."""
        shown: dict[str, Any] = _export().as_json(*await whole(conversation_id))
        return shown

    @routes.patch("/{conversation_id}")
    async def rename(conversation_id: str, change: Change) -> dict[str, Any]:
        """Rename a conversation."""
        await one(conversation_id)
        title = " ".join(change.title.split())
        if not title:
            raise invalid_value("A title has at least one letter.", "title")
        await archive.rename(conversation_id, title)
        return dict(_export().summary(await one(conversation_id)))

    @routes.delete("/{conversation_id}")
    async def delete(conversation_id: str) -> dict[str, Any]:
        """Delete a conversation permanently."""
        if not (ID.fullmatch(conversation_id) and await archive.forget(conversation_id)):
            raise _missing(conversation_id)
        return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}

    @routes.get("/{conversation_id}/export")
    async def export(conversation_id: str, format: Literal["md", "json", "wav"] = "md") -> Response:
        """Export a conversation as Markdown, JSON, or stereo WAV if its audio was stored."""
        known, items = await whole(conversation_id)
        headers = _named(known, format)
        if format == "md":
            return Response(_export().as_markdown(known, items), 200, headers, "text/markdown; charset=utf-8")
        if format == "json":
            return JSONResponse(_export().as_json(known, items), 200, headers)
        sound = await archive.ask(lambda store: store.wav(conversation_id))
        if sound is None:
            message = "The audio of this conversation was not saved. Set store.audio to save audio."
            raise ApiError(404, message, "audio_not_kept", "format")
        return StreamingResponse(sound, 200, headers, "audio/wav")

    return routes


def _export() -> Any:
    from chinwag.store import export

    return export


def _missing(conversation_id: str) -> ApiError:
    message = f"There is no conversation {conversation_id[:80]!r} here."
    return ApiError(404, message, "conversation_not_found", "conversation_id")


def _named(one: StoredConversation, form: str) -> dict[str, str]:
    """Return headers with the file name: the title, and its ASCII form for old clients."""
    name = re.sub(r"[^\w .-]+", " ", one.title).strip(" .")[:80] or "conversation"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip() or "conversation"
    disposition = f"attachment; filename=\"{plain}.{form}\"; filename*=UTF-8''{quote(name)}.{form}"
    return {"Content-Disposition": disposition, "Cache-Control": "no-store"}
