"""One real server is operated: looked at while it is talked with, and stopped in the middle of a sentence."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from official import calling as dialling
from otlp import Received, receiving
from prometheus_client.parser import text_string_to_metric_families
from rtc import calling
from serving import Server, serving
from speech import speech
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chinwag.observability.metrics import STAGES

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.timeout(300),  # loading the engines counts
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for another process"),
]

KEY, READER = "a-key-of-the-operated-server", "reads-nothing-but-metrics"
WORDS = ("marmalade", "zeppelin", "xylophone")
ASKED = f"Repeat these words: {', '.join(WORDS)}."
STORY = "Tell me a long story about an old ship, in ten sentences."
"""Long enough to be far from over when the server is told to stop."""


@dataclass
class Told:
    """What one server told whoever ran it and whoever talked with it."""

    ready: dict[str, Any] = field(default_factory=dict)
    unready: httpx.Response | None = None
    refused: dict[str, Any] = field(default_factory=dict)
    metrics: str = ""
    turns: int = 0
    heard: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    sound: int = 0
    code: int = 0
    call: list[dict[str, Any]] = field(default_factory=list)
    status: int | None = None
    lines: list[str] = field(default_factory=list)
    spans: Received = field(default_factory=lambda: Received(""))


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with receiving() as spans:
        env = {
            "CHINWAG_SERVER__LOG_FORMAT": "json",
            "CHINWAG_SERVER__LOG_LEVEL": "info",
            "CHINWAG_SERVER__API_KEYS": KEY,
            "CHINWAG_SERVER__METRICS_KEY": READER,
            "CHINWAG_SERVER__DRAIN_S": "60",  # a busy machine speaks slowly
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            "OTEL_SERVICE_NAME": "chinwag-under-test",
        }
        kept = Told(spans=spans)
        with serving("--llm", "embedded", env=env) as server:
            server.wait("ready")
            asyncio.run(operated(server, kept))
            try:
                kept.status = server.process.wait(90)
            except subprocess.TimeoutExpired:
                pytest.fail("it did not end")
        kept.lines = server.lines
        yield kept


async def operated(server: Server, kept: Told) -> None:
    base = server.url.replace("localhost", "127.0.0.1")
    async with httpx.AsyncClient(base_url=base, timeout=30) as http:
        kept.ready = (await http.get("/readyz")).json()
        await talked(server, kept, http)
        kept.metrics = (await http.get("/metrics")).text
        right = {"Authorization": f"Bearer {KEY}"}
        url = f"{server.realtime}?chinwag=events"
        # one talk over each transport, both in the middle of an answer
        async with connect(url, additional_headers=right, max_size=None) as talk, called(server) as caller:
            caller.send("conversation.item.create", item=typed(STORY))
            caller.send("response.create")
            await ask(talk, STORY)
            await caller.until("output_audio_buffer.started")
            await heard(talk, kept, "response.output_audio.delta")
            server.process.send_signal(signal.SIGTERM)
            await heard(talk, kept, "chinwag.restarting")
            kept.unready = await http.get("/readyz")
            async with connect(url, additional_headers=right) as late:
                kept.refused = json.loads(await late.recv())
            with pytest.raises(ConnectionClosed) as closed:
                await heard(talk, kept, "nothing")
            assert closed.value.rcvd
            kept.code = closed.value.rcvd.code
            await caller.until("error")
            kept.call = caller.events


def called(server: Server) -> Any:
    return calling(server.realtime, query={"chinwag": "events"}, api_key=KEY)


async def talked(server: Server, kept: Told, http: httpx.AsyncClient) -> None:
    """Words in every way that they can come, and keys, right and wrong ones."""
    right = {"Authorization": f"Bearer {KEY}"}
    async with dialling(server.realtime, api_key=KEY) as client:
        client.say(speech("What is the capital of France?"))
        await client.until("response.done")
        kept.heard = client.all("conversation.item.input_audio_transcription.completed")[0].transcript
    url = f"{server.realtime}?chinwag=events"
    async with connect(url, additional_headers=right, max_size=None) as talk:
        await ask(talk, ASKED)
        await heard(talk, Told(), "response.done")
        await talk.send(ASKED)  # not JSON
        await heard(talk, Told(), "error")
    with pytest.raises(InvalidStatus, match="401"):
        await connect(server.realtime, additional_headers={"Authorization": f"Bearer wrong-{WORDS[0]}"})
    await http.get("/api/conversations", params={"query": WORDS[0]}, headers=right)
    await http.get(f"/?token={KEY}")
    secret = (await http.post("/v1/realtime/client_secrets", json={}, headers=right)).json()["value"]
    async with connect(f"{server.realtime}?resume=resume_{WORDS[1]}", additional_headers=right) as lost:
        await lost.recv()
    async with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}) as short:
        await short.recv()
    body = {"model": "tts-1", "input": ASKED, "voice": "nobody"}
    await http.post("/v1/audio/speech", json=body, headers=right)
    await http.post("/v1/chat/completions", json={"model": "x", "messages": ASKED}, headers=right)


def typed(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


async def ask(talk: ClientConnection, text: str) -> None:
    await talk.send(json.dumps({"type": "conversation.item.create", "item": typed(text)}))
    await talk.send(json.dumps({"type": "response.create"}))


async def heard(talk: ClientConnection, kept: Told, kind: str) -> None:
    async with asyncio.timeout(120):
        while True:
            event = json.loads(await talk.recv())
            if event["type"] == "response.output_audio.delta":
                kept.sound += len(event["delta"]) * 3 // 4
            else:
                kept.told.append(event)
            if event["type"] == kind:
                return


def of(told: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in told if event["type"] == kind]


def samples(told: Told) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(told.metrics)
        for sample in family.samples
    }


# --- it is stopped in the middle of a sentence -------------------------------------------------------------------


def test_the_sentence_is_heard_to_its_end_and_the_client_told_to_come_back(told: Told) -> None:
    said = "".join(event["delta"] for event in of(told.told, "response.output_audio_transcript.delta"))
    response = of(told.told, "response.done")[-1]["response"]
    assert re.search(r"[.!?]['\"”]?$", said), said
    assert response["status"] == "cancelled", "the rest of the story is not told"
    assert response["output"][0]["content"][0]["transcript"] == said, "and it is known how far it was told"
    assert told.sound / 48_000 > len(said.split()) / 6, "as sound, not as text alone"
    warned = of(told.told, "chinwag.restarting")
    assert [event["within_ms"] for event in warned] == [60_000]
    assert told.told[-1]["error"]["code"] == "server_restarting"
    assert told.code == 1012


def test_a_second_signal_ends_it_in_the_middle_of_the_sentence() -> None:
    kept = Told()

    async def signalled_twice(server: Server) -> None:
        async with connect(f"{server.realtime}?chinwag=events", max_size=None) as talk:
            await ask(talk, STORY)
            await heard(talk, kept, "response.output_audio.delta")
            server.process.send_signal(signal.SIGTERM)
            await heard(talk, kept, "chinwag.restarting")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                await heard(talk, kept, "nothing")

    with serving("--llm", "embedded", env={"CHINWAG_SERVER__DRAIN_S": "60"}) as server:
        server.wait("ready")
        asyncio.run(signalled_twice(server))
        server.process.wait(30)
    assert of(kept.told, "response.output_audio_transcript.delta"), "the answer had begun"
    assert not of(kept.told, "response.done"), "and nobody waited for the end of its sentence"


def test_a_call_ends_behind_its_sentence_too(told: Told) -> None:
    said = "".join(event["delta"] for event in of(told.call, "response.output_audio_transcript.delta"))
    assert re.search(r"[.!?]['\"”]?$", said), said
    kinds = [event["type"] for event in told.call]
    assert "chinwag.restarting" in kinds
    assert kinds.index("output_audio_buffer.stopped") < kinds.index("error"), "all of it was sent before"
    assert of(told.call, "error")[0]["error"]["code"] == "server_restarting"


def test_meanwhile_it_is_not_ready_and_takes_nobody_in(told: Told) -> None:
    assert told.ready == {"status": "ready", "reason": "", "full": False, "sessions": 0}
    assert told.unready
    assert told.unready.status_code == 503
    assert int(told.unready.headers["retry-after"]) > 0
    assert told.unready.json()["status"] == "draining"
    assert told.refused["error"]["code"] == "draining"
    assert told.refused["error"]["retry_after_s"] > 0
    assert told.status == 0


# --- it is looked at ---------------------------------------------------------------------------------------------


def test_the_metrics_of_a_spoken_turn_are_plausible(told: Told) -> None:
    now = samples(told)
    assert now["chinwag_turns_total",] >= 1
    assert now["chinwag_sessions_total", "websocket"] == 3
    assert now["chinwag_sessions_open", "websocket"] == 0
    assert now["chinwag_replies_total", "completed"] >= 2
    assert now["chinwag_sessions_refused_total", "session_not_found"] == 1
    turns = now["chinwag_voice_to_voice_seconds_count",]
    assert turns >= 1
    assert 0.05 < now["chinwag_voice_to_voice_seconds_sum",] / turns < 30
    means = [now["chinwag_turn_stage_seconds_sum", stage] / turns for stage in STAGES[2:]]
    assert means[-1] >= max(means[:-1])
    for engine in ("silero", "moonshine", "hibari", "smart-turn"):
        assert ("chinwag_worker_queue_depth", engine) in now
    assert now["chinwag_worker_step_seconds_count", "now", "moonshine"] >= 1
    assert now["chinwag_worker_step_seconds_sum", "soon", "hibari"] > 0.05
    for task, engine in (("stt", "moonshine"), ("tts", "hibari"), ("vad", "silero")):
        assert 0 < now["chinwag_engine_load_seconds", engine, task] < 300
    assert now["chinwag_ready",] == 1
    assert 0 < now["chinwag_startup_seconds",] < 300
    assert now["chinwag_memory_bytes",] > 200e6
    assert now["process_resident_memory_bytes",] > 100e6
    assert now["chinwag_http_requests_total", "200", "/readyz"] == 1


def test_a_turn_is_a_trace_with_its_stages_and_no_words(told: Told) -> None:
    spans = told.spans
    assert spans.resources[0]["service.name"] == "chinwag-under-test"
    assert spans.resources[0]["deployment.environment.name"] == "test"
    (turn,) = spans.named("turn")
    within = spans.within(turn)
    assert sorted(within) == sorted(["listen", "transcribe", "decide", "think", "phrase", "speak", "say"])
    for one in within.values():
        assert one.trace_id == turn.trace_id
        assert turn.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano
        assert one.end_time_unix_nano <= turn.end_time_unix_nano
    assert within["listen"].end_time_unix_nano == within["transcribe"].start_time_unix_nano
    assert within["speak"].end_time_unix_nano == within["say"].start_time_unix_nano
    assert 0.5e9 < within["listen"].end_time_unix_nano - within["listen"].start_time_unix_nano < 5e9
    assert len(spans.named("reply")) >= 3, "the typed ones, and those that were under way when it stopped"
    sent = " ".join(str(span) for span in spans.spans).lower()
    for word in (*WORDS, *told.heard.lower().rstrip("?").split()[-3:], KEY):
        assert word not in sent


def test_each_line_is_json_and_holds_no_word_and_no_key(told: Told) -> None:
    assert len(told.lines) > 10
    records = [json.loads(line) for line in told.lines]
    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)
    messages = [record["message"] for record in records]
    for expected in ("session started", "session ended", "draining", "Ready after"):
        assert any(message.startswith(expected) for message in messages), expected
    assert any(record["logger"] == "uvicorn.access" and "/api/conversations" in record["message"] for record in records)
    assert {record["session"] for record in records if record["message"] == "session started"}
    written = "\n".join(told.lines).lower()
    secrets = (KEY, READER, "ek_", "resume_", "wrong-")
    for word in (*WORDS, "capital of", "france", "fisherman", "old ship", *secrets):
        assert word not in written, [line for line in told.lines if word in line.lower()]
