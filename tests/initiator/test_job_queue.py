"""Workers are limited in number, and no portal, nor a scan, keeps the others from theirs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.initiator.job_queue import GRACE, SCANS_AT_ONCE, JobQueue
from iscsid.jobs import JobId, ScanJob
from iscsid.protocol.names import Portal
from tests.support.jobs import discovery_job, login_job

DEAD, LIVE = Portal("192.0.2.1"), Portal("192.0.2.2")


def scan(number: int, deadline: float = 0) -> ScanJob:
    name = "iqn.2024-01.org.example:t"
    return ScanJob(id=JobId(number), sid=1, host_no=2, target_name=name, deadline=deadline)


def admitted(queue: JobQueue, now: float = 0) -> list[int]:
    return [int(job.id) for job in queue.admit(now)]


def reached(limit: int, *portals: Portal) -> JobQueue:
    queue = JobQueue(limit)
    for portal in portals:
        queue.portal_answered(portal)
    return queue


def request(queue: JobQueue, portal: Portal, *numbers: int) -> None:
    for number in numbers:
        queue.request(login_job(number, portal))


def test_no_more_jobs_run_than_there_are_places() -> None:
    queue = reached(2, LIVE)
    request(queue, LIVE, *range(5))
    assert admitted(queue) == [0, 1]
    assert admitted(queue) == []
    queue.release(JobId(0))
    assert admitted(queue) == [2]


def test_a_limit_of_zero_is_no_limit() -> None:
    queue = reached(0, LIVE)
    request(queue, LIVE, *range(500))
    assert len(admitted(queue)) == 500


# --- scans --------------------------------------------------------------------------------------


def test_scans_that_hang_leave_every_place_to_the_logins_that_would_wake_them() -> None:
    queue = reached(2, LIVE)
    for number in range(100, 200):
        queue.request(scan(number))
    assert len(admitted(queue)) == SCANS_AT_ONCE
    request(queue, LIVE, 1, 2)
    assert admitted(queue) == [1, 2]


def test_logins_that_hang_leave_every_place_of_scans() -> None:
    queue = reached(1, LIVE)
    request(queue, LIVE, 1, 2)
    queue.request(scan(3))
    assert sorted(admitted(queue)) == [1, 3]


def test_a_worker_that_cannot_be_ended_in_time_gives_its_place_back() -> None:
    """It sleeps in the kernel, and SIGKILL waits with it."""
    queue = reached(1, LIVE)
    for number in range(SCANS_AT_ONCE + 1):
        queue.request(scan(100 + number, deadline=120))
    queue.request(login_job(1, LIVE, deadline=60))
    queue.request(login_job(2, LIVE, deadline=60))
    assert len(admitted(queue)) == SCANS_AT_ONCE + 1
    assert admitted(queue, 60) == []
    assert admitted(queue, 60 + GRACE) == [2]
    assert admitted(queue, 120 + GRACE) == [100 + SCANS_AT_ONCE]


def test_a_place_given_back_twice_counts_once() -> None:
    queue = reached(1, LIVE)
    request(queue, LIVE, 1)
    admitted(queue)
    queue.release(JobId(1))
    queue.release(JobId(1))
    request(queue, LIVE, 2, 3)
    assert admitted(queue) == [2]


# --- portals ------------------------------------------------------------------------------------


def test_one_attempt_at_a_time_finds_out_whether_a_portal_answers() -> None:
    queue = JobQueue(0)
    request(queue, DEAD, 1, 2, 3)
    assert admitted(queue) == [1]
    queue.portal_answered(DEAD)
    assert admitted(queue) == [2, 3]


def test_who_waits_for_a_portal_that_fails_fails_with_it_but_for_the_next_one() -> None:
    """With 15 s for each, the last of a thousand would turn to its second portal after hours."""
    queue = JobQueue(4)
    request(queue, DEAD, 1, 2, 3, 4)
    assert admitted(queue) == [1]
    assert queue.portal_failed(DEAD) == [JobId(2), JobId(3)]
    queue.release(JobId(1))
    assert admitted(queue) == [4]
    assert queue.waiting == 0


def test_a_target_that_always_fails_does_not_make_its_neighbours_fail_untried() -> None:
    queue = JobQueue(4)
    tried: Counter[int] = Counter()
    request(queue, LIVE, 1, 2, 3)
    for _ in range(9):
        (number,) = admitted(queue)
        tried[number] += 1
        failed = queue.portal_failed(LIVE)
        queue.release(JobId(number))
        request(queue, LIVE, number, *map(int, failed))
    assert set(tried) == {1, 2, 3}


@pytest.mark.parametrize("limit", [2, 4, 30])
def test_portals_that_may_be_dead_never_take_all_places(limit: int) -> None:
    queue = reached(limit, LIVE)
    for number in range(100):
        request(queue, Portal(f"198.51.100.{number}"), 1000 + number)
    assert len(admitted(queue)) == limit - max(1, limit // 4)
    request(queue, LIVE, 1)
    assert admitted(queue) == [1]


def test_a_single_place_goes_to_a_portal_that_answers_first() -> None:
    queue = reached(1, LIVE)
    request(queue, DEAD, 1)
    request(queue, LIVE, 2)
    assert admitted(queue) == [2]
    queue.release(JobId(2))
    assert admitted(queue) == [1]


def test_a_portal_with_many_jobs_does_not_hold_up_one_with_few() -> None:
    queue = reached(2, LIVE, DEAD)
    request(queue, LIVE, *range(100))
    request(queue, DEAD, 1000)
    assert admitted(queue) == [0, 1000]


def test_a_portal_that_fails_while_others_run_there_is_tried_again_when_all_have_ended() -> None:
    queue = reached(0, LIVE)
    request(queue, LIVE, 1, 2)
    assert admitted(queue) == [1, 2]
    queue.portal_failed(LIVE)
    queue.release(JobId(1))
    request(queue, LIVE, 3)
    assert admitted(queue) == []
    queue.release(JobId(2))
    assert admitted(queue) == [3]


def test_a_discovery_that_hangs_does_not_hold_up_the_logins_at_its_portal() -> None:
    queue = JobQueue(2)
    queue.request(discovery_job(1, LIVE))
    request(queue, LIVE, 2)
    assert admitted(queue) == [1]
    queue = JobQueue(4)
    queue.request(discovery_job(1, LIVE))
    request(queue, LIVE, 2)
    assert admitted(queue) == [1, 2]


def test_a_job_that_was_withdrawn_never_starts() -> None:
    queue = reached(1, LIVE)
    request(queue, LIVE, 1, 2)
    queue.request(scan(3))
    assert queue.withdraw(JobId(1)) and queue.withdraw(JobId(3))
    assert admitted(queue) == [2]
    assert not queue.withdraw(JobId(2)), "a running job cannot be withdrawn"
    assert queue.waiting == 0


steps = st.tuples(st.sampled_from("rsxwfa"), st.integers(1, 30))


@given(st.integers(0, 5), st.lists(steps, max_size=80))
def test_whatever_happens_the_limits_hold_and_nothing_waits_without_a_reason(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    queue = JobQueue(limit)
    portals = [Portal(f"192.0.2.{number}") for number in range(5)]
    answering: set[Portal] = set()
    requested: dict[int, Portal | None] = {}
    waiting: set[int] = set()
    running: set[int] = set()
    for step, number in steps:
        portal = portals[number % 5]
        if step in "rs" and number not in requested:
            requested[number] = portal if step == "r" else None
            queue.request(login_job(number, portal) if step == "r" else scan(number))
            waiting.add(number)
        elif step == "x":
            queue.release(JobId(number))
            running.discard(number)
        elif step == "w":
            assert queue.withdraw(JobId(number)) == (number in waiting)
            waiting.discard(number)
        elif step == "f":
            answering.discard(portal)
            waiting -= set(map(int, queue.portal_failed(portal)))
        elif step == "a":
            answering.add(portal)
            queue.portal_answered(portal)
        new = set(admitted(queue))
        assert new <= waiting
        waiting -= new
        running |= new
        attempts = [requested[number] for number in running if requested[number]]
        assert len(queue) == len(attempts) and queue.waiting == len(waiting)
        assert len(attempts) <= limit or not limit
        assert queue.scans == len(running) - len(attempts) <= SCANS_AT_ONCE
        at_dead = Counter(requested[number] for number in new if requested[number])
        assert all(at_dead[p] <= 1 for p in at_dead if p not in answering)
        if limit == 0 or len(attempts) < limit:
            assert not [n for n in waiting if requested[n] in answering], "a place is free"
