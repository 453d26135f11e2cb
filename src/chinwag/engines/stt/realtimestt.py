"""RealtimeSTT's transcribers, from faster-whisper to Moonshine, Parakeet and Qwen3.

RealtimeSTT's recorder, which detects speech and its end, is not used: Chinwag does that. The transcribers run in a
separate process, because most hold the interpreter lock and some import torch. They transcribe whole pieces: each
partial transcript needs the whole utterance again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples
from chinwag.engines.apart import EngineProcess
from chinwag.engines.faults import first_line, require_language
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.stt.growing import PiecewiseUtterance, ctranslate2_device
from chinwag.engines.worker import Priority
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

USUAL = "faster_whisper"
TRANSCRIBERS: Mapping[str, str] = {
    "faster_whisper": "base", "whisper_cpp": "base", "openai_whisper": "base",
    "moonshine": "UsefulSensors/moonshine-streaming-medium", "parakeet": "nvidia/parakeet-tdt-0.6b-v3",
    "qwen3_asr": "Qwen/Qwen3-ASR-1.7B", "granite_speech": "ibm-granite/granite-speech-4.1-2b",
    "cohere_transcribe": "CohereLabs/cohere-transcribe-03-2026", "omnilingual_asr": "omniASR_CTC_1B_v2",
    "funasr": "iic/SenseVoiceSmall", "sherpa_onnx_parakeet": "sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8",
    "sherpa_onnx_moonshine": "sherpa-onnx-moonshine-tiny-en-int8", "sherpa_onnx_nemotron": "", "kroko_onnx": "",
    "transcribe_cpp": "", "parakeet_transcribe_cpp": "",
}  # fmt: skip
"""Transcribers of RealtimeSTT 1.1 and their default models; "" if a model must be named."""

WEIGHTS = {"base": "whisper-base"}
"""Models of faster-whisper that are in the catalog."""

PACKAGES = {
    "faster_whisper": "faster-whisper", "whisper_cpp": "pywhispercpp", "openai_whisper": "openai-whisper",
    "moonshine": "transformers", "granite_speech": "transformers", "cohere_transcribe": "transformers",
    "parakeet": "'nemo_toolkit[asr]'", "sherpa_onnx_parakeet": "sherpa-onnx", "sherpa_onnx_moonshine": "sherpa-onnx",
    "sherpa_onnx_nemotron": "sherpa-onnx", "transcribe_cpp": "transcribe-cpp",
    "parakeet_transcribe_cpp": "transcribe-cpp", "qwen3_asr": "qwen-asr", "omnilingual_asr": "omnilingual-asr",
    "funasr": "funasr",
}  # fmt: skip

OPTIONS: Mapping[str, Any] = {
    "languages": ["*"], "beam_size": 1, "initial_prompt": None, "vad_filter": True, "compute_type": "default",
    "batch_size": 0, "engine_options": None,
}  # fmt: skip
"""Defaults of stt.options: those of RealtimeSTT's TranscriptionEngineConfig, but a beam of 1 for low latency.

languages: those that the model supports, as ["en", "de"]."""

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (15, 5, 2))
"""In samples: longest piece transcribed whole; earliest cut in a longer one; least sound left behind the cut."""

LANGUAGE_AFTER_S = 1.0
"""Least sound from which a detected language is used, in seconds."""


@dataclass(frozen=True, slots=True)
class RealtimeSttText:
    """The text of one piece; most transcribers return no probabilities."""

    text: str = ""
    language: str | None = None

    def __add__(self, other: RealtimeSttText) -> RealtimeSttText:
        """Join the results of two pieces."""
        return RealtimeSttText("", other.language or self.language)

    @property
    def confidence(self) -> float:
        """1.0: probabilities are unknown."""
        return 1.0


class RealtimeStt:
    """One transcriber of RealtimeSTT for all sessions. stt.model: its name, or name:model."""

    name: ClassVar[str] = "realtimestt"
    about: ClassVar[About] = About(
        "RealtimeSTT: its transcribers, faster-whisper, Moonshine, Parakeet, Qwen3 and more",
        "MIT; each transcriber and its model have their own",
        modules=("RealtimeSTT",),
        extra="realtimestt",
    )

    def __init__(self, transcriber: EngineProcess, languages: tuple[str, ...]) -> None:
        self.transcriber, self.languages = transcriber, languages

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the transcribers that have a default model; another model follows a colon."""
        return tuple(name for name, model in TRANSCRIBERS.items() if model)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the catalog name if the model is in the catalog."""
        which, model = _split_model(settings.model)
        return (WEIGHTS[model],) if which == USUAL and model in WEIGHTS else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Create the transcriber in its process; it transcribes a second of noise."""
        settings = options.settings
        given = options.only(cls.name, **OPTIONS)
        which, model = _split_model(settings.model)
        if which not in TRANSCRIBERS:
            fix = f"There are: {', '.join(TRANSCRIBERS)}."
            named = settings.model.partition(":")[0]
            raise EngineError(f"RealtimeSTT has no transcriber {named}.", fix, cls.name)
        if not model:
            fix = f"Set stt.model = {which}:FOLDER, with the folder of its model."
            raise EngineError(f"RealtimeSTT's transcriber {which} has no default model.", fix, cls.name)
        if which == USUAL and model in WEIGHTS:
            model = str(weights_folder(options.weights, WEIGHTS[model], cls.name))
        languages = tuple(given.pop("languages"))
        transcriber = EngineProcess(
            "stt",
            cls.name,
            "chinwag.engines.stt.realtimestt:TranscriberProcess",
            which=which,
            model=os.path.expanduser(model),
            device=settings.device,
            threads=settings.threads or min(4, os.cpu_count() or 1),
            options=given,
        )
        return cls(transcriber, languages if languages != ("*",) else tuple(transcriber.info) or ("*",))

    def open(self, language: str | None = None) -> RealtimeSttUtterance:
        """Open an utterance. Raises EngineError for an unsupported language."""
        code = require_language(self.languages, language, "This transcriber of RealtimeSTT", self.name)
        only = self.languages[0] if len(self.languages) == 1 and "*" not in self.languages else None
        return RealtimeSttUtterance(self, code or only)

    async def close(self) -> None:
        """End the process."""
        self.transcriber.close()


