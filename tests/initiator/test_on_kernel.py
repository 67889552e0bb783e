"""Stories of what the kernel says: sessions start, break, are adopted, and go."""

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
    Stage,
    configuration,
    kernel_session,
    kinds,
    record,
    settings,
)

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_recovery_learns_the_cmd_sn_logs_in_with_it_and_resumes() -> None:
    stage = Stage()
    stage.up()
    stage.now += 100
    stage.tell(facts.ConnectionLost(1, "the target closed the connection"))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    (order,) = stage.tell(facts.CmdSnLearned(1, 0xFFFFFFF0))
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.login.cmd_sn == 0xFFFFFFF0
    (resume,) = stage.logged_in()
    assert isinstance(resume, orders.ResumeSession) and resume.sid == 1
    assert resume.description.cmd_sn == 0xFFFFFFF0
    # Its disks are known. Others of the target want in before anybody looks for new ones.
    assert stage.tell(facts.SessionStarted(ZERO, 1, 2)) == []
    assert kinds(stage.wait(TimerPurpose.SCAN)) == ["ScanJob"]


def test_every_attempt_of_a_recovery_learns_the_cmd_sn_anew() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    for _ in range(5):
        assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
        stage.tell(facts.CmdSnLearned(1, 9))
        stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))


def test_each_attempt_of_a_recovery_must_find_the_units_that_the_kernel_has_then() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    for identities in (((1, b"red"), (2, b"blue")), ((1, b"red"),), ()):
        stage.wait(TimerPurpose.RETRY_LOGIN)
        stage.tell(facts.CmdSnLearned(1, 9, identities))
        login = stage.jobs[-1]
        assert isinstance(login, LoginJob) and login.identities == identities
        stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))


def test_a_first_login_has_nothing_to_compare_nor_has_one_after_the_kernel_lost_the_session() -> (
    None
):
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9, ((1, b"red"),)))
    stage.tell(facts.SessionDestroyed(1))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    logins = [job for job in stage.jobs if isinstance(job, LoginJob)]
    assert [bool(login.identities) for login in logins] == [False, True, False]


def test_units_that_are_others_keep_the_disks_blocked_until_they_are_right_again() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    exchanged = Failure(Retry.LATER, "LUN 1: another logical unit than before")
    for _ in range(20):
        before = stage.now
        assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
        assert stage.now - before <= 60
        stage.tell(facts.CmdSnLearned(1, 9, ((1, b"red"),)))
        failed = facts.LoginFailed(stage.job, exchanged)
        assert stage.tell(failed, facts.WorkerEnded(stage.job)) == []
    assert sum("LUN 1: another logical unit" in line for line in stage.log) == 1
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9, ((1, b"red"),)))
    assert kinds(stage.logged_in()) == ["ResumeSession"]


def test_logins_that_succeed_and_drop_again_and_again_pause_and_name_the_likely_cause() -> None:
    """Another host with our InitiatorName takes the session over whenever we take it back."""
    stage = Stage()
    stage.up()
    pauses = []
    for _ in range(5):
        stage.tell(facts.ConnectionLost(1, "the target closed the connection"))
        lost_at = stage.now
        stage.wait(TimerPurpose.RETRY_LOGIN)
        pauses.append(stage.now - lost_at)
        stage.tell(facts.CmdSnLearned(1, 9))
        stage.logged_in()
        stage.tell(facts.SessionStarted(ZERO, 1, 2))
        stage.tell(facts.ScanFinished(stage.job), facts.WorkerEnded(stage.job))
    assert pauses == sorted(pauses) and pauses[0] == 0 and pauses[-1] > 3
    causes = [line for line in stage.log if f"another host use the InitiatorName {HOST}?" in line]
    assert len(causes) == 1 and causes[0].startswith(f"warning {DISK}")


def test_the_same_isid_is_used_for_every_login_of_a_session() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    isids = {job.login.isid for job in stage.jobs if isinstance(job, LoginJob)}
    assert len(isids) == 1


def test_healthy_sessions_are_adopted_without_an_order_that_sends() -> None:
    stage = Stage()
    given = stage.begin(configuration(PORTAL), kernel_session())
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]
    assert stage.discovered(record()) == []
    assert stage.said(DISK, "adopted")


def test_a_session_that_was_logged_out_to_come_back_is_revived_though_it_looks_healthy() -> None:
    stage = Stage()
    session_tag = kernel_session().session_tag.replace("iscsid", "iscsid-leaving")
    stage.begin(configuration(PORTAL), kernel_session(session_tag=session_tag))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_session_whose_daemon_died_before_it_looked_for_disks_gets_its_disks() -> None:
    """ "unless their disks are still to be looked for": the kernel says ALLOCATED until somebody
    has asked it to scan."""
    stage = Stage()
    given = stage.begin(configuration(PORTAL), kernel_session(target_state="ALLOCATED"))
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "ScanJob", "DiscoveryJob"]


@pytest.mark.parametrize("target_state", ["SCANNED", ""])
def test_whoever_waits_for_all_targets_need_not_wait_for_an_adopted_session(
    target_state: str,
) -> None:
    """ "Wait until the running daemon has tried every target once" """
    stage = Stage()
    stage.begin(configuration(PORTAL), kernel_session(target_state=target_state))
    (session,) = stage.owner.overview(0, 0, version="", pid=1, basedir="").sessions
    assert session.is_tried


