"""RealtimeTTS as a door to its engines: the system's voices, Piper, Kokoro, Orpheus, Azure, ElevenLabs and thirty more.

Of RealtimeTTS its engines are used, each of which puts sound into a queue as it comes; its player, which needs a
loudspeaker here, is not. It runs in a process of its own: its engines print, begin programs and threads, and some bring
torch. `pyaudio`, which they import for the names of three sample formats, is not needed for that: see `_Formats`.
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
from chinwag.engines.onnx import weights_folder
from chinwag.engines.protocols import About, EngineOptions
from chinwag.engines.tts.decoding import Decoder
from chinwag.engines.tts.sentences import choose, sentences
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

USUAL = "system"
PIPER = "piper-joe"
"""Of the catalog, for its Piper engine where no file is named."""

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
"""RealtimeTTS's engines (0.8), as tts.model calls them; most are called so by its extras as well."""

MODEL, KEY, ADDRESS = ("model", "model_name", "model_id", "model_path"), ("api_key", "speech_key"), ("api_url", "host")
"""What the arguments are called, in one engine or another, that our settings stand for."""

BESIDE = {"pyaudio", "stream2sentence", "pydub", "resampy", "audioop-lts"}
"""What every extra of RealtimeTTS names and an engine alone does not need, or RealtimeTTS itself brings."""

LISTENS_S = 0.05
"""How often it is looked whether anyone still listens, while no sound comes."""


