"""Moonshine on onnxruntime: English speech to text in a tenth of the sound's duration.

The encoder reads a whole piece of sound; the decoder then writes one token a step. Both run in short steps on one
thread, so a final transcript waits for at most one step of another session's partial transcript.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples
from chinwag.engines import registry
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.stt import ort_format
from chinwag.engines.stt.growing import PiecewiseUtterance, loop_begins
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

MODELS = ("moonshine-tiny-en", "moonshine-base-en")
"""base makes fewer errors and takes twice as long (docs/engines/hearing.md)."""
SHIPPED_SLOW = ("moonshine-base-en",)
"""Models whose decoders dequantise all weights at every token; they are quantised once, at the first load."""
QUANTISED_WITHIN_S = 600.0
BEGIN, END = 1, 2
FIRST_SPECIAL = 32_000
"""First of the tokenizer's <<ST_n>> markers, which are not words."""

TOKENS_PER_SECOND = 6.5
"""Moonshine's own limit of tokens per second of speech (usefulsensors/moonshine, transcribe)."""
TOKENS_ALWAYS = 8
TOKENS_PER_STEP = 4

WHOLE = 10 * LISTEN_RATE
"""Longest piece transcribed whole, in samples. In longer sound only the last piece is transcribed again."""
LEAST_PIECE, LEAST_TAIL = 4 * LISTEN_RATE, 2 * LISTEN_RATE

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MoonshineTokens:
    """The decoder's output so far: tokens, and the natural logarithm of each one's probability."""

    tokens: list[int]
    logs: list[float]

    def __add__(self, other: MoonshineTokens) -> MoonshineTokens:
        return MoonshineTokens(self.tokens + other.tokens, self.logs + other.logs)

    @property
    def confidence(self) -> float:
        """exp(mean log p); 1.0 without tokens."""
        return float(np.exp(np.mean(self.logs))) if self.logs else 1.0


class Moonshine:
    """Moonshine tiny or base, English."""

    name: ClassVar[str] = "moonshine"
    about: ClassVar[About] = About("Moonshine: English, as fast as two cores can hear", "MIT", ("en",))
    languages: tuple[str, ...] = ("en",)

    def __init__(self, encoder: Any, decoder: Any, vocabulary: list[bytes]) -> None:
        self._encoder, self._decoder, self._vocabulary = encoder, decoder, vocabulary
        self._encoder_takes_mask = any(entry.name == "attention_mask" for entry in encoder.get_inputs())
        shapes = {entry.name: entry.shape for entry in decoder.get_inputs()}
        self._past = [name for name in shapes if name.startswith("past_key_values")]
        _, heads, _, width = shapes[self._past[0]]
        self._nothing = np.zeros((1, heads, 0, width), np.float32)
        self._decoder_takes_mask = "encoder_attention_mask" in shapes
        self.worker = Worker(self.name)

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the catalog names of the models."""
        return MODELS

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the model's catalog name."""
        return (_model(settings),)

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open encoder and decoder, and transcribe a second of noise."""
        options.only(cls.name)
        model = _model(options.settings)
        folder = weights_folder(options.weights, model, cls.name)
        encoder, decoder = (folder / f"{part}.ort" for part in ("encoder_model", "decoder_model_merged"))
        if model in SHIPPED_SLOW:
            encoder, decoder = _quantised(encoder), _quantised(decoder)
        engine = cls(
            open_model(encoder, cls.name),
            open_model(decoder, cls.name),
            read_vocabulary(folder / "tokenizer.bin"),
        )
        noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
        for _, _ in zip(engine.decode(noise), range(5), strict=False):
            pass
        return engine

    def open(self, language: str | None = None) -> MoonshineUtterance:
        """Open an utterance. Raises EngineError for other languages than English; its fix lists the other engines."""
        if language is not None and primary_subtag(language) not in self.languages:
            raise EngineError(
                f"Moonshine supports English only, not {language}.",
                f"Set stt.language = en, or stt.engine: {_describe_engines()}.",
                self.name,
            )
        return MoonshineUtterance(self)

    async def close(self) -> None:
        """End the thread and release the model."""
        self.worker.close()
        self._encoder = self._decoder = None

    def decode(self, pcm: Samples, guess: Sequence[int] = ()) -> Iterator[MoonshineTokens]:
        """Transcribe one piece greedily: yield the tokens so far after the encoder and after each decoder step.

        guess: likely first tokens, from a transcript of less sound. The decoder checks them in one step and accepts
        those that it would have written (greedy speculative decoding, Leviathan et al. 2023). The text is the same
        and most steps are saved.
        """
        encoder, decoder = self._encoder, self._decoder
        ones = np.ones((1, len(pcm)), np.int64)
        sound = {"input_values": pcm[None], **({"attention_mask": ones} if self._encoder_takes_mask else {})}
        encoded = encoder.run(None, sound)[0]
        feeds: dict[str, Any] = dict.fromkeys(self._past, self._nothing)
        feeds["encoder_hidden_states"] = encoded
        if self._decoder_takes_mask:
            feeds["encoder_attention_mask"] = ones  # in samples: the decoder itself takes every 384th
        words, wanted = MoonshineTokens([], []), self._past
        yield words
        limit = int(len(pcm) / LISTEN_RATE * TOKENS_PER_SECOND) + TOKENS_ALWAYS
        ahead = [BEGIN, *guess[: limit - 1]]
        while len(words.tokens) < limit:
            feeds["input_ids"] = np.array([ahead], np.int64)
            feeds["use_cache_branch"] = np.array([bool(words.tokens)])
            outputs = ["logits", *(name.replace("past_key_values", "present") for name in wanted)]
            logits, *present = decoder.run(outputs, feeds)
            feeds.update(zip(wanted, present, strict=True))
            # The encoder's part of the cache is constant, so from the second step on only the decoder's part grows.
            wanted = [name for name in self._past if ".decoder." in name]
            before = len(words.tokens)
            _accept(logits[0], ahead[1:], words)
            if len(words.tokens) - before < len(ahead):  # remove wrong guesses from the cache
                feeds.update({name: feeds[name][:, :, : len(words.tokens)] for name in wanted})
            if words.tokens[-1] == END:
                break
            ahead = words.tokens[-1:]
            kept = loop_begins(words.tokens)
            if kept is not None:
                words = MoonshineTokens(words.tokens[:kept], words.logs[:kept])
            yield words
            if kept is not None:
                return

    def text_of(self, words: MoonshineTokens) -> str:
        """Return the tokens' text without bytes that are not UTF-8."""
        pieces = (self._vocabulary[token] for token in words.tokens if END < token < FIRST_SPECIAL)
        return b"".join(pieces).decode("utf-8", "ignore").replace("▁", " ").strip()


