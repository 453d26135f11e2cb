"""Readiness, metrics, traces and draining, with fake engines at virtual time."""

from __future__ import annotations

import asyncio
import platform
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from talker import talking
from wire import connected

from chinwag import config as configuration
from chinwag.config import Config, ServerSettings
from chinwag.conversation import events
from chinwag.engines import worker
from chinwag.engines.fake import Fakes
from chinwag.errors import ChinwagError, ConfigError
from chinwag.observability.metrics import Metrics
from chinwag.observability.observer import SessionObservers
from chinwag.observability.tracing import SessionTraces, Span, create_tracer
from chinwag.runtime.runtime import COLLECT_EVERY_S, Runtime
from chinwag.server import lifecycle as servers
from chinwag.server.app import create_app
from chinwag.server.lifecycle import GracefulServer

pytestmark = pytest.mark.unit

KEY, READER = "a-key-of-the-server", "for-the-metrics-alone"


def runtime_of(**server: Any) -> Runtime:
    """Ready, without starting."""
    runtime = Runtime(Config(server=ServerSettings(**server)))
    runtime.engines, runtime.stage = Fakes().engines(), "ready"
    return runtime


@asynccontextmanager
async def asking(
    runtime: Runtime, address: str = "127.0.0.1", base: str = "http://localhost:8000"
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(runtime), raise_app_exceptions=False, client=(address, 5000))
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


# --- ready or not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["fetching", "loading", "failed"])
async def test_until_it_is_ready_it_says_how_far_it_is(stage: Any) -> None:
    runtime = runtime_of()
    runtime.stage, runtime.engines = stage, None
    runtime.error = ChinwagError("The disk is full.", "Free some space.") if stage == "failed" else None
    async with asking(runtime) as client:
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["status"] == stage
    assert ("The disk is full" if stage == "failed" else stage) in answer.json()["reason"]


async def test_a_full_server_is_ready_but_has_no_room() -> None:
    runtime = runtime_of(max_sessions=1)
    async with asking(runtime) as client:
        assert (await client.get("/readyz", params={"room": True})).status_code == 200
        runtime.load.sessions = 1
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["full"]) == (200, True)
        assert (await client.get("/readyz", params={"room": True})).status_code == 503


async def test_memory_is_given_back_while_there_are_conversations_and_for_a_while_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[int] = []
    runtime = runtime_of(resume_s=60)
    monkeypatch.setattr("chinwag.runtime.runtime.release_freed_memory", lambda: given.append(runtime.sessions))
    tidying = asyncio.create_task(runtime._collect_garbage())
    await asyncio.sleep(3 * COLLECT_EVERY_S)
    assert given == [], "nobody was here yet"
    runtime.add_session()
    runtime.add_session()
    await asyncio.sleep(2 * COLLECT_EVERY_S)
    runtime.remove_session()
    runtime.remove_session()
    await asyncio.sleep(600)
    assert given[:2] == [2, 2]
    assert 60 / COLLECT_EVERY_S <= len(given[2:]) <= 60 / COLLECT_EVERY_S + 2, "as long as one may be come back to"
    tidying.cancel()
    await asyncio.gather(tidying, return_exceptions=True)


def test_what_is_there_when_the_server_is_ready_is_not_looked_at_again() -> None:
    code = """
import gc
from chinwag.observability.process import freeze_startup_objects
class Ring:
    def __init__(self): self.itself = self
    def __del__(self): print("gone")
there = [[] for _ in range(100_000)]
freeze_startup_objects()
print(gc.get_freeze_count() > 100_000, len(gc.get_objects()) < 10_000)
Ring()
gc.collect()
print(len(there))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert told[:3] == ["True True", "gone", "100000"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it")
def test_what_lies_free_between_pieces_in_use_goes_back_to_the_system() -> None:
    code = """
import psutil
from chinwag.observability.process import release_freed_memory
pieces = [bytes([n % 255 + 1]) * 60_000 for n in range(3_000)]
last = pieces[-1]
held = psutil.Process().memory_info().rss
del pieces
between = psutil.Process().memory_info().rss
release_freed_memory()
print(held, between, psutil.Process().memory_info().rss, len(last))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    held, between, after, _ = map(int, told.split())
    assert held - between < 40e6, "glibc gives it back by itself: this is not needed any more"
    assert between - after > 100e6


