"""Moonshine's streaming models through its makers' own library (moonshine-voice): sound is worked out as it comes.

The library fetches its models from their makers' server; here each is taken from its cache, fetched there first, or
from a folder. It is C++ behind ctypes, which lets the interpreter go, so its steps run on a thread.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.protocols import About, EngineOptions, Transcript
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

SIZES: Mapping[str, tuple[str, ...]] = {
    "tiny-streaming": ("en", "ar", "de", "es", "ja", "tl", "vi", "zh"),
    "small-streaming": ("en", "de", "es", "ja"),
    "medium-streaming": ("en",),
}
"""Those of the library's own catalog (0.1.5)."""

WHOLE_PIECES = ("tiny", "base")
"""Its models that do not stream: they hear what a line holds again at each partial."""

AT_ONCE_S, NEVER_S = 1.0, 1e9
"""Sound that is pushed in one step; and how often the library is to look by itself."""

FORCED = 1
"""MOONSHINE_FLAG_FORCE_UPDATE: write what there is, though a line has not ended."""

OPTIONS = ("vad_threshold", "max_tokens_per_second")


class MoonshineStreaming:
    """One model of moonshine-voice for all conversations. stt.model: as "small-streaming-en", or a folder of one.

    stt.options.size and .language: of a folder whose name does not tell them.
    """

    name: ClassVar[str] = "moonshine-streaming"
    about: ClassVar[About] = About(
        "Moonshine's streaming models (moonshine-voice): English and some other languages",
        "MIT; models for other languages than English: Moonshine Community License, for no commercial use",
        modules=("moonshine_voice",),
        extra="moonshine-streaming",
    )

    def __init__(self, transcriber: Any, language: str) -> None:
        self.transcriber, self.languages = transcriber, (language,)
        self.worker = Worker(self.name)
        self.closed = False

    @classmethod
    def models(cls, settings: Any) -> tuple[str, ...]:
        """Sizes and languages that its makers publish."""
        return tuple(f"{size}-{language}" for size, languages in SIZES.items() for language in languages)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Nothing of the catalog: the library fetches its models."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model, fetching it where it is no folder; hear a second."""
        told = options.only(cls.name, size="", language="", **dict.fromkeys(OPTIONS))
        named = options.settings.model or cls.models(options.settings)[0]
        folder = Path(named).expanduser()
        size, language = _parted(folder.name if folder.is_dir() else named)
        size, language = told["size"] or size, told["language"] or language or "en"
        if not folder.is_dir():
            folder = _fetched(named, size, language)
        tuned = {name: told[name] for name in OPTIONS if told[name] is not None}
        engine = cls(_opened(folder, size, {"return_audio_data": "false", **tuned}), primary_subtag(language))
        noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
        stream = engine.begin()
        engine.hear(stream, [noise], FORCED)
        stream.close()
        return engine

    def open(self, language: str | None = None) -> MoonshineStream:
        """Open an utterance. Raises EngineError for an unsupported language."""
        if language and primary_subtag(language) not in self.languages:
            fix = "Correct stt.language, or choose another stt.model."
            raise EngineError(f"This Moonshine model hears {self.languages[0]}, not {language}.", fix, self.name)
        return MoonshineStream(self)

    async def close(self) -> None:
        """End the thread and let the model go. What was begun is freed with it."""
        if not self.closed:
            self.closed = True
            await self.worker.run(self.transcriber.close)
            self.worker.close()

    # --- on the thread -----------------------------------------------------------------------------------------------

    def begin(self) -> Any:
        """A stream of its own."""
        stream = self.transcriber.create_stream(update_interval=NEVER_S)
        stream.start()
        return stream

    def hear(self, stream: Any, pieces: Sequence[Samples], flags: int) -> str:
        """The words so far, its lines put together."""
        for piece in pieces:
            step = int(AT_ONCE_S * LISTEN_RATE)
            for at in range(0, len(piece), step):
                stream.add_audio(piece[at : at + step].tolist(), LISTEN_RATE)
        lines = stream.update_transcription(flags).lines
        return " ".join(line.text.strip() for line in lines if line.text.strip())


