"""The models of sherpa-onnx: streaming Zipformers, Parakeet and other transducers and CTC models, Moonshine v2.

The files in a folder determine the kind of model: encoder, decoder and joiner are a transducer, an encoder with a
merged decoder is Moonshine, a single model is CTC. The graph of a streaming model names its state tensors.
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
from chinwag.engines.faults import first_line, require_language, require_rate
from chinwag.engines.protocols import About, EngineOptions, Transcript
from chinwag.engines.stt.growing import PiecewiseUtterance
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError

EUROPEAN = (
    *("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it"),
    *("lt", "lv", "mt", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "uk"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """A published model of sherpa-onnx. repository: on the Hugging Face hub."""

    repository: str
    languages: tuple[str, ...]


LONGEST_STEP_S = 300.0
"""A large model may take so long for half a minute of sound on a slow processor."""

HUB = "csukuangfj/sherpa-onnx"
KNOWN: Mapping[str, Known] = {
    "zipformer-en": Known(f"{HUB}-streaming-zipformer-en-2023-06-26", ("en",)),
    "zipformer-en-20m": Known(f"{HUB}-streaming-zipformer-en-20M-2023-02-17", ("en",)),
    "zipformer-zh-en": Known(f"{HUB}-streaming-zipformer-bilingual-zh-en-2023-02-20", ("zh", "en")),
    "zipformer-fr": Known(f"{HUB}-streaming-zipformer-fr-2023-04-14", ("fr",)),
    "parakeet-tdt-0.6b-v2": Known(f"{HUB}-nemo-parakeet-tdt-0.6b-v2-int8", ("en",)),
    "parakeet-tdt-0.6b-v3": Known(f"{HUB}-nemo-parakeet-tdt-0.6b-v3-int8", EUROPEAN),
}
"""Pretrained models of sherpa-onnx that suit a conversation; the first is the default."""

STATES = (b"cached_", b"cache_last_channel", b"emb_cache")
"""Names of states in the graphs of streaming Zipformer, NeMo and LSTM encoders (sherpa-onnx's export scripts)."""
NEMO = (b"EncDecRNNTBPEModel", b"EncDecHybridRNNTCTCBPEModel", b"EncDecCTCModelBPE", b"nemo")

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (12, 5, 2))
"""In samples: longest piece transcribed whole; earliest cut in a longer one; least sound left behind the cut."""