async def test_a_server_that_drains_is_not_ready_and_begins_nothing() -> None:
    runtime = runtime_of()
    async with asking(runtime) as client:
        runtime.draining = True
        assert (await client.get("/readyz")).json()["status"] == "draining"
        for path, body in (
            ("/v1/chat/completions", {"model": "x", "messages": [{"role": "user", "content": "Hello."}]}),
            ("/v1/audio/speech", {"model": "x", "input": "Hello.", "voice": "one"}),
            ("/v1/realtime/calls", "v=0"),
        ):
            if isinstance(body, str):
                answer = await client.post(path, content=body, headers={"Content-Type": "application/sdp"})
            else:
                answer = await client.post(path, json=body)
            assert answer.status_code == 503, path
            assert answer.json()["error"]["code"] == "draining"
            assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/api/status")).json()["draining"] is True


# --- who may read the metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "headers", "may"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("127.0.0.1", {"Host": "[::1]:8000"}, True),
        ("10.0.0.7", {}, False),
        ("127.0.0.1", {"Host": "talk.example"}, False),  # a proxy on this machine, or a name that was rebound
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, False),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.7"}, False),
        ("10.0.0.7", {"Authorization": f"Bearer {READER}"}, True),
        ("10.0.0.7", {"Authorization": f"Bearer {KEY}"}, True),
        ("10.0.0.7", {"Authorization": f"Basic {KEY}"}, False),
        ("10.0.0.7", {"Authorization": "Bearer "}, False),
        ("127.0.0.1", {"Authorization": "Bearer wrong"}, False),
    ],
)
async def test_the_metrics_are_told_to_this_machine_or_with_a_key(
    address: str, headers: dict[str, str], may: bool
) -> None:
    runtime = runtime_of(host="0.0.0.0", api_keys=[KEY], metrics_key=READER)
    async with asking(runtime, address) as client:
        answer = await client.get("/metrics", headers=headers)
        assert answer.status_code == (200 if may else 401)
        assert ("chinwag_turns_total" in answer.text) is may
        read = await client.get("/v1/models", headers={"Authorization": f"Bearer {READER}"})
        assert read.status_code == 401, "the metrics' key opens nothing else"


async def test_without_any_key_no_empty_one_opens_the_metrics() -> None:
    async with asking(runtime_of(host="0.0.0.0", auth="off"), "10.0.0.7") as client:
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  "}):
            assert (await client.get("/metrics", headers=headers)).status_code == 401


# --- what they tell ----------------------------------------------------------------------------------------------


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


async def test_a_session_counts_what_happens_in_it() -> None:
    metrics = runtime_of().observers.metrics
    watched = SessionObservers([metrics.observe_session("websocket")], "websocket")
    stages = {"draft_started": -0.1, "transcript_final": 0.2, "first_audio": 0.45, "made_up": 9.0}
    for event in (
        events.SpeechStarted("a", 0),
        events.InputCommitted("a", None),
        events.TurnTraced("r", "a", 900, stages),
        events.SpeechStarted("b", 1000, "answer"),
        events.SpeechStarted("c", 2000, "early_answer"),
        events.SpeechStarted("d", 3000, "unheard_answer"),
        events.TurnRetracted("c"),
        events.ResponseDucked("r", "i"),
        events.ResponseUnducked("r", "i"),
        events.ResponseEnded("r", "i", "failed", error="No.", engine="ollama"),
        events.ResponseEnded("r", "i", "completed"),
        events.ErrorOccurred("hearing_failed", "No.", "moonshine"),
        events.ErrorOccurred("a code of nobody", "No.", "an engine of nobody"),
        events.TranscriptionFailed("a", "No.", "whisper"),
    ):
        watched.on_event(event)
    now = samples(metrics)
    assert now["chinwag_sessions_open", "websocket"] == 1
    assert now["chinwag_turns_total",] == 1
    assert now["chinwag_interruptions_total",] == 1
    assert now["chinwag_cut_ins_total",] == 1
    assert now["chinwag_turns_taken_back_total",] == 1
    assert now["chinwag_backchannels_total",] == 1
    assert now["chinwag_replies_total", "failed"] == now["chinwag_replies_total", "completed"] == 1
    assert now["chinwag_voice_to_voice_seconds_sum",] == 0.45
    assert now["chinwag_turn_stage_seconds_sum", "draft_started"] == 0
    assert now["chinwag_turn_stage_seconds_sum", "transcript_final"] == 0.2
    assert not any("made_up" in name for name in now)
    errors = {name[1:]: value for name, value in now.items() if name[0] == "chinwag_errors_total"}
    assert errors == {
        ("ollama", "response_failed"): 1,
        ("moonshine", "hearing_failed"): 1,
        ("other", "other"): 1,
        ("whisper", "transcription_failed"): 1,
    }
    watched.on_end()
    assert samples(metrics)["chinwag_sessions_open", "websocket"] == 0
    assert samples(metrics)["chinwag_session_seconds_count",] == 1