def test_whoever_waits_for_all_targets_waits_for_an_adopted_session_that_is_down() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    (session,) = stage.owner.overview(0, 0, version="", pid=1, basedir="").sessions
    assert not session.is_tried


def test_adopted_sessions_get_the_timeouts_that_the_file_says_now() -> None:
    stage = Stage()
    wanted = settings(conn_fail_timeout=77)
    given = stage.begin(configuration(PORTAL, settings=wanted), kernel_session())
    assert orders.ApplyTimeouts(1, kernel_timeouts(wanted)) in given


def test_an_adopted_session_that_the_file_no_longer_wants_is_logged_out() -> None:
    """A daemon that was killed between reading the file and logging out leaves this."""
    stage = Stage()
    given = stage.begin(configuration(), kernel_session())
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "CheckDiskUsers"]
    assert "UnbindSession" in kinds(stage.tell(facts.DiskUsersChecked(1, ())))


def test_an_adopted_session_whose_address_is_spelt_anew_waits_for_what_discovery_says() -> None:
    stage = Stage()
    given = stage.begin(configuration(SECOND), kernel_session())
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]
    assert stage.discovered(record()) == [], "the same target, and not a packet"


def test_an_adopted_session_that_no_address_reports_any_more_is_logged_out() -> None:
    stage = Stage()
    stage.begin(configuration(SECOND), kernel_session())
    assert kinds(stage.discovered(record(OTHER))) == ["CheckDiskUsers", "LoginJob"]


def test_an_adopted_session_of_a_lost_address_is_logged_out_when_all_others_fail() -> None:
    stage = Stage()
    stage.begin(configuration(SECOND), kernel_session())
    given = stage.tell(facts.DiscoveryFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    assert kinds(given) == ["CheckDiskUsers"]


def test_failed_sessions_are_recovered_after_a_restart() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_session_that_a_killed_daemon_never_named_is_removed() -> None:
    stage = Stage()
    orphan = kernel_session(
        7, name="", session_tag="", state="FREE", connection_state="down", maker_is_gone=True
    )
    given = stage.begin(configuration(PORTAL), orphan)
    assert kinds(given) == ["DestroySession", "DiscoveryJob"]
    assert stage.tell(facts.SessionDestroyed(7)) == []


def test_a_session_without_a_name_is_left_alone_while_its_maker_is_there() -> None:
    stage = Stage()
    orphan = kernel_session(name="", session_tag="", state="FREE", connection_state=None)
    assert kinds(stage.begin(configuration(PORTAL), orphan)) == ["DiscoveryJob"]


def test_a_wanted_session_whose_end_was_not_heard_of_begins_anew() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL), kernel_session(target_state="UNBOUND"))
    stage.discovered(record())
    stage.wait(TimerPurpose.CHECK_KERNEL)
    stage.tell(facts.SessionsFound((kernel_session(target_state="UNBOUND"),)))
    stage.wait(TimerPurpose.CHECK_KERNEL)
    assert kinds(stage.tell(facts.SessionsFound(()))) == ["LoginJob"]


def test_a_logout_that_a_killed_daemon_began_is_finished() -> None:
    stage = Stage()
    stage.begin(configuration(), kernel_session(target_state="UNBOUND"))
    (look,) = stage.wait(TimerPurpose.CHECK_KERNEL)
    assert look == orders.ListSessions()
    given = stage.tell(facts.SessionsFound((kernel_session(target_state="UNBOUND"),)))
    assert kinds(given) == ["SendLogout"]


@pytest.mark.parametrize("session_tag", ["default", "", "iscsidious:0:0:80aabbcc0000"])
def test_sessions_of_other_programs_are_left_alone(session_tag: str) -> None:
    stage = Stage()
    assert stage.begin(configuration(), kernel_session(session_tag=session_tag)) == []
    assert stage.said("belongs to another program")
    assert stage.tell(facts.ConnectionLost(1, "reset")) == []
    stage.tell(facts.InterruptReceived())
    assert not any("DestroySession" in line for line in stage.log)


def test_events_that_were_lost_are_made_up_for_from_sysfs() -> None:
    stage = Stage()
    stage.up()
    assert stage.tell(facts.EventsLost()) == [orders.ListSessions()]
    failed = kernel_session(state="FAILED", connection_state="failed")
    stage.tell(facts.SessionsFound((failed,)))
    assert stage.said(DISK, "session is down")
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_look_that_is_older_than_a_recovery_does_not_undo_it() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    stage.logged_in()
    stage.tell(facts.EventsLost())
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    assert stage.tell(facts.SessionsFound(())) == []
    assert not stage.said("lost the session")


def test_a_session_somebody_else_destroyed_is_made_afresh() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.SessionDestroyed(1))
    given = stage.wait(TimerPurpose.RETRY_LOGIN)
    (order,) = given
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert kinds(stage.logged_in()) == ["StartSession"]


def test_the_target_may_ask_for_a_logout_and_gets_a_login_after_it() -> None:
    stage = Stage()
    stage.up()
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, 1
    assert kinds(stage.tell(facts.PduReceived(1, bytes(header), b""))) == ["SendLogout"]
    stage.tell(facts.PduReceived(1, bytes([0x26, 0x80]) + bytes(46), b""))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
