"""Audio of saved conversations: FLAC files, one folder for each conversation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from chinwag.audio import WIRE_RATE, Audio, Samples
from chinwag.audio.codecs import decode_flac, encode_flac
from chinwag.audio.frames import to_int16, wav_header
from chinwag.ids import new_id
from chinwag.store import repository as conversations
from chinwag.store.records import Role, StoredSound

LONGEST_GAP_S = 2.0
"""Longest silence in an export, in seconds; a conversation may continue after days."""

BLOCK = 10 * WIRE_RATE
"""Samples in one block of an export."""


class Sounds:
    """The audio files. limit: bytes of all files; beyond it, the audio of the oldest conversations is deleted."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    def keep(
        self, connection: Connection, conversation_id: str, item_id: str, side: Role, began: float, audio: Audio
    ) -> None:
        """Save the audio of an item as a file and a row. Blocks. Raises OSError, for example if the disk is full."""
        data, name = encode_flac(audio), f"{new_id('sound')}.flac"
        if len(data) > self._limit:
            return
        folder = self._conversation_folder(conversation_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sound = StoredSound(item_id, side, name, began, audio.seconds, len(data))
        self._make_room(connection, len(data))
        try:
            (folder / name).write_bytes(data)
            (folder / name).chmod(0o600)
            conversations.put_sound(connection, conversation_id, sound)
        except BaseException:
            (folder / name).unlink(missing_ok=True)
            raise

    def tidy(self, connection: Connection, conversation_id: str) -> None:
        """Delete the files without a row, and the folder if no file is left."""
        files = {sound.file for sound in conversations.sounds_of(connection, conversation_id)}
        folder = self._conversation_folder(conversation_id)
        if not files:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.glob("*"):
            if path.name not in files:
                path.unlink(missing_ok=True)

    def tidy_all(self) -> None:
        """Delete all audio files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, conversation_id: str, sound: StoredSound) -> Audio:
        """Read the audio of an item. Raises OSError if its file is missing or damaged."""
        path = self._conversation_folder(conversation_id) / sound.file
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise OSError(f"{path} lies outside of {self._folder}")
        return decode_flac(path)

    def _conversation_folder(self, conversation_id: str) -> Path:
        return self._folder / conversation_id

    def _make_room(self, connection: Connection, size: int) -> None:
        excess = conversations.size_of_sounds(connection) + size - self._limit
        for old in conversations.oldest_sounds(connection, excess) if excess > 0 else ():
            conversations.forget_sounds(connection, old)
            self.tidy(connection, old)


@dataclass(frozen=True)
class _PlacedSound:
    """A sound in an export. start: its first sample."""

    sound: StoredSound
    start: int


def _place_sounds(sounds: Sequence[StoredSound]) -> list[_PlacedSound]:
    """Place the sounds on the time axis of the export, in order, with long silences shortened."""
    placed: list[_PlacedSound] = []
    shift, previous_end = 0.0, 0.0
    for sound in sorted(sounds, key=lambda sound: sound.began):
        at = sound.began - shift
        if not placed or at - previous_end > LONGEST_GAP_S:
            shift += at - previous_end - (LONGEST_GAP_S if placed else 0.0)
            at = sound.began - shift
        placed.append(_PlacedSound(sound, round(at * WIRE_RATE)))
        previous_end = max(previous_end, at + sound.seconds)
    return placed


def wav(sounds: Sequence[StoredSound], files: Sounds, conversation_id: str) -> Iterator[bytes]:
    """Make a WAV file of a conversation, in pieces: the user on the left, the assistant on the right. Blocks.

    A sound that cannot be read becomes silence.
    """
    placed = _place_sounds(sounds)
    length = max((each.start + round(each.sound.seconds * WIRE_RATE) for each in placed), default=0)
    yield wav_header(WIRE_RATE, length * 4, channels=2)
    active: list[tuple[int, int, Samples]] = []
    remaining = iter([*placed, None])
    upcoming = next(remaining)
    for start in range(0, length, BLOCK):
        size = min(BLOCK, length - start)
        while upcoming is not None and upcoming.start < start + size:
            side = 0 if upcoming.sound.side == "user" else 1
            active.append((upcoming.start, side, _at_wire_rate(files, conversation_id, upcoming.sound)))
            upcoming = next(remaining)
        mixed = np.zeros((size, 2), np.float32)
        for at, side, pcm in active:
            first, last = max(at, start), min(at + len(pcm), start + size)
            if first < last:
                mixed[first - start : last - start, side] += pcm[first - at : last - at]
        yield to_int16(mixed).tobytes()
        active = [each for each in active if each[0] + len(each[2]) > start + size]


def _at_wire_rate(files: Sounds, conversation_id: str, sound: StoredSound) -> Samples:
    try:
        audio = files.read(conversation_id, sound)
    except OSError:
        return np.zeros(0, np.float32)
    return audio.resampled(WIRE_RATE).pcm