async def test_no_label_comes_from_a_client() -> None:
    runtime = runtime_of()
    async with asking(runtime) as client:
        for path in ("/a/path/of/mine", "/v1/a/path/of/mine", "/api/conversations/conv_mine", "/v1/models/mine"):
            await client.get(path)
        await client.request("BREW", "/v1/mine")
        runtime.observers.metrics.count_refusal("mine")
    found = {name[1:] for name in samples(runtime.observers.metrics)}
    assert not [labels for labels in found if any("mine" in label for label in labels)]


async def test_a_threads_queue_is_told() -> None:
    runtime = runtime_of()
    create_app(runtime)
    runtime.observers.metrics.open()
    engine = worker.Worker("moonshine")
    stranger = worker.Worker("of-nobody")
    try:
        await engine.run_at(worker.Priority.NOW, lambda: None)
        await engine.run(lambda: None)
        await stranger.run(lambda: None)
        now = samples(runtime.observers.metrics)
    finally:
        runtime.observers.metrics.close()
        engine.close()
        stranger.close()
    assert now["chinwag_worker_wait_seconds_count", "now", "moonshine"] == 1
    assert now["chinwag_worker_step_seconds_count", "soon", "moonshine"] == 1
    assert now["chinwag_worker_step_seconds_count", "soon", "other"] == 1
    assert now["chinwag_worker_queue_depth", "moonshine"] == 0


async def test_a_watcher_that_fails_is_let_go_and_the_others_go_on() -> None:
    seen: list[events.Event] = []

    class Fails:
        def on_event(self, event: events.Event) -> None:
            raise ValueError

        def on_end(self) -> None:
            raise ValueError

    class Sees:
        def on_event(self, event: events.Event) -> None:
            seen.append(event)

        def on_end(self) -> None:
            seen.clear()

    watched = SessionObservers([Fails(), Sees()], "websocket")
    for _ in range(2):
        watched.on_event(events.TurnRetracted("a"))
    assert len(seen) == 2
    watched.on_end()
    assert not seen


# --- what stops an answer ----------------------------------------------------------------------------------------

LONG = " ".join(f"This is sentence number {number} of it." for number in range(1, 30))


async def test_an_interruption_is_told_from_an_answer_that_began_too_early() -> None:
    fakes = Fakes()
    fakes.llm.answer = LONG
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.pause_until(lambda: bool(talker.all(events.ResponseAudio)))
        await talker.pause(4.0)
        await talker.say(1.5)
        await talker.pause_until(lambda: any(one.interrupted for one in talker.all(events.SpeechStarted)))
    assert [one.interrupted for one in talker.all(events.SpeechStarted)] == ["", "answer"]


# --- draining ----------------------------------------------------------------------------------------------------


async def spoken_until_it_stops(drain_after_s: float) -> tuple[str, events.ResponseEnded]:
    fakes = Fakes()
    fakes.llm.answer = LONG
    async with talking(fakes) as talker:
        await talker.say(1.0)
        await talker.pause_until(lambda: bool(talker.all(events.ResponseAudio)))
        await talker.pause(drain_after_s)
        assert not talker.session.at_rest
        talker.session.drain()
        await talker.pause_until(lambda: talker.session.at_rest)
        return talker.told(), talker.all(events.ResponseEnded)[-1]


async def test_what_is_being_said_ends_behind_its_sentence() -> None:
    told, ended = await spoken_until_it_stops(2.0)
    assert told.endswith("of it.")
    assert 1 <= told.count(".") < 20
    assert (ended.status, ended.reason) == ("cancelled", None)
    longer, _ = await spoken_until_it_stops(8.0)
    assert longer.count(".") > told.count(".")


async def test_who_is_speaking_is_heard_out_and_answered_with_a_sentence() -> None:
    fakes = Fakes()
    fakes.llm.answer = LONG
    async with talking(fakes) as talker:
        await talker.say(1.0)
        talker.session.drain()
        assert not talker.session.at_rest
        await talker.say(0.5)
        await talker.pause_until(lambda: talker.session.at_rest)
        assert talker.told() == "This is sentence number 1 of it."


async def test_nobody_speaks_and_nothing_is_said_that_is_rest() -> None:
    async with talking() as talker:
        await talker.pause(0.5)
        assert talker.session.at_rest


async def test_a_client_is_warned_where_it_asked_for_our_own_events() -> None:
    for extended in (True, False):
        async with connected(extended=extended) as client:
            client.connection.drain(20)
            assert [event["within_ms"] for event in client.all("chinwag.restarting")] == [20_000] * extended


class Stops:
    """A server that runs nothing: what its signals do."""

    def __init__(self, drain: Any) -> None:
        self.server = GracefulServer(uvicorn.Config("none:none", log_config=None), drain, 20)
        self.server.started = True