TAIL = np.zeros(LISTEN_RATE * 2 // 3, np.float32)
"""Silence that flushes the last words: a streaming Zipformer's chunk with look-ahead is 0.32 to 0.64 s."""

MAY_LOAD_S = 300.0


@dataclass(frozen=True, slots=True)
class SherpaText:
    """The text of one piece. logs: log-probabilities of its tokens; () if the model returns none."""

    text: str = ""
    logs: tuple[float, ...] = ()

    def __add__(self, other: SherpaText) -> SherpaText:
        """Join the results of two pieces."""
        return SherpaText("", self.logs + other.logs)

    @property
    def confidence(self) -> float:
        """exp(mean log p); 1.0 if the model returns none."""
        return min(1.0, math.exp(sum(self.logs) / len(self.logs))) if self.logs else 1.0


class Sherpa:
    """One model of sherpa-onnx for all sessions, on its own thread."""

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
        """Return the common models. A folder or another hub repository for sherpa-onnx is accepted as well."""
        return tuple(KNOWN)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the models come from the Hugging Face hub."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model, downloading it from the hub if it is not a folder.

        A separate process loads it first, because sherpa-onnx ends the process if a model is not of the assumed kind.
        """
        settings = options.settings
        published = KNOWN.get(settings.model or next(iter(KNOWN)))
        given = options.only(cls.name, languages=list(published.languages) if published else ["*"])
        folder = _folder(settings.model)
        made = recipe(folder, settings.threads or min(4, os.cpu_count() or 1), settings.device)
        _create_in_child(made, folder)
        engine = cls(make(made), given["languages"], streaming=made.streaming)
        engine.warm()
        return engine

    def open(self, language: str | None = None) -> SherpaStream | SherpaUtterance:
        """Open an utterance. Raises EngineError for an unsupported language."""
        code = require_language(self.languages, language, "This model of sherpa-onnx", self.name)
        spoken = code or (self.languages[0] if len(self.languages) == 1 and "*" not in self.languages else None)
        return SherpaStream(self, spoken) if self._streaming else SherpaUtterance(self, spoken)

    async def close(self) -> None:
        """End the thread and release the model."""
        self.worker.close()
        self.recognizer = None

    # --- on the thread -----------------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Transcribe a second of noise."""
        noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
        if self._streaming:
            self.go_on(self.recognizer.create_stream(), [noise])
        else:
            self.write(noise)

    def write(self, pcm: Samples) -> SherpaText:
        """Transcribe a whole piece with a model that does not stream."""
        stream = self.recognizer.create_stream()
        stream.accept_waveform(LISTEN_RATE, pcm)
        self.recognizer.decode_stream(stream)
        return SherpaText(_cased(stream.result.text))

    def go_on(self, stream: Any, pieces: Sequence[Samples]) -> SherpaText:
        """Add sound to a streaming model's stream and return the text so far."""
        for piece in pieces:
            stream.accept_waveform(LISTEN_RATE, piece)
        while self.recognizer.is_ready(stream):
            self.recognizer.decode_stream(stream)
        result = self.recognizer.get_result_all(stream)
        return SherpaText(_cased(result.text), tuple(getattr(result, "ys_probs", ())))


class SherpaUtterance(PiecewiseUtterance[SherpaText]):
    """One utterance of a model that transcribes whole pieces."""

    def __init__(self, engine: Sherpa, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), SherpaText())
        self._engine, self._spoken = engine, language

    @property
    def _language(self) -> str | None:
        return self._spoken

    def _text_of(self, result: SherpaText) -> str:
        return result.text

    async def _transcribe_piece(self, pcm: Samples, start: int, priority: Priority) -> SherpaText | None:
        return await self._engine.worker.run_at(priority, self._engine.write, pcm)


class SherpaStream:
    """One utterance of a streaming model: each piece of sound is processed once."""

    def __init__(self, engine: Sherpa, language: str | None) -> None:
        self._engine = engine
        self._stream = engine.recognizer.create_stream()
        self._new: list[Samples] = []
        self._until = 0
        self._last = Transcript("", final=False, until=0, language=language)

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        require_rate(audio, self._engine.name)
        self._new.append(audio.pcm)
        self._until = audio.end

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        return await self._transcribe(Priority.LATER) if self._new else self._last

    async def finish(self) -> Transcript:
        """Return the final transcript; costs nothing if no sound was added since. Later sound follows a pause."""
        if not self._last.final or self._new:
            self._new.append(TAIL)
            self._last = replace(await self._transcribe(Priority.NOW), final=True)
        return self._last

    async def _transcribe(self, priority: Priority) -> Transcript:
        # a step takes all new sound, so after a final transcript, which runs first, a partial one finds none
        result, until = await self._engine.worker.run_at(priority, self._transcribe_new)
        self._last = Transcript(result.text, False, until, result.confidence, self._last.language)
        return self._last

    def _transcribe_new(self) -> tuple[SherpaText, int]:
        pieces, self._new, until = self._new, [], self._until
        return self._engine.go_on(self._stream, pieces), until


# --- kinds of models -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipe:
    """The constructor of sherpa_onnx that creates a recognizer, with its arguments."""

    constructor: str
    arguments: Mapping[str, Any]
    streaming: bool