class RealtimeTtsVoice:
    """One engine of RealtimeTTS. tts.model is its name, or name:model, as `piper:/voices/en_US-joe-medium.onnx`.

    tts.options are the arguments of its class; tts.api_key, base_url and device are among them where it has such.
    """

    name: ClassVar[str] = "realtimetts"
    about: ClassVar[About] = About(
        "RealtimeTTS: a door to its engines, the system's voices, Orpheus, Azure, ElevenLabs, Edge and more",
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
        """Its engines; a model of one is named behind a colon."""
        return tuple(CLASSES)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """A voice of the catalog for its Piper, where no file is named."""
        return (PIPER,) if getattr(settings, "model", "") == "piper" else ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Make the engine in its process, and ask for its voices."""
        settings = options.settings
        which, _, model = (getattr(settings, "model", "") or USUAL).partition(":")
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
        """Speak a clause, in pieces as the engine makes them; a sentence at a time, which is as soon as some stop."""
        name = self._choose(voice, language)
        start = 0
        for sentence in sentences(text):
            async with contextlib.aclosing(self._speaker.stream("speak", sentence, name, speed)) as pieces:
                async for pcm in pieces:
                    yield Audio(pcm, self.rate, start)
                    start += len(pcm)

    async def close(self) -> None:
        """End the process."""
        self._speaker.close()

    def _choose(self, voice: str | None, language: str | None) -> str | None:
        return choose(self.name, self.voices, self.languages, voice, language) if self.voices else voice


# --- in the process of its own ---------------------------------------------------------------------------------------


class RealtimeTtsSynthesizer:
    """RealtimeTTS's engine. info: {"voices": {name: language or ""}}, the engine's own first."""

    def __init__(self, which: str, model: str, key: str, address: str, device: str, options: Mapping[str, Any]) -> None:
        self._which, self._printed = which, Printed()
        sys.stdout = sys.stderr = self._printed
        _formats()
        self._engine = self._make(which, model, key, address, device, options)
        self._format = self._engine.get_stream_info()
        self._voice: str | None = None
        self._voices: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # a list that a server does not give is no reason not to speak
            self._voices = {_called(voice): voice for voice in self._engine.get_voices()}
        if which == "openai" and address:  # the names are OpenAI's, and that server's are others
            self._voices = {}
        told = {name: _language(voice) for name, voice in self._voices.items()}
        if which == "piper":  # it looks at its model only when it speaks
            collections.deque(self.speak("Hello.", None, 1.0), maxlen=0)
        self.info = {"voices": dict(sorted(told.items(), key=lambda one: _order(self._voices[one[0]])))}

    def speak(self, text: str, voice: str | None, speed: float) -> Iterator[Any]:
        """float32 at the decoder's rate, as it is made; None now and then while there is none."""
        if voice != self._voice and voice is not None:
            self._engine.set_voice(self._voices.get(voice, voice))
            self._voice = voice
        made, decoder = self._engine.queue, Decoder(*_layout(self._format), speed)
        failed: list[Exception | None] = []

        def synthesize() -> None:
            try:
                done = self._engine.synthesize(text)
                failed.extend([None] if done is False else [])
            except Exception as error:  # handed to the thread that waits
                failed.append(error)

        thread = threading.Thread(target=synthesize, daemon=True)
        thread.start()
        some = False
        try:
            while thread.is_alive() or not made.empty():
                try:
                    pcm = decoder.feed(_bytes(made.get(timeout=LISTENS_S)))
                except queue.Empty:
                    yield None
                    continue
                some = some or len(pcm) > 0
                yield pcm if len(pcm) else None
            rest = decoder.end()
            some = some or len(rest) > 0
            if failed and not some:
                raise self._failed(failed[0], text)
            yield rest if len(rest) else None
        finally:
            if thread.is_alive():
                self._engine.stop()
                thread.join()  # some look at that after each piece, others at the end of the sentence
            while not made.empty():
                made.get_nowait()

    def _failed(self, error: Exception | None, text: str) -> Exception:
        said = str(error or "").strip() or self._printed.last() or "it gave no reason"
        fix = "Look at its key, address, voice and network (tts.api_key, tts.base_url, tts.voice, tts.options)."
        return EngineError(f"RealtimeTTS's engine {self._which} could not speak: {said[:300].rstrip('.')}.", fix)

    def _make(self, which: str, model: str, key: str, address: str, device: str, options: Mapping[str, Any]) -> Any:
        try:
            module = importlib.import_module("RealtimeTTS.engines")
            kind = getattr(module, CLASSES[which])
        except (ImportError, AttributeError) as error:
            fix = f"Install it: pip install {_packages(which)}."
            raise EngineError(f"RealtimeTTS's engine {which} cannot be imported: {error}.", fix) from error
        takes = inspect.signature(kind.__init__).parameters
        if unknown := [name for name in options if name not in takes and not _open_ended(takes)]:
            known = ", ".join(name for name in takes if name != "self")
            raise EngineError(f"RealtimeTTS's engine {which} has no option {unknown[0]}.", f"It takes: {known}.")
        arguments: dict[str, Any] = {}
        for names, value in ((MODEL, model), (KEY, key), (ADDRESS, address)):
            if value and (name := next((one for one in names if one in takes), None)):
                arguments[name] = value
        if which == "openai" and address:
            os.environ["OPENAI_BASE_URL"] = address  # it reads its address from there alone
        if which == "piper":
            arguments |= _piper(module, model)
        elif model and not any(name in takes for name in MODEL):
            raise EngineError(f"RealtimeTTS's engine {which} has no model {model}.", f"Set tts.model = {which}.")
        if device != "auto" and "device" in takes:
            arguments["device"] = device
        try:
            return kind(**{**arguments, **options})
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
            fix = f"Look at tts.api_key, tts.base_url and tts.options; it needs: pip install {_packages(which)}."
            if "espeak" in said.lower():  # pyttsx3's own, which pip does not bring
                fix = "Install it: apt-get install espeak-ng ffmpeg."
            raise EngineError(f"RealtimeTTS's engine {which} cannot be loaded: {said[:300]}.", fix) from error


class Printed(io.TextIOBase):
    """In the place of the child's output: many of the engines only print what went wrong."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=20)

    def write(self, text: str) -> int:
        """Keep what has words."""
        self._lines.extend(line.strip() for line in text.splitlines() if line.strip())
        return len(text)

    def last(self) -> str:
        """The line that was printed last."""
        return self._lines[-1] if self._lines else ""


INT16, FLOAT32, CUSTOM = 8, 1, 0x10000
"""PortAudio's numbers for sample formats; "custom" is MP3 throughout RealtimeTTS."""


def _formats() -> None:
    """A stand-in for pyaudio where it is not installed: it has no wheels for Linux, and nothing is played here."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pyaudio")
        return
    made = types.ModuleType("pyaudio")
    made.__dict__.update(
        paInt16=INT16, paFloat32=FLOAT32, paCustomFormat=CUSTOM, paInt8=16, paInt24=4, paInt32=2, paUInt8=32,
        paFramesPerBufferUnspecified=0, PyAudio=None,
    )  # fmt: skip
    sys.modules["pyaudio"] = made


def _layout(info: tuple[int, int, int]) -> tuple[str, int, int]:
    """What `Decoder` takes: format, channels, samples a second."""
    number, channels, rate = info
    return {INT16: "s16", FLOAT32: "flt"}.get(int(number), "mp3"), channels, rate


def _bytes(piece: Any) -> bytes:
    return piece.tobytes() if isinstance(piece, np.ndarray) else bytes(piece)


def _piper(module: Any, model: str) -> dict[str, Any]:
    """Its Piper is a program; ours comes with the package piper-tts."""
    if not Path(model).is_file():
        fix = "Set tts.model = piper:/path/of/a/voice.onnx."
        raise EngineError(f"There is no Piper voice {model}.", fix)
    beside = Path(sys.executable).with_name("piper.exe" if os.name == "nt" else "piper")
    found = {"piper_path": str(beside)} if beside.exists() else {"piper_path": "piper"}
    return {**found, "voice": module.PiperVoice(model)}


def _open_ended(takes: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())


def _packages(which: str) -> str:
    """What RealtimeTTS's extra for the engine brings, without what plays; Piper's program is a package of its own."""
    with contextlib.suppress(PackageNotFoundError):
        named = [line for line in requires("RealtimeTTS") or [] if f'extra == "{which}"' in line]
        found = dict.fromkeys(re.split(r"[;\s]", line, maxsplit=1)[0] for line in named)
        wanted = [one for one in found if re.split(r"[\[<>=!~]", one)[0].lower() not in BESIDE]
        if which == "piper":
            wanted = ["piper-tts"]
        if wanted:
            return " ".join(f"'{one}'" for one in wanted)
    return f"'RealtimeTTS[{which}]'"


def _called(voice: Any) -> str:
    """The name that its `set_voice` takes."""
    if isinstance(voice, str):
        return voice
    name = getattr(voice, "name", None) or getattr(voice, "language", None) or str(voice)
    tld = getattr(voice, "tld", "")
    return f"{name}-{tld}" if tld else str(name)


def _language(voice: Any) -> str:
    """Of a voice, as far as the engine tells; "" where it does not."""
    for told in ("locale", "language_code", "language"):
        if found := getattr(voice, told, None):
            return primary_subtag(str(found).replace("_", "-"))
    return _in_id(str(getattr(voice, "id", "") or ""))


def _in_id(identity: str) -> str:
    """espeak-ng's voices are known by what they speak, as gmw/en-US."""
    found = re.fullmatch(r"(?:.*/)?([a-z]{2,3})(?:[-_].*)?", identity)
    return found[1] if found else ""


def _order(voice: Any) -> int:
    """American English first, then other English: the first voice is the engine's own here."""
    tag = str(getattr(voice, "id", None) or getattr(voice, "locale", None) or "").lower().replace("_", "-")
    return 0 if tag.endswith("en-us") else 1 if _language(voice) == "en" else 2
