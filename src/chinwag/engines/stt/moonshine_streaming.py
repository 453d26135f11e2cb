"""Moonshine's streaming models through their makers' library, moonshine-voice.

The library downloads its models from the makers' server into its own cache; a model may also be a folder. The library
is C++ behind ctypes, which releases the interpreter lock, so its steps run on a thread.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from chinwag.engines.faults import first_line, require_language, require_rate
from chinwag.engines.protocols import About, EngineOptions, Transcript
from chinwag.engines.worker import Priority, Worker
from chinwag.errors import EngineError
from chinwag.language import primary_subtag

SIZES: Mapping[str, tuple[str, ...]] = {
    "tiny-streaming": ("en", "ar", "de", "es", "ja", "tl", "vi", "zh"),
    "small-streaming": ("en", "de", "es", "ja"),
    "medium-streaming": ("en",),
}
"""Sizes and their languages in the library's catalog (0.1.5)."""

WHOLE_PIECES = ("tiny", "base")
"""Models that do not stream: they transcribe the whole line again for each partial transcript."""

STEP_S, NEVER_S = 1.0, 1e9
"""Seconds of sound added in one step; interval of the library's own updates, which are not used."""

FORCED = 1
"""MOONSHINE_FLAG_FORCE_UPDATE: transcribe all sound although the line has not ended."""

OPTIONS = ("vad_threshold", "max_tokens_per_second")


class MoonshineStreaming:
    """One model of moonshine-voice for all sessions. stt.model: a name such as "small-streaming-en", or a folder.

    stt.options.size and .language are needed for a folder whose name does not contain them.
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
        """Return the published sizes and languages, as "small-streaming-en"."""
        return tuple(f"{size}-{language}" for size, languages in SIZES.items() for language in languages)

    @classmethod
    def needs(cls, settings: Any) -> tuple[str, ...]:
        """Return nothing: the library downloads its models."""
        return ()

    @classmethod
    def load(cls, options: EngineOptions) -> Self:
        """Open the model, downloading it if it is not a folder, and transcribe a second of noise."""
        given = options.only(cls.name, size="", language="", **dict.fromkeys(OPTIONS))
        named = options.settings.model or cls.models(options.settings)[0]
        folder = Path(named).expanduser()
        size, language = _split_name(folder.name if folder.is_dir() else named)
        size, language = given["size"] or size, given["language"] or language or "en"
        if not folder.is_dir():
            folder = _download(named, size, language)
        tuned = {name: given[name] for name in OPTIONS if given[name] is not None}
        engine = cls(_open_model(folder, size, {"return_audio_data": "false", **tuned}), primary_subtag(language))
        noise = np.random.default_rng(0).normal(0.0, 0.01, LISTEN_RATE).astype(np.float32)
        stream = engine.begin()
        engine.transcribe(stream, [noise], FORCED)
        stream.close()
        return engine

    def open(self, language: str | None = None) -> MoonshineStream:
        """Open an utterance. Raises EngineError for an unsupported language."""
        require_language(self.languages, language, "This Moonshine model", self.name)
        return MoonshineStream(self)

    async def close(self) -> None:
        """End the thread and release the model with all its streams."""
        if not self.closed:
            self.closed = True
            await self.worker.run(self.transcriber.close)
            self.worker.close()

    # --- on the thread -----------------------------------------------------------------------------------------------

    def begin(self) -> Any:
        """Start a stream."""
        stream = self.transcriber.create_stream(update_interval=NEVER_S)
        stream.start()
        return stream

    def transcribe(self, stream: Any, pieces: Sequence[Samples], flags: int) -> str:
        """Add sound to a stream and return the text so far, all lines joined."""
        for piece in pieces:
            step = int(STEP_S * LISTEN_RATE)
            for at in range(0, len(piece), step):
                stream.add_audio(piece[at : at + step].tolist(), LISTEN_RATE)
        lines = stream.update_transcription(flags).lines
        return " ".join(line.text.strip() for line in lines if line.text.strip())


class MoonshineStream:
    """One utterance, transcribed while it is spoken."""

    def __init__(self, engine: MoonshineStreaming) -> None:
        self._engine = engine
        self._stream: Any = None
        self._new: list[Samples] = []
        self._until = 0
        self._last = Transcript("", final=False, until=0, language=engine.languages[0])

    def __del__(self) -> None:
        """Free the library's stream, unless closing the engine has freed it."""
        if self._stream is not None and not self._engine.closed:
            self._stream.close()

    def push(self, audio: Audio) -> None:
        """Append sound at 16 kHz."""
        require_rate(audio, self._engine.name)
        self._new.append(audio.pcm)
        self._until = audio.end

    async def partial(self) -> Transcript:
        """Return the partial transcript."""
        return await self._transcribe(Priority.LATER, 0) if self._new else self._last

    async def finish(self) -> Transcript:
        """Return the final transcript; costs nothing if no sound was added since the last one."""
        if self._until and (self._new or not self._last.final):
            self._last = replace(await self._transcribe(Priority.NOW, FORCED), final=True)
        return replace(self._last, final=True)

    async def _transcribe(self, priority: Priority, flags: int) -> Transcript:
        text, until = await self._engine.worker.run_at(priority, self._transcribe_new, flags)
        self._last = Transcript(text, False, until, language=self._engine.languages[0])
        return self._last

    def _transcribe_new(self, flags: int) -> tuple[str, int]:
        if self._stream is None:
            self._stream = self._engine.begin()
        pieces, self._new, until = self._new, [], self._until
        return self._engine.transcribe(self._stream, pieces, flags), until


