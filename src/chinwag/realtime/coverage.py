"""The Realtime API's events and how far this server supports them.

scripts/realtime_table.py writes the tables into docs/realtime-api.md; tests check the server against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["implemented", "tools", "webrtc", "absent"]

STATE_LABELS: dict[State, str] = {
    "implemented": "yes",
    "tools": "with tools",
    "webrtc": "over WebRTC",
    "absent": "no",
}


@dataclass(frozen=True)
class Covered:
    """Support of an event. absent: refused if a client sends it, and never sent by the server. why: the reason."""

    state: State
    why: str = ""


_YES, _TOOLS, _WEBRTC = Covered("implemented"), Covered("tools"), Covered("webrtc")

CLIENT: dict[str, Covered] = {
    "conversation.item.create": Covered("implemented", "text and sound; no images"),
    "conversation.item.delete": _YES,
    "conversation.item.retrieve": _YES,
    "conversation.item.truncate": _YES,
    "input_audio_buffer.append": _YES,
    "input_audio_buffer.clear": _YES,
    "input_audio_buffer.commit": _YES,
    "output_audio_buffer.clear": Covered("webrtc", "over a WebSocket the client has the buffer: refused"),
    "response.cancel": _YES,
    "response.create": Covered("implemented", "also outside of the conversation"),
    "session.update": Covered("implemented", "types realtime and transcription"),
}
"""Client events by type."""

SERVER: dict[str, Covered] = {
    "conversation.created": Covered("absent", "a session has one conversation; responses carry its id"),
    "conversation.item.added": _YES,
    "conversation.item.created": Covered("absent", "the beta's name of conversation.item.added"),
    "conversation.item.deleted": _YES,
    "conversation.item.done": _YES,
    "conversation.item.input_audio_transcription.completed": _YES,
    "conversation.item.input_audio_transcription.delta": Covered("implemented", "once, with all the words"),
    "conversation.item.input_audio_transcription.failed": _YES,
    "conversation.item.input_audio_transcription.segment": Covered("absent", "speakers are not told apart"),
    "conversation.item.retrieved": _YES,
    "conversation.item.truncated": _YES,
    "error": _YES,
    "input_audio_buffer.cleared": _YES,
    "input_audio_buffer.committed": _YES,
    "input_audio_buffer.dtmf_event_received": Covered("absent", "of SIP calls, which there are none of"),
    "input_audio_buffer.speech_started": _YES,
    "input_audio_buffer.speech_stopped": _YES,
    "input_audio_buffer.timeout_triggered": _YES,
    "mcp_list_tools.completed": _TOOLS,
    "mcp_list_tools.failed": _TOOLS,
    "mcp_list_tools.in_progress": _TOOLS,
    "output_audio_buffer.cleared": _WEBRTC,
    "output_audio_buffer.started": _WEBRTC,
    "output_audio_buffer.stopped": _WEBRTC,
    "rate_limits.updated": Covered("absent", "there are no limits of rate"),
    "response.content_part.added": _YES,
    "response.content_part.done": _YES,
    "response.created": _YES,
    "response.done": Covered("implemented", "with usage in tokens of text"),
    "response.function_call_arguments.delta": _TOOLS,
    "response.function_call_arguments.done": _TOOLS,
    "response.mcp_call.completed": _TOOLS,
    "response.mcp_call.failed": _TOOLS,
    "response.mcp_call.in_progress": _TOOLS,
    "response.mcp_call_arguments.delta": _TOOLS,
    "response.mcp_call_arguments.done": _TOOLS,
    "response.output_audio.delta": _YES,
    "response.output_audio.done": _YES,
    "response.output_audio_transcript.delta": Covered("implemented", "a clause at a time, with its sound"),
    "response.output_audio_transcript.done": _YES,
    "response.output_item.added": _YES,
    "response.output_item.done": _YES,
    "response.output_text.delta": _YES,
    "response.output_text.done": _YES,
    "session.created": _YES,
    "session.updated": _YES,
}
"""Server events by type."""


def tables() -> str:
    """Format both tables as Markdown."""
    parts = []
    for title, events in (("Client events", CLIENT), ("Server events", SERVER)):
        rows = "\n".join(
            f"| `{kind}` | {STATE_LABELS[covered.state]} | {covered.why} |" for kind, covered in events.items()
        )
        parts.append(f"### {title}\n\n| event | supported | |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)
