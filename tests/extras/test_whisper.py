"""Whisper with its real weights: live, silent on noise, and fetched from a hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.contract import loaded, speech, watched, words

from chinwag.audio import LISTEN_RATE, Audio, join, silence
from chinwag.config import SttSettings, WeightsSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt import whisper
from chinwag.engines.stt.whisper import Whisper
from chinwag.errors import EngineError
from chinwag.weights.store import Store

pytestmark = pytest.mark.engines

FILES = (
    "src/chinwag/engines/stt/whisper.py",
    "src/chinwag/engines/stt/growing.py",
)

WEIGHTS = ("whisper-base",)
SETTINGS = SttSettings(engine="whisper", language="auto", device="cpu")
LIGHTS = "Please turn off the lights in the kitchen."
SENTENCES = ("What is the capital of France?", LIGHTS, "Thank you.", "I would like a cup of tea.")
LONG = (
    "When I was a child we lived by the sea. Every morning my father took the boat out before the sun was up, and we"
    " waited for him on the pier. He brought back fish, crabs, and once a small seal that had lost its mother."
)
REVISION = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys
from chinwag.config import SttSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt.whisper import Whisper
from chinwag.errors import EngineError
try:
    print("heard by", Whisper.load(EngineOptions(SttSettings(model=sys.argv[1], device="cpu"))).languages[:3])
except EngineError as error:
    print(error)
"""


async def test_each_sentence_is_heard_once_with_confidence_and_its_language() -> None:
    async with loaded(Whisper, SETTINGS) as stt:
        for text in SENTENCES:
            audio = join([speech(text)])
            utterance = stt.open("en-GB")
            utterance.push(audio)
            async with watched("whisper"):
                began = time.perf_counter()
                transcript = await utterance.finish()
                print(f"whisper: {audio.seconds:.2f} s heard in {(time.perf_counter() - began) * 1e3:.0f} ms")
            assert words(transcript.text) == words(text)
            assert (transcript.final, transcript.until, transcript.language) == (True, audio.end, "en")
            assert 0.5 < transcript.confidence <= 1.0
        heard = stt.open()
        heard.push(join([speech(LONG)]))
        assert (await heard.finish()).language == "en"


