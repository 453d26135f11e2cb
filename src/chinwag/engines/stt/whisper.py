"""Whisper through faster-whisper: a hundred languages, on a processor or CUDA.

Whisper was trained on windows of 30 s and is usually given just that, with silence behind what was said. Here it is
given the sound alone and a second of silence: its encoder takes shorter input as well, and for 3 s of speech that is
31 ms in place of 564 (base, int8, two cores), with the same words.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.stt.growing import PiecewiseUtterance, loop_begins
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError

DEFAULT_MODEL = "base"
WEIGHTS = {"base": "whisper-base"}
"""Models whose files are in the catalog; faster-whisper itself fetches the others from the Hugging Face hub."""

MODELS = (
    *("base", "tiny", "small", "medium", "large-v3", "large-v3-turbo", "distil-large-v3"),
    *("tiny.en", "base.en", "small.en", "medium.en", "distil-small.en", "distil-medium.en"),
)

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (15, 6, 3))
"""Sound up to which an utterance is heard in one piece; a longer one is cut at its quietest place, not before the
second, so that the third is left."""

SILENCE_BEHIND = LISTEN_RATE
"""Without it, the last word is sometimes cut off or made up."""

TOKENS_PER_SECOND, TOKENS_ALWAYS = 30, 16
"""More than anyone says: a word of Hindi is six tokens."""

TOKENS_PER_STEP = 8
"""Of a partial; so many take about 70 ms (base, two cores), for which a final may have to wait."""

UNSURE_TAIL = 2
"""Tokens of an agreed beginning that are written again: its last word may not have been whole."""

NO_SPEECH, NO_SPEECH_SURE, LEAST_LOG = 0.6, 0.9, -1.0
"""Above the first with a mean log-probability below the third, there were no words (openai/whisper, transcribe.py);
above the second whatever the probability: on noise it is often sure of "Thank you."."""

LONGEST_SQUEEZE = 2.4
"""A text that deflates better than this is a loop (openai/whisper, transcribe.py)."""

SURE_LANGUAGE, LEAST_FOR_LANGUAGE, ENOUGH_FOR_LANGUAGE = 0.6, LISTEN_RATE, 5 * LISTEN_RATE
"""P(language) and sound from which a language is told, as "OK" is said in many; and sound from which it stays."""


@dataclass(frozen=True, slots=True)
class Words:
    """What was heard of one piece. log: the sum of its tokens' log-probabilities."""

    tokens: tuple[int, ...] = ()
    log: float = 0.0
    language: str | None = None

    def __add__(self, other: Words) -> Words:
        """Those of two pieces."""
        return Words(self.tokens + other.tokens, self.log + other.log, other.language)

    @property
    def confidence(self) -> float:
        """exp(mean log p); 1.0 of nothing."""
        return min(1.0, math.exp(self.log / len(self.tokens))) if self.tokens else 1.0


