"""RealtimeTTS's engines: the system's voices, Piper, Kokoro, Orpheus, Azure, ElevenLabs and thirty more.

Each of its engines puts audio into a queue; RealtimeTTS's player, which needs a loudspeaker, is not used. It runs in a
separate process, because its engines print, start programs and threads, and may use torch. They import `pyaudio` only
for the names of three sample formats: see `_provide_pyaudio`.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import inspect
import io
import os
import queue
import re
import sys
import threading
import types
from collections.abc import AsyncGenerator, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import Audio
from chinwag.engines.apart import EngineProcess
from chinwag.engines.faults import first_line
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.decoding import Decoder
from chinwag.engines.tts.sentences import choose_voice, sentences
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

DEFAULT_ENGINE = "system"
PIPER = "piper-joe"
"""Voice of the catalog for the Piper engine if no file is set."""

CLASSES = {
    "system": "SystemEngine", "piper": "PiperEngine", "kokoro": "KokoroEngine", "orpheus": "OrpheusEngine",
    "azure": "AzureEngine", "elevenlabs": "ElevenlabsEngine", "openai": "OpenAIEngine", "edge": "EdgeEngine",
    "gtts": "GTTSEngine", "coqui": "CoquiEngine", "cartesia": "CartesiaEngine", "camb": "CambEngine",
    "chatterbox": "ChatterboxEngine", "higgs": "HiggsEngine", "inflect": "InflectEngine", "luxtts": "LuxTTSEngine",
    "minimax": "MiniMaxEngine", "modelslab": "ModelsLabEngine", "moss": "MossTTSEngine", "neutts": "NeuTTSEngine",
    "omnivoice": "OmniVoiceEngine", "parler": "ParlerEngine", "pocket": "PocketTTSEngine",
    "pocket-gpu": "PocketTTSGpuEngine", "qwen": "QwenEngine", "qwen-cpu": "QwenCpuEngine", "sopro": "SoproTTSEngine",
    "soprano": "SopranoEngine", "styletts": "StyleTTSEngine", "typecast": "TypecastEngine",
    "zipvoice": "ZipVoiceEngine",
}  # fmt: skip
"""Engine classes of RealtimeTTS 0.8 by the name in tts.model; most of its extras have the same name."""

MODEL, KEY, ADDRESS = ("model", "model_name", "model_id", "model_path"), ("api_key", "speech_key"), ("api_url", "host")
"""Argument names of the various engines for our settings model, api_key and base_url."""

NOT_NEEDED = {"pyaudio", "stream2sentence", "pydub", "resampy", "audioop-lts"}
"""Packages in every extra of RealtimeTTS that an engine does not need, or that RealtimeTTS itself requires."""

POLL_S = 0.05
"""Interval of the checks whether the caller still reads, while no audio comes."""


class RealtimeTtsVoice:
    """One engine of RealtimeTTS. tts.model: its name, or name:model, e.g. `piper:/voices/en_US-joe-medium.onnx`.

    tts.options are arguments of its class; tts.api_key, base_url and device are passed if the class accepts them.
    """

    name: ClassVar[str] = "realtimetts"
    about: ClassVar[About] = About(
        "RealtimeTTS's engines: the system's voices, Orpheus, Azure, ElevenLabs, Edge and more",
        "MIT; each engine and its voices have their own",
        modules=("RealtimeTTS",),
        extra="realtimetts",
    )

    def __init__(
        self, speaker: EngineProcess, rate: int, voices: tuple[str, ...], languages: Mapping[str, Any]
    ) -> None:
        self._speaker, self.rate, self.voices, self.languages = speaker, rate, voices, languages

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Return the names of the engines; a colon and a model may follow."""
        return tuple(CLASSES)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return the catalog's voice for the Piper engine if no file is set, else nothing."""
        return (PIPER,) if getattr(settings, "model", "") == "piper" else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Load the engine in its process and list its voices."""
        settings = options.settings
        which, _, model = (getattr(settings, "model", "") or DEFAULT_ENGINE).partition(":")
        if which not in CLASSES:
            fix = f"There are: {', '.join(CLASSES)}."
            raise EngineError(f"RealtimeTTS has no engine {which}.", fix, cls.name)
        if which == "piper" and not model:
            model = str(next(weights_folder(options.weights, PIPER, cls.name).glob("*.onnx"), ""))
        speaker = EngineProcess(
            "tts",
            cls.name,
            "chinwag.engines.tts.realtimetts:RealtimeTtsSynthesizer",
            which=which,
            model=model,
            key=getattr(settings, "api_key", ""),
            address=getattr(settings, "base_url", ""),
            device=getattr(settings, "device", "auto"),
            options=dict(getattr(settings, "options", {})),
        )
        voices: dict[str, str] = speaker.info["voices"]
        languages: dict[str, tuple[str, ...]] = {}
        for name, language in voices.items():
            if language:
                languages[language] = (*languages.get(language, ()), name)
        voice = cls(speaker, Decoder.rate, tuple(voices), languages)
        try:
            voice._choose(getattr(settings, "voice", "") or None, None)
        except EngineError:
            speaker.close()
            raise
        return voice

    async def speak(
        self, text: str, *, voice: str | None = None, speed: float = 1.0, language: str | None = None
    ) -> AsyncGenerator[Audio, None]:
        """Speak a clause in streamed pieces, sentence by sentence, as engines may stop only after one."""
        name = self._choose(voice, language)
        start = 0
        for sentence in sentences(text):
            async with contextlib.aclosing(self._speaker.stream("speak", sentence, name, speed)) as pieces:
                async for pcm in pieces:
                    yield Audio(pcm, self.rate, start)
                    start += len(pcm)

    async def close(self) -> None:
        """Stop the process."""
        self._speaker.close()

    def _choose(self, voice: str | None, language: str | None) -> str | None:
        return choose_voice(self.name, self.voices, self.languages, voice, language) if self.voices else voice


# --- in the separate process -----------------------------------------------------------------------------------------


class RealtimeTtsSynthesizer:
    """The engine, in its process. info: {"voices": {name: language or ""}}, the default first."""

    def __init__(self, which: str, model: str, key: str, address: str, device: str, options: Mapping[str, Any]) -> None:
        self._which, self._printed = which, Printed()
        sys.stdout = sys.stderr = self._printed
        _provide_pyaudio()
        self._engine = self._create_engine(which, model, key, address, device, options)
        self._format = self._engine.get_stream_info()
        self._voice: str | None = None
        self._voices: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # an engine without a list of voices can still speak
            self._voices = {_voice_name(voice): voice for voice in self._engine.get_voices()}
        if which == "openai" and address:  # these are OpenAI's names, not that server's
            self._voices = {}
        languages = {name: _language(voice) for name, voice in self._voices.items()}
        if which == "piper":  # it opens its model only when it speaks
            collections.deque(self.speak("Hello.", None, 1.0), maxlen=0)
        self.info = {"voices": dict(sorted(languages.items(), key=lambda item: _order(self._voices[item[0]])))}

    def speak(self, text: str, voice: str | None, speed: float) -> Iterator[Any]:
        """Yield float32 at the decoder's rate as it comes; None at intervals while there is no audio."""
        if voice != self._voice and voice is not None:
            self._engine.set_voice(self._voices.get(voice, voice))
            self._voice = voice
        chunks, decoder = self._engine.queue, Decoder(*_layout(self._format), speed)
        failed: list[Exception | None] = []

        def synthesize() -> None:
            try:
                done = self._engine.synthesize(text)
                failed.extend([None] if done is False else [])
            except Exception as error:  # raised by the generator
                failed.append(error)

        thread = threading.Thread(target=synthesize, daemon=True)
        thread.start()
        has_audio = False
        try:
            while thread.is_alive() or not chunks.empty():
                try:
                    pcm = decoder.feed(_bytes(chunks.get(timeout=POLL_S)))
                except queue.Empty:
                    yield None
                    continue
                has_audio = has_audio or len(pcm) > 0
                yield pcm if len(pcm) else None
            rest = decoder.end()
            has_audio = has_audio or len(rest) > 0
            if failed and not has_audio:
                raise self._synthesis_error(failed[0], text)
            yield rest if len(rest) else None
        finally:
            if thread.is_alive():
                self._engine.stop()
                thread.join()  # some engines stop after a piece, others after the sentence
            while not chunks.empty():
                chunks.get_nowait()

    def _synthesis_error(self, error: Exception | None, text: str) -> Exception:
        reason = str(error or "").strip() or self._printed.last() or "it gave no reason"
        fix = "Check its key, address, voice and network (tts.api_key, tts.base_url, tts.voice, tts.options)."
        return EngineError(f"RealtimeTTS's engine {self._which} could not speak: {reason[:300].rstrip('.')}.", fix)

    def _create_engine(
        self, which: str, model: str, key: str, address: str, device: str, options: Mapping[str, Any]
    ) -> Any:
        try:
            module = importlib.import_module("RealtimeTTS.engines")
            kind = getattr(module, CLASSES[which])
        except (ImportError, AttributeError) as error:
            fix = f"Install it: pip install {_packages(which)}."
            raise EngineError(f"RealtimeTTS's engine {which} cannot be imported: {error}.", fix) from error
        parameters = inspect.signature(kind.__init__).parameters
        if unknown := [name for name in options if name not in parameters and not _open_ended(parameters)]:
            known = ", ".join(name for name in parameters if name != "self")
            raise EngineError(f"RealtimeTTS's engine {which} has no option {unknown[0]}.", f"It takes: {known}.")
        arguments: dict[str, Any] = {}
        for names, value in ((MODEL, model), (KEY, key), (ADDRESS, address)):
            if value and (name := next((name for name in names if name in parameters), None)):
                arguments[name] = value
        if which == "openai" and address:
            os.environ["OPENAI_BASE_URL"] = address  # the engine reads its address only from there
        if which == "piper":
            arguments |= _piper(module, model)
        elif model and not any(name in parameters for name in MODEL):
            raise EngineError(f"RealtimeTTS's engine {which} has no model {model}.", f"Set tts.model = {which}.")
        if device != "auto" and "device" in parameters:
            arguments["device"] = device
        try:
            return kind(**{**arguments, **options})
        except Exception as error:
            reason = first_line(error).rstrip(".:")
            fix = f"Check tts.api_key, tts.base_url and tts.options; it needs: pip install {_packages(which)}."
            if "espeak" in reason.lower():  # pyttsx3 needs it, and pip does not install it
                fix = "Install it: apt-get install espeak-ng ffmpeg."
            raise EngineError(f"RealtimeTTS's engine {which} cannot be loaded: {reason}.", fix) from error


