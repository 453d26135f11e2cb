"""Whisper through faster-whisper: a hundred languages, on a processor or CUDA.

Whisper was trained on windows of 30 s and is usually given just that, with silence behind what was said. Here it is
given the sound alone and two seconds of silence: its encoder takes shorter input as well, and for 3 s of speech that
is 45 ms in place of 560 (base, int8, two cores). With so little around it, the model without timestamps says a sentence
over and over (10 of 21 pieces with one second of silence, 7 with two); with timestamps it knows where the sound ends
(none of 21).
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.stt.growing import PiecewiseUtterance, loop_begins
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

LONGEST_STEP_S = 300.0
"""A large model may read half a minute of sound for so long on a slow processor."""

DEFAULT_MODEL = "base"
WEIGHTS = {"base": "whisper-base", "small": "whisper-small", "large-v3-turbo": "whisper-large-v3-turbo"}
"""Models whose files are in the catalog; faster-whisper itself fetches the others from the Hugging Face hub."""

BEYOND_BASE, FOR_THEM = frozenset({"hi"}), "small"
"""Languages that base hears and cannot write (Hindi: docs/languages.md), and the model where one of them is set."""

MODELS = (
    *("base", "tiny", "small", "medium", "large-v3", "large-v3-turbo", "distil-large-v3"),
    *("tiny.en", "base.en", "small.en", "medium.en", "distil-small.en", "distil-medium.en"),
)

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (10, 4, 2))
"""Sound up to which an utterance is heard in one piece; a longer one is cut at its quietest place, not before the
second, so that the third is left."""

SILENCE_BEHIND = 2 * LISTEN_RATE
"""With less, the last words are sometimes made up or said again."""

TOKENS_PER_SECOND, TOKENS_ALWAYS = 30, 16
"""More than anyone says: a word of Hindi is six tokens."""

NO_SPEECH, NO_SPEECH_SURE, LEAST_LOG = 0.6, 0.9, -1.0
"""Above the first with a mean log-probability below the third, there were no words (openai/whisper, transcribe.py);
above the second whatever the probability: on noise it is often sure of "Thank you."."""
NEVER_LOG = -1.5
"""Below it words are guesswork, as it hears them in clicks."""

MOST_TOKENS = 448
"""That the decoder can hold (openai/whisper, n_text_ctx)."""

LONGEST_SQUEEZE = 2.4
"""A text that deflates better than this is a loop (openai/whisper, transcribe.py)."""

SURE_LANGUAGE, LEAST_FOR_LANGUAGE, ENOUGH_FOR_LANGUAGE = 0.6, LISTEN_RATE, 5 * LISTEN_RATE
"""P(language) and sound from which a language is told, as "OK" is said in many; and sound from which it stays."""


@dataclass(frozen=True, slots=True)
class WhisperTokens:
    """The tokens of one piece. log: the sum of its tokens' log-probabilities."""

    tokens: tuple[int, ...] = ()
    log: float = 0.0
    language: str | None = None

    def __add__(self, other: WhisperTokens) -> WhisperTokens:
        """Join the results of two pieces."""
        return WhisperTokens(self.tokens + other.tokens, self.log + other.log, other.language)

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
        self.worker = Worker(self.name, LONGEST_STEP_S)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Names of the usual ones; a folder with a CTranslate2 model, or a repository on the hub, does as well."""
        return MODELS

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The catalog name, where the model is in the catalog."""
        named = _model(settings)
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
        named = _model(settings)
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
            engine.write(engine.encode(noise), 0.0, "en")
        except Exception as error:  # CTranslate2 and the hub's client raise whatever they meet
            raise _explained(error, named, device) from error
        return engine

    def open(self, language: str | None = None) -> WhisperUtterance:
        """Open an utterance. Raises EngineError for an unsupported language."""
        code = None if language is None else primary_subtag(language)
        if code is not None and code not in self.languages:
            known = ", ".join(self.languages[:12])
            raise EngineError(
                f"This Whisper model does not hear {language}; it hears {known}{' …' * (len(self.languages) > 12)}.",
                "Correct stt.language, or set it to auto; a model whose name ends in .en hears English alone.",
                self.name,
            )
        return WhisperUtterance(self, code or ("en" if self.languages == ("en",) else None))

    async def close(self) -> None:
        """End the thread and release the model."""
        self.worker.close()
        self._model = None

    # --- on the thread -----------------------------------------------------------------------------------------------

    def encode(self, pcm: Samples) -> Any:
        """What the encoder makes of the sound and the silence behind it."""
        padded = np.concatenate([pcm, np.zeros(SILENCE_BEHIND, np.float32)])
        features = self._model.feature_extractor(padded, padding=0)
        return self._model.encode(np.ascontiguousarray(features))

    def language_of(self, heard: Any) -> tuple[str, float]:
        """The likeliest of the languages that are expected, and its probability among them."""
        found = [(sign[2:-2], p) for sign, p in self._model.model.detect_language(heard)[0]]
        among = [(language, p) for language, p in found if language in self._expected]
        return among[0][0], among[0][1] / sum(p for _, p in among)

    def write(self, heard: Any, seconds: float, language: str | None) -> WhisperTokens:
        """What was said. Silence and invention become no words."""
        signs = self._signs(language)
        prompt = signs.sot_sequence
        most = len(prompt) + int(seconds * TOKENS_PER_SECOND) + TOKENS_ALWAYS
        result = self._model.model.generate(
            heard, [prompt], beam_size=1, max_length=min(2 * most, MOST_TOKENS),  # CTranslate2 writes half of it
            max_initial_timestamp_index=50, return_no_speech_prob=True, return_logits_vocab=True,
        )[0]  # fmt: skip
        tokens, logs = [], []
        for token, scores in zip(result.sequences_ids[0], result.logits[0], strict=False):
            if token < signs.eot:  # else a timestamp
                tokens.append(token)
                logs.append(_log(np.asarray(scores).reshape(-1)[: signs.eot], token))
        if (kept := loop_begins(tokens)) is not None:
            tokens, logs = tokens[:kept], logs[:kept]
        words = WhisperTokens(tuple(tokens), sum(logs), language)
        mean = words.log / max(len(tokens), 1)
        silent = result.no_speech_prob
        invented = silent > NO_SPEECH_SURE or (silent > NO_SPEECH and mean < LEAST_LOG) or mean < NEVER_LOG
        return WhisperTokens(language=language) if invented else words

    def text_of(self, words: WhisperTokens) -> str:
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


