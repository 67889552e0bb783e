"""Scenarios: what follows from the kernel's events, and from the sessions found in sysfs."""

from __future__ import annotations

import pytest

from iscsid import facts, orders
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.initiator.offers import kernel_timeouts
from iscsid.jobs import LoginJob
from iscsid.orders import StartWorker
from tests.support.harness import (
    DISK,
    HOST,
    OTHER,
    PORTAL,
    SECOND,
    ZERO,
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
    settings,
)

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_recovery_learns_the_cmd_sn_logs_in_with_it_and_resumes() -> None:
    harness = Harness()
    harness.up()
    harness.now += 100
    harness.handle(facts.ConnectionLost(1, "the target closed the connection"))
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    (order,) = harness.handle(facts.CmdSnLearned(1, 0xFFFFFFF0))
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.login.cmd_sn == 0xFFFFFFF0
    (resume,) = harness.logged_in()
    assert isinstance(resume, orders.ResumeSession) and resume.sid == 1
    assert resume.description.cmd_sn == 0xFFFFFFF0
    # Its disks are known. Others of the target want in before anybody looks for new ones.
    assert harness.handle(facts.SessionStarted(ZERO, 1, 2)) == []
    assert kinds(harness.wait(TimerPurpose.SCAN)) == ["ScanJob"]


def test_every_attempt_of_a_recovery_learns_the_cmd_sn_anew() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    for _ in range(5):
        assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
        harness.handle(facts.CmdSnLearned(1, 9))
        harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))


def test_each_attempt_of_a_recovery_must_find_the_units_that_the_kernel_has_then() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    for identities in (((1, b"red"), (2, b"blue")), ((1, b"red"),), ()):
        harness.wait(TimerPurpose.RETRY_LOGIN)
        harness.handle(facts.CmdSnLearned(1, 9, identities))
        login = harness.jobs[-1]
        assert isinstance(login, LoginJob) and login.identities == identities
        harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))


def test_a_first_login_has_nothing_to_compare_nor_has_one_after_the_kernel_lost_the_session() -> (
    None
):
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9, ((1, b"red"),)))
    harness.handle(facts.SessionDestroyed(1))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    logins = [job for job in harness.jobs if isinstance(job, LoginJob)]
    assert [bool(login.identities) for login in logins] == [False, True, False]


def test_units_that_are_others_keep_the_disks_blocked_until_they_are_right_again() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    exchanged = Failure(Retry.LATER, "LUN 1: another logical unit than before")
    for _ in range(20):
        before = harness.now
        assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
        assert harness.now - before <= 60
        harness.handle(facts.CmdSnLearned(1, 9, ((1, b"red"),)))
        failed = facts.LoginFailed(harness.job, exchanged)
        assert harness.handle(failed, facts.WorkerEnded(harness.job)) == []
    assert sum("LUN 1: another logical unit" in line for line in harness.log) == 1
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9, ((1, b"red"),)))
    assert kinds(harness.logged_in()) == ["ResumeSession"]


def test_logins_that_succeed_and_drop_again_and_again_pause_and_name_the_likely_cause() -> None:
    """Another host with our InitiatorName takes the session over whenever we take it back."""
    harness = Harness()
    harness.up()
    pauses = []
    for _ in range(5):
        harness.handle(facts.ConnectionLost(1, "the target closed the connection"))
        lost_at = harness.now
        harness.wait(TimerPurpose.RETRY_LOGIN)
        pauses.append(harness.now - lost_at)
        harness.handle(facts.CmdSnLearned(1, 9))
        harness.logged_in()
        harness.handle(facts.SessionStarted(ZERO, 1, 2))
        harness.handle(facts.ScanFinished(harness.job), facts.WorkerEnded(harness.job))
    assert pauses == sorted(pauses) and pauses[0] == 0 and pauses[-1] > 3
    causes = [line for line in harness.log if f"another host use the InitiatorName {HOST}?" in line]
    assert len(causes) == 1 and causes[0].startswith(f"warning {DISK}")


def test_the_same_isid_is_used_for_every_login_of_a_session() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    isids = {job.login.isid for job in harness.jobs if isinstance(job, LoginJob)}
    assert len(isids) == 1


def test_healthy_sessions_are_adopted_without_an_order_that_sends() -> None:
    harness = Harness()
    given = harness.begin(configuration(PORTAL), kernel_session())
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]
    assert harness.discovered(record()) == []
    assert harness.has_logged(DISK, "adopted")


def test_a_session_that_was_logged_out_to_come_back_is_revived_though_it_looks_healthy() -> None:
    harness = Harness()
    session_tag = kernel_session().session_tag.replace("iscsid", "iscsid-leaving")
    harness.begin(configuration(PORTAL), kernel_session(session_tag=session_tag))
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_session_whose_daemon_was_killed_before_the_scan_is_scanned() -> None:
    """ "unless their logical units have not been looked for yet": the kernel shows ALLOCATED until
    it has scanned."""
    harness = Harness()
    given = harness.begin(configuration(PORTAL), kernel_session(target_state="ALLOCATED"))
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob", "ScanJob"]


@pytest.mark.parametrize("target_state", ["SCANNED", ""])
def test_an_adopted_session_that_was_scanned_counts_as_tried(
    target_state: str,
) -> None:
    """ "Wait until the running daemon has tried every target once" """
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(target_state=target_state))
    (session,) = harness.initiator.reconciler.sessions
    assert session.has_been_tried


