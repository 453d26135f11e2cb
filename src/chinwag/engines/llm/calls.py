"""Assembles streamed tool calls of various servers into the numbered, named pieces of `CallDelta`."""

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
    """Reads the tool calls of one response.

    Some servers stream a call in pieces that share only an index. Others send each call whole, with index 0 or none,
    with or without an id.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._number_by_index: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, index: int | None, call_id: str, name: str, arguments: str) -> CallDelta | None:
        """Return one piece as a CallDelta; None while its call has no name."""
        number = self._number_by_index.get(-1 if index is None else index)
        is_new = number is None or self._is_new_call(self._calls[number], call_id, name)
        if number is None or is_new:
            number = len(self._calls)
            self._calls.append(_Call(call_id or new_id("call")))
            self._number_by_index[-1 if index is None else index] = number
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
    def _is_new_call(call: _Call, call_id: str, name: str) -> bool:
        if call_id:
            return call_id != call.call_id
        return bool(name and call.name) and _is_json(call.arguments)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
