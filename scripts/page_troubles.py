"""What can go wrong on the page, each made as the tests make it; the states of page_states go on here."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from browser.chromium import comes_true  # noqa: E402
from browser.fake_server import FakeServer  # noqa: E402
from page_states import Stage, state  # noqa: E402
from playwright.async_api import expect  # noqa: E402


async def told(stage: Stage, title: str) -> None:
    await expect(stage.page.get_by_role("alert").filter(has_text=title)).to_be_visible()


@state("Permission refused", browser=(("ask", True),), init="")
async def permission_refused(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "The microphone is not allowed")


@state("No microphone", browser=(("device", False),), init="")
async def no_microphone(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "No microphone was found")


def _throws(name: str, message: str) -> str:
    return f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException({message!r}, {name!r}); }};"


@state("The microphone is in use", init=_throws("NotReadableError", "Could not start audio source"))
async def microphone_in_use(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "The microphone is in use")


@state("The system keeps the microphone", init=_throws("NotAllowedError", "Permission denied by system"))
async def system_keeps_it(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "Your system keeps the microphone")


@state("The microphone was muted by the system, or a call")
async def microphone_silenced(stage: Stage) -> None:
    await stage.start()
    await stage.page.evaluate("ears.getAudioTracks()[0].dispatchEvent(new Event('mute'))")
    await told(stage, "Your system has muted the microphone")


@state("The microphone was unplugged")
async def microphone_gone(stage: Stage) -> None:
    await stage.whole_turn()
    await stage.page.evaluate("""navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('Requested device not found', 'NotFoundError'); };
        ears.getAudioTracks()[0].dispatchEvent(new Event('ended'))""")
    await told(stage, "The microphone is gone")


@state("The browser has paused all sound")
async def sound_paused(stage: Stage) -> None:
    await stage.start()
    await comes_true(stage.page, "window.__chinwag?.output?.context.state === 'running'")
    await stage.page.evaluate("__chinwag.output.context.suspend()")
    await told(stage, "The browser has paused all sound")


@state("No secure address", host="chinwag.test", init="")
async def not_secure(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "The microphone needs a secure address")


@state("An old browser", init="delete window.AudioWorkletNode")
async def old_browser(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "This browser cannot talk")


@state("The line broke in the middle of an answer: finding the way back", phone=True)
async def reconnecting(stage: Stage) -> None:
    wire = await stage.start()
    await wire.send("chinwag.session.resumable", resume="token", within_ms=60_000)
    await stage.ask(wire)
    await stage.reply(wire)
    stage.server.refuse, stage.server.silent = None, True
    await wire.close(1011)
    await stage.says("Reconnecting")
    await stage.page.wait_for_timeout(2_500)


def _full(server: FakeServer) -> None:
    server.refuse = {"code": "server_full", "message": "All 8 conversations are taken. Try again in a minute."}


@state("A visit while the server is away: shown by the service worker, which keeps nothing else")
async def away(stage: Stage) -> None:
    await comes_true(stage.page, "navigator.serviceWorker.controller?.state === 'activated'")
    stage.server.stop()
    await stage.server.stopped.wait()
    await stage.page.reload()
    await expect(stage.page.locator("#away-words")).to_contain_text("Trying again in")


@state("All places are taken", before=_full)
async def server_full(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "Everybody is talking")


def _queued(server: FakeServer) -> None:
    _full(server)
    assert server.refuse
    server.refuse.update(place=3, ticket="wait_1", retry_after_s=30)


@state("All places are taken: a place in the queue", before=_queued)
async def in_the_queue(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "Everybody is talking")
    await expect(stage.page.get_by_role("alert")).to_contain_text("2 are before you")
    await stage.says("Waiting for a place")


@state("The server restarts, and has finished its sentence first")
async def server_restarting(stage: Stage) -> None:
    wire = await stage.whole_turn()
    await wire.send("chinwag.session.resumable", resume="token", within_ms=60_000)
    await wire.send("chinwag.restarting", within_ms=30_000)
    stage.server.silent = True
    await wire.close(1012)
    await told(stage, "The server is restarting")


def _not_ready(server: FakeServer) -> None:
    server.refuse = {"code": "not_ready", "message": "The engines are still loading. Wait a few seconds."}


@state("Not ready after all", before=_not_ready)
async def not_ready(stage: Stage) -> None:
    await stage.press("Start")
    await told(stage, "The server is not ready yet")


@state("The server forgot the conversation")
async def connection_lost(stage: Stage) -> None:
    wire = await stage.whole_turn()
    stage.server.silent = True
    await wire.close(1011)
    await told(stage, "The connection was lost")


@state("An answer failed, and another engine is offered")
async def answer_failed(stage: Stage) -> None:
    wire = await stage.start()
    await stage.ask(wire)
    offer = {"label": "Use the embedded model", "engines": {"llm": {"engine": "embedded"}}}
    error = {"type": "server_error", "code": "llm_failed", "message": "Ollama does not answer.", "offer": offer}
    await wire.send("error", error=error)
    await told(stage, "That did not work")


@state("A setting was refused")
async def setting_refused(stage: Stage) -> None:
    wire = await stage.start()
    await stage.panel("Settings")
    await stage.page.get_by_label("Patience").fill("0.5")
    event = await wire.expect("chinwag.session.update", 2)
    error = {"code": "invalid_value", "message": "The patience must be from -1 to 1.", "event_id": event["event_id"]}
    await wire.send("error", error=error)
    await expect(stage.page.locator("#settings-trouble")).to_be_visible()


@state("The conversation was taken over elsewhere")
async def taken_over(stage: Stage) -> None:
    wire = await stage.start()
    await wire.send("error", error={"type": "server_error", "code": "conversation_taken_over", "message": "elsewhere"})
    await told(stage, "The conversation goes on elsewhere")


@state("Nothing was said while the button was held")
async def nothing_was_said(stage: Stage) -> None:
    await stage.press("Sound")
    await stage.page.get_by_role("radio", name="Hold to talk").check()
    await stage.press("Close")
    await stage.press("Start")
    wire = await stage.server.session()
    await stage.says("Ready: hold to talk")
    await stage.page.locator("#talk").hover()
    await stage.page.mouse.down()
    await stage.page.wait_for_timeout(800)
    await stage.page.mouse.up()
    await wire.expect("input_audio_buffer.commit")
    await wire.send("input_audio_buffer.committed", item_id="u1")
    await wire.send("conversation.item.input_audio_transcription.completed", item_id="u1", transcript="")
    await expect(stage.page.locator("#talk-hint")).not_to_be_empty()
