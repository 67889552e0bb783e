"""Stories of what the children say: answers, logins, failures."""

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
    Stage,
    configuration,
    kinds,
    record,
    settings,
)

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_a_login_that_fails_makes_nothing_in_the_kernel_and_is_tried_again() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    assert stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job)) == []
    assert stage.said(DISK, str(PORTAL), "connection refused")
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]


def test_a_child_that_dies_is_one_failed_attempt_of_one_target() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    given = stage.discovered(record(), record(OTHER))
    assert kinds(given) == ["LoginJob", "LoginJob"]
    killed = Failure(Retry.SOON, "the child was killed by SIGSEGV")
    first = given[0]
    assert isinstance(first, StartWorker)
    assert stage.tell(facts.WorkerEnded(first.job.id, killed)) == []
    assert stage.said(DISK, "SIGSEGV") and not stage.said(OTHER, "SIGSEGV")
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]


def test_a_scan_whose_child_dies_is_tried_again() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    stage.logged_in()
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    assert kinds(stage.wait(TimerPurpose.SCAN)) == ["ScanJob"]
    for _ in range(2):
        killed = Failure(Retry.SOON, "killed by SIGKILL")
        assert stage.tell(facts.WorkerEnded(stage.job, killed)) == []
        assert kinds(stage.wait(TimerPurpose.SCAN)) == ["ScanJob"]
    assert stage.said(DISK, "scanning for LUNs failed", "SIGKILL")
    stage.tell(facts.ScanFinished(stage.job), facts.WorkerEnded(stage.job))
    assert not [t for t in stage.timers if t.purpose is TimerPurpose.SCAN]


def test_a_final_refusal_waits_for_sighup() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    stage.tell(facts.LoginFailed(stage.job, FINAL))
    assert not [t for t in stage.timers if t.purpose is TimerPurpose.RETRY_LOGIN]
    assert stage.said(DISK, "giving up until SIGHUP")
    assert "LoginJob" in kinds(stage.reload(configuration(PORTAL)))


def test_a_login_that_succeeds_too_late_is_closed_unused() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    late = stage.job
    stage.reload(configuration())
    given = stage.logged_in()
    assert given == [orders.CloseSocket(late)]


def test_a_kept_discovery_session_is_asked_again_at_sighup() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    job = stage.job
    stage.discovered(record(), kept=True)
    assert orders.AskAgain(job) in stage.reload(configuration(PORTAL))


def test_a_kept_discovery_session_does_not_occupy_a_childs_place() -> None:
    stage = Stage(max_processes=1)
    stage.begin(configuration(PORTAL))
    assert kinds(stage.discovered(record(), kept=True)) == ["LoginJob"]


def test_a_target_missing_from_a_later_answer_keeps_its_session_until_sighup() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    discovery = stage.job
    stage.discovered(record(), kept=True)
    stage.logged_in()
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    stage.tell(facts.DiscoveryCompleted(discovery, kept=True))
    assert stage.tell(facts.DiscoveryCompleted(discovery, kept=True)) == []
    stage.reload(configuration(PORTAL))
    given = stage.tell(facts.DiscoveryCompleted(discovery, kept=True))
    assert kinds(given) == ["CheckDiskUsers"]


def test_a_discovery_that_fails_at_sighup_takes_no_session_away() -> None:
    stage = Stage()
    stage.up()
    given = stage.reload(configuration(PORTAL))
    job = next(o.job for o in given if isinstance(o, StartWorker))
    assert isinstance(job, DiscoveryJob)
    assert stage.tell(facts.DiscoveryFailed(job.id, REFUSED), facts.WorkerEnded(job.id)) == []


def test_both_portals_of_a_target_are_tried_before_the_first_pause() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record(DISK, PORTAL, SECOND))
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    (order,) = stage.wait(TimerPurpose.RETRY_LOGIN)
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.portal == SECOND and stage.now == 1000.0


def portals_tried(stage: Stage) -> list[Portal]:
    return [job.portal for job in stage.jobs if isinstance(job, LoginJob)]


def broken_and_refused(**changes: object) -> Stage:
    """A session with two portals has lost its connection, and the first login after that fails."""
    stage = Stage()
    stage.begin(configuration(PORTAL, settings=settings(**changes)))
    stage.discovered(record(DISK, PORTAL, SECOND))
    stage.logged_in(portals_tried(stage)[0])
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    stage.now += 100
    stage.tell(facts.ConnectionLost(1, "reset"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    return stage


def test_a_session_that_broke_comes_back_through_the_next_portal_without_a_pause() -> None:
    """ "Try the next portal when a login fails." """
    stage = broken_and_refused()
    assert portals_tried(stage) == [PORTAL, PORTAL, SECOND] and stage.now == 1100.0
    (resume,) = stage.logged_in(SECOND)
    assert isinstance(resume, orders.ResumeSession) and resume.description.portal == SECOND


def test_without_portal_failover_a_session_that_broke_stays_with_its_portal() -> None:
    stage = broken_and_refused(portal_failover=False)
    assert portals_tried(stage) == [PORTAL, PORTAL, PORTAL] and stage.now > 1100.0


def test_the_preferred_portal_is_tried_first_and_the_other_one_next() -> None:
    """ "The portal that is tried before all others." """
    stage = broken_and_refused(preferred_portal=SECOND.host)
    assert portals_tried(stage) == [SECOND, SECOND, PORTAL]


def test_a_target_found_at_two_addresses_gets_one_session_with_all_portals() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL, SECOND))
    first, second = (job.id for job in stage.jobs)
    stage.tell(facts.TargetDiscovered(first, record(DISK, PORTAL)), facts.DiscoveryCompleted(first))
    given = stage.tell(
        facts.TargetDiscovered(second, record(DISK, SECOND)), facts.DiscoveryCompleted(second)
    )
    assert given == []
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    (order,) = stage.wait(TimerPurpose.RETRY_LOGIN)
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.portal == SECOND


def test_failures_that_repeat_are_counted_once_a_minute() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    for _ in range(4):
        stage.tell(facts.DiscoveryFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
        stage.wait(TimerPurpose.RETRY_DISCOVERY)
    assert len([line for line in stage.log if "connection refused" in line]) == 1
    stage.wait(TimerPurpose.SUMMARY)
    assert stage.said("connection refused", "3 times more")


def test_a_dead_portal_of_many_targets_holds_up_those_of_live_ones_for_one_attempt() -> None:
    """iscsid(8) of FreeBSD: first attempts go before retries. Of a portal that somebody has found
    dead, the first attempts of all others are hardly better."""
    names = [IscsiName(f"iqn.2024-01.org.example:a{number}") for number in range(9)]
    static = [StaticTarget(name, (TargetAddress(PORTAL),)) for name in names]
    static.append(StaticTarget(OTHER, (TargetAddress(SECOND),)))
    stage = Stage(max_processes=1)
    stage.begin(configuration(static=tuple(static)))
    assert [job.portal for job in stage.jobs if isinstance(job, LoginJob)] == [PORTAL]
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    assert [job.portal for job in stage.jobs if isinstance(job, LoginJob)] == [PORTAL, SECOND]
