"""Which sessions wait while portals do not answer, and what ends the waiting."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from iscsid import facts
from iscsid.bindings.binding import Binding
from iscsid.errors import Failure, Retry
from iscsid.facts import KernelSession, Timer, TimerPurpose
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.portal_backoff import HOLDOFF, PortalBackoff
from iscsid.initiator.retry import ATTEMPTS_PER_SECOND, JITTER, LEAST_PATIENCE, longest_pause
from iscsid.orders import Order, SetTimer
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from tests.support.harness import (
    PORTAL,
    SECOND,
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
)

ONE, TWO, THREE = (Binding(0, number) for number in (1, 2, 3))
RETRY_PORTAL = Timer(TimerPurpose.RETRY_PORTAL, PORTAL)
REFUSED = Failure(Retry.SOON, "connection refused")


def waiting_for_portal() -> tuple[PortalBackoff, Outbox]:
    outbox = Outbox(0)
    portal_backoff = PortalBackoff(outbox)
    for binding in (ONE, TWO):
        portal_backoff.begin_waiting(binding, PORTAL)
    portal_backoff.begin_waiting(THREE, SECOND)
    return portal_backoff, outbox


def test_an_answer_of_a_portal_ends_the_pauses_of_those_that_wait_for_it_and_no_others() -> None:
    portal_backoff, _ = waiting_for_portal()
    assert portal_backoff.answered(PORTAL) == [ONE, TWO]
    assert portal_backoff.answered(Portal("192.0.2.9")) == []


def test_a_portal_that_answers_a_thousand_times_ends_pauses_once_each_holdoff() -> None:
    portal_backoff, outbox = waiting_for_portal()
    portal_backoff.answered(PORTAL)
    assert outbox.take() == [SetTimer(RETRY_PORTAL, HOLDOFF)]
    for _ in range(1000):
        assert portal_backoff.answered(PORTAL) == []
    assert outbox.take() == []
    assert portal_backoff.holdoff_over(PORTAL) == [ONE, TWO], "it answered during the holdoff"
    assert outbox.take() == [SetTimer(RETRY_PORTAL, HOLDOFF)]
    assert portal_backoff.holdoff_over(PORTAL) == [], "it did not answer again"
    assert portal_backoff.answered(PORTAL) == [ONE, TWO], "its holdoff is over"


def test_without_waiting_sessions_no_timer_runs_and_a_later_one_is_released_at_once() -> None:
    portal_backoff, outbox = waiting_for_portal()
    portal_backoff.stop_waiting(THREE)
    portal_backoff.stop_waiting(THREE)
    assert portal_backoff.answered(SECOND) == [] and outbox.take() == []
    portal_backoff.begin_waiting(THREE, SECOND)
    assert portal_backoff.answered(SECOND) == [THREE]


def test_a_session_that_turns_to_another_portal_waits_for_that_one_only() -> None:
    portal_backoff, _ = waiting_for_portal()
    portal_backoff.begin_waiting(ONE, SECOND)
    assert portal_backoff.answered(PORTAL) == [TWO]
    assert portal_backoff.answered(SECOND) == [THREE, ONE]
    assert sorted(portal_backoff.everyone()) == [ONE, TWO, THREE]


# --- sequences ----------------------------------------------------------------------------------


def name(number: int) -> IscsiName:
    return IscsiName(f"iqn.2024-01.org.example:t{number}")


class Array:
    """A target of many sessions that has been away for long; each has failed again and again."""

    def __init__(self, count: int, rounds: int = 8) -> None:
        self.harness = Harness()
        found = [self._session(number) for number in range(count)]
        self.harness.begin(configuration(PORTAL), *found)
        self.harness.discovered(*map(self._record, range(count)), kept=True)
        self.harness.now += 100
        for session in found:
            self.harness.handle(facts.ConnectionLost(session.sid, "reset"))
        self.sids = [session.sid for session in found]
        for _ in range(rounds):
            for sid in self.sids:
                self.retry(sid)
                self.fail(sid)

    def _session(self, number: int) -> KernelSession:
        session_tag = f"iscsid:0:{number}:80aabbcc{number:04x}@{PORTAL}"
        return kernel_session(number + 1, name=name(number), session_tag=session_tag)

    def _record(self, number: int) -> DiscoveryRecord:
        return record(name(number))

    def timer(self, sid: int) -> Timer:
        return Timer(TimerPurpose.RETRY_LOGIN, Binding(0, sid - 1))

    def pause(self, sid: int) -> float:
        return self.harness.timers[self.timer(sid)] - self.harness.now

    def retry(self, sid: int) -> list[Order]:
        self.harness.now = max(self.harness.now, self.harness.timers.pop(self.timer(sid)))
        return self.harness.handle(facts.TimerExpired(self.timer(sid)))

    def fail(self, sid: int, failure: Failure = REFUSED) -> None:
        self.harness.handle(facts.CmdSnLearned(sid, 9))
        self.harness.handle(facts.LoginFailed(self.harness.job, failure))
        self.harness.handle(facts.WorkerEnded(self.harness.job))

    def come_back(self, sid: int) -> None:
        self.harness.handle(facts.CmdSnLearned(sid, 9))
        self.harness.logged_in()
        self.harness.handle(facts.SessionStarted(Binding(0, sid - 1), sid, sid + 1))


def test_the_first_session_that_comes_back_brings_all_others_of_its_portal() -> None:
    array = Array(200)
    first, *others = sorted(array.sids, key=array.pause)
    array.retry(first)
    assert sum(array.pause(sid) > 1 for sid in others) > 150
    array.come_back(first)
    assert {array.pause(sid) for sid in others} == {0}
    assert kinds(array.retry(others[0])) == ["LearnCmdSn"]


def test_a_session_that_fails_all_the_same_is_not_hurried_by_each_of_the_others() -> None:
    array = Array(3)
    first, second, third = array.sids
    array.retry(first)
    array.come_back(first)
    array.retry(second)
    array.fail(second)
    array.retry(third)
    array.come_back(third)
    assert array.pause(second) > 1
    array.harness.wait(TimerPurpose.RETRY_PORTAL)
    assert array.pause(second) <= 0, "the portal answered since"


def test_the_answer_of_a_discovery_address_speaks_for_its_sessions_too() -> None:
    array = Array(3)
    array.harness.now += 1
    job = next(iter(array.harness.jobs)).id
    array.harness.handle(facts.DiscoveryCompleted(job, kept=True))
    assert {array.pause(sid) for sid in array.sids} == {0}


def test_one_disk_that_waits_is_tried_every_few_seconds_however_long_the_outage() -> None:
    array = Array(1)
    assert LEAST_PATIENCE * (1 - JITTER) <= array.pause(1) <= LEAST_PATIENCE


def test_many_disks_that_wait_share_the_attempts_among_them() -> None:
    array = Array(200)
    pauses = [array.pause(sid) for sid in array.sids]
    assert max(pauses) <= longest_pause(200)
    assert len(set(pauses)) > 190, "they try in lockstep"


def test_a_portal_that_all_sessions_have_lost_is_tried_a_few_times_a_second() -> None:
    """All of them try at once after the loss, and then in turn."""
    array = Array(100, rounds=1)
    by_second = Counter(int(array.pause(sid)) for sid in array.sids)
    assert sum(by_second.values()) / len(by_second) <= ATTEMPTS_PER_SECOND
    assert max(by_second.values()) <= 2 * ATTEMPTS_PER_SECOND
    assert set(range(1, 24)) <= by_second.keys(), "the portal is not tried for a while"


def test_sessions_that_wait_for_different_portals_do_not_wait_for_one_another() -> None:
    portal_backoff, _ = waiting_for_portal()
    portal_backoff.begin_waiting(Binding(0, 4), PORTAL)
    portal_backoff.begin_waiting(Binding(0, 4), PORTAL)
    assert portal_backoff.waiting_at(PORTAL) == 3
    assert portal_backoff.waiting_at(Portal("192.0.2.9")) == 0


def test_a_target_that_refuses_is_not_pestered_for_the_sake_of_disks() -> None:
    array = Array(1)
    refused = Failure(Retry.NEVER, "authentication failure")
    pauses = []
    for _ in range(8):
        array.retry(1)
        array.fail(1, refused)
        pauses.append(array.pause(1))
    assert pauses[0] <= 1, "it answers at last: that is news"
    grows = all(after >= before * (1 - JITTER) for before, after in pairwise(pauses))
    assert grows and pauses[-1] >= 45


def test_a_session_that_is_up_again_does_not_count_among_those_whose_disks_wait() -> None:
    array = Array(200)
    for sid in array.sids[1:]:
        array.retry(sid)
        array.come_back(sid)
    array.retry(1)
    array.fail(1)
    assert array.pause(1) <= LEAST_PATIENCE


def test_a_session_that_was_never_up_is_brought_too_by_the_first_of_its_portal() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    given = harness.discovered(record(name(0)), record(name(1)), kept=True)
    assert kinds(given) == ["LoginJob", "LoginJob"]
    for job in [job.id for job in harness.jobs[-2:]]:
        harness.handle(facts.LoginFailed(job, REFUSED), facts.WorkerEnded(job))
    other = Timer(TimerPurpose.RETRY_LOGIN, Binding(0, 1))
    harness.handle(facts.TimerExpired(Timer(TimerPurpose.RETRY_LOGIN, Binding(0, 0))))
    harness.logged_in()
    assert harness.timers[other] > harness.now
    harness.handle(facts.SessionStarted(Binding(0, 0), 1, 2))
    assert harness.timers[other] == harness.now
