"""After SIGINT sessions end, nothing begins, and the daemon leaves."""

from __future__ import annotations

import pytest

from iscsid import facts, orders
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact, Timer, TimerPurpose, UnitAttentionReported, UnitChange
from iscsid.orders import CheckDiskUsers, Leave
from tests.support.harness import (
    DISK,
    HOST,
    PORTAL,
    SECOND,
    ZERO,
    Harness,
    configuration,
    kinds,
    record,
    two_sessions,
)

REFUSED = Failure(Retry.SOON, "connection refused")
IN_USE = ("/dev/sda is mounted on /data",)
LEAVE = Leave(0)
LEFT = Leave(3)


def reading() -> tuple[Fact, ...]:
    """What reading the files after SIGHUP brings."""
    return facts.BindingsRead(""), facts.ConfigurationRead(configuration(PORTAL, SECOND), HOST)


def log_out(harness: Harness, sid: int) -> list[orders.Order]:
    """The disks of a session are unused, and it goes all the way; return the last orders."""
    harness.handle(facts.DiskUsersChecked(sid, ()), facts.SessionUnbound(sid))
    harness.handle(facts.PduReceived(sid, bytes([0x26, 0x80, *bytes(46)]), b""))
    return harness.handle(facts.SessionDestroyed(sid))


def test_sighup_and_sigint_that_come_together_end_the_daemon() -> None:
    """The handlers run in the order of the signals' numbers, and the files are read after both."""
    harness = Harness()
    harness.up()
    harness.handle(facts.HangupReceived())
    assert kinds(harness.handle(facts.InterruptReceived())) == ["CheckDiskUsers"]
    assert harness.handle(*reading()) == [], "something begins while the daemon is ending"
    assert log_out(harness, 1) == [LEAVE]


def test_the_network_that_changes_while_the_daemon_ends_brings_no_attempt() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9), facts.LoginFailed(harness.job, REFUSED))
    harness.handle(facts.NetworkChanged(), facts.InterruptReceived(), facts.NetworkChanged())
    assert harness.wait(TimerPurpose.NETWORK) == []
    assert harness.handle(facts.DiskUsersChecked(1, IN_USE)) == [LEFT]


def test_the_network_brings_no_discovery_while_the_daemon_ends() -> None:
    harness = two_sessions()
    harness.reload(configuration(PORTAL, SECOND))
    failed = next(job for job in reversed(harness.jobs) if job.title.endswith(f"{SECOND}"))
    harness.handle(facts.DiscoveryFailed(failed.id, REFUSED), facts.WorkerEnded(failed.id))
    harness.handle(facts.InterruptReceived(), facts.NetworkChanged())
    assert not [timer for timer in harness.timers if timer.purpose is TimerPurpose.NETWORK]


@pytest.mark.parametrize(
    "fact",
    [
        facts.HangupReceived(),
        facts.NetworkChanged(),
        UnitAttentionReported(2, 3, UnitChange.LUNS),
        facts.TimerExpired(Timer(TimerPurpose.NETWORK)),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_LOGIN, ZERO)),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_DISCOVERY, PORTAL)),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_PORTAL, PORTAL)),
        facts.TimerExpired(Timer(TimerPurpose.SCAN, ZERO)),
        facts.LunUsersChecked(1, ((3, ()),)),
        *reading(),
    ],
    ids=lambda fact: str(getattr(getattr(fact, "timer", None), "purpose", type(fact).__name__)),
)
def test_nothing_begins_while_the_daemon_is_ending(fact: Fact) -> None:
    harness = two_sessions()
    harness.handle(facts.ConnectionLost(1, "reset"), facts.InterruptReceived())
    given = harness.handle(fact)
    assert not {"LoginJob", "DiscoveryJob", "ScanJob", "LearnCmdSn", "AskAgain"} & set(kinds(given))
    assert not any(isinstance(order, orders.ReadConfiguration) for order in given)


def test_a_scan_that_ends_after_sigint_is_not_followed_by_the_one_that_was_asked_for() -> None:
    harness = Harness()
    harness.up()
    harness.reload(configuration(PORTAL))
    scan = harness.job
    harness.handle(UnitAttentionReported(1, 3, UnitChange.LUNS), facts.InterruptReceived())
    given = harness.handle(facts.ScanFinished(scan), facts.WorkerEnded(scan))
    assert "ScanJob" not in kinds(given)


def test_a_second_sigint_leaves_at_once_and_the_sessions_stay() -> None:
    """The target does not answer, and a person does not want to wait for it."""
    harness = two_sessions()
    harness.handle(facts.InterruptReceived(), facts.DiskUsersChecked(1, ()))
    assert harness.handle(facts.InterruptReceived()) == [LEFT]
    assert harness.has_logged("SIGINT again", "2 sessions stay")