def recipe(folder: Path, threads: int, device: str) -> Recipe:
    """Return the recipe for the files in a folder. Raises EngineError with the names of missing files."""
    tokens = folder / "tokens.txt"
    encoder, decoder = (_file(folder, part) for part in ("encoder", "decoder"))
    joiner = _file(folder, "joiner")
    model = _file(folder, "model") if encoder is None else None
    if not tokens.is_file() or (model is None and (encoder is None or decoder is None)):
        wanted = {"tokens.txt": tokens.is_file(), "encoder*.onnx": encoder or model, "decoder*.onnx": decoder or model}
        missing = ", ".join(name for name, present in wanted.items() if not present)
        fix = "A transducer is encoder, decoder, joiner and tokens.txt; a CTC model is model.onnx and tokens.txt."
        raise EngineError(f"{folder} contains no model for sherpa-onnx: there is no {missing}.", fix, Sherpa.name)
    provider = "cuda" if device == "cuda" else "cpu"
    common = {"tokens": str(tokens), "num_threads": threads, "provider": provider}
    if model:
        streaming = _contains(model, STATES)
        kind = (
            "from_nemo_ctc" if _contains(model, NEMO) else "from_zipformer2_ctc" if streaming else "from_zipformer_ctc"
        )
        return Recipe(kind, {**common, "model": str(model)}, streaming)
    assert encoder is not None
    assert decoder is not None
    if joiner is None:
        return Recipe("from_moonshine_v2", {**common, "encoder": str(encoder), "decoder": str(decoder)}, False)
    files = {"encoder": str(encoder), "decoder": str(decoder), "joiner": str(joiner)}
    if _contains(encoder, STATES):
        return Recipe("from_transducer", {**common, **files}, True)
    kind = "nemo_transducer" if _contains(encoder, NEMO) else "transducer"
    return Recipe("from_transducer", {**common, **files, "model_type": kind}, False)


def make(made: Recipe) -> Any:
    """Create the recognizer."""
    import sherpa_onnx

    kind = sherpa_onnx.OnlineRecognizer if made.streaming else sherpa_onnx.OfflineRecognizer
    return getattr(kind, made.constructor)(**made.arguments)


def _create_in_child(made: Recipe, folder: Path) -> None:
    """Create the recognizer in another process. Raises EngineError with the last line it printed."""
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
    """Return the file of that part; among several the 8-bit one, which is faster."""
    files = sorted(path for end in ("onnx", "ort") for path in folder.glob(f"*{part}*.{end}"))
    return next((path for path in files if "int8" in path.name), next(iter(files), None))


def _contains(graph: Path, any_of: Sequence[bytes]) -> bool:
    """Return whether the file contains one of the words: names of inputs and metadata are plain text."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as read:
        return any(read.find(word) >= 0 for word in any_of)


def _folder(model: str) -> Path:
    """Return the model's folder, downloading it from the hub if needed. Raises EngineError."""
    given = Path(model).expanduser() if model else None
    if given and given.is_dir():
        return given
    named = model or next(iter(KNOWN))
    if named not in KNOWN and named.count("/") != 1:
        fix = f"There are: {', '.join(KNOWN)}; or set stt.model to a folder, or a hub repository as owner/name."
        raise EngineError(f"There is no model {named} for sherpa-onnx.", fix, Sherpa.name)
    from huggingface_hub import snapshot_download

    try:
        repository = KNOWN[named].repository if named in KNOWN else named
        return Path(snapshot_download(repository, allow_patterns=["*.onnx", "*.ort", "tokens.txt"]))
    except Exception as error:  # the hub's client raises errors of many types
        raise EngineError(
            f"The model {named} cannot be fetched from the Hugging Face hub: {first_line(error)}.",
            "Check the network, or download it elsewhere and set stt.model to its folder.",
            Sherpa.name,
        ) from error


def _cased(text: str) -> str:
    """Return text in lower case if it is all capitals, as many Zipformers write it."""
    text = text.strip()
    return text.lower() if text.isupper() and len(text) > 1 else text