def _split_name(name: str) -> tuple[str, str]:
    """Split a name such as "small-streaming-en" into size and language; "" for a missing part."""
    for size in (*SIZES, "base-streaming", *WHOLE_PIECES):
        for before in ("", "moonshine-"):
            if name == before + size or name.startswith(f"{before}{size}-"):
                return size, name[len(before + size) + 1 :]
    return "", ""


def _open_model(folder: Path, size: str, options: Mapping[str, Any]) -> Any:
    from moonshine_voice.moonshine_api import string_to_model_arch
    from moonshine_voice.transcriber import Transcriber

    try:
        kind = string_to_model_arch(size)
    except ValueError as error:
        sizes = ", ".join((*SIZES, *WHOLE_PIECES))
        fix = f"Set stt.options.size to one of: {sizes}."
        raise EngineError(
            f"The size of the Moonshine model in {folder} is unknown.", fix, MoonshineStreaming.name
        ) from error
    try:
        return Transcriber(folder, kind, options=dict(options))
    except Exception as error:  # the library and ctypes raise errors of many types
        fix = "Download it again, or set stt.model to a folder with all files of a model of that size."
        message = f"The Moonshine model {folder} cannot be loaded as {size}: {first_line(error)}."
        raise EngineError(message, fix, MoonshineStreaming.name) from error


def _download(named: str, size: str, language: str) -> Path:
    """Download a model from its makers' server into the library's cache; return its folder."""
    from moonshine_voice import download
    from moonshine_voice.moonshine_api import string_to_model_arch

    try:
        found = download.find_model_info(language, string_to_model_arch(size))
    except ValueError as error:
        fix = f"There are: {', '.join(MoonshineStreaming.models(None))}; or give a folder."
        raise EngineError(f"Moonshine has no model {named}.", fix, MoonshineStreaming.name) from error
    if language != "en":
        print(
            "Moonshine's models for other languages do not allow commercial use (moonshine.ai/license).",
            file=sys.stderr,
        )
    try:
        return Path(download.download_model_from_info(found)[0])
    except Exception as error:  # the HTTP client raises errors of many types
        fix = "Check the network, or download it elsewhere and set stt.model to its folder."
        message = f"The model {named} cannot be fetched: {first_line(error)}."
        raise EngineError(message, fix, MoonshineStreaming.name) from error