class WhisperUtterance(PiecewiseUtterance[WhisperTokens]):
    """One utterance that is being transcribed. Its language is detected until that is certain."""

    def __init__(self, engine: Whisper, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), WhisperTokens())
        self._engine, self._told, self._guessed, self._asks = engine, language, language, language is None

    @property
    def _language(self) -> str | None:
        return self._told

    def _text_of(self, words: WhisperTokens) -> str:
        return self._engine.text_of(words)

    async def _words(self, pcm: Samples, start: int, priority: Priority) -> WhisperTokens | None:
        engine, run_at = self._engine, self._engine.worker.run_at
        heard = await run_at(priority, engine.encode, pcm)
        if self._asks:
            language, probability = await run_at(priority, engine.language_of, heard)
            self._guessed = language
            if self._sound.length >= LEAST_FOR_LANGUAGE:
                self._told = language if probability >= SURE_LANGUAGE else None
                self._asks = self._told is None or self._sound.length < ENOUGH_FOR_LANGUAGE
        if self._gives_way(priority):
            return None
        return await run_at(priority, engine.write, heard, len(pcm) / LISTEN_RATE, self._guessed)


def _log(scores: Samples, token: int) -> float:
    """The token's log-probability among the words."""
    top = scores.max()
    return float(scores[token] - top - np.log(np.exp(scores - top).sum()))


def _model(settings: Any) -> str:
    """As it is set, else by the language that is."""
    return settings.model or (FOR_THEM if primary_subtag(settings.language) in BEYOND_BASE else DEFAULT_MODEL)


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