class Whisper:
    """One Whisper model for all conversations, on a thread of its own.

    `stt.options.languages`: those that may be spoken, where the language is to be heard; all of them without it.
    """

    name: ClassVar[str] = "whisper"
    about: ClassVar[About] = About(
        "Whisper (faster-whisper): a hundred languages", "MIT", modules=("faster_whisper",), extra="whisper"
    )

    def __init__(self, model: Any, codes: Sequence[str], expected: Sequence[str] = ()) -> None:
        self._model, self._expected = model, frozenset(expected or codes)
        self.languages = tuple(codes) if model.model.is_multilingual else ("en",)
        self.worker = Worker(self.name)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Names of the usual ones; a folder with a CTranslate2 model, or a repository on the hub, does as well."""
        return MODELS

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The catalog name, where the model is in the catalog."""
        named = settings.model or DEFAULT_MODEL
        return (WEIGHTS[named],) if named in WEIGHTS else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model, fetching it from the hub where it is neither in the catalog nor a folder; hear a second."""
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import _LANGUAGE_CODES

        settings = options.settings
        expected = options.only(cls.name, languages=[])["languages"]
        if wrong := sorted(set(expected) - set(_LANGUAGE_CODES)):
            raise EngineError(f"Whisper knows no language {wrong[0]}.", "Correct stt.options.languages.", cls.name)
        named = settings.model or DEFAULT_MODEL
        where = str(weights_folder(options.weights, WEIGHTS[named], cls.name)) if named in WEIGHTS else named
        device = _device(settings.device)
        try:
            model = WhisperModel(
                os.path.expanduser(where),
                device=device,
                compute_type="float16" if device == "cuda" else "int8",
                cpu_threads=settings.threads or min(4, os.cpu_count() or 1),
            )
            engine = cls(model, _LANGUAGE_CODES, expected)
            noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
            engine.write(engine.encode(noise), Words(language="en"), 4)
        except Exception as error:  # CTranslate2 and the hub's client raise whatever they meet
            raise _explained(error, named, device) from error
        return engine

    def open(self, language: str | None = None) -> WhisperUtterance:
        """Begin an utterance. Raises EngineError for a language it does not know."""
        code = None if language is None else language.replace("_", "-").split("-")[0].lower()
        if code is not None and code not in self.languages:
            known = ", ".join(self.languages[:12])
            raise EngineError(
                f"This Whisper model does not hear {language}; it hears {known}{' …' * (len(self.languages) > 12)}.",
                "Correct stt.language, or set it to auto; a model whose name ends in .en hears English alone.",
                self.name,
            )
        return WhisperUtterance(self, code or ("en" if self.languages == ("en",) else None))

    async def close(self) -> None:
        """End the thread and let the model go."""
        self.worker.close()
        self._model = None

    # --- on the thread -----------------------------------------------------------------------------------------------

    def encode(self, pcm: Samples) -> Any:
        """What the encoder makes of the sound and a second of silence."""
        padded = np.concatenate([pcm, np.zeros(SILENCE_BEHIND, np.float32)])
        features = self._model.feature_extractor(padded, padding=0)
        return self._model.encode(np.ascontiguousarray(features))

    def language_of(self, heard: Any) -> tuple[str, float]:
        """The likeliest of the languages that are expected, and its probability among them."""
        found = [(sign[2:-2], p) for sign, p in self._model.model.detect_language(heard)[0]]
        among = [(language, p) for language, p in found if language in self._expected]
        return among[0][0], among[0][1] / sum(p for _, p in among)

    def write(self, heard: Any, words: Words, most: int) -> tuple[Words, bool]:
        """Up to `most` tokens more; whether that is all there is. Silence and invention become no words."""
        signs = self._signs(words.language)
        prompt = [*signs.sot_sequence, signs.no_timestamps, *words.tokens]
        result = self._model.model.generate(
            heard, [prompt], beam_size=1, max_length=2 * (len(words.tokens) + most),  # CTranslate2 takes half of it
            return_scores=True, return_no_speech_prob=True,
        )[0]  # fmt: skip
        tokens = tuple(result.sequences_ids[0])  # those of the prompt among them, which cost nothing
        new = len(tokens) - len(words.tokens)
        log = words.log + result.scores[0] * max(len(tokens), 1)
        silent, mean = result.no_speech_prob, log / max(len(tokens), 1)
        if silent > NO_SPEECH_SURE or (silent > NO_SPEECH and mean < LEAST_LOG):
            return Words(language=words.language), True
        if (kept := loop_begins(tokens)) is not None:
            return Words(tokens[:kept], log * kept / len(tokens), words.language), True
        return Words(tokens, log, words.language), new < most

    def text_of(self, words: Words) -> str:
        """Tokens to text; nothing for a text that goes round and round."""
        text = str(self._signs(words.language).decode([*words.tokens])).replace("\ufffd", "").strip()
        packed = text.encode()
        if len(packed) > 40 and len(packed) / len(zlib.compress(packed)) > LONGEST_SQUEEZE:
            return ""
        return text

    def _signs(self, language: str | None) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        multilingual = self._model.model.is_multilingual
        return Tokenizer(self._model.hf_tokenizer, multilingual, task="transcribe", language=language or "en")


@dataclass(slots=True)
class _Piece:
    """What was heard last of the piece that is not settled yet. agreed: what two hearings in a row began with."""

    start: int = 0
    words: Words = field(default_factory=Words)
    agreed: tuple[int, ...] = ()


class WhisperUtterance(PiecewiseUtterance[Words]):
    """One utterance on its way to words.

    Live words by LocalAgreement (Macháček et al. 2023): what two hearings in a row begin with is not written again, so
    that each takes as long as the words that are new.
    """

    def __init__(self, engine: Whisper, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), Words())
        self._engine, self._told, self._guessed, self._asks = engine, language, language, language is None
        self._before = _Piece()

    @property
    def _language(self) -> str | None:
        return self._told

    def _text_of(self, words: Words) -> str:
        return self._engine.text_of(words)

    async def _words(self, pcm: Samples, start: int, priority: Priority) -> Words | None:
        engine, run_at = self._engine, self._engine.worker.run_at
        heard = await run_at(priority, engine.encode, pcm)
        if self._asks:
            language, probability = await run_at(priority, engine.language_of, heard)
            if language != self._guessed:
                self._guessed, self._before = language, _Piece()
            if self._sound.length >= LEAST_FOR_LANGUAGE:
                self._told = language if probability >= SURE_LANGUAGE else None
                self._asks = self._told is None or self._sound.length < ENOUGH_FOR_LANGUAGE
        before = self._before if self._before.start == start else _Piece(start)
        began = before.agreed[: max(0, len(before.agreed) - UNSURE_TAIL)]
        share = len(began) / len(before.words.tokens) if began else 0.0
        words, whole = Words(began, before.words.log * share, self._guessed), False
        limit = len(pcm) * TOKENS_PER_SECOND // LISTEN_RATE + TOKENS_ALWAYS
        while not whole and len(words.tokens) < limit:
            if self._gives_way(priority):
                return None
            left = limit - len(words.tokens)
            most = left if priority is Priority.NOW else min(left, TOKENS_PER_STEP)
            words, whole = await run_at(priority, engine.write, heard, words, most)
        self._before = _Piece(start, words, _common(before.words.tokens, words.tokens))
        return words


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    """What both begin with."""
    length = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return second[: min(len(first), len(second)) if length is None else length]


def _device(wanted: str) -> str:
    import ctranslate2

    there = ctranslate2.get_cuda_device_count() > 0
    if wanted == "cuda" and not there:
        raise EngineError(
            "Whisper finds no CUDA device.",
            "Set stt.device = cpu, or install NVIDIA's driver with CUDA 12 and cuDNN 9.",
            Whisper.name,
        )
    return "cuda" if there and wanted != "cpu" else "cpu"


def _explained(error: Exception, model: str, device: str) -> EngineError:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    low = f"{type(error).__name__} {error}".lower()
    if isinstance(error, EngineError):
        return error
    if isinstance(error, ValueError) and "invalid model size" in low:
        return EngineError(f"There is no Whisper model {model}.", f"There are: {', '.join(MODELS)}.", Whisper.name)
    if "out of memory" in low or isinstance(error, MemoryError):
        message = f"Whisper {model} does not fit into the memory of the {'GPU' if device == 'cuda' else 'machine'}."
        return EngineError(message, "Set a smaller stt.model: tiny, base or small.", Whisper.name)
    if device == "cuda" and any(word in low for word in ("cuda", "cublas", "cudnn")):
        fix = "Install CUDA 12 with cuDNN 9, or set stt.device = cpu."
        return EngineError(f"Whisper cannot use CUDA: {said}.", fix, Whisper.name)
    if Path(model).expanduser().is_dir():
        message = f"The folder {model} holds no model of faster-whisper: {said}."
        return EngineError(message, "Convert it with ct2-transformers-converter, or name a model.", Whisper.name)
    message = f"Whisper {model} cannot be fetched from the Hugging Face hub: {said}."
    fix = "Look at the network, set stt.model = base, which comes from the package index, or name a folder."
    return EngineError(message, fix, Whisper.name)