class MoonshineUtterance(PiecewiseUtterance[MoonshineTokens]):
    """One utterance that is being transcribed."""

    def __init__(self, engine: Moonshine) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), MoonshineTokens([], []))
        self._engine = engine
        self._guess: tuple[int, list[int]] = 0, []

    def _text_of(self, words: MoonshineTokens) -> str:
        return self._engine.text_of(words)

    @property
    def _language(self) -> str:
        return "en"

    async def _transcribe_piece(self, pcm: Samples, start: int, priority: Priority) -> MoonshineTokens | None:
        decoding = self._engine.decode(pcm, self._guess[1] if self._guess[0] == start else ())
        words: MoonshineTokens | None = MoonshineTokens([], [])
        while words is not None:
            if self._must_yield(priority):
                return None
            result, words = words, await self._engine.worker.run_at(priority, _advance, decoding)
        self._guess = start, [token for token in result.tokens if token != END]
        return result


def _accept(scores: Samples, guess: Sequence[int], words: MoonshineTokens) -> None:
    """Append the likeliest token of each row of scores, up to the first that differs from the guess."""
    for row, guessed in zip(scores, [*guess, None], strict=True):
        token = int(row.argmax())
        words.tokens.append(token)
        words.logs.append(-float(np.log(np.exp(row - row[token]).sum())))
        if token != guessed or token == END:
            return


def _advance(decoding: Iterator[MoonshineTokens]) -> MoonshineTokens | None:
    """Run one step on the thread: the encoder, or a few tokens. None at the end."""
    words = None
    for _ in range(TOKENS_PER_STEP):
        following = next(decoding, None)
        if following is None:
            return None
        words = following
        if not words.tokens:
            break
    return words


def _model(settings: Any) -> str:
    """Return the catalog name of the configured model. Raises EngineError if there is no such model."""
    named = (settings.model if settings else "") or MODELS[0]
    if named not in MODELS:
        fix = f"Set stt.model to one of: {', '.join(MODELS)}."
        raise EngineError(f"Moonshine has no model called {named}.", fix, Moonshine.name)
    return str(named)


def read_vocabulary(path: Path) -> list[bytes]:
    """Read Moonshine's tokenizer.bin: each token's bytes follow their count, which takes two bytes from 128 on."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(
            f"Moonshine's tokenizer cannot be read: {error}.",
            f"Run `chinwag models pull {path.parent.name}`.",
            Moonshine.name,
        ) from error
    tokens, at = [], 0
    while at < len(data):
        count = data[at]
        at += 1
        if count >= 128:
            count += data[at] * 128 - 128
            at += 1
        tokens.append(data[at : at + count])
        at += count
    return tokens


def _describe_engines() -> str:
    engines = []
    for name in registry.names("stt"):
        languages = registry.lookup("stt", name).about.languages
        engines.append(f"{name} ({', '.join(languages)})")
    return "; ".join(engines)


def _quantised(shipped: Path) -> Path:
    """Return the quantised copy of a model, creating it if needed; without the onnx package, the model itself.

    A separate process creates it, because that takes half a gigabyte and some ten seconds. Raises EngineError.
    """
    quantised = shipped.with_suffix(".int8.onnx")
    if quantised.exists() and quantised.stat().st_mtime >= shipped.stat().st_mtime:
        return quantised
    log.info("quantising %s; this happens once", shipped.name)
    command = [sys.executable, "-m", ort_format.__name__, str(shipped), str(quantised)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUANTISED_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        message = f"{shipped.name} of Moonshine could not be quantised within {QUANTISED_WITHIN_S:.0f} s."
        raise EngineError(message, "Set stt.model = moonshine-tiny-en, or try again.", Moonshine.name) from None
    if done.returncode == ort_format.NO_ONNX:
        log.warning(
            "%s runs about ten times slower than it could. To have it quantised: `pip install 'chinwag[moonshine]'`.",
            shipped.name,
        )
        return shipped
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1].strip()[:300] if lines else f"its process ended with {done.returncode}"
        message = f"{shipped.name} of Moonshine could not be quantised: {said}."
        fix = "Check the free disk space, run `chinwag models verify`, or set stt.model = moonshine-tiny-en."
        raise EngineError(message, fix, Moonshine.name)
    return quantised