def test_an_adopted_session_that_is_down_does_not_count_as_tried() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    (session,) = harness.initiator.reconciler.sessions
    assert not session.has_been_tried


def test_adopted_sessions_get_the_timeouts_of_the_file() -> None:
    harness = Harness()
    wanted = settings(conn_fail_timeout=77)
    given = harness.begin(configuration(PORTAL, settings=wanted), kernel_session())
    assert orders.ApplyTimeouts(1, kernel_timeouts(wanted)) in given


def test_an_adopted_session_that_the_file_no_longer_wants_is_logged_out() -> None:
    """A daemon that was killed between reading the file and logging out leaves this."""
    harness = Harness()
    given = harness.begin(configuration(), kernel_session())
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "CheckDiskUsers"]
    assert "UnbindSession" in kinds(harness.handle(facts.DiskUsersChecked(1, ())))


def test_an_adopted_session_whose_address_is_spelt_anew_waits_for_discovery() -> None:
    harness = Harness()
    given = harness.begin(configuration(SECOND), kernel_session())
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]
    assert harness.discovered(record()) == [], "the same target, and not a packet"


def test_an_adopted_session_that_no_address_reports_any_more_is_logged_out() -> None:
    harness = Harness()
    harness.begin(configuration(SECOND), kernel_session())
    assert kinds(harness.discovered(record(OTHER))) == ["CheckDiskUsers", "LoginJob"]


def test_an_adopted_session_of_a_lost_address_is_logged_out_when_all_others_fail() -> None:
    harness = Harness()
    harness.begin(configuration(SECOND), kernel_session())
    given = harness.handle(
        facts.DiscoveryFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job)
    )
    assert kinds(given) == ["CheckDiskUsers"]


def test_failed_sessions_are_recovered_after_a_restart() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_session_that_a_killed_daemon_never_named_is_removed() -> None:
    harness = Harness()
    orphan = kernel_session(
        7, name="", session_tag="", state="FREE", connection_state="down", maker_is_gone=True
    )
    given = harness.begin(configuration(PORTAL), orphan)
    assert kinds(given) == ["DestroySession", "DiscoveryJob"]
    assert harness.handle(facts.SessionDestroyed(7)) == []


def test_a_session_without_a_name_is_left_alone_while_its_maker_is_there() -> None:
    harness = Harness()
    orphan = kernel_session(name="", session_tag="", state="FREE", connection_state=None)
    assert kinds(harness.begin(configuration(PORTAL), orphan)) == ["DiscoveryJob"]


def test_a_wanted_session_whose_end_was_not_reported_begins_anew() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(target_state="UNBOUND"))
    harness.discovered(record())
    harness.wait(TimerPurpose.CHECK_KERNEL)
    harness.handle(facts.SessionsFound((kernel_session(target_state="UNBOUND"),)))
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert kinds(harness.handle(facts.SessionsFound(()))) == ["LoginJob"]


def test_a_logout_that_a_killed_daemon_began_is_finished() -> None:
    harness = Harness()
    harness.begin(configuration(), kernel_session(target_state="UNBOUND"))
    (look,) = harness.wait(TimerPurpose.CHECK_KERNEL)
    assert isinstance(look, orders.ListSessions)
    given = harness.handle(facts.SessionsFound((kernel_session(target_state="UNBOUND"),)))
    assert kinds(given) == ["SendLogout"]


@pytest.mark.parametrize("session_tag", ["default", "", "iscsidious:0:0:80aabbcc0000"])
def test_sessions_of_other_programs_are_left_alone(session_tag: str) -> None:
    harness = Harness()
    assert harness.begin(configuration(), kernel_session(session_tag=session_tag)) == []
    assert harness.has_logged("belongs to another program")
    assert harness.handle(facts.ConnectionLost(1, "reset")) == []
    harness.handle(facts.InterruptReceived())
    assert not any("DestroySession" in line for line in harness.log)


def test_events_that_were_lost_are_made_up_for_from_sysfs() -> None:
    harness = Harness()
    harness.up()
    assert kinds(harness.handle(facts.EventsLost())) == ["ListSessions"]
    failed = kernel_session(state="FAILED", connection_state="failed")
    harness.handle(facts.SessionsFound((failed,)))
    assert harness.has_logged(DISK, "session is down")
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_look_that_is_older_than_a_recovery_does_not_undo_it() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    harness.logged_in()
    (look,) = harness.handle(facts.EventsLost())
    assert isinstance(look, orders.ListSessions)
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    # A look that is ordered later does not make the earlier one any newer.
    harness.handle(facts.EventsLost())
    assert harness.handle(facts.SessionsFound((), turn=look.turn)) == []
    assert not harness.has_logged("lost the session")


def test_a_session_destroyed_by_another_program_begins_afresh() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.SessionDestroyed(1))
    given = harness.wait(TimerPurpose.RETRY_LOGIN)
    (order,) = given
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert kinds(harness.logged_in()) == ["StartSession"]


def test_the_target_may_ask_for_a_logout_and_gets_a_login_after_it() -> None:
    harness = Harness()
    harness.up()
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, 1
    assert kinds(harness.handle(facts.PduReceived(1, bytes(header), b""))) == ["SendLogout"]
    harness.handle(facts.PduReceived(1, bytes([0x26, 0x80]) + bytes(46), b""))
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
