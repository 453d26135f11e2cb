"""Sound as an engine gives it, in bytes of some format and pace, to what a voice yields; piece by piece."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.filter import Graph

from chinwag.audio import Samples

Format = Literal["s16", "flt", "mp3"]
TYPES: dict[str, Any] = {"s16": np.dtype("<i2"), "flt": np.dtype("<f4")}


class Decoder:
    """Turns what is fed into mono sound at `rate`, spoken at another speed without another pitch."""

    rate = 24_000

    def __init__(self, form: Format | str, channels: int, rate: int, speed: float = 1.0) -> None:
        """form: of the bytes; MP3 tells the channels and the rate itself. speed: 1.0 leaves it, 0.25 to 4.0."""
        self._form, self._channels, self._rate, self._speed = form, channels, rate, speed
        self._mp3: Any = av.CodecContext.create("mp3float", "r") if form == "mp3" else None
        self._graph: Graph | None = None
        self._odd = b""
        self._at = 0

    def feed(self, data: bytes) -> Samples:
        """What these bytes bring out, float32; may be empty."""
        return _joined(self._filtered(self._frames(data)))

    def end(self) -> Samples:
        """What is still to come."""
        frames = list(self._mp3_frames(None)) if self._mp3 else []
        made = [_joined(self._filtered(iter(frames)))]
        if self._graph:
            self._graph.push(None)
            made.append(_joined(self._pulled(self._graph)))
        return _joined(iter(made))

    def _frames(self, data: bytes) -> Iterator[av.AudioFrame]:
        if self._mp3:
            yield from self._mp3_frames(data)
            return
        kind = TYPES[self._form]
        size = kind.itemsize * self._channels
        data = self._odd + data
        whole = len(data) - len(data) % size
        self._odd = data[whole:]
        if whole:
            samples = np.frombuffer(data[:whole], kind).reshape(1, -1)
            layout = "mono" if self._channels == 1 else "stereo"
            frame = av.AudioFrame.from_ndarray(samples, format=self._form, layout=layout)
            frame.sample_rate = self._rate
            yield frame

    def _mp3_frames(self, data: bytes | None) -> Iterator[av.AudioFrame]:
        for packet in self._mp3.parse(data):
            with contextlib.suppress(av.InvalidDataError):  # a tag before the sound
                yield from self._mp3.decode(packet)

    def _filtered(self, frames: Iterator[av.AudioFrame]) -> Iterator[Samples]:
        for frame in frames:
            if self._graph is None:
                self._graph = self._chain(frame)
            frame.pts, frame.time_base = self._at, Fraction(1, frame.sample_rate)
            self._at += frame.samples
            self._graph.push(frame)
            yield from self._pulled(self._graph)

    def _chain(self, first: av.AudioFrame) -> Graph:
        graph = Graph()
        source = graph.add_abuffer(
            sample_rate=first.sample_rate, format=first.format.name, layout=first.layout.name,
            time_base=Fraction(1, first.sample_rate),
        )  # fmt: skip
        chain = [source]
        if abs(self._speed - 1.0) > 0.01:
            chain += [graph.add("atempo", f"{part:.4f}") for part in _factors(self._speed)]
        chain.append(graph.add("aresample", str(self.rate)))
        chain.append(graph.add("aformat", f"sample_fmts=flt:channel_layouts=mono:sample_rates={self.rate}"))
        chain.append(graph.add("abuffersink"))
        graph.link_nodes(*chain).configure()
        return graph

    @staticmethod
    def _pulled(graph: Graph) -> Iterator[Samples]:
        while True:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield frame.to_ndarray().reshape(-1).astype(np.float32, copy=False)


def _factors(speed: float) -> list[float]:
    """FFmpeg's atempo takes 0.5 at least, so a slower one is two."""
    return [speed] if speed >= 0.5 else [speed**0.5] * 2


def _joined(pieces: Iterator[Samples]) -> Samples:
    held = [piece for piece in pieces if len(piece)]
    return np.concatenate(held) if held else np.empty(0, np.float32)
