"""Piper's voices on onnxruntime: small and quick, in some fifty languages, a file for each voice.

Piper's own package is under the GPL and brings an engine of its own; a voice is one ONNX graph that wants the ids of
espeak-ng's phonemes, so onnxruntime and espeak-ng, which Kokoro has as well, are all it takes.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Samples
from chinwag.engines.onnx import open_model, weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.phonemes import espeak, sentences
from chinwag.engines.tts.sentences import SentenceVoice, refuse
from chinwag.errors import EngineError
from chinwag.language import base

DEFAULT_MODEL = "piper-joe"
CATALOG = (DEFAULT_MODEL,)

HUB, REVISION = "rhasspy/piper-voices", "0d907f158acc877ddeebcbf827659ee13bea8bcd"
_NAMED = re.compile(r"([a-z]{2,3})_([A-Z0-9]+)-(\w+)-(x_low|low|medium|high)")
"""As en_US-lessac-medium: its place on the hub follows from its name."""

BEGIN, END, BETWEEN = "^", "$", "_"
"""Signs of a voice's phoneme_id_map; the last stands between all others (rhasspy/piper, phoneme_ids)."""

NOISE, LENGTH, NOISE_W = 0.667, 1.0, 0.8
"""Where a voice's file says nothing of them (rhasspy/piper, config)."""


class PiperVoice(SentenceVoice):
    """One Piper voice, or as many speakers as its file holds.

    `tts.model`: a name of the catalog, a .onnx file with its .onnx.json beside it, a folder that holds one, or a name
    of rhasspy/piper-voices such as de_DE-thorsten-medium, which is then fetched from the Hugging Face hub.
    """

    name: ClassVar[str] = "piper"
    about: ClassVar[About] = About(
        "Piper: small voices in some fifty languages, a file each",
        "MIT; espeak-ng GPL-3.0-or-later; each voice its own (MODEL_CARD)",
        modules=("phonemizer", "espeakng_loader"),
        extra="piper",
    )

    def __init__(self, model: Any, said: dict[str, Any], stem: str) -> None:
        speakers: dict[str, int] = said.get("speaker_id_map") or {}
        names = tuple(sorted(speakers, key=lambda name: speakers[name])) or (stem,)
        code = (said.get("language") or {}).get("code") or said["espeak"]["voice"]
        super().__init__({base(code): names})
        self.rate = int(said["audio"]["sample_rate"])
        self._model, self._ids, self._speakers = model, said["phoneme_id_map"], speakers
        self._scales = said.get("inference") or {}
        self._convert = espeak(said["espeak"]["voice"])
        self._takes = {entry.name for entry in model.get_inputs()}

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Those in the catalog; a file, a folder or a name of rhasspy/piper-voices does as well."""
        return CATALOG

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """The catalog name, where the voice is in the catalog."""
        named = settings.model or DEFAULT_MODEL
        return (named,) if named in CATALOG else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the voice and say a word with it."""
        refuse(cls.name, options.settings, any_model=True)
        path = _file(options)
        try:
            said = json.loads(Path(f"{path}.json").read_text("utf-8"))
            voice = cls(open_model(path, cls.name, options.settings.threads or 2), said, path.stem)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise EngineError(
                f"{path.name}.json is no description of a Piper voice: {error}.",
                "Take it from the same place as the .onnx file, and put both into one folder.",
                cls.name,
            ) from error
        try:
            for phonemes in voice._phonemes(voice.voices[0], "Zorblax, 42."):
                voice._sound(voice.voices[0], phonemes, 1.0)
        except Exception:
            voice._worker.close()
            raise
        return voice

    async def close(self) -> None:
        """End the thread and let the model go."""
        self._worker.close()
        self._model = None

    def _phonemes(self, voice: str, text: str) -> list[list[int]]:
        return [ids for sentence in sentences(text) if len(ids := self._ids_of(self._convert(sentence))) > 3]

    def _ids_of(self, phonemes: str) -> list[int]:
        ids = [*self._ids[BEGIN], *self._ids[BETWEEN]]
        for sign in unicodedata.normalize("NFD", phonemes):
            if sign in self._ids:
                ids += [*self._ids[sign], *self._ids[BETWEEN]]
        return [*ids, *self._ids[END]]

    def _sound(self, voice: str, phonemes: list[int], speed: float) -> Samples:
        scales = self._scales
        feeds = {
            "input": np.array([phonemes], np.int64),
            "input_lengths": np.array([len(phonemes)], np.int64),
            "scales": np.array(
                [
                    scales.get("noise_scale", NOISE),
                    scales.get("length_scale", LENGTH) / speed,
                    scales.get("noise_w", NOISE_W),
                ],
                np.float32,
            ),
        }
        if "sid" in self._takes:
            feeds["sid"] = np.array([self._speakers.get(voice, 0)], np.int64)
        pcm: Samples = self._model.run(None, feeds)[0].reshape(-1)
        return pcm


def _file(options: EngineOptions) -> Path:
    """The voice's .onnx file."""
    named = options.settings.model or DEFAULT_MODEL
    if named in CATALOG:
        place = weights_folder(options.weights, named, PiperVoice.name)
    else:
        place = Path(named).expanduser()
        if not place.exists():
            return _from_hub(named)
    found = [place] if place.is_file() else sorted(place.glob("*.onnx"))
    if len(found) != 1:
        raise EngineError(
            f"{place} holds {len(found)} .onnx files.", "Set tts.model to the one to speak with.", PiperVoice.name
        )
    return found[0]


def _from_hub(named: str) -> Path:
    from huggingface_hub import hf_hub_download

    parts = _NAMED.fullmatch(named)
    if parts is None:
        fix = f"There are: {', '.join(CATALOG)}, names as en_US-lessac-medium, and .onnx files."
        raise EngineError(f"There is no Piper voice {named}.", fix, PiperVoice.name)
    language, region, speaker, quality = parts.groups()
    place = f"{language}/{language}_{region}/{speaker}/{quality}/{named}.onnx"
    try:
        hf_hub_download(HUB, f"{place}.json", revision=REVISION)
        return Path(hf_hub_download(HUB, place, revision=REVISION))
    except Exception as error:  # the hub's client raises whatever it meets
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"The Piper voice {named} cannot be fetched from the Hugging Face hub: {said}.",
            "Look at the network and at the name, or set tts.model to a .onnx file.",
            PiperVoice.name,
        ) from error
