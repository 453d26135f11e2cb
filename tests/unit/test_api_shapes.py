"""The rest of OpenAI's API through the whole application with fake engines: shapes, errors, and clients that go."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from openai.types.audio import TranscriptionVerbose
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chinwag.api.segments import LONGEST_S, Segmenter
from chinwag.api.stops import StopSequences
from chinwag.audio import LISTEN_RATE, WIRE_RATE, Audio, join, silence
from chinwag.audio.codecs import MEDIA_TYPES, DecodeError, StreamEncoder, decode_file
from chinwag.config import Config
from chinwag.engines.fake import FakeChat, Fakes, loud
from chinwag.engines.protocols import CallDelta, Delta, Usage
from chinwag.errors import EngineError
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app

pytestmark = pytest.mark.unit

HELLO = [{"role": "user", "content": "Hello"}]
ANSWER = FakeChat.answer


def client_of(fakes: Fakes | None = None, **server: Any) -> httpx.AsyncClient:
    host = Runtime(Config.model_validate({"server": server}))
    if fakes is not None:
        host.engines, host.stage = fakes.engines(), "ready"
    transport = httpx.ASGITransport(create_app(host), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def wav(sound: Audio) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes(sound.to_pcm16())
    return held.getvalue()


def encoded(sound: Audio, form: str) -> bytes:
    encoder = StreamEncoder(form)
    return b"".join([encoder.push(sound), encoder.finish()])


async def transcribe(client: httpx.AsyncClient, data: bytes, **fields: Any) -> httpx.Response:
    return await client.post("/v1/audio/transcriptions", files={"file": ("a.wav", data)}, data=fields)


TALK = join([silence(1.0, WIRE_RATE), loud(1.0), silence(2.0, WIRE_RATE), loud(1.0), silence(1.0, WIRE_RATE)])
"""FakeTranscriber hears five words in each second of it that is loud."""


# --- all routes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("POST", "/v1/chat/completions", {"messages": HELLO}),
        ("POST", "/v1/audio/speech", {"input": "Hello."}),
        ("POST", "/v1/audio/transcriptions", None),
        ("POST", "/v1/realtime/client_secrets", None),
    ],
)
async def test_until_the_engines_are_ready_it_says_when_to_try_again(method: str, path: str, body: Any) -> None:
    async with client_of() as client:
        answer = await client.request(method, path, json=body)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["code"] == "not_ready"
        assert answer.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("chat/completions", {}, 400, "messages"),
        ("chat/completions", {"messages": []}, 400, "messages"),
        ("chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, 400, "messages.0.role"),
        ("chat/completions", {"messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.tool_call_id"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400,
            "messages.0.content.0",
        ),
        ("chat/completions", {"messages": HELLO, "n": 2}, 400, "n"),
        ("chat/completions", {"messages": HELLO, "max_tokens": 0}, 400, "max_tokens"),
        ("chat/completions", {"messages": HELLO, "tools": [{"type": "web_search"}]}, 400, "tools.0"),
        ("chat/completions", {"messages": HELLO, "response_format": {"type": "json_object"}}, 400, "response_format"),
        ("audio/speech", {"input": ""}, 400, "input"),
        ("audio/speech", {"input": "x" * 4097}, 400, "input"),
        ("audio/speech", {"input": "x", "voice": "nobody"}, 400, "voice"),
        ("audio/speech", {"input": "x", "speed": 5}, 400, "speed"),
        ("audio/speech", {"input": "x", "response_format": "midi"}, 400, "response_format"),
        ("nothing", {}, 404, None),
    ],
)
async def test_a_mistake_is_named_in_openais_shape(path: str, body: Any, status: int, param: str | None) -> None:
    async with client_of(Fakes()) as client:
        answer = await client.post(f"/v1/{path}", json=body)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_what_is_no_json_and_what_is_not_there() -> None:
    async with client_of(Fakes()) as client:
        answer = await client.post("/v1/audio/speech", content="{", headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
        answer = await client.get("/v1/audio/speech")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_models() -> None:
    async with client_of(Fakes()) as client:
        (model, *_) = (await client.get("/v1/models")).json()["data"]
        assert model["id"] == "fake"
        assert (await client.get("/v1/models/fake")).json() == model
        missing = await client.get("/v1/models/meta/llama")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


# --- chat ----------------------------------------------------------------------------------------------------


async def test_a_whole_answer() -> None:
    fakes = Fakes()
    async with client_of(fakes) as client:
        parts = [{"type": "text", "text": "Be brief."}]
        messages = [{"role": "developer", "content": parts}, *HELLO]
        answer = await client.post("/v1/chat/completions", json={"model": "any", "messages": messages})
        told = ChatCompletion.model_validate(answer.json(), strict=True)
        assert told.choices[0].message.content == ANSWER
        assert told.choices[0].finish_reason == "stop"
        assert told.usage
        assert told.usage.completion_tokens == 8
        assert fakes.llm.prompts == [[{"role": "system", "content": "Be brief."}, *HELLO]]
        short = await client.post("/v1/chat/completions", json={"messages": HELLO, "max_completion_tokens": 2})
        assert short.json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("usage", [True, False])
async def test_a_streamed_answer(usage: bool) -> None:
    async with client_of(Fakes()) as client:
        body = {"messages": HELLO, "stream": True, "stream_options": {"include_usage": usage}}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.endswith("data: [DONE]\n\n")
        chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in events(answer)]
        said = [chunk.choices[0] for chunk in chunks if chunk.choices]
        assert said[0].delta.role == "assistant"
        assert "".join(one.delta.content or "" for one in said) == ANSWER
        assert [one.finish_reason for one in said if one.finish_reason] == ["stop"]
        assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([8] if usage else [])


class Calling(FakeChat):
    """Calls two functions at once, and keeps what it was given."""

    given: dict[str, Any]

    async def chat(self, messages: Any, **given: Any) -> Any:
        self.given = given
        yield Delta(call=CallDelta(0, "call_1", "weather"))
        yield Delta(call=CallDelta(1, "call_2", "time", "{}"))
        yield Delta(call=CallDelta(0, arguments='{"city":'))
        yield Delta(call=CallDelta(0, arguments='"Rome"}'))
        yield Delta(finish_reason="tool_calls", usage=Usage(3, 0, 5))


async def test_function_calls_go_both_ways() -> None:
    model = Calling()
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    body: dict[str, Any] = {"messages": HELLO, "tools": tools, "tool_choice": "required"}
    async with client_of(Fakes(llm=model)) as client:
        answer = await client.post("/v1/chat/completions", json=body)
        (choice,) = ChatCompletion.model_validate(answer.json(), strict=True).choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        calls = answer.json()["choices"][0]["message"]["tool_calls"]
        assert [(call["id"], call["function"]) for call in calls] == [
            ("call_1", {"name": "weather", "arguments": '{"city":"Rome"}'}),
            ("call_2", {"name": "time", "arguments": "{}"}),
        ]
        assert (model.given["tools"], model.given["tool_choice"]) == (tools, "required")
        streamed = await client.post("/v1/chat/completions", json={**body, "stream": True})
        chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in events(streamed)]
        pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        assert [(piece.index, piece.id) for piece in pieces] == [(0, "call_1"), (1, "call_2"), (0, None), (0, None)]
        assert "".join(piece.function.arguments or "" for piece in pieces if piece.index == 0 and piece.function) == (
            '{"city":"Rome"}'
        )
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_an_answer_ends_at_a_stop_sequence_and_the_model_with_it() -> None:
    fakes = Fakes()
    async with client_of(fakes) as client:
        answer = await client.post("/v1/chat/completions", json={"messages": HELLO, "stop": ["nobody", " It has"]})
        choice = answer.json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("This is the answer.", "stop")
        assert fakes.llm.closed == 1


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_stop_sequences_do_not_depend_on_how_the_text_comes(size: int) -> None:
    text = "one two END three"
    for stops, said, met in ((["END"], "one two ", True), (["ENDS", "tree"], text, False), ([], text, False)):
        watching = StopSequences(stops)
        pieces = [watching.push(text[place : place + size]) for place in range(0, len(text), size)]
        assert ("".join(pieces) + watching.finish(), watching.met) == (said, met)


async def test_a_model_that_fails_is_told_with_500_or_in_the_stream() -> None:
    failure = EngineError("The model is out.", "Start it again.")
    body = {"messages": HELLO, "stream": True}
    async with client_of(Fakes(llm=FakeChat(failure=failure))) as client:
        for streams in (True, False):
            answer = await client.post("/v1/chat/completions", json={**body, "stream": streams})
            assert answer.status_code == 500, "nothing was sent yet"
            assert answer.json()["error"]["message"] == "The model is out. Start it again."
    async with client_of(Fakes(llm=FakeChat(failure=failure, fails_after=3))) as client:
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert events(answer)[-1]["error"]["message"] == "The model is out. Start it again."
        assert "[DONE]" not in answer.text


@pytest.mark.parametrize("streams", [True, False])
async def test_a_client_that_goes_stops_the_model(streams: bool) -> None:
    fakes = Fakes(llm=FakeChat(answer="word " * 10_000))
    host = Runtime(Config())
    host.engines, host.stage = fakes.engines(), "ready"
    body = json.dumps({"messages": HELLO, "stream": streams}).encode()
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received.put_nowait({"type": "http.request", "body": body, "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }

    async def send(_: Any) -> None:
        pass

    running = asyncio.ensure_future(create_app(host)(scope, received.get, send))
    await asyncio.sleep(2.0)
    assert not running.done()
    assert fakes.llm.closed == 0
    received.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(running, 0.1)
    assert fakes.llm.closed == 1


# --- speech --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(MEDIA_TYPES))
async def test_speech_in_every_form(form: str) -> None:
    async with client_of(Fakes()) as client:
        answer = await client.post("/v1/audio/speech", json={"input": "A sentence. Another.", "response_format": form})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == MEDIA_TYPES[form]
        data = answer.content
        if form == "pcm":
            seconds = len(data) / 2 / WIRE_RATE
        else:
            seconds = sum(piece.seconds for piece in decode_file(io.BytesIO(data)))
        assert seconds == pytest.approx(1.0, abs=0.15)  # 20 characters of 50 ms


async def test_speech_is_sent_as_it_is_made_and_read_by_the_voice_that_was_asked_for() -> None:
    fakes = Fakes()
    async with client_of(fakes) as client:
        body = {"input": "**One.** Two.", "voice": "alloy", "response_format": "pcm", "stream_format": "sse"}
        told = events(await client.post("/v1/audio/speech", json=body))
        assert fakes.tts.spoken == ["One.", "Two."]
        assert {event["type"] for event in told[:-1]} == {"speech.audio.delta"}
        assert told[-1]["type"] == "speech.audio.done"
        sound = b"".join(base64.b64decode(event["audio"]) for event in told[:-1])
        assert len(told) > 5
        whole = await client.post("/v1/audio/speech", json={**body, "stream_format": "audio"})
        assert whole.content == sound


async def test_a_voice_that_fails_at_once_is_told() -> None:
    fakes = Fakes()
    fakes.tts.failure = EngineError("The voice is out.", "Start it again.")
    async with client_of(fakes) as client:
        answer = await client.post("/v1/audio/speech", json={"input": "Hello."})
        assert answer.status_code == 500
        assert answer.json()["error"]["message"].startswith("The voice is out.")


# --- transcriptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["wav", "mp3", "opus", "flac", "aac"])
async def test_a_file_of_every_form_is_heard(form: str) -> None:
    wave_of = np.where(np.arange(len(TALK.pcm)) // 60 % 2, -1, 1).astype(np.float32)  # 200 Hz: Opus passes no DC
    sound = Audio(TALK.pcm * wave_of, WIRE_RATE)
    data = wav(sound) if form == "wav" else encoded(sound, form)
    async with client_of(Fakes()) as client:
        answer = await transcribe(client, data)
        assert answer.status_code == 200
        # a form with losses rings around the sound, so a word may be more or less
        assert 8 <= len(answer.json()["text"].split()) <= 12
        assert answer.json()["usage"]["type"] == "duration"
        assert answer.json()["usage"]["seconds"] in (6, 7)


async def test_a_transcript_in_every_form() -> None:
    words = "word0 word1 word2 word3 word4"
    async with client_of(Fakes()) as client:
        verbose = (await transcribe(client, wav(TALK), response_format="verbose_json")).json()
        TranscriptionVerbose.model_validate(verbose)
        assert verbose["duration"] == 6.0
        first, second = verbose["segments"]
        assert (first["text"], second["text"]) == (words, words)
        assert first["start"] == pytest.approx(0.7, abs=0.05)
        assert first["end"] == pytest.approx(2.3, abs=0.05)
        assert second["start"] == pytest.approx(3.7, abs=0.05)
        assert (await transcribe(client, wav(TALK), response_format="text")).text == f"{words} {words}\n"
        srt = (await transcribe(client, wav(TALK), response_format="srt")).text
        assert srt.startswith("1\n00:00:00,")
        assert srt.count(" --> 00:00:0") == 2
        vtt = (await transcribe(client, wav(TALK), response_format="vtt")).text
        assert vtt.startswith("WEBVTT\n\n00:00:00.")
        told = events(await transcribe(client, wav(TALK), stream="true"))
        assert [event["type"] for event in told] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
        assert "".join(event["delta"] for event in told[:-1]) == told[-1]["text"] == f"{words} {words}"


async def test_silence_has_no_words() -> None:
    async with client_of(Fakes()) as client:
        assert (await transcribe(client, wav(silence(2.0, WIRE_RATE)))).json()["text"] == ""


@pytest.mark.parametrize(
    ("data", "fields", "status", "param"),
    [
        (b"not a sound", {}, 400, "file"),
        (b"", {}, 400, "file"),
        (wav(TALK), {"response_format": "docx"}, 400, "response_format"),
        (wav(TALK), {"response_format": "srt", "stream": "true"}, 400, "response_format"),
        (wav(TALK), {"timestamp_granularities[]": "word"}, 400, "timestamp_granularities"),
        (b"x" * 3_000_000, {}, 413, "file"),
    ],
)
async def test_what_cannot_be_transcribed_is_told(data: bytes, fields: Any, status: int, param: str) -> None:
    async with client_of(Fakes(), max_upload_bytes=1_000_000) as client:
        answer = await transcribe(client, data, **fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        missing = await client.post("/v1/audio/transcriptions", data={"model": "whisper-1"})
        assert (missing.status_code, missing.json()["error"]["param"]) == (400, "file")


def test_a_playlist_does_not_have_the_server_read_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(wav(loud(1.0)))
    lists = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n",
    )
    for playlist in lists:
        with pytest.raises(DecodeError):
            list(decode_file(io.BytesIO(playlist.encode())))


def test_a_film_without_sound_is_told() -> None:
    held = io.BytesIO()
    with av.open(held, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="no sound"):
        list(decode_file(io.BytesIO(held.getvalue())))


def test_speech_without_a_pause_is_cut_at_its_quietest_place() -> None:
    frame, cutter, cuts = 512, Segmenter(512), []
    count = round(2.5 * LONGEST_S * LISTEN_RATE / frame)
    quiet = round(20 * LISTEN_RATE / frame)
    for place in range(count):
        piece = Audio(np.full(frame, 0.5, np.float32), LISTEN_RATE, place * frame)
        if cut := cutter.push(piece, 0.4 if abs(place - quiet) <= 1 else 1.0):
            cuts.append(cut)
    if cut := cutter.finish():
        cuts.append(cut)
    assert cuts[0].audio.seconds == pytest.approx(20.0, abs=0.1)
    assert all(cut.audio.seconds <= LONGEST_S for cut in cuts)
    assert sum(len(cut.audio.pcm) for cut in cuts) == count * frame, "nothing is lost, and nothing heard twice"
