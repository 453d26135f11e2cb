"""Recorded people with the truth beside them.

A corpus is a folder of mono WAV files, each with NAME.json: {"text", "speech_end_ms", "pauses_ms": [[start, end], …],
"backchannels_ms": […], "language"}. Times are milliseconds of the file. So the program under test never times itself.
For `interrupt`, "kind" may say what a file is: "interruption", "backchannel" or "noise"; without it, a file with
`backchannels_ms` is a backchannel, and any other an interruption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.client_sdk import wav
from chinwag.errors import ChinwagError

SPEECH = 10 ** (-45 / 20)
"""Amplitude of -45 dBFS: below it, nobody is speaking."""


class CorpusError(ChinwagError):
    """A corpus cannot be used."""


Span = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]


Kind = Literal["turn", "interruption", "backchannel", "noise"]


class Truth(BaseModel):
    """What NAME.json says of NAME.wav; what else it says is left alone."""

    text: str = Field(min_length=1)
    speech_end_ms: float = Field(gt=0)
    speech_start_ms: float | None = Field(None, ge=0)
    pauses_ms: list[Span] = []
    backchannels_ms: list[Span] = []
    language: str = "en"
    kind: Kind = "turn"
    voice: str = ""


class Recording(BaseModel):
    """One person's turn. audio: 24 kHz."""

    model_config = {"arbitrary_types_allowed": True}

    name: str
    audio: Audio
    truth: Truth

    @property
    def start(self) -> int:
        """The first spoken sample: as the truth says, else the first beyond -45 dBFS."""
        if self.truth.speech_start_ms is not None:
            return round(self.truth.speech_start_ms * WIRE_RATE / 1000)
        return speech_bounds(self.audio.pcm)[0]

    @property
    def end(self) -> int:
        """The sample after the last spoken one."""
        return round(self.truth.speech_end_ms * WIRE_RATE / 1000)


def load_corpus(folder: Path) -> list[Recording]:
    """Read a corpus, in order of the names. Raises CorpusError or WavError naming the file at fault."""
    if not folder.is_dir():
        raise CorpusError(f"There is no folder {folder}.", "Name one that holds WAV files, or leave --corpus out.")
    recordings = []
    for sound in sorted(folder.glob("*.wav")):
        beside = sound.with_suffix(".json")
        try:
            truth = Truth.model_validate_json(beside.read_text("utf-8"))
        except OSError:
            raise CorpusError(
                f"{sound.name} has no {beside.name} beside it.", 'Write one: {"text": …, "speech_end_ms": …}.'
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "it"
            raise CorpusError(f"{beside}: {key}: {first['msg']}.", "Mend that file.") from None
        recording = Recording(name=sound.stem, audio=wav.read(sound).resampled(WIRE_RATE), truth=truth)
        if recording.end > len(recording.audio.pcm):
            raise CorpusError(f"{beside}: speech_end_ms lies behind the end of {sound.name}.", "Mend that file.")
        recordings.append(recording)
    if not recordings:
        raise CorpusError(f"{folder} holds no WAV file.", "Name a folder that does, or leave --corpus out.")
    return recordings


def save_recording(recording: Recording, folder: Path) -> None:
    """Write NAME.wav, then NAME.json."""
    wav.write(folder / f"{recording.name}.wav", recording.audio)
    text = recording.truth.model_dump_json(indent=1, exclude_none=True)
    (folder / f"{recording.name}.json").write_text(text + "\n", "utf-8")


def speech_bounds(pcm: Samples) -> tuple[int, int]:
    """First spoken sample and the one after the last, by the -45 dBFS rule; (0, 0) for silence."""
    loud = np.flatnonzero(np.abs(pcm) > SPEECH)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, 0)
