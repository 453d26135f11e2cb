"""sherpa-onnx: Moonshine's real weights heard in pieces, a streaming Zipformer made here, and folders that are none."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from engines.contract import loaded, speech, watched, words
from engines.provided import moonshine_for_sherpa
from extras.made_zipformer import write

from chinwag.audio import LISTEN_RATE, Audio, Samples, join
from chinwag.config import SttSettings
from chinwag.engines.protocols import EngineOptions
from chinwag.engines.stt import sherpa
from chinwag.engines.stt.sherpa import Sherpa
from chinwag.errors import EngineError

pytestmark = pytest.mark.engines

FILES = ("src/chinwag/engines/stt/sherpa.py",)

WEIGHTS = ("moonshine-tiny-en",)
NEEDS = ("onnx",)
SENTENCES = (
    "What is the capital of France?",
    "Please turn off the lights in the kitchen.",
    "I would like a cup of tea.",
)


def settings(model: Path | str, **more: object) -> SttSettings:
    return SttSettings(engine="sherpa", model=str(model), device="cpu", options=dict(more))


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moonshine_for_sherpa(tmp_path_factory.mktemp("moonshine"))


async def test_real_weights_hear_sentences(moonshine: Path) -> None:
    async with loaded(Sherpa, settings(moonshine, languages=["en"])) as stt:
        for text in SENTENCES:
            audio, utterance = join([speech(text)]), stt.open("en-GB")
            half = len(audio.pcm) // 2
            utterance.push(audio.between(0, half))
            assert not (await utterance.partial()).final
            utterance.push(audio.between(half, len(audio.pcm)))
            async with watched("sherpa"):
                began = time.perf_counter()
                heard = await utterance.finish()
            print(
                f"sherpa, Moonshine tiny: {audio.seconds:.2f} s heard in {(time.perf_counter() - began) * 1e3:.0f} ms"
            )
            assert words(heard.text) == words(text)
            assert (heard.final, heard.until, heard.language) == (True, audio.end, "en")
        silent = stt.open()
        silent.push(Audio(np.zeros(LISTEN_RATE, np.float32), LISTEN_RATE))
        assert (await silent.finish()).text == ""
        with pytest.raises(EngineError, match="supports en, not fr"):
            stt.open("fr")


def noise(seconds: float) -> Samples:
    return np.random.default_rng(7).normal(0.0, 0.1, round(seconds * LISTEN_RATE)).astype(np.float32)


def nothing(seconds: float) -> Samples:
    return np.zeros(round(seconds * LISTEN_RATE), np.float32)


async def test_a_streaming_model_hears_as_sound_comes(tmp_path: Path) -> None:
    async with loaded(Sherpa, settings(write(tmp_path / "zipformer"))) as stt:
        utterance = stt.open()
        texts, at = [], 0
        for piece in (nothing(0.5), noise(1.0), nothing(1.0), noise(1.0)):
            for part in np.array_split(piece, 5):
                utterance.push(Audio(part, LISTEN_RATE, at))
                at += len(part)
                texts.append((await utterance.partial()).text)
        assert texts[0] == ""
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
        assert texts[-1] == "loud quiet loud", "capitals alone are shouting"
        heard = await utterance.finish()
        assert (heard.text, heard.final, heard.until) == ("loud quiet loud quiet", True, at)
        assert await utterance.finish() is heard, "free where nothing came"
        assert 0.5 < heard.confidence <= 1.0
        utterance.push(Audio(noise(1.0), LISTEN_RATE, at))  # they went on
        assert (await utterance.finish()).text == "loud quiet loud quiet loud quiet"
        beside = stt.open()
        beside.push(Audio(noise(1.0), LISTEN_RATE))
        assert (await beside.finish()).text == "loud quiet"


def refused(model: Path | str, **more: object) -> str:
    with pytest.raises(EngineError) as error:
        Sherpa.load(EngineOptions(settings(model, **more)))
    return str(error.value)


def test_what_cannot_be_loaded_is_told_and_the_server_lives(
    tmp_path: Path, moonshine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no tokens.txt, encoder*.onnx, decoder*.onnx" in refused(tmp_path)
    assert "There is no model zipformer-xx for sherpa-onnx. There are: zipformer-en," in refused("zipformer-xx")
    assert "has no option speed" in refused(moonshine, speed=1)
    broken = write(tmp_path / "broken")
    graph = next(broken.glob("encoder*"))
    graph.write_bytes(graph.read_bytes().replace(b"decode_chunk_len", b"decode_junk_lens"))
    told = refused(broken)  # sherpa-onnx itself ends the process here
    assert "sherpa-onnx cannot load" in told
    assert "as it was published, with all its files" in told
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be fetched from the Hugging Face hub" in refused("parakeet-tdt-0.6b-v3")


def test_what_a_folder_holds(tmp_path: Path, moonshine: Path) -> None:
    def made(*files: str, inside: bytes = b"") -> tuple[str, bool, str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name in ("tokens.txt", *files):
            (folder / name).write_bytes(inside or b"graph")
        found = sherpa.recipe(folder, 2, "auto")
        return found.constructor, found.streaming, str(found.arguments.get("model_type", ""))

    transducer = ("encoder.int8.onnx", "decoder.onnx", "joiner.int8.onnx")
    assert made(*transducer, inside=b"cached_key_0") == ("from_transducer", True, "")
    assert made(*transducer, inside=b"EncDecRNNTBPEModel") == ("from_transducer", False, "nemo_transducer")
    assert made(*transducer) == ("from_transducer", False, "transducer")
    assert made("model.int8.onnx", inside=b"EncDecCTCModelBPE") == ("from_nemo_ctc", False, "")
    assert made("model.onnx", inside=b"cached_key_0") == ("from_zipformer2_ctc", True, "")
    found = sherpa.recipe(moonshine, 2, "cuda")
    assert (found.constructor, found.arguments["provider"]) == ("from_moonshine_v2", "cuda")
    both = tmp_path / "both"
    both.mkdir()
    for name in ("tokens.txt", "encoder.onnx", "encoder.int8.onnx", "decoder.onnx", "joiner.onnx"):
        (both / name).write_bytes(b"graph")
    assert sherpa.recipe(both, 2, "cpu").arguments["encoder"].endswith("encoder.int8.onnx")
