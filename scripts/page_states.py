"""Every state of the page, each made with the tests' scripted server and a microphone that says what it is told.

A healthy server does not make most of them; the page, its sound and its browser are the real ones.
"""

from __future__ import annotations

import base64
import copy
import io
import sys
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # its browser and its server are the tests'

from browser.fake_server import FakeServer, Wire, status  # noqa: E402
from browser.sound import spoken  # noqa: E402
from browser.test_conversations import kept  # noqa: E402
from browser.test_engines import ENGINES  # noqa: E402
from browser.test_tools import ASKED, call  # noqa: E402
from playwright.async_api import Page, expect  # noqa: E402

QUESTION = "What is the capital of France?"
ANSWER = "Paris. It has been the capital of France for most of the last thousand years."
OTHERS = ("And how many people live there?", "A little over two million, and twelve million around it.")
RATE = 24_000

ASSISTANTS = [
    {"name": name, "title": title, "summary": summary}
    for name, title, summary in (
        ("companion", "Companion", "Talks about anything, briefly and plainly."),
        ("interviewer", "Interviewer", "Practises interviews with you: one question at a time."),
        ("language-partner", "Language partner", "Speaks the language you learn, corrects gently, keeps your words."),
        ("reading-companion", "Reading companion", "For people who cannot see the screen: all in words."),
    )
]

# A microphone that says what it is told, so that the levels in the pictures are those of speech.
MICROPHONE = """
  navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext();
    const mouth = context.createMediaStreamDestination();
    window.say = async (wav) => {
      const bytes = Uint8Array.from(atob(wav), (letter) => letter.charCodeAt(0));
      const sound = new AudioBufferSourceNode(context, { buffer: await context.decodeAudioData(bytes.buffer) });
      sound.connect(mouth);
      sound.start();
    };
    return (window.ears = mouth.stream);
  };"""


