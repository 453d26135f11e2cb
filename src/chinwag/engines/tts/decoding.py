"""Streaming decoder of an engine's bytes, with resampling and change of speed."""

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
    """Decodes bytes to mono audio at `rate` Hz and changes its speed without changing its pitch."""

    rate = 24_000

    def __init__(self, form: Format | str, channels: int, rate: int, speed: float = 1.0) -> None:
        """form, channels, rate (Hz): of the bytes; MP3 brings its own channels and rate. speed: 0.25 to 4.0."""
        self._form, self._channels, self._rate, self._speed = form, channels, rate, speed
        self._mp3: Any = av.CodecContext.create("mp3float", "r") if form == "mp3" else None
        self._graph: Graph | None = None
        self._incomplete = b""
        self._position = 0

    def feed(self, data: bytes) -> Samples:
        """Decode bytes; return float32 samples, possibly none."""
        return _join(self._filter(self._frames(data)))

    def end(self) -> Samples:
        """Return the remaining samples."""
        frames = list(self._mp3_frames(None)) if self._mp3 else []
        pieces_left = [_join(self._filter(iter(frames)))]
        if self._graph:
            self._graph.push(None)
            pieces_left.append(_join(self._pull(self._graph)))
        return _join(iter(pieces_left))

    def _frames(self, data: bytes) -> Iterator[av.AudioFrame]:
        if self._mp3:
            yield from self._mp3_frames(data)
            return
        kind = TYPES[self._form]
        size = kind.itemsize * self._channels
        data = self._incomplete + data
        whole = len(data) - len(data) % size
        self._incomplete = data[whole:]
        if whole:
            samples = np.frombuffer(data[:whole], kind).reshape(1, -1)
            layout = "mono" if self._channels == 1 else "stereo"
            frame = av.AudioFrame.from_ndarray(samples, format=self._form, layout=layout)
            frame.sample_rate = self._rate
            yield frame

    def _mp3_frames(self, data: bytes | None) -> Iterator[av.AudioFrame]:
        for packet in self._mp3.parse(data):
            with contextlib.suppress(av.InvalidDataError):  # a tag before the audio
                yield from self._mp3.decode(packet)

    def _filter(self, frames: Iterator[av.AudioFrame]) -> Iterator[Samples]:
        for frame in frames:
            if self._graph is None:
                self._graph = self._build_graph(frame)
            frame.pts, frame.time_base = self._position, Fraction(1, frame.sample_rate)
            self._position += frame.samples
            self._graph.push(frame)
            yield from self._pull(self._graph)

    def _build_graph(self, first: av.AudioFrame) -> Graph:
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
    def _pull(graph: Graph) -> Iterator[Samples]:
        while True:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield frame.to_ndarray().reshape(-1).astype(np.float32, copy=False)


def _factors(speed: float) -> list[float]:
    """Return factors for FFmpeg's atempo, whose minimum is 0.5; a slower speed needs two filters."""
    return [speed] if speed >= 0.5 else [speed**0.5] * 2


def _join(pieces: Iterator[Samples]) -> Samples:
    filled = [piece for piece in pieces if len(piece)]
    return np.concatenate(filled) if filled else np.empty(0, np.float32)
