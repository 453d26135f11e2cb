"""Which conversation gets which of the embedded model's slots."""

from __future__ import annotations

import pytest

from chinwag.engines.llm.slots import Slots

pytestmark = pytest.mark.unit


def slot_of(slots: Slots, key: str) -> int:
    with slots.use(key) as slot:
        return slot


def test_a_conversation_keeps_its_slot() -> None:
    slots = Slots(2)
    assert [slot_of(slots, key) for key in "abab"] == [0, 1, 0, 1]


def test_the_longest_unused_gives_way() -> None:
    slots = Slots(2)
    assert [slot_of(slots, key) for key in "ab"] == [0, 1]
    assert slot_of(slots, "a") == 0
    assert slot_of(slots, "c") == 1
    assert slot_of(slots, "a") == 0
    assert slot_of(slots, "b") == 1


def test_a_busy_slot_is_never_taken() -> None:
    slots = Slots(2)
    with slots.use("a") as first, slots.use("b") as second:
        assert (first, second) == (0, 1)
        assert slot_of(slots, "c") == -1
        assert slot_of(slots, "a") == -1
    assert slot_of(slots, "c") == 1  # "a" was asked for since


def test_it_is_free_again_after_a_failure_and_a_nameless_one_has_none() -> None:
    slots = Slots(1)
    with pytest.raises(ValueError, match="broken"), slots.use("a"):
        raise ValueError("broken")
    assert slot_of(slots, "b") == 0
    assert slot_of(slots, "") == -1
