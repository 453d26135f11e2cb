"""Function calls as the various servers stream them, numbered and named as `CallDelta` promises."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chinwag.engines.protocols import CallDelta
from chinwag.ids import new_id


@dataclass
class _Call:
    call_id: str
    name: str = ""
    arguments: str = ""


class CallReader:
    """Follows the calls of one answer.

    Servers differ: some stream a call in pieces that only the index holds together, some send each call whole, all of
    them under index 0 or without one, with or without an id.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, index: int | None, call_id: str, name: str, arguments: str) -> CallDelta | None:
        """One piece; None while its call has no name yet."""
        number = self._at.get(-1 if index is None else index)
        begins = number is None or self._is_another(self._calls[number], call_id, name)
        if number is None or begins:
            number = len(self._calls)
            self._calls.append(_Call(call_id or new_id("call")))
            self._at[-1 if index is None else index] = number
        call = self._calls[number]
        unnamed = not call.name
        call.name = call.name or name
        call.arguments += arguments
        if not call.name:
            return None
        if unnamed:
            return CallDelta(number, call.call_id, call.name, call.arguments)
        return CallDelta(number, arguments=arguments)

    @staticmethod
    def _is_another(call: _Call, call_id: str, name: str) -> bool:
        if call_id:
            return call_id != call.call_id
        return bool(name and call.name) and _is_json(call.arguments)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
