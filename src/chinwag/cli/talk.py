"""`chinwag talk`: a conversation in the terminal, with a microphone and a loudspeaker or with files."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from chinwag import config
from chinwag.audio import WIRE_RATE, Audio
from chinwag.client_sdk import wav
from chinwag.client_sdk.client import RealtimeClient, ReceivedEvent
from chinwag.client_sdk.connect import connect
from chinwag.client_sdk.devices import open_devices
from chinwag.client_sdk.local_server import fetch_status, local_server, wait_ready
from chinwag.client_sdk.playback import ListenerPlayback
from chinwag.errors import ChinwagError

NO_SPEECH_AFTER = 8.0
"""Seconds after the end of the input in which the server has to notice that somebody spoke."""
NO_ANSWER_AFTER = 30.0
"""Seconds without anything from the server, while it owes an answer."""
SETTLED_FOR = 0.5


class TalkError(ChinwagError):
    """The conversation did not come to its end."""


def talk(
    url: Annotated[
        str | None, typer.Option(help="A running server; without it, the one here, or one just for this talk.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="Speak this WAV (any rate) instead of the microphone.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", help="Write the answers as heard to this WAV: 24 kHz mono PCM16.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="The server's key, where it wants one.")] = None,
) -> None:
    """Talk in the terminal.

    With --input the file is spoken at real speed, one or several turns, and the talk ends when the last answer has.
    Speaking during an answer interrupts it, in a file as well. --output holds the answers one after the other as
    they were heard; silence between them is cut to half a second.
    """
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    if target is not None and source is None:
        raise TalkError("--output needs --input: answers to a microphone are played.", "Give both, or neither.")
    if target is not None and not target.absolute().parent.is_dir():
        raise TalkError(f"There is no folder {target.absolute().parent}.", "Make it, or name another file.")
    spoken = wav.read(source) if source is not None else None
    try:
        asyncio.run(_talk(url, spoken, target, api_key, out, err))
    except KeyboardInterrupt:
        raise typer.Exit(130 if source else 0) from None


async def _talk(
    url: str | None, spoken: Audio | None, target: Path | None, api_key: str | None, out: Console, err: Console
) -> None:
    def tell(line: str) -> None:
        err.print(line, style="dim", markup=False, soft_wrap=True)

    async with contextlib.AsyncExitStack() as stack:
        sound = await stack.enter_async_context(open_devices()) if spoken is None else None
        if url is None:
            server = config.load().server
            api_key = api_key or next(iter(server.api_keys), None)
            url = f"ws://{'127.0.0.1' if server.host in ('0.0.0.0', '::') else server.host}:{server.port}"
            if await fetch_status(url, api_key) is None:
                tell(f"No server answers at {url}; starting one for this talk (chinwag serve keeps one running).")
                url = (await stack.enter_async_context(local_server(tell))).url
        await wait_ready(url, tell, api_key)
        ear = ListenerPlayback()
        line = await stack.enter_async_context(connect(url, api_key=api_key, playback=sound.playback if sound else ear))
        screen = stack.enter_context(TalkScreen(out))
        if sound is not None:
            line.microphone = sound.microphone
            tell("Speak; Ctrl-C ends. Headphones keep the answer out of the microphone.")
            await _listen(line, screen)
        elif spoken is not None:
            try:
                await speak_and_listen(line, spoken, screen)
            finally:
                if target is not None and ear.pieces:
                    wav.write(target, ear.recording())


async def _listen(line: RealtimeClient, screen: TalkScreen) -> None:
    while True:
        async for arrived in line.events(3600):
            screen.on_event(arrived, line)


async def speak_and_listen(line: RealtimeClient, spoken: Audio, screen: TalkScreen) -> None:
    """Say it all, then listen until every turn in it was answered and heard.

    Raises TalkError where the server hears no speech in it, or falls silent, or every answer fails.
    """
    start = line.speak(spoken)
    end = line.time_of(start + spoken.seconds * WIRE_RATE)
    owed = PendingWork()
    last, quiet_since = end, end
    while True:
        async for arrived in line.events(0.05):
            screen.on_event(arrived, line)
            owed.on_event(arrived)
            last = max(last, arrived.at)
        now = line.now()
        if now < end or owed.pending or not line.playback.idle(now) or not owed.turns:
            quiet_since = now
        if not owed.turns and now - end > NO_SPEECH_AFTER:
            raise TalkError("The server heard no speech in the input.", "Play the file: is it loud and clear enough?")
        if owed.pending and line.playback.idle(now) and now - last > NO_ANSWER_AFTER:
            raise TalkError(
                f"The server owes an answer and has said nothing for {NO_ANSWER_AFTER:.0f} s.",
                "See the server's own output, or: chinwag doctor",
            )
        if now - quiet_since > SETTLED_FOR:
            break
    if owed.failures and not owed.responses:
        raise TalkError(f"No answer came: {owed.failures[-1]}.", "See what is wrong with: chinwag doctor")
    if not owed.responses:
        raise TalkError("The server understood no words in the input, so it did not answer.", "Speak more clearly.")


class PendingWork:
    """What the server has still to do, from its events: end a turn, begin an answer or finish one, run a tool."""

    def __init__(self) -> None:
        self.turns = 0
        self.responses = 0
        self.failures: list[str] = []
        self._speaking = False
        self._unanswered: set[str] = set()
        self._replying: set[str] = set()
        self._running: set[str] = set()

    @property
    def pending(self) -> bool:
        """Whether there is more to wait for."""
        return self._speaking or bool(self._unanswered or self._replying or self._running)

    def on_event(self, arrived: ReceivedEvent) -> None:
        """Follow one event."""
        event = arrived.event
        match arrived.type:
            case "input_audio_buffer.speech_started":
                self.turns += 1
                self._speaking = True
            case "input_audio_buffer.committed":
                self._speaking = False
                self._unanswered.add(event["item_id"])
            case "conversation.item.input_audio_transcription.completed" if not event["transcript"].strip():
                self._unanswered.discard(event["item_id"])  # nothing was said, so nothing is answered
            case "conversation.item.input_audio_transcription.failed":
                self._unanswered.discard(event["item_id"])
                self.failures.append(event["error"].get("message") or "the words could not be made out")
            case "conversation.item.deleted":
                self._unanswered.discard(event["item_id"])
            case "response.created":
                self._unanswered.clear()
                self._replying.add(event["response"]["id"])
            case "response.mcp_call.in_progress":
                self._running.add(event["item_id"])
            case "response.mcp_call.completed" | "response.mcp_call.failed":  # and then it is answered
                self._running.discard(event["item_id"])
                self._unanswered.add(event["item_id"])
            case "response.done":
                self._replying.discard(event["response"]["id"])
                if event["response"].get("status") == "failed":
                    details = event["response"].get("status_details") or {}
                    self.failures.append((details.get("error") or {}).get("message") or "it failed")
                else:
                    self.responses += 1


class TalkScreen:
    """Prints the conversation: words as they come on a terminal, whole turns elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._answer = ""
        self._items: dict[str, str] = {}
        self._ends: dict[str, tuple[float, float | None]] = {}

    def __enter__(self) -> TalkScreen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._answer:
            self._print("AI", f"{self._answer.strip()} –")
        if self._live:
            self._live.stop()

    def on_event(self, arrived: ReceivedEvent, line: RealtimeClient) -> None:
        """Show what one event tells."""
        event = arrived.event
        match arrived.type:
            case "chinwag.transcript.partial":
                self._show_live("You", event["text"])
            case "conversation.item.input_audio_transcription.completed":
                if event["transcript"].strip():
                    self._print("You", event["transcript"].strip())
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self._answer += event["delta"]
                self._items[event["response_id"]] = event["item_id"]
                self._show_live("AI", self._answer.strip())
            case "chinwag.trace":
                end = line.time_of(event["speech_end_ms"] * WIRE_RATE / 1000)
                self._ends[event["response_id"]] = (end, event["stages_ms"].get("first_audio"))
            case "response.done":
                self._done(event["response"], line)
            case "error":
                self._console.print(
                    event["error"].get("message", "The server reports an error."), style="red", markup=False
                )

    def _done(self, response: dict[str, object], line: RealtimeClient) -> None:
        if self._answer.strip():
            cut = " –" if response.get("status") == "cancelled" else ""
            self._print("AI", self._answer.strip() + cut)
            self._answer = ""
        response_id = str(response["id"])
        if response_id in self._ends:
            end, told = self._ends.pop(response_id)
            onsets = line.playback.onsets() if isinstance(line.playback, ListenerPlayback) else {}
            onset = onsets.get(self._items.get(response_id, ""))
            after = told if onset is None else (onset - end) * 1000
            if after is not None:
                self._console.print(f"    answered after {after:.0f} ms", style="dim")

    def _show_live(self, who: str, text: str) -> None:
        if self._live:
            self._live.update(Text.assemble((f"{who}: ", "bold dim"), (text, "dim")), refresh=True)

    def _print(self, who: str, text: str) -> None:
        if self._live:
            self._live.update(Text(""), refresh=True)
        self._console.print(Text.assemble((f"{who}: ", "bold"), text))
