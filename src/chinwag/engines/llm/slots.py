"""Where llama.cpp's server keeps each conversation's prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """Which conversation's prompt is in which of the server's slots; the longest unused one gives way."""

    def __init__(self, count: int) -> None:
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(count))
        self._busy: set[int] = set()

    @contextmanager
    def use(self, key: str) -> Iterator[int]:
        """The slot for this conversation; -1 (any that is idle) where its own or all are busy, or it has no name."""
        slot = self._choose(key)
        if slot >= 0:
            self._busy.add(slot)
        try:
            yield slot
        finally:
            self._busy.discard(slot)

    def _choose(self, key: str) -> int:
        if not key:
            return -1
        if key in self._owners:
            self._owners.move_to_end(key)
            slot = self._owners[key]
            return -1 if slot in self._busy else slot
        if self._free:
            slot = self._free.pop(0)
        else:
            idle = next((owner for owner, slot in self._owners.items() if slot not in self._busy), None)
            if idle is None:
                return -1
            slot = self._owners.pop(idle)
        self._owners[key] = slot
        return slot
