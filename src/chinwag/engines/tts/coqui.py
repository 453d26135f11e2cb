"""Coqui's voices (coqui-tts): XTTS v2, which clones a voice from a WAV and speaks as it thinks, VITS, and the others.

They run in a process of their own: torch is imported there alone, and holds the interpreter lock for long. XTTS keeps
the beginning of what it says in the model object, so two clauses must not be made at once; in that process one is made
after the other.
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
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.sentences import choose, refuse, sentences
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

USUAL = "xtts_v2"
LIST = "tts_models"
MODELS: Mapping[str, str] = {
    "xtts_v2": "multilingual/multi-dataset/xtts_v2",
    "vits": "en/ljspeech/vits", "vits-many": "en/vctk/vits", "your_tts": "multilingual/multi-dataset/your_tts",
    "vits-de": "de/thorsten/vits", "vits-es": "es/css10/vits", "vits-fr": "fr/css10/vits", "vits-hu": "hu/css10/vits",
    "vits-it": "it/mai_female/vits", "vits-nl": "nl/css10/vits", "vits-pl": "pl/mai_female/vits",
    "vits-pt": "pt/cv/vits", "vits-uk": "uk/mai/vits",
}  # fmt: skip
"""Short names of models in coqui-tts's own list; its full names (tts_models/…) do as well."""

NO_TERMS = ("xtts",)
"""Models whose terms have to be agreed to before coqui-tts fetches them."""

TUNING: Mapping[str, Any] = {
    "temperature": None, "top_k": None, "top_p": None, "repetition_penalty": None, "stream_chunk_size": 20,
}  # fmt: skip
"""Of XTTS; None: as its model has it. stream_chunk_size: its tokens to a piece of sound, 46 ms each."""

LONGEST = 80
"""Characters that XTTS is given at once in a script without spaces; 200 in others (its tokenizer's char_limits)."""

ONE = "default"
"""What the voice of a model with one speaker is called."""


