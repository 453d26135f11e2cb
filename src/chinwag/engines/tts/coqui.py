"""Coqui's voices (coqui-tts): XTTS v2, which clones a voice from a WAV and streams, VITS, and others.

They run in a separate process, because torch holds the interpreter lock for long. XTTS keeps state in the model object,
so the process synthesizes one clause after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Audio, Samples
from chinwag.engines.apart import EngineProcess
from chinwag.engines.faults import first_line
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.sentences import check_settings, choose_voice, sentences
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

DEFAULT_MODEL = "xtts_v2"
LIST_PREFIX = "tts_models"
MODELS: Mapping[str, str] = {
    "xtts_v2": "multilingual/multi-dataset/xtts_v2",
    "vits": "en/ljspeech/vits", "vits-many": "en/vctk/vits", "your_tts": "multilingual/multi-dataset/your_tts",
    "vits-de": "de/thorsten/vits", "vits-es": "es/css10/vits", "vits-fr": "fr/css10/vits", "vits-hu": "hu/css10/vits",
    "vits-it": "it/mai_female/vits", "vits-nl": "nl/css10/vits", "vits-pl": "pl/mai_female/vits",
    "vits-pt": "pt/cv/vits", "vits-uk": "uk/mai/vits",
}  # fmt: skip
"""Short names of models in coqui-tts's list; its full names (tts_models/…) are accepted as well."""

TERMS_REQUIRED = ("xtts",)
"""Models whose terms the user must accept before coqui-tts fetches them."""

XTTS_OPTIONS: Mapping[str, Any] = {
    "temperature": None, "top_k": None, "top_p": None, "repetition_penalty": None, "stream_chunk_size": 20,
}  # fmt: skip
"""Options of XTTS; None is the model's default. stream_chunk_size: tokens in a piece of audio, 46 ms each."""

MAX_CHARS = 80
"""Most characters for XTTS at once in a script without spaces; 200 in others (its tokenizer's char_limits)."""

ONLY_VOICE = "default"
"""Name of the voice of a model with one speaker."""


