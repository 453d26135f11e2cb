"""Whisper through faster-whisper: a hundred languages, on a processor or CUDA.

Whisper was trained on windows of 30 s, and other programs pad sound to that length. Here only two seconds of silence
are added: for 3 s of speech the encoder then takes 45 ms instead of 560 (base, int8, two cores). Without timestamps the
model then repeats sentences (10 of 21 pieces with one second of silence, 7 with two); with timestamps it finds the end
of the sound (0 of 21).
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
from chinwag.engines.faults import first_line, require_language
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.stt.growing import PiecewiseUtterance, ctranslate2_device, loop_begins
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

LONGEST_STEP_S = 300.0
"""A large model may take so long for half a minute of sound on a slow processor."""

DEFAULT_MODEL = "base"
WEIGHTS = {"base": "whisper-base", "small": "whisper-small", "large-v3-turbo": "whisper-large-v3-turbo"}
"""Models in the catalog; faster-whisper downloads the others from the Hugging Face hub."""

NOT_FOR_BASE, MODEL_FOR_THOSE = frozenset({"hi"}), "small"
"""Languages that base detects but cannot transcribe (Hindi: docs/languages.md), and the model used for them."""

MODELS = (
    *("base", "tiny", "small", "medium", "large-v3", "large-v3-turbo", "distil-large-v3"),
    *("tiny.en", "base.en", "small.en", "medium.en", "distil-small.en", "distil-medium.en"),
)

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (10, 4, 2))
"""In samples: longest piece transcribed whole; earliest cut in a longer one; least sound left behind the cut."""

SILENCE_BEHIND = 2 * LISTEN_RATE
"""Silence added after the sound, in samples. With less, the model sometimes invents or repeats the last words."""

TOKENS_PER_SECOND, TOKENS_ALWAYS = 30, 16
"""Upper limits of the tokens of speech: a Hindi word takes six."""

NO_SPEECH, NO_SPEECH_SURE, LEAST_LOG = 0.6, 0.9, -1.0
"""There are no words if P(no speech) is above the first and the mean log-probability below the third
(openai/whisper, transcribe.py), or if P(no speech) is above the second: noise often yields a sure "Thank you."."""
NEVER_LOG = -1.5
"""Mean log-probability below which words are invented, as for clicks."""

MOST_TOKENS = 448
"""The decoder's limit (openai/whisper, n_text_ctx)."""

LONGEST_SQUEEZE = 2.4
"""Compression ratio above which a text is a loop (openai/whisper, transcribe.py)."""

SURE_LANGUAGE, LEAST_FOR_LANGUAGE, ENOUGH_FOR_LANGUAGE = 0.6, LISTEN_RATE, 5 * LISTEN_RATE
"""Least probability and sound (samples) to report a language; sound from which the language is settled."""


@dataclass(frozen=True, slots=True)
class WhisperTokens:
    """The tokens of one piece. log: sum of their log-probabilities."""

    tokens: tuple[int, ...] = ()
    log: float = 0.0
    language: str | None = None

    def __add__(self, other: WhisperTokens) -> WhisperTokens:
        """Join the results of two pieces."""
        return WhisperTokens(self.tokens + other.tokens, self.log + other.log, other.language)

    @property
    def confidence(self) -> float:
        """exp(mean log p); 1.0 without tokens."""
        return min(1.0, math.exp(self.log / len(self.tokens))) if self.tokens else 1.0