class RealtimeSttUtterance(PiecewiseUtterance[RealtimeSttText]):
    """One utterance that is being transcribed."""

    def __init__(self, engine: RealtimeStt, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), RealtimeSttText())
        self._engine, self._requested_language, self._detected_language = engine, language, language

    @property
    def _language(self) -> str | None:
        return self._detected_language

    def _text_of(self, result: RealtimeSttText) -> str:
        return result.text

    async def _transcribe_piece(self, pcm: Samples, start: int, priority: Priority) -> RealtimeSttText | None:
        text, language = await self._engine.transcriber.call(
            "transcribe", pcm, self._requested_language, priority=priority
        )
        if self._requested_language is None and len(pcm) >= LANGUAGE_AFTER_S * LISTEN_RATE:
            self._detected_language = language
        return RealtimeSttText(text, language)


def _split_model(model: str) -> tuple[str, str]:
    which, _, named = (model or USUAL).partition(":")
    which = which.lower().replace("-", "_")
    return which, named or TRANSCRIBERS.get(which, "")


# --- in the process of its own ---------------------------------------------------------------------------------------


class TranscriberProcess:
    """RealtimeSTT's transcriber in the child process. info: the model's languages; () if unknown."""

    def __init__(self, which: str, model: str, device: str, threads: int, options: Mapping[str, Any]) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        from RealtimeSTT.transcription_engines import TranscriptionEngineConfig, create_transcription_engine

        config = TranscriptionEngineConfig(model=model, device=ctranslate2_device(device, RealtimeStt.name), **options)
        try:
            self._transcriber = create_transcription_engine(which, config)
            noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
            self._transcriber.transcribe(noise, language=None, use_prompt=False)
        except Exception as error:  # each library raises errors of its own types
            raise _explain_error(error, which, model, config.device) from error
        self.info = _languages(self._transcriber)

    def transcribe(self, pcm: Samples, language: str | None) -> Iterator[tuple[str, str | None]]:
        """Yield the text, and its language if known."""
        result = self._transcriber.transcribe(pcm, language=language, use_prompt=True)
        detected = result.info.language
        yield result.text.strip(), language or (primary_subtag(str(detected)) if detected else None)


def _languages(transcriber: Any) -> tuple[str, ...]:
    model = getattr(transcriber, "model", None)
    languages = getattr(model, "supported_languages", None)  # faster-whisper has it
    return tuple(languages) if isinstance(languages, list | tuple) else ()


def _explain_error(error: Exception, which: str, model: str, device: str) -> Exception:
    said = first_line(error)
    low = said.lower()
    if isinstance(error, MemoryError) or "out of memory" in low or "cuda" in low:
        return error  # `faults` explains these
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    if isinstance(cause, ImportError):
        fix = f"Install it: pip install {PACKAGES.get(which, f'RealtimeSTT[{which}]')}."
        return EngineError(f"RealtimeSTT's transcriber {which} is not installed: {cause}.", fix)
    fix = "Set stt.model to one of its models or a folder; a model that must be downloaded needs the network."
    return EngineError(f"RealtimeSTT's {which} cannot load the model {model} on {device}: {said}.", fix)
