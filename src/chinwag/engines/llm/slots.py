"""The cache slots of llama.cpp's server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """Assigns the server's slots to sessions; a new session takes the least recently used slot."""

    def __init__(self, count: int) -> None:
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(count))
        self._busy: set[int] = set()

    @contextmanager
    def use(self, key: str) -> Iterator[int]:
        """Reserve and yield the slot of a key; -1 (any idle slot) if its slot or all are busy, or the key is empty."""
        slot = self._assign_slot(key)
        if slot >= 0:
            self._busy.add(slot)
        try:
            yield slot
        finally:
            self._busy.discard(slot)

    def _assign_slot(self, key: str) -> int:
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