@dataclass
class Stage:
    """Where a state is made: the server, the page, and what the two say."""

    server: FakeServer
    page: Page
    question: NDArray[np.float32]
    answer: NDArray[np.float32]

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def says(self, words: str) -> None:
        await expect(self.page.locator("#state-words")).to_have_text(words)

    async def start(self) -> Wire:
        await self.press("Start")
        wire = await self.server.session()
        await self.says("Listening")
        return wire

    async def ask(self, wire: Wire, item: str = "u1", words: str = QUESTION) -> None:
        """They have said it, and it was understood."""
        await self.page.evaluate("say", wav(self.question))
        await self.page.wait_for_timeout(1_900)
        await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id=item)
        await wire.send("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id=item)
        await wire.send("conversation.item.input_audio_transcription.completed", item_id=item, transcript=words)

    async def reply(self, wire: Wire) -> None:
        """The answer is being spoken, and has come to its middle."""
        await wire.begin_answer()
        stages = {"last_words": -40.0, "draft_started": -20.0, "turn_decided": 180.0, "transcript_final": 120.0,
                  "first_token": 60.0, "first_clause": 150.0, "first_audio": 210.0}  # fmt: skip
        await wire.send("chinwag.trace", response_id="resp_a", item_id="u1", speech_end_ms=900, stages_ms=stages)
        await wire.say(ANSWER, self.answer)
        await wire.send("response.done", response={"id": "resp_a", "status": "completed"})
        await self.says("Speaking")
        await self.page.wait_for_timeout(1_600)

    async def whole_turn(self) -> Wire:
        """A question and its answer, heard to the end."""
        wire = await self.start()
        await self.ask(wire)
        await self.reply(wire)
        await self.says("Listening")
        return wire

    async def panel(self, name: str) -> None:
        await self.press(name)
        await expect(self.page.locator("dialog[open]")).to_be_visible()
        await self.page.wait_for_timeout(400)  # what it asks the server for


@dataclass(frozen=True)
class State:
    """A state of the page that the documentation shows.

    browser: arguments of `chromium`. init: a script that runs before the page's own. host: the host name in the
    page's address. before: prepares the server. phone: whether a picture at a phone's size is taken as well.
    """

    name: str
    words: str
    make: Callable[[Stage], Awaitable[None]]
    browser: tuple[tuple[str, Any], ...] = ()
    init: str = MICROPHONE
    host: str = "localhost"
    before: Callable[[FakeServer], None] | None = None
    phone: bool = False

    @property
    def screens(self) -> tuple[str, ...]:
        """Names of the screens that the state is shown on."""
        return ("desktop", "phone") if self.phone else ("desktop",)


STATES: list[State] = []


def state(
    words: str, **fields: Any
) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[Stage], Awaitable[None]]]:
    """Add the decorated function to STATES under its name."""

    def add(make: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
        STATES.append(State(make.__name__.replace("_", "-"), words, make, **fields))
        return make

    return add


def wav(samples: NDArray[np.float32]) -> str:
    """In base64."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()


async def voices() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Question and answer, spoken by a real engine."""
    return await spoken(QUESTION, before=0.1, after=0.2), await spoken(ANSWER, before=0.0, after=0.2)


# --- before a talk ------------------------------------------------------------------------------------------


@state("Ready: who answers is chosen with one press, or left as it is", phone=True)
async def idle(stage: Stage) -> None:
    await expect(stage.page.get_by_role("radio", name="Companion Talks")).to_be_checked()
    await stage.says("Ready")


def _fetching(server: FakeServer) -> None:
    files = [{"name": "qwen2.5-coder-0.5b", "done": 180_000_000, "total": 398_000_000},
             {"name": "moonshine-tiny-en", "done": 43_000_000, "total": 43_000_000},
             {"name": "hibari", "done": 9_000_000, "total": 44_000_000}]  # fmt: skip
    done, total = sum(file["done"] for file in files), sum(file["total"] for file in files)  # type: ignore[misc]
    weights = {"done": done, "total": total, "bytes_per_s": 12_400_000.0, "seconds_left": 21.0, "files": files}
    server.status = status("fetching", weights=weights)


@state("First start: the models are fetched", before=_fetching)
async def downloading(stage: Stage) -> None:
    await stage.says("Getting ready")


def _loading(server: FakeServer) -> None:
    told = status("loading")
    told["engines"]["llm"] |= {"state": "loading", "load_ms": None}
    server.status = told


@state("Each start: the engines are loaded", before=_loading)
async def loading(stage: Stage) -> None:
    await stage.says("Getting ready")


def _failed(server: FakeServer) -> None:
    told = status("failed", error={"message": "The llm engine could not load.", "fix": "Run “chinwag doctor”."})
    told["engines"]["llm"] |= {"state": "failed", "detail": "the file is damaged", "load_ms": None}
    server.status = told


@state("An engine could not load", before=_failed)
async def failed(stage: Stage) -> None:
    await stage.says("Not working")


def _unreachable(server: FakeServer) -> None:
    server.status = None


@state("The server does not answer", before=_unreachable)
async def unreachable(stage: Stage) -> None:
    await stage.says("No server")
    await expect(stage.page.locator(".trouble")).to_be_visible()


def _keyless(server: FakeServer) -> None:
    server.status = status(key_required=True)


@state("A server that wants a key", before=_keyless)
async def key(stage: Stage) -> None:
    await stage.says("It wants a key")


# --- in a talk ----------------------------------------------------------------------------------------------


@state("Listening")
async def listening(stage: Stage) -> None:
    await stage.start()
    await stage.page.wait_for_timeout(500)


@state("Hearing you: the words so far, and your voice above the line")
async def hearing(stage: Stage) -> None:
    wire = await stage.start()
    await stage.page.evaluate("say", wav(stage.question))
    await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id="u1")
    await stage.page.wait_for_timeout(1_500)
    await wire.send("chinwag.transcript.partial", item_id="u1", text="What is the capital")
    await stage.says("Hearing you")


@state("Thinking")
async def thinking(stage: Stage) -> None:
    wire = await stage.start()
    await stage.ask(wire)
    await stage.says("Thinking")


@state("Speaking: the word at your ear is marked, its voice is below the line", phone=True)
async def speaking(stage: Stage) -> None:
    wire = await stage.start()
    await stage.ask(wire)
    await stage.reply(wire)


