"""Places for children: never more than the limit, first attempts before retries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iscsid.initiator.job_queue import JobQueue
from iscsid.jobs import JobId, ScanJob
from iscsid.protocol.names import Portal
from tests.support.jobs import login_job

DEAD, LIVE = Portal("192.0.2.1"), Portal("192.0.2.2")


def job(number: int) -> ScanJob:
    return ScanJob(id=JobId(number), sid=1, host_no=2, target_name="iqn.2024-01.org.example:t")


def numbers(slots: JobQueue) -> list[int]:
    return [int(admitted.id) for admitted in slots.admit()]


def test_no_more_jobs_run_than_there_are_places() -> None:
    slots = JobQueue(2)
    for number in range(5):
        slots.request(job(number), first=True)
    assert numbers(slots) == [0, 1]
    assert numbers(slots) == []
    slots.release(JobId(0))
    assert numbers(slots) == [2]


def test_a_limit_of_zero_is_no_limit() -> None:
    slots = JobQueue(0)
    for number in range(500):
        slots.request(job(number), first=True)
    assert len(numbers(slots)) == 500


def test_a_dead_portal_that_is_tried_again_does_not_hold_up_one_never_tried() -> None:
    slots = JobQueue(1)
    slots.request(job(1), first=False)
    slots.request(job(2), first=False)
    slots.request(job(3), first=True)
    assert numbers(slots) == [3]
    slots.release(JobId(3))
    assert numbers(slots) == [1]


def test_who_never_tried_a_portal_that_somebody_found_dead_does_not_hold_up_others() -> None:
    slots = JobQueue(1)
    for number in (1, 2, 3):
        slots.request(login_job(number, DEAD), first=True)
    slots.request(login_job(4, LIVE), first=True)
    slots.request(job(5), first=True)
    assert numbers(slots) == [1]
    slots.demote(DEAD)
    order = []
    for last in (1, 4, 5, 2):
        slots.release(JobId(last))
        order += numbers(slots)
    assert order == [4, 5, 2, 3]


def test_what_was_put_off_can_be_withdrawn_and_what_has_started_is_not_put_off() -> None:
    slots = JobQueue(1)
    for number in (1, 2, 3):
        slots.request(login_job(number, DEAD), first=True)
    assert numbers(slots) == [1]
    assert slots.withdraw(JobId(2))
    slots.demote(DEAD)
    slots.demote(DEAD)
    assert slots.withdraw(JobId(3))
    assert slots.waiting == 0 and not slots.withdraw(JobId(1))


def test_a_job_that_was_withdrawn_never_starts() -> None:
    slots = JobQueue(1)
    slots.request(job(1), first=True)
    slots.request(job(2), first=True)
    assert slots.withdraw(JobId(1))
    assert numbers(slots) == [2]
    assert not slots.withdraw(JobId(2)), "a running job cannot be withdrawn"


def test_a_place_given_back_twice_counts_once() -> None:
    slots = JobQueue(1)
    slots.request(job(1), first=True)
    slots.admit()
    slots.release(JobId(1))
    slots.release(JobId(1))
    for number in (2, 3):
        slots.request(job(number), first=True)
    assert numbers(slots) == [2]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("rRxwp"), st.integers(1, 12)), max_size=60),
)
def test_whatever_happens_the_limit_holds_and_every_job_starts_at_most_once(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    slots = JobQueue(limit)
    requested: set[int] = set()
    started: list[int] = []
    running: set[int] = set()
    for step, number in steps:
        if step in "rR" and number not in requested:
            requested.add(number)
            portal = LIVE if number % 2 else DEAD
            made = login_job(number, portal) if number % 3 else job(number)
            slots.request(made, first=step == "r")
        elif step == "x":
            slots.release(JobId(number))
            running.discard(number)
        elif step == "w":
            slots.withdraw(JobId(number))
        elif step == "p":
            slots.demote(DEAD)
        now = numbers(slots)
        started += now
        running |= set(now)
        assert len(running) == len(slots) <= limit
        assert len(slots) == limit or slots.waiting == 0, "a place is free while jobs wait"
    assert len(started) == len(set(started))