class CoquiVoice:
    """One model of coqui-tts. tts.model: a short name, a full one, or a folder with config.json and the checkpoint.

    tts.options.clone: a WAV, a list, or a folder of WAVs, each three seconds or longer; a voice is named as its file.
    tts.options.language: language of your own model if its configuration has none.
    tts.options.agree = true: accept the terms of XTTS's licence.
    """

    name: ClassVar[str] = "coqui"
    about: ClassVar[About] = About(
        "Coqui: XTTS v2, which clones a voice from a WAV in 17 languages, and VITS",
        "MPL-2.0 (coqui-tts); XTTS v2 is under the Coqui Public Model License, for no commercial use",
        modules=("TTS",),
        extra="coqui",
    )

    def __init__(
        self, speaker: EngineProcess, rate: int, voices: tuple[str, ...], languages: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._speaker, self.rate, self.voices, self.languages = speaker, rate, voices, languages

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the short names."""
        return tuple(MODELS)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: coqui-tts fetches its models itself."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Fetch the model unless it is a folder, load it in its own process and warm it up."""
        settings = options.settings
        check_settings(
            cls.name, settings, ("clone", "language", "agree", *XTTS_OPTIONS), ("auto", "cpu", "cuda"), any_model=True
        )
        given = dict(getattr(settings, "options", {}))
        speaker = EngineProcess(
            "tts",
            cls.name,
            "chinwag.engines.tts.coqui:CoquiSynthesizer",
            model=getattr(settings, "model", "") or DEFAULT_MODEL,
            device=getattr(settings, "device", "auto"),
            threads=getattr(settings, "threads", 0) or min(4, os.cpu_count() or 1),
            clones={name: str(path) for name, path in _clones(given.get("clone", ()))},
            language=given.get("language", ""),
            agreed=bool(given.get("agree", False)),
            tuning={name: given.get(name, usual) for name, usual in XTTS_OPTIONS.items()},
        )
        rate, voices, spoken = speaker.info
        voice = cls(speaker, rate, tuple(voices), {language: tuple(voices) for language in spoken})
        try:
            choose_voice(cls.name, voice.voices, voice.languages, getattr(settings, "voice", "") or None, None)
        except EngineError:
            speaker.close()
            raise
        return voice

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause: XTTS in streamed pieces of about a second, other models a sentence at a time."""
        name = choose_voice(self.name, self.voices, self.languages, voice, language)
        code = primary_subtag(language) if language else next(iter(self.languages), "")
        start = 0
        for sentence in sentences(text):
            async with contextlib.aclosing(self._speaker.stream("speak", sentence, name, speed, code)) as pieces:
                async for pcm in pieces:
                    yield Audio(pcm, self.rate, start)
                    start += len(pcm)

    async def close(self) -> None:
        """Stop the process."""
        self._speaker.close()


def _clones(given: Any) -> Iterator[tuple[str, Path]]:
    """Yield voice names and their WAVs. Raises EngineError for a missing file."""
    for entry in [given] if isinstance(given, str) else list(given):
        path = Path(str(entry)).expanduser()
        files = sorted(path.glob("*.wav")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            fix = "Correct tts.options.clone: a WAV of a speaker, three seconds or more, or a folder of them."
            raise EngineError(f"There is no WAV {path}.", fix, CoquiVoice.name)
        yield from ((file.stem, file) for file in files)


# --- in the separate process -----------------------------------------------------------------------------------------


class CoquiSynthesizer:
    """The model, in its process. info: sample rate in Hz, names of voices, languages."""

    def __init__(
        self,
        model: str,
        device: str,
        threads: int,
        clones: Mapping[str, str],
        language: str,
        agreed: bool,
        tuning: Mapping[str, Any],
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        if device == "cuda" and not torch.cuda.is_available():
            fix = 'Set tts.device = "cpu", or install NVIDIA\'s driver and a torch that fits it (see `nvidia-smi`).'
            raise EngineError("Coqui finds no CUDA device.", fix)
        cuda = device != "cpu" and torch.cuda.is_available()
        self._torch, self._tuning = torch, {name: value for name, value in tuning.items() if value is not None}
        self._synthesizer = _open_synthesizer(model, cuda, agreed)
        self._model: Any = self._synthesizer.tts_model
        self._streams = hasattr(self._model, "inference_stream")
        self._language_names = dict(self._languages(model, language))
        self._latents: dict[str, Any] = {}
        self._clones = dict(clones)
        self._speakers = [str(name) for name in getattr(self._model.speaker_manager, "speaker_names", None) or ()]
        voices = [*self._clones, *self._speakers] or ([] if self._streams else [ONLY_VOICE])
        if self._clones and not (self._streams or getattr(self._model.speaker_manager, "encoder", None)):
            raise EngineError(
                f"The model {model} cannot clone a voice.", "Use xtts_v2 or your_tts, or leave clone out."
            )
        if not voices:
            fix = "Set tts.options.clone to a WAV with three seconds or more of speech."
            raise EngineError(f"The model {model} has no voice of its own.", fix)
        self.info = (int(self._synthesizer.output_sample_rate), voices, list(self._language_names))
        for name in list(self._clones)[:1] or voices[:1]:
            for _ in self.speak("Hello.", name, 1.0, next(iter(self._language_names), "")):
                break

    def speak(self, text: str, voice: str, speed: float, language: str) -> Iterator[Samples]:
        """Yield the speech in pieces, float32 at the model's rate."""
        code = self._language_names.get(language, language)
        with self._torch.inference_mode():
            pieces = self._stream(text, voice, speed, code) if self._streams else self._whole(text, voice, speed, code)
            for piece in pieces:
                pcm = np.asarray(piece, np.float32).reshape(-1)
                if len(pcm):
                    yield np.clip(np.nan_to_num(pcm), -1.0, 1.0)

    def _stream(self, text: str, voice: str, speed: float, language: str) -> Iterator[Any]:
        """Yield the pieces that XTTS streams."""
        latent, embedding = self._voice(voice)
        config = self._model.config
        usual = {name: config[name] for name in ("temperature", "top_k", "top_p", "repetition_penalty")}
        limit = MAX_CHARS if language[:2] in ("zh", "ja", "ko") else 200
        for part in _split(text, limit):
            stream = self._model.inference_stream(
                part, language, latent, embedding, speed=speed, length_penalty=config["length_penalty"],
                **{**usual, **self._tuning},
            )  # fmt: skip
            with contextlib.closing(stream):
                for piece in stream:
                    yield piece.cpu().numpy()

    def _whole(self, text: str, voice: str, speed: float, language: str) -> Iterator[Any]:
        """Yield the whole sentence as one piece."""
        if hasattr(self._model, "length_scale"):  # VITS
            usual = self.__dict__.setdefault("_usual_scale", self._model.length_scale)
            self._model.length_scale = usual / speed
        many = len(self._language_names) > 1
        how = (
            {"speaker_wav": self._clones[voice]}
            if voice in self._clones
            else {"speaker": voice if voice != ONLY_VOICE else None}
        )
        yield self._model.synthesize(text, language=language if many else None, **how)["wav"]

    def _voice(self, name: str) -> tuple[Any, Any]:
        """Return XTTS's latents of a voice, computed once."""
        if name not in self._latents:
            if name in self._clones:
                config = self._model.config
                try:
                    self._latents[name] = self._model.get_conditioning_latents(
                        self._clones[name], config.max_ref_len, config.gpt_cond_len, config.gpt_cond_chunk_len
                    )
                except Exception as error:  # torchaudio raises errors of many kinds
                    fix = "Give a WAV with three seconds or more of speech."
                    message = f"The voice in {self._clones[name]} cannot be cloned: {first_line(error)}."
                    raise EngineError(message, fix) from error
            else:
                self._latents[name] = tuple(self._model.speaker_manager.speakers[name].values())
        latents: tuple[Any, Any] = self._latents[name]
        return latents

    def _languages(self, model: str, language: str) -> Iterable[tuple[str, str]]:
        """Return (primary subtag, the model's own name) of each language."""
        if self._streams:
            return [(primary_subtag(name), name) for name in self._model.config.languages]
        names = [str(name) for name in getattr(self._model.language_manager, "language_names", None) or ()]
        if len(names) > 1:
            return [(primary_subtag(name), name) for name in names]
        parts = MODELS.get(model, model.removeprefix(f"{LIST_PREFIX}/")).split("/")
        named = language or (parts[0] if len(parts) == 3 and len(parts[0]) == 2 else "")
        named = named or str(self._synthesizer.tts_config.get("phoneme_language") or "") or "".join(names)
        return [(primary_subtag(named), named)] if named else []


def _open_synthesizer(model: str, cuda: bool, agreed: bool) -> Any:
    """Return coqui-tts's synthesizer. Raises EngineError if the model cannot be loaded."""
    from TTS.utils.synthesizer import Synthesizer

    path = Path(model).expanduser()
    if path.exists():
        folder = path if path.is_dir() else path.parent
        if not (folder / "config.json").is_file():
            raise EngineError(f"{folder} holds no model of Coqui: there is no config.json.", "Name its whole folder.")
        checkpoint = _checkpoint(path) if path.is_dir() else path
        arguments = {"tts_checkpoint": checkpoint, "tts_config_path": folder / "config.json"}
    else:
        arguments = _download(model, agreed)
    try:
        return Synthesizer(**arguments, use_cuda=cuda)
    except Exception as error:  # torch, json and coqui-tts raise errors of many kinds
        reason = first_line(error)
        if isinstance(error, MemoryError) or "out of memory" in reason.lower() or "CUDA" in reason:
            raise
        fix = "Give a folder with config.json and the checkpoint of one model, or fetch it again."
        raise EngineError(f"Coqui cannot load the model {model}: {reason}.", fix) from error


def _checkpoint(folder: Path) -> Path:
    """Return the folder for XTTS, which needs its vocabulary and speakers too; the .pth file for other models."""
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model", "")
    except (OSError, ValueError):
        kind = ""
    if kind == "xtts":
        return folder
    found = sorted(folder.glob("*.pth"))
    usual = [file for file in found if file.name.startswith(("model", "best_model", "checkpoint"))]
    if not found:
        raise EngineError(f"{folder} holds no model of Coqui: there is no .pth.", "Name a folder that has one.")
    return (usual or found)[0]


def _download(model: str, agreed: bool) -> dict[str, Any]:
    """Download the model into coqui-tts's cache; return the arguments of its synthesizer."""
    from TTS.utils.manage import ModelManager

    full = model if model.startswith(f"{LIST_PREFIX}/") else f"{LIST_PREFIX}/{MODELS[model]}" if model in MODELS else ""
    manager = ModelManager(progress_bar=False)
    if not full or full not in manager.list_tts_models():
        fix = f"Choose one of {', '.join(MODELS)}, a full name of coqui-tts's list, or a folder."
        raise EngineError(f"Coqui has no model {model}.", fix)
    if any(word in full for word in TERMS_REQUIRED):
        if not agreed:
            raise EngineError(
                "XTTS's weights are under the Coqui Public Model License: not for commercial use.",
                "Read it (coqui.ai/cpml), and set tts.options.agree = true if you agree to it.",
            )
        os.environ["COQUI_TOS_AGREED"] = "1"
    try:
        checkpoint, config, _ = manager.download_model(full)
    except Exception as error:
        fix = "Check the network, or fetch the model elsewhere and set tts.model to its folder."
        raise EngineError(f"The model {model} cannot be fetched: {first_line(error)}.", fix) from error
    return {"tts_checkpoint": checkpoint, "tts_config_path": config or Path(checkpoint) / "config.json"}


def _split(text: str, limit: int) -> Iterator[str]:
    """Cut the text at spaces if it has any: XTTS drops what exceeds the limit in characters."""
    while len(text) > limit:
        cut = text.rfind(" ", limit // 2, limit) + 1 or limit
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