@state("Speaking softly, while somebody may be cutting in")
async def ducked(stage: Stage) -> None:
    wire = await stage.start()
    await stage.ask(wire)
    await stage.reply(wire)
    await wire.send("chinwag.duck", response_id="resp_a", item_id="item_a")
    await stage.page.evaluate("say", wav(stage.question))
    await stage.says("Speaking softly")
    await stage.page.wait_for_timeout(900)


@state("Interrupted: the answer ends where your ear did")
async def interrupted(stage: Stage) -> None:
    wire = await stage.start()
    await stage.ask(wire)
    await stage.reply(wire)
    await stage.page.evaluate("say", wav(stage.question))
    await stage.page.wait_for_timeout(500)
    await wire.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id="u2")
    await wire.send("chinwag.transcript.partial", item_id="u2", text="And how many people")
    await stage.page.wait_for_timeout(900)
    await stage.says("Hearing you")


@state("Muted")
async def muted(stage: Stage) -> None:
    await stage.whole_turn()
    await stage.press("Mute")
    await stage.says("Muted: it cannot hear you")


@state("Typing, without a microphone")
async def typing(stage: Stage) -> None:
    await stage.page.get_by_label("Type a message").fill(QUESTION)
    await stage.page.keyboard.press("Enter")
    wire = await stage.server.session()
    await stage.reply(wire)
    await stage.says("Ready for what you type")


async def _way(stage: Stage, name: str) -> None:
    await stage.press("Sound")
    await stage.page.get_by_role("radio", name=name).check()
    await stage.press("Close")
    await stage.press("Start")
    await stage.server.session()


@state("Hold to talk")
async def push_to_talk(stage: Stage) -> None:
    await _way(stage, "Hold to talk")
    await stage.says("Ready: hold to talk")


@state("Hold to talk, held", phone=True)
async def push_to_talk_held(stage: Stage) -> None:
    await _way(stage, "Hold to talk")
    await stage.page.locator("#talk").hover()
    await stage.page.mouse.down()
    await stage.page.evaluate("say", wav(stage.question))
    await stage.page.wait_for_timeout(1_500)
    await stage.says("Hearing you")


@state("A tool asks for leave, another has been used", phone=True)
async def tool_approval(stage: Stage) -> None:
    wire = await stage.start()
    await stage.ask(wire, words="What time is it? And open the front door.")
    await wire.send("conversation.item.added", item=call(output="Noon."))
    await wire.send("conversation.item.added", item=ASKED)
    await expect(stage.page.get_by_role("button", name="Allow", exact=True)).to_be_visible()


@state("Where the time of an answer went")
async def stages(stage: Stage) -> None:
    await stage.whole_turn()
    await stage.page.locator(".turn.assistant .time summary").click()
    await stage.page.locator(".turn.assistant .time dl").scroll_into_view_if_needed()


@state("A conversation that was kept, opened to go on")
async def reopened(stage: Stage) -> None:
    stage.server.conversations = _conversations()
    await stage.panel("Conversations")
    await stage.page.locator("#conversations-list .open").first.click()
    await expect(stage.page.locator(".divider")).to_contain_text("Press Start or type to go on")


# --- panels -------------------------------------------------------------------------------------------------


def _conversations() -> list[dict[str, Any]]:
    return [
        kept(2, "The capital of France", QUESTION, ANSWER, *OTHERS),
        kept(1, "Dinner", "What shall we eat?", "Soup."),
    ]


@state("Settings: they count at once", phone=True)
async def settings(stage: Stage) -> None:
    await stage.start()
    await stage.panel("Settings")


@state("Sound: how you talk, and by which devices")
async def sound(stage: Stage) -> None:
    await stage.start()
    await stage.panel("Sound")


@state("Engines: changed while you talk")
async def engines(stage: Stage) -> None:
    stage.server.engines = copy.deepcopy(ENGINES)
    await stage.start()
    await stage.panel("Engines")


@state("Conversations: searched, opened, renamed, saved, deleted")
async def conversations(stage: Stage) -> None:
    stage.server.conversations = _conversations()
    await stage.panel("Conversations")
    await stage.page.locator("#conversations-list summary").first.click()


@state("Timing: over all answers of the conversation")
async def timing(stage: Stage) -> None:
    await stage.whole_turn()
    await stage.panel("Timing")
