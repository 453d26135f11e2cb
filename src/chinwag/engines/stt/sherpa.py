"""The models of sherpa-onnx: streaming Zipformers, Parakeet and other transducers and CTC models, Moonshine v2.

What a folder holds tells what it is: encoder, decoder and joiner are a transducer, an encoder with a merged decoder is
Moonshine, one model alone is CTC. A streaming one carries states from call to call, and its graph names them.
"""

from __future__ import annotations

import math
import mmap
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.protocols import About, EngineOptions, Transcript
from chinwag.engines.stt.growing import PiecewiseUtterance
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

EUROPEAN = (
    *("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it"),
    *("lt", "lv", "mt", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "uk"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """A model that sherpa-onnx's makers publish. repository: on the Hugging Face hub."""

    repository: str
    languages: tuple[str, ...]


LONGEST_STEP_S = 300.0
"""A large model may read half a minute of sound for so long on a slow processor."""

HUB = "csukuangfj/sherpa-onnx"
KNOWN: Mapping[str, Known] = {
    "zipformer-en": Known(f"{HUB}-streaming-zipformer-en-2023-06-26", ("en",)),
    "zipformer-en-20m": Known(f"{HUB}-streaming-zipformer-en-20M-2023-02-17", ("en",)),
    "zipformer-zh-en": Known(f"{HUB}-streaming-zipformer-bilingual-zh-en-2023-02-20", ("zh", "en")),
    "zipformer-fr": Known(f"{HUB}-streaming-zipformer-fr-2023-04-14", ("fr",)),
    "parakeet-tdt-0.6b-v2": Known(f"{HUB}-nemo-parakeet-tdt-0.6b-v2-int8", ("en",)),
    "parakeet-tdt-0.6b-v3": Known(f"{HUB}-nemo-parakeet-tdt-0.6b-v3-int8", EUROPEAN),
}
"""Those of sherpa-onnx's list of pretrained models that suit a conversation; the first is the usual one."""

STATES = (b"cached_", b"cache_last_channel", b"emb_cache")
"""Names of states in the graphs of streaming Zipformer, NeMo and LSTM encoders (sherpa-onnx's export scripts)."""
NEMO = (b"EncDecRNNTBPEModel", b"EncDecHybridRNNTCTCBPEModel", b"EncDecCTCModelBPE", b"nemo")

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (12, 5, 2))
"""Sound up to which an utterance is heard in one piece; a longer one is cut at its quietest place, not before the
second, so that the third is left."""

TAIL = np.zeros(LISTEN_RATE * 2 // 3, np.float32)
"""Silence that brings out the last words: a chunk of a streaming Zipformer with its look-ahead is 0.32 to 0.64 s."""

MAY_LOAD_S = 300.0


@dataclass(frozen=True, slots=True)
class SherpaText:
    """The text of one piece. logs: log-probabilities of its tokens, where the model tells them."""

    text: str = ""
    logs: tuple[float, ...] = ()

    def __add__(self, other: SherpaText) -> SherpaText:
        """Join the results of two pieces."""
        return SherpaText("", self.logs + other.logs)

    @property
    def confidence(self) -> float:
        """exp(mean log p); 1.0 where the model tells none."""
        return min(1.0, math.exp(sum(self.logs) / len(self.logs))) if self.logs else 1.0


class Sherpa:
    """One model of sherpa-onnx for all conversations, on a thread of its own."""

    name: ClassVar[str] = "sherpa"
    about: ClassVar[About] = About(
        "sherpa-onnx: streaming Zipformers, Parakeet and more, from the hub or a folder",
        "Apache-2.0",
        modules=("sherpa_onnx",),
        extra="sherpa",
    )

    def __init__(self, recognizer: Any, languages: Sequence[str], *, streaming: bool) -> None:
        self.recognizer, self.languages, self._streaming = recognizer, tuple(languages), streaming
        self.worker = Worker(self.name, LONGEST_STEP_S)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Names of usual ones; a folder, or another repository of sherpa-onnx's models on the hub, does as well."""
        return tuple(KNOWN)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Nothing of the catalog: the models come from the Hugging Face hub."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model, fetching it from the hub where it is no folder.

        It is tried in a process of its own first: where a model is not what sherpa-onnx takes it for, that ends the
        whole process.
        """
        settings = options.settings
        known = KNOWN.get(settings.model or next(iter(KNOWN)))
        told = options.only(cls.name, languages=list(known.languages) if known else ["*"])
        folder = _folder(settings.model)
        made = recipe(folder, settings.threads or min(4, os.cpu_count() or 1), settings.device)
        _try(made, folder)
        engine = cls(make(made), told["languages"], streaming=made.streaming)
        engine.warm()
        return engine

    def open(self, language: str | None = None) -> SherpaStream | SherpaUtterance:
        """Open an utterance. Raises EngineError for an unsupported language."""
        code = primary_subtag(language) if language else None
        if code and "*" not in self.languages and code not in self.languages:
            heard = ", ".join(self.languages)
            fix = "Correct stt.language, or choose another stt.model."
            raise EngineError(f"This model of sherpa-onnx hears {heard}, not {language}.", fix, self.name)
        spoken = code or (self.languages[0] if len(self.languages) == 1 and "*" not in self.languages else None)
        return SherpaStream(self, spoken) if self._streaming else SherpaUtterance(self, spoken)

    async def close(self) -> None:
        """End the thread and release the model."""
        self.worker.close()
        self.recognizer = None

    # --- on the thread -----------------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Hear a second of noise."""
        noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
        if self._streaming:
            self.go_on(self.recognizer.create_stream(), [noise])
        else:
            self.write(noise)

    def write(self, pcm: Samples) -> SherpaText:
        """What was said, of a model that hears a piece as a whole."""
        stream = self.recognizer.create_stream()
        stream.accept_waveform(LISTEN_RATE, pcm)
        self.recognizer.decode_stream(stream)
        return SherpaText(_cased(stream.result.text))

    def go_on(self, stream: Any, pieces: Sequence[Samples]) -> SherpaText:
        """What was said so far, of a model that hears as it comes."""
        for piece in pieces:
            stream.accept_waveform(LISTEN_RATE, piece)
        while self.recognizer.is_ready(stream):
            self.recognizer.decode_stream(stream)
        result = self.recognizer.get_result_all(stream)
        return SherpaText(_cased(result.text), tuple(getattr(result, "ys_probs", ())))


class SherpaUtterance(PiecewiseUtterance[SherpaText]):
    """One utterance, heard by a model that takes whole pieces."""

    def __init__(self, engine: Sherpa, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), SherpaText())
        self._engine, self._spoken = engine, language

    @property
    def _language(self) -> str | None:
        return self._spoken

    def _text_of(self, words: SherpaText) -> str:
        return words.text

    async def _words(self, pcm: Samples, start: int, priority: Priority) -> SherpaText | None:
        return await self._engine.worker.run_at(priority, self._engine.write, pcm)


class SherpaStream:
    """One utterance, heard as it comes: each piece of sound is worked out once."""

    def __init__(self, engine: Sherpa, language: str | None) -> None:
        self._engine = engine
        self._stream = engine.recognizer.create_stream()
        self._new: list[Samples] = []
        self._until = 0
        self._last = Transcript("", final=False, until=0, language=language)

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        if audio.rate != LISTEN_RATE:
            message = f"The engine {self._engine.name} hears {LISTEN_RATE} samples a second, not {audio.rate}."
            raise EngineError(message, "Resample first.", self._engine.name)
        self._new.append(audio.pcm)
        self._until = audio.end

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        return await self._hear(Priority.LATER) if self._new else self._last

    async def finish(self) -> Transcript:
        """The final words; free where nothing was pushed since the last time. What follows comes after a pause."""
        if not self._last.final or self._new:
            self._new.append(TAIL)
            self._last = replace(await self._hear(Priority.NOW), final=True)
        return self._last

    async def _hear(self, priority: Priority) -> Transcript:
        # the thread takes all there is when its turn comes: a finish, which goes first, leaves a partial nothing
        words, until = await self._engine.worker.run_at(priority, self._take)
        self._last = Transcript(words.text, False, until, words.confidence, self._last.language)
        return self._last

    def _take(self) -> tuple[SherpaText, int]:
        pieces, self._new, until = self._new, [], self._until
        return self._engine.go_on(self._stream, pieces), until


# --- what a folder holds ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a recognizer is made: which of sherpa_onnx's constructors, with what. streaming: it hears as sound comes."""

    constructor: str
    arguments: Mapping[str, Any]
    streaming: bool


def recipe(folder: Path, threads: int, device: str) -> Recipe:
    """What the files in a folder are. Raises EngineError, naming what is missing."""
    tokens = folder / "tokens.txt"
    encoder, decoder = (_file(folder, part) for part in ("encoder", "decoder"))
    joiner = _file(folder, "joiner")
    model = _file(folder, "model") if encoder is None else None
    if not tokens.is_file() or (model is None and (encoder is None or decoder is None)):
        wanted = {"tokens.txt": tokens.is_file(), "encoder*.onnx": encoder or model, "decoder*.onnx": decoder or model}
        lacks = ", ".join(name for name, there in wanted.items() if not there)
        fix = "A transducer is encoder, decoder, joiner and tokens.txt; a CTC model is model.onnx and tokens.txt."
        raise EngineError(f"{folder} holds no model for sherpa-onnx: there is no {lacks}.", fix, Sherpa.name)
    provider = "cuda" if device == "cuda" else "cpu"
    common = {"tokens": str(tokens), "num_threads": threads, "provider": provider}
    if model:
        streaming = _names(model, STATES)
        kind = "from_nemo_ctc" if _names(model, NEMO) else "from_zipformer2_ctc" if streaming else "from_zipformer_ctc"
        return Recipe(kind, {**common, "model": str(model)}, streaming)
    assert encoder is not None
    assert decoder is not None
    if joiner is None:
        return Recipe("from_moonshine_v2", {**common, "encoder": str(encoder), "decoder": str(decoder)}, False)
    files = {"encoder": str(encoder), "decoder": str(decoder), "joiner": str(joiner)}
    if _names(encoder, STATES):
        return Recipe("from_transducer", {**common, **files}, True)
    kind = "nemo_transducer" if _names(encoder, NEMO) else "transducer"
    return Recipe("from_transducer", {**common, **files, "model_type": kind}, False)


def make(made: Recipe) -> Any:
    """The recognizer."""
    import sherpa_onnx

    kind = sherpa_onnx.OnlineRecognizer if made.streaming else sherpa_onnx.OfflineRecognizer
    return getattr(kind, made.constructor)(**made.arguments)


def _try(made: Recipe, folder: Path) -> None:
    """Make it in another process. Raises EngineError with what that one said."""
    program = f"from chinwag.engines.stt.sherpa import Recipe, make; make({made!r})"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=MAY_LOAD_S, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"sherpa-onnx did not load {folder} within {MAY_LOAD_S:.0f} s."
        raise EngineError(message, "Choose a smaller model.", Sherpa.name) from None
    if tried.returncode:
        lines = [line for line in (tried.stderr or tried.stdout).splitlines() if line.strip()]
        said = lines[-1].strip()[:300] if lines else f"its process ended with {tried.returncode}"
        if "cuda" in said.lower():
            fix = "Set stt.device = cpu, or install sherpa-onnx's build for CUDA."
        else:
            fix = "Use one of sherpa-onnx's pretrained models as it was published, with all its files."
        raise EngineError(f"sherpa-onnx cannot load {folder}: {said}", fix, Sherpa.name)


def _file(folder: Path, part: str) -> Path | None:
    """The file of that part; the one in 8 bits where there are several, as it is the faster one."""
    found = sorted(one for end in ("onnx", "ort") for one in folder.glob(f"*{part}*.{end}"))
    return next((one for one in found if "int8" in one.name), next(iter(found), None))


def _names(graph: Path, any_of: Sequence[bytes]) -> bool:
    """Whether one of the words stands in the file: names of inputs and metadata are plain text in it."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as read:
        return any(read.find(word) >= 0 for word in any_of)


def _folder(model: str) -> Path:
    """Where the model is, fetched where it is on the hub. Raises EngineError."""
    given = Path(model).expanduser() if model else None
    if given and given.is_dir():
        return given
    named = model or next(iter(KNOWN))
    if named not in KNOWN and named.count("/") != 1:
        there = ", ".join(KNOWN)
        fix = f"There are: {there}; or give a folder, or a repository of the hub as owner/name."
        raise EngineError(f"There is no model {named} for sherpa-onnx.", fix, Sherpa.name)
    from huggingface_hub import snapshot_download

    try:
        repository = KNOWN[named].repository if named in KNOWN else named
        return Path(snapshot_download(repository, allow_patterns=["*.onnx", "*.ort", "tokens.txt"]))
    except Exception as error:  # the hub's client raises whatever it meets
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"The model {named} cannot be fetched from the Hugging Face hub: {said}",
            "Look at the network, or fetch it elsewhere and set stt.model to its folder.",
            Sherpa.name,
        ) from error


def _cased(text: str) -> str:
    """Many Zipformers write in capitals alone, which is shouting to a language model."""
    text = text.strip()
    return text.lower() if text.isupper() and len(text) > 1 else text
