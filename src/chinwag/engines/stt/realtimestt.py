"""RealtimeSTT as a source of transcripts: its transcribers, from faster-whisper to Moonshine, Parakeet and Qwen3.

RealtimeSTT's recorder finds speech and its end by itself, on processes and threads of its own. That is Chinwag's work
here; what RealtimeSTT brings are its transcribers. They run in a process of their own, as most hold the interpreter
lock and some bring torch. They hear whole pieces: the utterance again at each partial.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Samples
from chinwag.engines.apart import EngineProcess
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.stt.growing import PiecewiseUtterance
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
"""Those of RealtimeSTT 1.1, each with the model it is given where none is named; of "" one has to be named."""

WEIGHTS = {"base": "whisper-base"}
"""Of faster-whisper, those in the catalog."""

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
"""What it is told where stt.options does not: as RealtimeSTT's TranscriptionEngineConfig has it, but for a beam of one,
which is live. languages: what the model hears, as ["en", "de"]."""

WHOLE, LEAST_PIECE, LEAST_TAIL = (seconds * LISTEN_RATE for seconds in (15, 5, 2))
"""Sound up to which an utterance is heard in one piece; a longer one is cut at its quietest place, not before the
second, so that the third is left."""

SURE_S = 1.0
"""Sound from which a language that was not told is believed."""


@dataclass(frozen=True, slots=True)
class RealtimeSttText:
    """The text of one piece; most transcribers give no probabilities."""

    text: str = ""
    language: str | None = None

    def __add__(self, other: RealtimeSttText) -> RealtimeSttText:
        """Join the results of two pieces."""
        return RealtimeSttText("", other.language or self.language)

    @property
    def confidence(self) -> float:
        """Not known."""
        return 1.0


class RealtimeStt:
    """One transcriber of RealtimeSTT for all conversations. stt.model is its name, or name:model."""

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
        """Its transcribers that have a model of their own; that of any is named behind a colon."""
        return tuple(name for name, model in TRANSCRIBERS.items() if model)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The catalog name, where the model is in the catalog."""
        which, model = _parted(settings.model)
        return (WEIGHTS[model],) if which == USUAL and model in WEIGHTS else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Make the transcriber in its process, and have it hear a second."""
        settings = options.settings
        told = options.only(cls.name, **OPTIONS)
        which, model = _parted(settings.model)
        if which not in TRANSCRIBERS:
            fix = f"There are: {', '.join(TRANSCRIBERS)}."
            asked = settings.model.partition(":")[0]
            raise EngineError(f"RealtimeSTT has no transcriber {asked}.", fix, cls.name)
        if not model:
            fix = f"Set stt.model = {which}:FOLDER, with the folder of its model."
            raise EngineError(f"RealtimeSTT's transcriber {which} has no model of its own.", fix, cls.name)
        if which == USUAL and model in WEIGHTS:
            model = str(weights_folder(options.weights, WEIGHTS[model], cls.name))
        languages = tuple(told.pop("languages"))
        transcriber = EngineProcess(
            "stt",
            cls.name,
            "chinwag.engines.stt.realtimestt:TranscriberProcess",
            which=which,
            model=os.path.expanduser(model),
            device=settings.device,
            threads=settings.threads or min(4, os.cpu_count() or 1),
            told=told,
        )
        return cls(transcriber, languages if languages != ("*",) else tuple(transcriber.info) or ("*",))

    def open(self, language: str | None = None) -> RealtimeSttUtterance:
        """Open an utterance. Raises EngineError for an unsupported language."""
        code = primary_subtag(language) if language else None
        if code and "*" not in self.languages and code not in self.languages:
            known = ", ".join(self.languages[:12]) + " …" * (len(self.languages) > 12)
            fix = "Correct stt.language, or choose another stt.model."
            raise EngineError(f"This transcriber of RealtimeSTT hears {known}, not {language}.", fix, self.name)
        only = self.languages[0] if len(self.languages) == 1 and "*" not in self.languages else None
        return RealtimeSttUtterance(self, code or only)

    async def close(self) -> None:
        """End the process."""
        self.transcriber.close()


class RealtimeSttUtterance(PiecewiseUtterance[RealtimeSttText]):
    """One utterance that is being transcribed."""

    def __init__(self, engine: RealtimeStt, language: str | None) -> None:
        super().__init__(engine.name, (WHOLE, LEAST_PIECE, LEAST_TAIL), RealtimeSttText())
        self._engine, self._told, self._found = engine, language, language

    @property
    def _language(self) -> str | None:
        return self._found

    def _text_of(self, words: RealtimeSttText) -> str:
        return words.text

    async def _words(self, pcm: Samples, start: int, priority: Priority) -> RealtimeSttText | None:
        text, language = await self._engine.transcriber.call("hear", pcm, self._told, priority=priority)
        if self._told is None and len(pcm) >= SURE_S * LISTEN_RATE:
            self._found = language
        return RealtimeSttText(text, language)


def _parted(model: str) -> tuple[str, str]:
    which, _, named = (model or USUAL).partition(":")
    which = which.lower().replace("-", "_")
    return which, named or TRANSCRIBERS.get(which, "")


# --- in the process of its own ---------------------------------------------------------------------------------------


class TranscriberProcess:
    """RealtimeSTT's transcriber. info: the languages of its model, as far as it tells them."""

    def __init__(self, which: str, model: str, device: str, threads: int, told: Mapping[str, Any]) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        from RealtimeSTT.transcription_engines import TranscriptionEngineConfig, create_transcription_engine

        config = TranscriptionEngineConfig(model=model, device=_device(device), **told)
        try:
            self._transcriber = create_transcription_engine(which, config)
            noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
            self._transcriber.transcribe(noise, language=None, use_prompt=False)
        except Exception as error:  # each of its libraries raises its own
            raise _explained(error, which, model, config.device) from error
        self.info = _languages(self._transcriber)

    def hear(self, pcm: Samples, language: str | None) -> Iterator[tuple[str, str | None]]:
        """The words, and their language where it tells it."""
        heard = self._transcriber.transcribe(pcm, language=language, use_prompt=True)
        found = heard.info.language
        yield heard.text.strip(), language or (primary_subtag(str(found)) if found else None)


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return "cpu"
    import ctranslate2  # it comes with faster-whisper, and loads no torch

    there = ctranslate2.get_cuda_device_count() > 0
    if wanted == "cuda" and not there:
        fix = "Set stt.device = cpu, or install NVIDIA's driver: `nvidia-smi -L` must list the device."
        raise EngineError("RealtimeSTT finds no CUDA device.", fix)
    return "cuda" if there else "cpu"


def _languages(transcriber: Any) -> tuple[str, ...]:
    model = getattr(transcriber, "model", None)
    found = getattr(model, "supported_languages", None)  # of faster-whisper
    return tuple(found) if isinstance(found, list | tuple) else ()


def _explained(error: Exception, which: str, model: str, device: str) -> Exception:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
    low = said.lower()
    if isinstance(error, MemoryError) or "out of memory" in low or "cuda" in low:
        return error  # `faults` knows these
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    if isinstance(cause, ImportError):
        fix = f"Install it: pip install {PACKAGES.get(which, f'RealtimeSTT[{which}]')}."
        return EngineError(f"RealtimeSTT's transcriber {which} is not installed: {cause}.", fix)
    fix = "Name a model that it has, or a folder; one that it has to fetch needs the network."
    return EngineError(f"RealtimeSTT's {which} cannot load the model {model} on {device}: {said}.", fix)