class Whisper:
    """One Whisper model for all sessions, on its own thread.

    `stt.options.languages`: languages that detection may choose; by default all.
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
        """Return the common models. A folder with a CTranslate2 model or a hub repository is accepted as well."""
        return MODELS

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the catalog name if the model is in the catalog."""
        named = _model(settings)
        return (WEIGHTS[named],) if named in WEIGHTS else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model and transcribe a second of noise. The hub serves models outside the catalog."""
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import _LANGUAGE_CODES

        settings = options.settings
        expected = options.only(cls.name, languages=[])["languages"]
        if wrong := sorted(set(expected) - set(_LANGUAGE_CODES)):
            raise EngineError(
                f"Whisper does not support the language {wrong[0]}.", "Correct stt.options.languages.", cls.name
            )
        named = _model(settings)
        where = str(weights_folder(options.weights, WEIGHTS[named], cls.name)) if named in WEIGHTS else named
        device = ctranslate2_device(settings.device, cls.name)
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
        except Exception as error:  # CTranslate2 and the hub's client raise errors of many types
            raise _explained(error, named, device) from error
        return engine

    def open(self, language: str | None = None) -> WhisperUtterance:
        """Open an utterance. Raises EngineError for an unsupported language."""
        code = require_language(self.languages, language, "This Whisper model", self.name)
        return WhisperUtterance(self, code or ("en" if self.languages == ("en",) else None))

    async def close(self) -> None:
        """End the thread and release the model."""
        self.worker.close()
        self._model = None

    # --- on the thread -----------------------------------------------------------------------------------------------

    def encode(self, pcm: Samples) -> Any:
        """Encode sound (16 kHz) and the silence added after it."""
        padded = np.concatenate([pcm, np.zeros(SILENCE_BEHIND, np.float32)])
        features = self._model.feature_extractor(padded, padding=0)
        return self._model.encode(np.ascontiguousarray(features))

    def language_of(self, encoded: Any) -> tuple[str, float]:
        """Return the likeliest expected language and its probability among the expected ones."""
        detected = [(token[2:-2], p) for token, p in self._model.model.detect_language(encoded)[0]]
        expected = [(language, p) for language, p in detected if language in self._expected]
        return expected[0][0], expected[0][1] / sum(p for _, p in expected)

    def write(self, encoded: Any, seconds: float, language: str | None) -> WhisperTokens:
        """Decode encoded sound of that many seconds; no tokens for silence and invented words."""
        tokenizer = self._tokenizer(language)
        prompt = tokenizer.sot_sequence
        most = len(prompt) + int(seconds * TOKENS_PER_SECOND) + TOKENS_ALWAYS
        result = self._model.model.generate(
            encoded, [prompt], beam_size=1, max_length=min(2 * most, MOST_TOKENS),  # CTranslate2 uses half of it
            max_initial_timestamp_index=50, return_no_speech_prob=True, return_logits_vocab=True,
        )[0]  # fmt: skip
        tokens, logs = [], []
        for token, scores in zip(result.sequences_ids[0], result.logits[0], strict=False):
            if token < tokenizer.eot:  # others are timestamps
                tokens.append(token)
                logs.append(_log(np.asarray(scores).reshape(-1)[: tokenizer.eot], token))
        if (kept := loop_begins(tokens)) is not None:
            tokens, logs = tokens[:kept], logs[:kept]
        result_tokens = WhisperTokens(tuple(tokens), sum(logs), language)
        mean = result_tokens.log / max(len(tokens), 1)
        silent = result.no_speech_prob
        invented = silent > NO_SPEECH_SURE or (silent > NO_SPEECH and mean < LEAST_LOG) or mean < NEVER_LOG
        return WhisperTokens(language=language) if invented else result_tokens

    def text_of(self, words: WhisperTokens) -> str:
        """Return the tokens' text; "" if it is a loop."""
        text = str(self._tokenizer(words.language).decode([*words.tokens])).replace("\ufffd", "").strip()
        packed = text.encode()
        if len(packed) > 40 and len(packed) / len(zlib.compress(packed)) > LONGEST_SQUEEZE:
            return ""
        return text

    def _tokenizer(self, language: str | None) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        multilingual = self._model.model.is_multilingual
        return Tokenizer(self._model.hf_tokenizer, multilingual, task="transcribe", language=language or "en")


class WhisperUtterance(PiecewiseUtterance[WhisperTokens]):
    """One utterance that is being transcribed. Its language is detected until it is certain."""

    def __init__(self, engine: Whisper, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), WhisperTokens())
        self._engine, self._detects = engine, language is None
        self._reported_language = self._likeliest_language = language

    @property
    def _language(self) -> str | None:
        return self._reported_language

    def _text_of(self, words: WhisperTokens) -> str:
        return self._engine.text_of(words)

    async def _transcribe_piece(self, pcm: Samples, start: int, priority: Priority) -> WhisperTokens | None:
        engine, run_at = self._engine, self._engine.worker.run_at
        encoded = await run_at(priority, engine.encode, pcm)
        if self._detects:
            language, probability = await run_at(priority, engine.language_of, encoded)
            self._likeliest_language = language
            if self._sound.length >= LEAST_FOR_LANGUAGE:
                self._reported_language = language if probability >= SURE_LANGUAGE else None
                self._detects = self._reported_language is None or self._sound.length < ENOUGH_FOR_LANGUAGE
        if self._must_yield(priority):
            return None
        return await run_at(priority, engine.write, encoded, len(pcm) / LISTEN_RATE, self._likeliest_language)


def _log(scores: Samples, token: int) -> float:
    """Return the token's log-probability among the given scores."""
    top = scores.max()
    return float(scores[token] - top - np.log(np.exp(scores - top).sum()))


def _model(settings: Any) -> str:
    """Return the configured model, or the default one for the configured language."""
    return settings.model or (MODEL_FOR_THOSE if primary_subtag(settings.language) in NOT_FOR_BASE else DEFAULT_MODEL)


def _explained(error: Exception, model: str, device: str) -> EngineError:
    said = first_line(error)
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
        message = f"The folder {model} contains no model of faster-whisper: {said}."
        return EngineError(
            message, "Convert it with ct2-transformers-converter, or set stt.model to a model's name.", Whisper.name
        )
    message = f"Whisper {model} cannot be fetched from the Hugging Face hub: {said}."
    fix = "Check the network, set stt.model = base, which comes from the package index, or set it to a folder."
    return EngineError(message, fix, Whisper.name)