class CoquiVoice:
    """One model of coqui-tts. tts.model: a short name, a full one, or a folder with config.json and the checkpoint.

    tts.options.clone: a WAV, several, or a folder of them, of three seconds or more; each is a voice, named as its
    file. tts.options.language: of a model of your own that does not tell it. tts.options.agree = true: to the terms of
    XTTS's makers.
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
        """Short names of the usual ones."""
        return tuple(MODELS)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Nothing of the catalog: coqui-tts fetches its models itself."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model in its process, fetching it where it is no folder; take up the voices; speak a word."""
        settings = options.settings
        refuse(cls.name, settings, ("clone", "language", "agree", *TUNING), ("auto", "cpu", "cuda"), any_model=True)
        given = dict(getattr(settings, "options", {}))
        speaker = EngineProcess(
            "tts",
            cls.name,
            "chinwag.engines.tts.coqui:CoquiSynthesizer",
            model=getattr(settings, "model", "") or USUAL,
            device=getattr(settings, "device", "auto"),
            threads=getattr(settings, "threads", 0) or min(4, os.cpu_count() or 1),
            clones={name: str(path) for name, path in _clones(given.get("clone", ()))},
            language=given.get("language", ""),
            agreed=bool(given.get("agree", False)),
            tuning={name: given.get(name, usual) for name, usual in TUNING.items()},
        )
        rate, voices, spoken = speaker.info
        voice = cls(speaker, rate, tuple(voices), {language: tuple(voices) for language in spoken})
        try:
            choose(cls.name, voice.voices, voice.languages, getattr(settings, "voice", "") or None, None)
        except EngineError:
            speaker.close()
            raise
        return voice

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause: XTTS in pieces of about a second as it makes them, the others a sentence at a time."""
        name = choose(self.name, self.voices, self.languages, voice, language)
        code = primary_subtag(language) if language else next(iter(self.languages), "")
        start = 0
        for sentence in sentences(text):
            async with contextlib.aclosing(self._speaker.stream("speak", sentence, name, speed, code)) as pieces:
                async for pcm in pieces:
                    yield Audio(pcm, self.rate, start)
                    start += len(pcm)

    async def close(self) -> None:
        """End the process."""
        self._speaker.close()


def _clones(given: Any) -> Iterator[tuple[str, Path]]:
    """Voice names and their WAVs. Raises EngineError for one that is not there."""
    for one in [given] if isinstance(given, str) else list(given):
        path = Path(str(one)).expanduser()
        found = sorted(path.glob("*.wav")) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            fix = "Correct tts.options.clone: a WAV of a speaker, three seconds or more, or a folder of them."
            raise EngineError(f"There is no WAV {path}.", fix, CoquiVoice.name)
        yield from ((file.stem, file) for file in found)


# --- in the process of its own ---------------------------------------------------------------------------------------


class CoquiSynthesizer:
    """The model. info: samples a second, names of voices, languages."""

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
            fix = (
                'Set tts.device = "cpu", or install NVIDIA\'s driver and a torch that fits it: `nvidia-smi` tells both.'
            )
            raise EngineError("Coqui finds no CUDA device.", fix)
        cuda = device != "cpu" and torch.cuda.is_available()
        self._torch, self._tuning = torch, {name: value for name, value in tuning.items() if value is not None}
        self._synthesizer = _opened(model, cuda, agreed)
        self._model: Any = self._synthesizer.tts_model
        self._streams = hasattr(self._model, "inference_stream")
        self._names = dict(self._spoken(model, language))
        self._latents: dict[str, Any] = {}
        self._clones = dict(clones)
        self._speakers = [str(name) for name in getattr(self._model.speaker_manager, "speaker_names", None) or ()]
        voices = [*self._clones, *self._speakers] or ([] if self._streams else [ONE])
        if self._clones and not (self._streams or getattr(self._model.speaker_manager, "encoder", None)):
            raise EngineError(
                f"The model {model} cannot clone a voice.", "Use xtts_v2 or your_tts, or leave clone out."
            )
        if not voices:
            fix = "Set tts.options.clone to a WAV of somebody who speaks for three seconds or more."
            raise EngineError(f"The model {model} has no voice of its own.", fix)
        self.info = (int(self._synthesizer.output_sample_rate), voices, list(self._names))
        for name in list(self._clones)[:1] or voices[:1]:
            for _ in self.speak("Hello.", name, 1.0, next(iter(self._names), "")):
                break

    def speak(self, text: str, voice: str, speed: float, language: str) -> Iterator[Samples]:
        """float32 at the model's rate."""
        named = self._names.get(language, language)
        with self._torch.inference_mode():
            pieces = (
                self._stream(text, voice, speed, named) if self._streams else self._whole(text, voice, speed, named)
            )
            for piece in pieces:
                pcm = np.asarray(piece, np.float32).reshape(-1)
                if len(pcm):
                    yield np.clip(np.nan_to_num(pcm), -1.0, 1.0)

    def _stream(self, text: str, voice: str, speed: float, language: str) -> Iterator[Any]:
        """As XTTS makes it."""
        latent, embedding = self._voice(voice)
        config = self._model.config
        usual = {name: config[name] for name in ("temperature", "top_k", "top_p", "repetition_penalty")}
        limit = LONGEST if language[:2] in ("zh", "ja", "ko") else 200
        for part in _short(text, limit):
            made = self._model.inference_stream(
                part, language, latent, embedding, speed=speed, length_penalty=config["length_penalty"],
                **{**usual, **self._tuning},
            )  # fmt: skip
            with contextlib.closing(made):
                for piece in made:
                    yield piece.cpu().numpy()

    def _whole(self, text: str, voice: str, speed: float, language: str) -> Iterator[Any]:
        """A sentence in one step."""
        if hasattr(self._model, "length_scale"):  # of VITS
            usual = self.__dict__.setdefault("_usual_scale", self._model.length_scale)
            self._model.length_scale = usual / speed
        many = len(self._names) > 1
        how = (
            {"speaker_wav": self._clones[voice]}
            if voice in self._clones
            else {"speaker": voice if voice != ONE else None}
        )
        yield self._model.synthesize(text, language=language if many else None, **how)["wav"]

    def _voice(self, name: str) -> tuple[Any, Any]:
        """What XTTS knows a voice by; worked out once."""
        if name not in self._latents:
            if name in self._clones:
                config = self._model.config
                try:
                    self._latents[name] = self._model.get_conditioning_latents(
                        self._clones[name], config.max_ref_len, config.gpt_cond_len, config.gpt_cond_chunk_len
                    )
                except Exception as error:  # torchaudio raises whatever it meets
                    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
                    fix = "Give a WAV of somebody who speaks, of three seconds or more."
                    raise EngineError(f"The voice in {self._clones[name]} cannot be cloned: {said}.", fix) from error
            else:
                self._latents[name] = tuple(self._model.speaker_manager.speakers[name].values())
        known: tuple[Any, Any] = self._latents[name]
        return known

    def _spoken(self, model: str, language: str) -> Iterable[tuple[str, str]]:
        """Languages as "zh", each with the model's name for it."""
        if self._streams:
            return [(primary_subtag(name), name) for name in self._model.config.languages]
        names = [str(name) for name in getattr(self._model.language_manager, "language_names", None) or ()]
        if len(names) > 1:
            return [(primary_subtag(name), name) for name in names]
        listed = MODELS.get(model, model.removeprefix(f"{LIST}/")).split("/")
        told = language or (listed[0] if len(listed) == 3 and len(listed[0]) == 2 else "")
        told = told or str(self._synthesizer.tts_config.get("phoneme_language") or "") or "".join(names)
        return [(primary_subtag(told), told)] if told else []


