"""Piper: small, fast voices in some forty languages, one file each; the piper-tts package makes the phonemes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Audio, Samples
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.sentences import SentenceVoice, check_settings
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

DEFAULT_VOICE = "piper-joe"
"""The voice of the catalog."""

VOICES_HINT = "Voices are at https://huggingface.co/rhasspy/piper-voices: the .onnx and the .onnx.json, side by side."

NOISE = ("noise_scale", "noise_w_scale")
"""Options: variation of the sound and of the phonemes' lengths (0.667 and 0.8 in most voices)."""


@dataclass(frozen=True)
class PiperSpeaker:
    """A speaker of a model. file: the model. settings: its .json. number: the speaker's, None if it has only one."""

    file: Path
    settings: dict[str, Any]
    number: int | None

    @property
    def language(self) -> str:
        """The primary subtag, e.g. "en"; in old voices espeak-ng's name of the language."""
        return primary_subtag(self.settings.get("language", {}).get("code") or self.settings["espeak"]["voice"])


class PiperVoice(SentenceVoice):
    """The voices of a Piper file or folder; a voice of a file with several speakers is named `file#speaker`."""

    name: ClassVar[str] = "piper"
    about: ClassVar[About] = About(
        "Piper: small voices in forty languages, from files of yours",
        "GPL-3.0-or-later (the piper-tts package); each voice has its own",
        modules=("piper",),
        extra="piper",
    )

    def __init__(self, speakers: dict[str, PiperSpeaker], options: dict[str, float], threads: int) -> None:
        languages: dict[str, tuple[str, ...]] = {}
        for name, speaker in speakers.items():
            languages[speaker.language] = (*languages.get(speaker.language, ()), name)
        super().__init__(languages, speakers)
        self._speakers, self._options, self._threads = speakers, options, threads
        self._models: dict[Path, Any] = {}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the voice of the catalog; the path of an .onnx file or of a folder is accepted as well."""
        return (DEFAULT_VOICE,)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the voice's catalog name; nothing for a path."""
        model = getattr(settings, "model", "") or DEFAULT_VOICE
        return () if _is_path(model) else (model,)

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Read the voices' descriptions and warm up with the configured voice."""
        settings = options.settings
        check_settings(cls.name, settings, NOISE, any_model=True)
        model = getattr(settings, "model", "") or DEFAULT_VOICE
        place = Path(model).expanduser() if _is_path(model) else weights_folder(options.weights, model, cls.name)
        noise = {key: float(value) for key, value in getattr(settings, "options", {}).items()}
        voice = cls(dict(_speakers(place)), noise, getattr(settings, "threads", 0) or 2)
        try:
            name = voice.choose(getattr(settings, "voice", ""), None)
            voice._warm_up(name, "A, 1.")
        except ImportError as error:
            voice._worker.close()
            raise EngineError(
                f"Piper cannot be imported: {error}.", "Install it: pip install 'chinwag[piper]'.", cls.name
            ) from error
        except Exception:
            voice._worker.close()
            raise
        return voice

    async def close(self) -> None:
        """Stop the thread and release the models."""
        self._worker.close()
        self._models = {}

    def _phonemes(self, voice: str, text: str) -> list[list[str]]:
        return [sentence for sentence in self._model(voice).phonemize(text) if sentence]

    def _synthesize(self, voice: str, phonemes: Any, speed: float) -> Samples:
        from piper import SynthesisConfig

        model, speaker = self._model(voice), self._speakers[voice]
        synthesis = SynthesisConfig(
            speaker_id=speaker.number,
            length_scale=model.config.length_scale / speed,
            noise_scale=self._options.get("noise_scale"),
            noise_w_scale=self._options.get("noise_w_scale"),
        )
        pcm = np.asarray(model.phoneme_ids_to_audio(model.phonemes_to_ids(phonemes), synthesis), np.float32).reshape(-1)
        return Audio(np.clip(pcm, -1, 1), model.config.sample_rate).resampled(self.rate).pcm

    def _model(self, voice: str) -> Any:
        """Return the voice's model, loaded at first use in our session; the package's uses every core."""
        from piper import PiperConfig
        from piper import PiperVoice as Model

        speaker = self._speakers[voice]
        if speaker.file not in self._models:
            session = open_model(speaker.file, self.name, self._threads)
            config = PiperConfig.from_dict(speaker.settings)
            self._models[speaker.file] = Model(session=session, config=config, download_dir=speaker.file.parent)
        return self._models[speaker.file]


def _is_path(model: str) -> bool:
    return model.endswith(".onnx") or model.startswith((".", "~")) or "/" in model or "\\" in model


def _speakers(place: Path) -> Iterator[tuple[str, PiperSpeaker]]:
    """Yield names and speakers of a file or folder. Raises EngineError if there is none, or a file is damaged."""
    files = sorted(place.glob("*.onnx")) if place.is_dir() else [place]
    if not files or not files[0].exists():
        message = f"There is no Piper voice in {place}" if place.is_dir() else f"There is no Piper voice {place}"
        raise EngineError(f"{message}.", f"Correct tts.model. {VOICES_HINT}", PiperVoice.name)
    for file in files:
        description = Path(f"{file}.json")
        try:
            settings = json.loads(description.read_text("utf-8"))
            numbers, _, _ = (
                settings.get("speaker_id_map") or {},
                settings["phoneme_id_map"],
                settings["espeak"]["voice"],
            )
            many = settings["num_speakers"] > 1
        except FileNotFoundError as error:
            raise EngineError(
                f"The Piper voice {file.name} has no {description.name} beside it.",
                f"Fetch it. {VOICES_HINT}",
                PiperVoice.name,
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(
                f"The description {description.name} of a Piper voice is damaged.",
                f"Fetch it again. {VOICES_HINT}",
                PiperVoice.name,
            ) from error
        if not many:
            yield file.stem, PiperSpeaker(file, settings, None)
            continue
        by_name = numbers or {str(number): number for number in range(settings["num_speakers"])}
        for name, number in by_name.items():
            yield f"{file.stem}#{name}", PiperSpeaker(file, settings, number)
