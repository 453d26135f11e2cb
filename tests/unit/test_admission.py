"""The door: who comes in, who waits, in which order, and for how long."""

from __future__ import annotations

import pytest

from chinwag.load import Load
from chinwag.runtime.admission import GRACE_S, MAX_QUEUE, MAX_RETRY_S, MIN_RETRY_S, SETTLING_S, Admission, QueuePlace

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def door(most: object = 1, **load: float) -> tuple[Admission, Load, Clock]:
    clock = Clock()
    measured = Load(clock)
    for name, value in load.items():
        setattr(measured, name, value)
    return Admission(most, measured, clock), measured, clock  # type: ignore[arg-type]


def full(answer: QueuePlace | None) -> QueuePlace:
    assert answer is not None
    return answer


def test_a_number_of_places() -> None:
    admission, load, _ = door(2)
    for held in (1, 2):
        assert admission.request_admission() is None
        load.sessions = held
    first, second = full(admission.request_admission("new")), full(admission.request_admission("new"))
    assert [(one.place, one.retry_after_s) for one in (first, second)] == [(1, MIN_RETRY_S), (2, 2 * MIN_RETRY_S)]
    assert first.message == "All 2 places are taken. You are number 1 in the queue; ask again in 3 s."
    assert first.as_dict() == {"place": 1, "retry_after_s": MIN_RETRY_S, "ticket": first.ticket}
    assert admission.waiting == 2


def test_who_waits_goes_before_who_comes_and_in_order() -> None:
    admission, load, _ = door(1, sessions=1)
    first, second = full(admission.request_admission("new")), full(admission.request_admission("new"))
    load.sessions = 0
    assert full(admission.request_admission("new")).place == 3, "a newcomer"
    assert full(admission.request_admission(second.ticket)).place == 2, "not before the first"
    assert admission.request_admission(first.ticket) is None
    load.sessions = 1
    assert full(admission.request_admission(second.ticket)).place == 1, "it moved up"
    load.sessions = 0
    assert admission.request_admission(second.ticket) is None


def test_who_does_not_ask_again_loses_the_place() -> None:
    admission, load, clock = door(1, sessions=1)
    first, second = full(admission.request_admission("new")), full(admission.request_admission("new"))
    clock.now += first.retry_after_s + GRACE_S - 0.1
    load.sessions = 0
    assert full(admission.request_admission(second.ticket)).place == 2
    clock.now += 0.2
    assert admission.request_admission(second.ticket) is None
    load.sessions = 1
    assert full(admission.request_admission(first.ticket)).ticket != first.ticket, "a newcomer again"


def test_who_knows_of_no_queue_takes_no_place_in_it() -> None:
    admission, load, _ = door(1, sessions=1)
    for _ in range(3):
        told = full(admission.request_admission())
        assert (told.place, told.ticket) == (1, "")
    assert admission.waiting == 0
    load.sessions = 0
    assert admission.request_admission() is None, "nobody is before them"
    load.sessions = 1
    full(admission.request_admission("new"))
    load.sessions = 0
    assert full(admission.request_admission()).place == 2, "but who waits goes first"


def test_a_ticket_that_is_not_known_is_a_newcomers() -> None:
    admission, _, _ = door(1, sessions=1)
    assert full(admission.request_admission("new")).place == 1
    stranger = full(admission.request_admission("wait_made_up"))
    assert stranger.place == 2
    assert stranger.ticket != "wait_made_up"


def test_a_long_queue_has_an_end() -> None:
    admission, _, _ = door(1, sessions=1)
    answers = [full(admission.request_admission("new")) for _ in range(MAX_QUEUE + 5)]
    assert admission.waiting == MAX_QUEUE
    assert answers[-1].ticket == ""
    assert {answer.retry_after_s for answer in answers[20:]} == {MAX_RETRY_S}


def test_the_first_always_comes_in() -> None:
    admission, _, _ = door("auto", cores=1.0)
    assert admission.request_admission() is None


def test_by_measured_headroom() -> None:
    admission, load, clock = door("auto")
    assert admission.request_admission() is None
    clock.now += 2 * SETTLING_S
    load.sessions, load.cores = 4, 0.4  # a tenth each
    came = 0
    while admission.request_admission() is None:
        came += 1
        load.sessions += 1
    assert came == 5, "all that fit are let in at once; more are not, though nothing of them is measured yet"
    clock.now += 2 * SETTLING_S
    load.cores = 0.95
    assert admission.has_room is False
    load.sessions, load.cores = 8, 0.6  # less each than was thought
    assert admission.has_room


@pytest.mark.parametrize("stage", ["loop_lag", "transcript_delay", "response_delay"])
def test_nobody_comes_in_where_people_are_kept_waiting(stage: str) -> None:
    admission, load, _ = door("auto", sessions=2, cores=0.2)
    assert admission.has_room
    for _ in range(5):
        getattr(load, stage).add(1.5)
    assert not admission.has_room