class MoonshineStream:
    """One utterance, heard as it comes."""

    def __init__(self, engine: MoonshineStreaming) -> None:
        self._engine = engine
        self._stream: Any = None
        self._new: list[Samples] = []
        self._until = 0
        self._last = Transcript("", final=False, until=0, language=engine.languages[0])

    def __del__(self) -> None:
        """Free what the library holds; the engine's end has freed it already."""
        if self._stream is not None and not self._engine.closed:
            self._stream.close()

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        if audio.rate != LISTEN_RATE:
            message = f"The engine {self._engine.name} hears {LISTEN_RATE} samples a second, not {audio.rate}."
            raise EngineError(message, "Resample first.", self._engine.name)
        self._new.append(audio.pcm)
        self._until = audio.end

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        return await self._hear(Priority.LATER, 0) if self._new else self._last

    async def finish(self) -> Transcript:
        """The final words; free where nothing was pushed since the last time."""
        if self._until and (self._new or not self._last.final):
            self._last = replace(await self._hear(Priority.NOW, FORCED), final=True)
        return replace(self._last, final=True)

    async def _hear(self, priority: Priority, flags: int) -> Transcript:
        text, until = await self._engine.worker.run_at(priority, self._take, flags)
        self._last = Transcript(text, False, until, language=self._engine.languages[0])
        return self._last

    def _take(self, flags: int) -> tuple[str, int]:
        if self._stream is None:
            self._stream = self._engine.begin()
        pieces, self._new, until = self._new, [], self._until
        return self._engine.hear(self._stream, pieces, flags), until


def _parted(name: str) -> tuple[str, str]:
    """Size and language of "small-streaming-en"; "" for what is not there."""
    for size in (*SIZES, "base-streaming", *WHOLE_PIECES):
        for before in ("", "moonshine-"):
            if name == before + size or name.startswith(f"{before}{size}-"):
                return size, name[len(before + size) + 1 :]
    return "", ""


def _opened(folder: Path, size: str, options: Mapping[str, Any]) -> Any:
    from moonshine_voice.moonshine_api import string_to_model_arch
    from moonshine_voice.transcriber import Transcriber

    try:
        kind = string_to_model_arch(size)
    except ValueError as error:
        sizes = ", ".join((*SIZES, *WHOLE_PIECES))
        fix = f"Set stt.options.size to one of: {sizes}."
        raise EngineError(
            f"It is not known what Moonshine model {folder} holds.", fix, MoonshineStreaming.name
        ) from error
    try:
        return Transcriber(folder, kind, options=dict(options))
    except Exception as error:  # the library raises its own, and what ctypes does
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        fix = "Fetch it again, or name the folder of the model of that size, with all its files."
        message = f"The Moonshine model {folder} cannot be loaded as {size}: {said}."
        raise EngineError(message, fix, MoonshineStreaming.name) from error


def _fetched(named: str, size: str, language: str) -> Path:
    """From its makers' server, into the library's own cache."""
    from moonshine_voice import download
    from moonshine_voice.moonshine_api import string_to_model_arch

    try:
        found = download.find_model_info(language, string_to_model_arch(size))
    except ValueError as error:
        fix = f"There are: {', '.join(MoonshineStreaming.models(None))}; or give a folder."
        raise EngineError(f"Moonshine has no model {named}.", fix, MoonshineStreaming.name) from error
    if language != "en":
        print(
            "Moonshine's models for other languages are for no commercial use (moonshine.ai/license).", file=sys.stderr
        )
    try:
        return Path(download.download_model_from_info(found)[0])
    except Exception as error:  # whatever its client of HTTP meets
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
        fix = "Look at the network, or fetch it elsewhere and set stt.model to its folder."
        raise EngineError(f"The model {named} cannot be fetched: {said}.", fix, MoonshineStreaming.name) from error