async def test_the_first_signal_drains_and_the_server_stops_then() -> None:
    over = asyncio.Event()
    server = Stops(over.wait).server
    server.handle_exit(signal.SIGTERM, None)
    await asyncio.sleep(5)
    assert not server.should_exit
    over.set()
    await asyncio.sleep(0.1)
    assert server.should_exit
    assert server.config.timeout_graceful_shutdown == 15, "requests have what is left"
    assert not server._captured_signals, "it ends with status 0"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once(second: int) -> None:
    over = asyncio.Event()
    server = Stops(over.wait).server
    server.handle_exit(signal.SIGTERM, None)
    await asyncio.sleep(1)
    server.handle_exit(second, None)
    assert server.should_exit
    assert server.config.timeout_graceful_shutdown == servers.SECOND_SIGNAL_S
    over.set()
    await asyncio.sleep(1)


async def test_control_c_and_a_server_that_has_not_begun_stop_without_draining() -> None:
    async def drain() -> None:
        raise AssertionError

    server = Stops(drain).server
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    early = Stops(drain).server
    early.started = False
    early.handle_exit(signal.SIGTERM, None)
    assert early.should_exit


async def test_draining_that_fails_stops_the_server_all_the_same() -> None:
    async def drain() -> None:
        raise ValueError

    server = Stops(drain).server
    server.handle_exit(signal.SIGTERM, None)
    await asyncio.sleep(0.1)
    assert server.should_exit


# --- traces ------------------------------------------------------------------------------------------------------


def test_traces_are_sent_where_the_environment_asks(caplog: pytest.LogCaptureFixture) -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    for environment in ({}, {**there, "OTEL_SDK_DISABLED": "true"}, {**there, "OTEL_TRACES_EXPORTER": "none"}):
        assert create_tracer(environment) is None
    assert not caplog.records
    for environment in ({**there, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {**there, "OTEL_TRACES_EXPORTER": "zipkin"}):
        caplog.clear()
        assert create_tracer(environment) is None
    assert "only OTLP over http/protobuf" in caplog.text


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert create_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
    assert "chinwag[otel]" in caplog.text


class Kept:
    """In place of what sends them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span, dict[str, Span]]] = []

    def record(self, name: str, span: Span, children: dict[str, Span]) -> None:
        self.spans.append((name, span, children))


def traced(*told: events.Event, over: bool = False) -> list[tuple[str, Span, dict[str, Span]]]:
    kept, now = Kept(), 100.0

    def clock() -> float:
        nonlocal now
        now += 0.5
        return now

    session = SessionTraces(kept, {"chinwag.session_id": "sess_1"}, clock)  # type: ignore[arg-type]
    for event in told:
        session.on_event(event)
    if over:
        session.on_end()
    return kept.spans


STARTED = events.SpeechStarted("item", 1000), events.ResponseStarted("r")
TRACE = events.TurnTraced(
    "r", "item", 3000, {"draft_started": -0.1, "turn_decided": 0.1, "first_token": 0.2, "first_audio": 0.4}
)


def test_a_turn_is_a_span_from_speech_to_the_end_of_the_answer_with_its_stages() -> None:
    ((name, turn, within),) = traced(*STARTED, TRACE, events.ResponseEnded("r", "i", "completed"))
    speech_end = 101.0 - 0.4
    assert name == "turn"
    assert within["listen"].start == turn.start == pytest.approx(speech_end - 2.0)
    assert within["think"].start == pytest.approx(speech_end - 0.1), "it was drafted"
    assert within["think"].end == pytest.approx(speech_end + 0.2)
    assert within["say"].end == turn.end == 101.5
    assert "transcribe" not in within
    assert turn.attributes["chinwag.voice_to_voice_ms"] == 400
    assert turn.attributes["chinwag.drafted"] is True
    assert not turn.failed


def test_what_had_no_turn_is_a_reply_and_what_was_under_way_ends_with_the_session() -> None:
    failed = events.ResponseEnded("r", "i", "failed", error="It said Marmalade.", engine="ollama")
    ((name, span, _),) = traced(STARTED[1], failed)
    assert (name, span.failed, span.attributes["chinwag.engine"]) == ("reply", True, "ollama")
    assert "Marmalade" not in str(span.attributes)
    ((name, span, _),) = traced(*STARTED, TRACE, over=True)
    assert (name, span.attributes["chinwag.reason"]) == ("turn", "session_ended")
    assert not traced(*STARTED, events.ResponseEnded("r", "i", "completed"), over=True)[1:]


def test_a_key_for_the_metrics_that_could_be_guessed_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_SERVER__METRICS_KEY", "too-short")
    with pytest.raises(ConfigError, match="at least 16 characters") as refused:
        configuration.load()
    assert "too-short" not in str(refused.value)
