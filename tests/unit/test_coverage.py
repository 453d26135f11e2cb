"""Every event of the `openai` package is in the table, and what the table says is so."""

from __future__ import annotations

import base64

import pytest
from realtime_table import PAGE, filled
from wire import LONG, SERVER_EVENTS, connected, user

from chinwag.audio import WIRE_RATE, silence
from chinwag.engines.fake import FakeChat, Fakes, FakeTranscriber, loud
from chinwag.errors import EngineError
from chinwag.realtime.client_events import CLIENT_EVENTS
from chinwag.realtime.coverage import CLIENT, SERVER

pytestmark = pytest.mark.unit


def test_the_table_has_every_event_there_is_and_no_other() -> None:
    assert CLIENT.keys() == CLIENT_EVENTS.keys()
    assert SERVER.keys() == SERVER_EVENTS.keys()


def test_what_is_absent_says_why() -> None:
    assert all(told.why for told in (*CLIENT.values(), *SERVER.values()) if told.state == "absent")


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert page == filled(page), "run python scripts/realtime_table.py"


async def test_every_implemented_event_is_really_there() -> None:
    """Two short sessions in which all of them happen; each is checked against its official type as it comes."""
    sent: set[str] = set()
    seen: set[str] = set()
    fakes = Fakes(llm=FakeChat(answer=LONG))
    async with connected(fakes) as client:

        def send(kind: str, **fields: object) -> None:
            errors = len(client.all("error"))
            client.send(kind, **fields)
            assert len(client.all("error")) == errors, client.told[-1]
            sent.add(kind)

        detection = {"type": "server_vad", "idle_timeout_ms": 5000, "silence_duration_ms": 300}
        send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
        send("conversation.item.create", item=user("Hello.", id="hello"))
        send("conversation.item.retrieve", item_id="hello")
        send("conversation.item.delete", item_id="hello")
        send("input_audio_buffer.append", audio=base64.b64encode(silence(0.2, WIRE_RATE).to_pcm16()).decode())
        send("input_audio_buffer.clear")
        await client.play(loud(0.6))
        await client.quiet_until("response.output_audio.delta", 10)
        send("response.cancel")
        item_id = client.all("response.output_audio.delta")[0]["item_id"]
        send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=100)
        fakes.llm.answer = "Short."
        await client.play(loud(0.6))
        await client.quiet_until("input_audio_buffer.timeout_triggered")
        await client.quiet_until("response.done", 3)
        send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        await client.play(silence(1.0, WIRE_RATE))
        send("response.create")
        await client.quiet_until("response.done", 4)
        client.refused("no.such.event")
        seen |= {event["type"] for event in client.told}
    failing = Fakes(stt=FakeTranscriber(failure=EngineError("The transcriber is gone.", "Start it again.")))
    async with connected(failing) as client:
        client.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
        await client.play(loud(0.5))
        client.send("input_audio_buffer.commit")
        sent.add("input_audio_buffer.commit")
        await client.quiet_until("conversation.item.input_audio_transcription.failed")
        seen |= {event["type"] for event in client.told}
    assert {kind for kind, told in SERVER.items() if told.state == "implemented"} - seen == set()
    assert {kind for kind, told in CLIENT.items() if told.state == "implemented"} - sent == set()
    assert not seen & {kind for kind, told in SERVER.items() if told.state == "absent"}


@pytest.mark.parametrize("kind", [kind for kind, told in CLIENT.items() if told.state in ("absent", "webrtc")])
async def test_what_is_not_there_is_refused(kind: str) -> None:
    async with connected() as client:
        assert client.refused(kind)["code"] == "unsupported_event"
