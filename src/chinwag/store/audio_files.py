"""The sound of conversations: FLAC files, a folder for each conversation, beside the database."""

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
"""Of the silence between two sounds, so much is left in an export: a conversation may go on after days."""

BLOCK = 10 * WIRE_RATE
"""Samples of an export that are made at a time."""


class Sounds:
    """The files. folder: where they are. limit: bytes of all; of more, the oldest conversations lose theirs."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    def keep(
        self, connection: Connection, conversation_id: str, item_id: str, side: Role, began: float, audio: Audio
    ) -> None:
        """Write the sound of an item, and write that down. Blocks. Raises OSError where the disk is full."""
        data, name = encode_flac(audio), f"{new_id('sound')}.flac"
        if len(data) > self._limit:
            return
        place = self._place(conversation_id)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        sound = StoredSound(item_id, side, name, began, audio.seconds, len(data))
        self._make_room(connection, conversation_id, len(data))
        try:
            (place / name).write_bytes(data)
            (place / name).chmod(0o600)
            conversations.put_sound(connection, conversation_id, sound)
        except BaseException:
            (place / name).unlink(missing_ok=True)
            raise

    def tidy(self, connection: Connection, conversation_id: str) -> None:
        """Delete the files that no item has any more, or the whole folder."""
        known = {sound.file for sound in conversations.sounds_of(connection, conversation_id)}
        place = self._place(conversation_id)
        if not known:
            shutil.rmtree(place, ignore_errors=True)
            return
        for path in place.glob("*"):
            if path.name not in known:
                path.unlink(missing_ok=True)

    def tidy_all(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, conversation_id: str, sound: StoredSound) -> Audio:
        """The sound of an item. Raises OSError where its file is gone, or is no sound."""
        path = self._place(conversation_id) / sound.file
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise OSError(f"{path} lies outside of {self._folder}")
        return decode_flac(path)

    def _place(self, conversation_id: str) -> Path:
        return self._folder / conversation_id

    def _make_room(self, connection: Connection, talking: str, size: int) -> None:
        over = conversations.size_of_sounds(connection) + size - self._limit
        for old in conversations.oldest_sounds(connection, over) if over > 0 else ():
            conversations.forget_sounds(connection, old)
            self.tidy(connection, old)


@dataclass(frozen=True)
class Placed:
    """A sound in an export. at: its first sample."""

    sound: StoredSound
    at: int


def timeline(kept: Sequence[StoredSound]) -> list[Placed]:
    """Where each is to be heard, with long silences made short; in the order of their beginnings."""
    placed: list[Placed] = []
    shift, over = 0.0, 0.0
    for sound in sorted(kept, key=lambda one: one.began):
        at = sound.began - shift
        if not placed or at - over > LONGEST_GAP_S:
            shift += at - over - (LONGEST_GAP_S if placed else 0.0)
            at = sound.began - shift
        placed.append(Placed(sound, round(at * WIRE_RATE)))
        over = max(over, at + sound.seconds)
    return placed


def wav(kept: Sequence[StoredSound], files: Sounds, conversation_id: str) -> Iterator[bytes]:
    """A WAV of a whole conversation, piece by piece: the person on the left, the answers on the right. Blocks.

    What of the sound cannot be read is silence.
    """
    placed = timeline(kept)
    length = max((one.at + round(one.sound.seconds * WIRE_RATE) for one in placed), default=0)
    yield wav_header(WIRE_RATE, length * 4, channels=2)
    heard: list[tuple[int, int, Samples]] = []
    coming = iter([*placed, None])
    following = next(coming)
    for start in range(0, length, BLOCK):
        size = min(BLOCK, length - start)
        while following is not None and following.at < start + size:
            side = 0 if following.sound.side == "user" else 1
            heard.append((following.at, side, _at_wire_rate(files, conversation_id, following.sound)))
            following = next(coming)
        mixed = np.zeros((size, 2), np.float32)
        for at, side, pcm in heard:
            first, last = max(at, start), min(at + len(pcm), start + size)
            if first < last:
                mixed[first - start : last - start, side] += pcm[first - at : last - at]
        yield to_int16(mixed).tobytes()
        heard = [one for one in heard if one[0] + len(one[2]) > start + size]


def _at_wire_rate(files: Sounds, conversation_id: str, sound: StoredSound) -> Samples:
    try:
        audio = files.read(conversation_id, sound)
    except OSError:
        return np.zeros(0, np.float32)
    return audio.resampled(WIRE_RATE).pcm