def test_disks_that_came_out_of_use_since_they_were_checked_are_looked_at_again() -> None:
    """The target left the file while its disk was mounted; the init script unmounts, then stops."""
    harness = Harness()
    harness.up()
    harness.reload(configuration())
    assert harness.handle(facts.DiskUsersChecked(1, IN_USE)) == []
    given = harness.handle(facts.InterruptReceived())
    assert kinds(given) == ["StopWorker", "CheckDiskUsers"], "it leaves on the old answer"
    assert log_out(harness, 1) == [LEAVE]


def test_what_is_in_use_is_checked_again_when_the_others_have_been_logged_out() -> None:
    harness = two_sessions()
    assert kinds(harness.handle(facts.InterruptReceived())) == ["CheckDiskUsers"] * 2
    assert harness.handle(facts.DiskUsersChecked(1, IN_USE)) == []
    assert log_out(harness, 2) == [CheckDiskUsers(1)], "left on an old answer"
    assert log_out(harness, 1) == [LEAVE]


def test_what_is_still_in_use_is_left_and_the_status_shows_it() -> None:
    harness = two_sessions()
    harness.handle(facts.InterruptReceived(), facts.DiskUsersChecked(1, IN_USE))
    assert log_out(harness, 2) == [CheckDiskUsers(1)]
    assert harness.handle(facts.DiskUsersChecked(1, IN_USE)) == [LEFT]


def test_sessions_that_are_all_in_use_are_checked_once() -> None:
    harness = two_sessions()
    harness.handle(facts.InterruptReceived(), facts.DiskUsersChecked(1, IN_USE))
    assert harness.handle(facts.DiskUsersChecked(2, IN_USE)) == [LEFT]


def test_a_session_whose_login_succeeds_after_sigint_is_not_started() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    login = harness.job
    assert harness.handle(facts.InterruptReceived()) == [orders.StopWorker(login), LEAVE]
    assert not harness.has_logged(DISK, "session is up")


def test_a_session_in_use_that_the_kernel_then_loses_does_not_keep_the_daemon() -> None:
    harness = two_sessions()
    harness.handle(facts.InterruptReceived(), facts.DiskUsersChecked(1, IN_USE))
    harness.handle(facts.SessionDestroyed(1))
    assert log_out(harness, 2) == [LEAVE], "a session that is not in the kernel is waited for"


def test_sessions_are_checked_again_if_another_was_on_its_way_out_before_sigint() -> None:
    harness = two_sessions()
    harness.reload(configuration())
    harness.handle(facts.DiskUsersChecked(1, IN_USE), facts.DiskUsersChecked(2, ()))
    harness.handle(facts.InterruptReceived(), facts.DiskUsersChecked(1, IN_USE))
    harness.handle(facts.SessionUnbound(2))
    harness.handle(facts.PduReceived(2, bytes([0x26, 0x80, *bytes(46)]), b""))
    assert harness.handle(facts.SessionDestroyed(2)) == [CheckDiskUsers(1)]


def test_disks_whose_users_could_not_be_found_out_are_left_alone() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"), facts.InterruptReceived())
    unknown = ("/dev/sda could not be checked: no answer within 5 s",)
    assert harness.handle(facts.DiskUsersChecked(1, unknown)) == [LEFT]
    assert harness.has_logged("warning", DISK, "could not be checked")


@pytest.mark.parametrize("last", [facts.TerminateReceived(), facts.InterruptReceived()])
def test_bindings_that_are_not_saved_are_tried_once_more_before_the_daemon_leaves(
    last: Fact,
) -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    harness.handle(facts.BindingsNotSaved("bindings: No space left on device"))
    harness.bindings = ""
    harness.given.clear()
    harness.handle(last)
    assert DISK in harness.bindings
    assert kinds(harness.given)[-2:] == ["SaveBindings", "Leave"]


def test_bindings_that_are_saved_are_not_written_again_at_the_end() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    harness.handle(facts.BindingsSaved())
    harness.given.clear()
    harness.handle(facts.TerminateReceived())
    assert "SaveBindings" not in kinds(harness.given)


DOUBT = ("could not be checked: the kernel counts more openings of iSCSI disks than were found",)


def test_what_could_not_be_found_out_at_the_end_is_asked_again_for_a_while() -> None:
    """A disk that has just gone is held for a moment, and all the others seem to be in use."""
    harness = Harness()
    harness.up()
    harness.handle(facts.InterruptReceived())
    assert harness.handle(facts.DiskUsersChecked(1, DOUBT)) == []
    assert kinds(harness.wait(TimerPurpose.CHECK_DISKS)) == ["CheckDiskUsers"]
    assert log_out(harness, 1) == [LEAVE]


def test_a_doubt_that_stays_does_not_keep_the_daemon_for_ever() -> None:
    harness = Harness()
    harness.up()
    begin = harness.now
    given = harness.handle(facts.InterruptReceived())
    while LEFT not in given:
        assert harness.now - begin < 60
        given = harness.handle(facts.DiskUsersChecked(1, DOUBT)) or harness.wait(
            TimerPurpose.CHECK_DISKS
        )
