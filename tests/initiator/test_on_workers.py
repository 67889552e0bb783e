"""Scenarios: what follows from the reports of workers: answers, logins, failures."""

from __future__ import annotations

from iscsid import facts, orders
from iscsid.config.settings import StaticTarget
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.orders import StartWorker
from iscsid.protocol.names import IscsiName, Portal, TargetAddress
from tests.support.harness import (
    DISK,
    OTHER,
    PORTAL,
    SECOND,
    ZERO,
    Harness,
    configuration,
    kinds,
    record,
    settings,
)

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_a_login_that_fails_makes_nothing_in_the_kernel_and_is_tried_again() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    assert (
        harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
        == []
    )
    assert harness.has_logged(DISK, str(PORTAL), "connection refused")
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]


def test_a_worker_that_is_killed_is_one_failed_attempt_of_one_target() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    given = harness.discovered(record(), record(OTHER))
    assert kinds(given) == ["LoginJob", "LoginJob"]
    killed = Failure(Retry.SOON, "the worker was killed by SIGSEGV")
    first = given[0]
    assert isinstance(first, StartWorker)
    assert harness.handle(facts.WorkerEnded(first.job.id, killed)) == []
    assert harness.has_logged(DISK, "SIGSEGV") and not harness.has_logged(OTHER, "SIGSEGV")
    assert harness.wait(TimerPurpose.RETRY_LOGIN) == [], "one attempt at a time at this portal"
    assert sorted(kinds(harness.logged_in())) == ["LoginJob", "StartSession"]


def test_a_scan_whose_worker_is_killed_is_tried_again() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    assert kinds(harness.wait(TimerPurpose.SCAN)) == ["ScanJob"]
    for _ in range(2):
        killed = Failure(Retry.SOON, "killed by SIGKILL")
        assert harness.handle(facts.WorkerEnded(harness.job, killed)) == []
        assert kinds(harness.wait(TimerPurpose.SCAN)) == ["ScanJob"]
    assert harness.has_logged(DISK, "scanning for LUNs failed", "SIGKILL")
    harness.handle(facts.ScanFinished(harness.job), facts.WorkerEnded(harness.job))
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.SCAN]


def test_a_final_refusal_waits_for_sighup() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    harness.handle(facts.LoginFailed(harness.job, FINAL))
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.RETRY_LOGIN]
    assert harness.has_logged(DISK, "giving up until SIGHUP")
    assert "LoginJob" in kinds(harness.reload(configuration(PORTAL)))


def test_a_login_that_succeeds_too_late_is_closed_unused() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    late = harness.job
    harness.reload(configuration())
    given = harness.logged_in()
    assert given == [orders.CloseSocket(late)]


def test_a_kept_discovery_session_is_asked_again_at_sighup() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    job = harness.job
    harness.discovered(record(), kept=True)
    assert orders.AskAgain(job) in harness.reload(configuration(PORTAL))


def test_a_kept_discovery_session_takes_no_place_of_other_workers() -> None:
    harness = Harness(max_processes=1)
    harness.begin(configuration(PORTAL))
    assert kinds(harness.discovered(record(), kept=True)) == ["LoginJob"]


def test_a_target_missing_from_a_later_answer_keeps_its_session_until_sighup() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    discovery = harness.job
    harness.discovered(record(), kept=True)
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    harness.handle(facts.DiscoveryCompleted(discovery, kept=True))
    assert harness.handle(facts.DiscoveryCompleted(discovery, kept=True)) == []
    harness.reload(configuration(PORTAL))
    given = harness.handle(facts.DiscoveryCompleted(discovery, kept=True))
    assert kinds(given) == ["CheckDiskUsers"]


def test_a_discovery_that_fails_at_sighup_takes_no_session_away() -> None:
    harness = Harness()
    harness.up()
    given = harness.reload(configuration(PORTAL))
    job = next(o.job for o in given if isinstance(o, StartWorker))
    assert isinstance(job, DiscoveryJob)
    assert harness.handle(facts.DiscoveryFailed(job.id, REFUSED), facts.WorkerEnded(job.id)) == []


def test_both_portals_of_a_target_are_tried_before_the_first_pause() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record(DISK, PORTAL, SECOND))
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    (order,) = harness.wait(TimerPurpose.RETRY_LOGIN)
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.portal == SECOND and harness.now == 1000.0


def portals_tried(harness: Harness) -> list[Portal]:
    return [job.portal for job in harness.jobs if isinstance(job, LoginJob)]


def broken_and_refused(**changes: object) -> Harness:
    """A session with two portals has lost its connection, and the first login after that fails."""
    harness = Harness()
    harness.begin(configuration(PORTAL, settings=settings(**changes)))
    harness.discovered(record(DISK, PORTAL, SECOND))
    harness.logged_in(portals_tried(harness)[0])
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    harness.now += 100
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    return harness


def test_a_session_that_broke_comes_back_through_the_next_portal_without_a_pause() -> None:
    """ "Try the next portal when a login fails." """
    harness = broken_and_refused()
    assert portals_tried(harness) == [PORTAL, PORTAL, SECOND] and harness.now == 1100.0
    (resume,) = harness.logged_in(SECOND)
    assert isinstance(resume, orders.ResumeSession) and resume.description.portal == SECOND


def test_without_portal_failover_a_session_that_broke_stays_with_its_portal() -> None:
    harness = broken_and_refused(portal_failover=False)
    assert portals_tried(harness) == [PORTAL, PORTAL, PORTAL] and harness.now > 1100.0


def test_the_preferred_portal_is_tried_first_and_the_other_one_next() -> None:
    """ "The portal that is tried before all others." """
    harness = broken_and_refused(preferred_portal=SECOND.host)
    assert portals_tried(harness) == [SECOND, SECOND, PORTAL]


def test_a_target_found_at_two_addresses_gets_one_session_with_all_portals() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL, SECOND))
    first, second = (job.id for job in harness.jobs)
    harness.handle(
        facts.TargetDiscovered(first, record(DISK, PORTAL, SECOND)), facts.DiscoveryCompleted(first)
    )
    given = harness.handle(
        facts.TargetDiscovered(second, record(DISK, SECOND, PORTAL)),
        facts.DiscoveryCompleted(second),
    )
    assert given == []
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    (order,) = harness.wait(TimerPurpose.RETRY_LOGIN)
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.portal == SECOND


def test_failures_that_repeat_are_counted_once_a_minute() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    for _ in range(4):
        harness.handle(facts.DiscoveryFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
        harness.wait(TimerPurpose.RETRY_DISCOVERY)
    assert len([line for line in harness.log if "connection refused" in line]) == 1
    harness.wait(TimerPurpose.SUMMARY)
    assert harness.has_logged("connection refused", "3 times more")


def test_a_dead_portal_of_many_targets_holds_up_those_of_live_ones_for_one_attempt() -> None:
    """iscsid(8) of FreeBSD: first attempts go before retries. Of a portal that has been found
    dead, the first attempts of all others are hardly better."""
    names = [IscsiName(f"iqn.2024-01.org.example:a{number}") for number in range(9)]
    static = [StaticTarget(name, (TargetAddress(PORTAL),)) for name in names]
    static.append(StaticTarget(OTHER, (TargetAddress(SECOND),)))
    harness = Harness(max_processes=1)
    harness.begin(configuration(static=tuple(static)))
    assert [job.portal for job in harness.jobs if isinstance(job, LoginJob)] == [PORTAL]
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    assert [job.portal for job in harness.jobs if isinstance(job, LoginJob)] == [PORTAL, SECOND]