def _opened(model: str, cuda: bool, agreed: bool) -> Any:
    """coqui-tts's synthesizer. Raises EngineError."""
    from TTS.utils.synthesizer import Synthesizer

    place = Path(model).expanduser()
    if place.exists():
        folder = place if place.is_dir() else place.parent
        if not (folder / "config.json").is_file():
            raise EngineError(f"{folder} holds no model of Coqui: there is no config.json.", "Name its whole folder.")
        checkpoint = _checkpoint(place) if place.is_dir() else place
        where = {"tts_checkpoint": checkpoint, "tts_config_path": folder / "config.json"}
    else:
        where = _fetched(model, agreed)
    try:
        return Synthesizer(**where, use_cuda=cuda)
    except Exception as error:  # torch, json and coqui-tts raise whatever they meet
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
        if isinstance(error, MemoryError) or "out of memory" in said.lower() or "CUDA" in said:
            raise
        fix = "Give a folder with config.json and the checkpoint of one model, or fetch it again."
        raise EngineError(f"Coqui cannot load the model {model}: {said}.", fix) from error


def _checkpoint(folder: Path) -> Path:
    """XTTS takes the folder, as its vocabulary and speakers are there as well; the others their one file."""
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model", "")
    except (OSError, ValueError):
        kind = ""
    if kind == "xtts":
        return folder
    found = sorted(folder.glob("*.pth"))
    named = [one for one in found if one.name.startswith(("model", "best_model", "checkpoint"))]
    if not found:
        raise EngineError(f"{folder} holds no model of Coqui: there is no .pth.", "Name a folder that has one.")
    return (named or found)[0]


def _fetched(model: str, agreed: bool) -> dict[str, Any]:
    """From its makers' servers, into coqui-tts's own cache."""
    from TTS.utils.manage import ModelManager

    full = model if model.startswith(f"{LIST}/") else f"{LIST}/{MODELS[model]}" if model in MODELS else ""
    manager = ModelManager(progress_bar=False)
    if not full or full not in manager.list_tts_models():
        fix = f"There are: {', '.join(MODELS)}; or give a full name of coqui-tts's list, or a folder."
        raise EngineError(f"Coqui has no model {model}.", fix)
    if any(word in full for word in NO_TERMS):
        if not agreed:
            raise EngineError(
                "XTTS's weights are under the Coqui Public Model License: not for commercial use.",
                "Read it (coqui.ai/cpml), and set tts.options.agree = true if you agree to it.",
            )
        os.environ["COQUI_TOS_AGREED"] = "1"
    try:
        checkpoint, config, _ = manager.download_model(full)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
        fix = "Look at the network, or fetch the model elsewhere and set tts.model to its folder."
        raise EngineError(f"The model {model} cannot be fetched: {said}.", fix) from error
    return {"tts_checkpoint": checkpoint, "tts_config_path": config or Path(checkpoint) / "config.json"}


def _short(text: str, limit: int) -> Iterator[str]:
    """At words, where there are some: XTTS drops what is longer than it can take."""
    while len(text) > limit:
        cut = text.rfind(" ", limit // 2, limit) + 1 or limit
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