async def test_partials_grow_and_say_nothing_twice() -> None:
    async with loaded(Whisper, SETTINGS) as stt:
        audio, texts = join([speech(LIGHTS)]), []
        utterance = stt.open("en")
        for at in range(0, len(audio.pcm), 4000):
            utterance.push(audio.between(at, at + 4000))
            texts.append(words((await utterance.partial()).text))
        assert texts[-1] == words(LIGHTS)
        assert any(text[:3] == words(LIGHTS)[:3] for text in texts[: len(texts) * 2 // 3])
        assert max(len(text) for text in texts) <= len(words(LIGHTS)) + 3
        stt.worker.close()  # nothing more can be computed now
        assert words((await utterance.finish()).text) == words(LIGHTS)


async def test_short_sound_costs_a_fraction_of_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with loaded(Whisper, SETTINGS) as stt:
        pcm = join([speech(LIGHTS)]).pcm

        def best() -> float:
            took = []
            for _ in range(3):
                began = time.perf_counter()
                stt.encode(pcm)
                took.append(time.perf_counter() - began)
            return min(took)

        alone = best()
        monkeypatch.setattr(whisper, "SILENCE_BEHIND", 30 * LISTEN_RATE - len(pcm))
        padded = best()
        print(f"whisper: encoded in {alone * 1e3:.0f} ms, padded to 30 s in {padded * 1e3:.0f} ms")
        assert alone < padded / 3


async def test_a_long_utterance_is_cut_and_heard_whole() -> None:
    async with loaded(Whisper, SETTINGS) as stt:
        utterance = stt.open("en")
        audio = join([speech(LONG)])
        assert len(audio.pcm) > whisper.WHOLE
        utterance.push(audio)
        heard, said = words((await utterance.finish()).text), words(LONG)
        assert sum(word not in heard for word in said) + abs(len(heard) - len(said)) <= len(said) * 0.12


def noises() -> dict[str, Any]:
    count, random = 3 * LISTEN_RATE, np.random.default_rng(0)
    at = np.arange(count) / LISTEN_RATE
    notes = (262, 294, 330, 349, 392, 440, 494, 523, 494, 440)
    note = np.arange(4800) / LISTEN_RATE
    clicks = np.zeros(count)
    clicks[random.integers(0, count, 30)] = 0.8
    return {
        "hiss": random.normal(0, 0.05, count),
        "room": random.normal(0, 0.003, count),
        "hum": 0.1 * np.sin(100 * np.pi * at) + random.normal(0, 0.005, count),
        "chord": sum(0.1 * np.sin(2 * np.pi * pitch * at) * np.exp(-3 * (at % 0.5)) for pitch in (262, 330, 392)),
        "melody": np.concatenate([0.3 * np.sin(2 * np.pi * pitch * note) * np.exp(-5 * note) for pitch in notes]),
        "clicks": clicks,
    }  # fmt: skip


async def test_noise_and_music_have_no_words() -> None:
    async with loaded(Whisper, SETTINGS) as stt:
        for name, pcm in noises().items():
            for language in (None, "en"):
                for seconds in (0.7, 3.0):
                    utterance = stt.open(language)
                    utterance.push(Audio(pcm[: round(seconds * LISTEN_RATE)].astype(np.float32), LISTEN_RATE))
                    heard = await utterance.finish()
                    assert heard.text == "", (name, language, seconds, heard)
        still = stt.open()
        still.push(silence(5.0, LISTEN_RATE))
        assert (await still.finish()).text == ""


async def test_a_language_it_does_not_know_is_refused() -> None:
    async with loaded(Whisper, SETTINGS) as stt:
        assert len(stt.languages) >= 99
        with pytest.raises(EngineError, match=r"not tlh.*stt.language"):
            stt.open("tlh")


def test_what_cannot_be_loaded_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="chinwag models pull whisper-base"):
        Whisper.load(EngineOptions(SETTINGS))
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(EngineError, match=r"contains no model of faster-whisper"):
        Whisper.load(EngineOptions(SETTINGS.model_copy(update={"model": str(tmp_path)})))
    with pytest.raises(EngineError, match=r"no Whisper model enormous.*large-v3-turbo"):
        Whisper.load(EngineOptions(SETTINGS.model_copy(update={"model": "enormous"})))


@pytest.mark.parametrize(
    ("raised", "message", "fix"),
    [
        (RuntimeError("CUDA failed with error out of memory"), "does not fit into the memory of the GPU", "smaller"),
        (RuntimeError("Library cublas64_12.dll is not found"), "cannot use CUDA", "stt.device = cpu"),
        (RuntimeError("CUDA driver version is insufficient for CUDA runtime version"), "cannot use CUDA", "CUDA 12"),
    ],
)
def test_what_cuda_says_is_explained(raised: Exception, message: str, fix: str) -> None:
    explained = whisper._explained(raised, "small", "cuda")
    assert message in explained.message
    assert fix in explained.fix


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """A hub that has one repository, me/whisper; gives its address."""
    files = [path.name for path in folder.iterdir() if not path.name.startswith(".")]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/api/models/me/whisper"):
                siblings = [{"rfilename": name} for name in files]
                tree = [{"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": n} for n in files]
                listed: object = (
                    tree if "/tree/" in self.path else {"id": "me/whisper", "sha": REVISION, "siblings": siblings}
                )
                self._answer(json.dumps(listed).encode(), "application/json")
            elif self.path.startswith("/me/whisper/resolve/") and (name := self.path.rpartition("/")[2]) in files:
                self._answer((folder / name).read_bytes(), name)
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _answer(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            for key, value in {"Content-Length": len(data), "ETag": f'"{kind}"', "X-Repo-Commit": REVISION}.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _load_from(address: str, home: Path, model: str) -> str:
    """In a process of its own, since the hub's client reads its address when it is imported."""
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, model], env=env, capture_output=True, text=True, timeout=110, check=True
    )
    return done.stdout.strip()


def test_another_model_comes_from_the_hub(tmp_path: Path) -> None:
    with hub(Store(WeightsSettings()).folder("whisper-base")) as address:
        assert _load_from(address, tmp_path, "me/whisper").startswith("heard by ('af'")
        assert "cannot be fetched" in _load_from(address, tmp_path, "me/another")
    assert _load_from(address, tmp_path, "me/whisper").startswith("heard by ('af'")  # it is kept


def test_a_hub_that_is_not_there_is_told(tmp_path: Path) -> None:
    said = _load_from("http://127.0.0.1:9", tmp_path, "tiny")
    assert said.startswith("Whisper tiny cannot be fetched from the Hugging Face hub")
    assert "stt.model = base" in said