class Printed(io.TextIOBase):
    """Replaces the child's output: many of the engines only print their errors."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=20)

    def write(self, text: str) -> int:
        """Store the lines that are not empty."""
        self._lines.extend(line.strip() for line in text.splitlines() if line.strip())
        return len(text)

    def last(self) -> str:
        """Return the last printed line."""
        return self._lines[-1] if self._lines else ""


INT16, FLOAT32, CUSTOM = 8, 1, 0x10000
"""PortAudio's numbers for sample formats; "custom" is MP3 throughout RealtimeTTS."""


def _provide_pyaudio() -> None:
    """Install a substitute for pyaudio if it is missing: it has no Linux wheels, and nothing is played here."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pyaudio")
        return
    substitute = types.ModuleType("pyaudio")
    substitute.__dict__.update(
        paInt16=INT16, paFloat32=FLOAT32, paCustomFormat=CUSTOM, paInt8=16, paInt24=4, paInt32=2, paUInt8=32,
        paFramesPerBufferUnspecified=0, PyAudio=None,
    )  # fmt: skip
    sys.modules["pyaudio"] = substitute


def _layout(info: tuple[int, int, int]) -> tuple[str, int, int]:
    """Return the arguments of `Decoder`: format, channels, rate in Hz."""
    number, channels, rate = info
    return {INT16: "s16", FLOAT32: "flt"}.get(int(number), "mp3"), channels, rate


def _bytes(piece: Any) -> bytes:
    return piece.tobytes() if isinstance(piece, np.ndarray) else bytes(piece)


def _piper(module: Any, model: str) -> dict[str, Any]:
    """Return arguments of the Piper engine, which runs the program of the package piper-tts."""
    if not Path(model).is_file():
        fix = "Set tts.model = piper:/path/of/a/voice.onnx."
        raise EngineError(f"There is no Piper voice {model}.", fix)
    program = Path(sys.executable).with_name("piper.exe" if os.name == "nt" else "piper")
    found = {"piper_path": str(program)} if program.exists() else {"piper_path": "piper"}
    return {**found, "voice": module.PiperVoice(model)}


def _open_ended(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def _packages(which: str) -> str:
    """Return the packages to install for an engine: those of its extra without the player; piper-tts for Piper."""
    with contextlib.suppress(PackageNotFoundError):
        lines = [line for line in requires("RealtimeTTS") or [] if f'extra == "{which}"' in line]
        found = dict.fromkeys(re.split(r"[;\s]", line, maxsplit=1)[0] for line in lines)
        wanted = [package for package in found if re.split(r"[\[<>=!~]", package)[0].lower() not in NOT_NEEDED]
        if which == "piper":
            wanted = ["piper-tts"]
        if wanted:
            return " ".join(f"'{package}'" for package in wanted)
    return f"'RealtimeTTS[{which}]'"


def _voice_name(voice: Any) -> str:
    """Return the name that the engine's `set_voice` accepts."""
    if isinstance(voice, str):
        return voice
    name = getattr(voice, "name", None) or getattr(voice, "language", None) or str(voice)
    tld = getattr(voice, "tld", "")
    return f"{name}-{tld}" if tld else str(name)


def _language(voice: Any) -> str:
    """Return the primary subtag of a voice's language, "" if the engine does not state it."""
    for attribute in ("locale", "language_code", "language"):
        if language := getattr(voice, attribute, None):
            return primary_subtag(str(language).replace("_", "-"))
    return _language_of_id(str(getattr(voice, "id", "") or ""))


def _language_of_id(identity: str) -> str:
    """Return the language in an id of espeak-ng, such as gmw/en-US; "" if there is none."""
    found = re.fullmatch(r"(?:.*/)?([a-z]{2,3})(?:[-_].*)?", identity)
    return found[1] if found else ""


def _order(voice: Any) -> int:
    """Return a sort key: American English first, then other English, as the first voice is the default."""
    tag = str(getattr(voice, "id", None) or getattr(voice, "locale", None) or "").lower().replace("_", "-")
    return 0 if tag.endswith("en-us") else 1 if _language(voice) == "en" else 2
