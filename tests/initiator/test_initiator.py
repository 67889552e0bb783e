"""Scenarios, to be read from top to bottom: which facts come in, and which orders go out."""

from __future__ import annotations

import pytest

from iscsid import facts, orders
from iscsid.bindings.binding import Binding
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact, Timer, TimerPurpose
from iscsid.jobs import JobId
from tests.support.harness import (
    DISK,
    PORTAL,
    SECOND,
    ZERO,
    Harness,
    configuration,
    kinds,
    record,
)

REFUSED = Failure(Retry.SOON, "connection refused")
LOGOUT_REQUESTED = bytes([0x32, 0x80, *bytes(34), 1, *bytes(11)])
LOGOUT_RESPONSE = bytes([0x26, 0x80, *bytes(46)])
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_from_the_configuration_to_disks() -> None:
    harness = Harness()
    given = harness.begin(configuration(PORTAL))
    assert kinds(given) == ["DiscoveryJob"]
    given = harness.discovered(record())
    assert kinds(given) == ["LoginJob"]
    assert f"0\t0\t{DISK}" in harness.bindings.splitlines()
    given = harness.logged_in()
    assert kinds(given) == ["StartSession"]
    (start,) = given
    assert isinstance(start, orders.StartSession)
    assert start.description.session_tag.startswith("iscsid:0:0:")
    assert start.description.exp_stat_sn == 5
    given = harness.handle(facts.SessionStarted(ZERO, 1, 2))
    assert kinds(given) == ["ScanJob"]
    assert harness.has_logged(DISK, "session is up")


def test_level_1_shows_each_step_towards_the_kernel_and_the_next_attempt() -> None:
    """ "Also every attempt, each step towards the kernel, and when the next attempt is due." """
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    harness.handle(facts.LoginFailed(harness.job, REFUSED))
    details = [line for line in harness.log if line.startswith("debug")]
    steps = [line.split(": ")[1].split(" (")[0] for line in details if " -> " in line]
    assert steps == [
        "WAITING -> LOGGING_IN",
        "LOGGING_IN -> STARTING",
        "STARTING -> UP",
        "UP -> DOWN",
        "DOWN -> READING_CMD_SN",
        "READING_CMD_SN -> RELOGIN",
        "RELOGIN -> DOWN",
    ]
    assert "next attempt in" in details[-1]


def test_nothing_is_started_before_the_kernels_sessions_are_known() -> None:
    harness = Harness()
    assert harness.handle(facts.ConfigurationRead(configuration(PORTAL), DISK)) == []
    assert harness.handle(facts.BindingsRead("")) == []


def test_sigterm_leaves_at_once_and_orders_nothing_of_the_kernel() -> None:
    harness = Harness()
    harness.up()
    assert harness.handle(facts.TerminateReceived()) == [orders.Leave(0)]


def test_sigint_without_sessions_leaves_at_once() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    given = harness.handle(facts.InterruptReceived())
    assert kinds(given) == ["StopWorker", "Leave"]


def test_sigint_does_not_forget_a_session_that_was_about_to_be_revived() -> None:
    """The signal comes between the question for the CmdSN and its answer."""
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    assert harness.handle(facts.InterruptReceived()) == []
    given = harness.handle(facts.CmdSnLearned(1, 9))
    assert kinds(given) == ["CheckDiskUsers"], "a login begins for a session that is not wanted"
    assert kinds(harness.handle(facts.DiskUsersChecked(1, ()))) == ["DestroySession"]
    assert harness.handle(facts.SessionDestroyed(1)) == [orders.Leave(0)]


def test_sigint_does_not_forget_a_session_whose_target_requests_a_logout_just_then() -> None:
    harness = Harness()
    harness.up()
    assert kinds(harness.handle(facts.InterruptReceived())) == ["CheckDiskUsers"]
    harness.handle(facts.PduReceived(1, LOGOUT_REQUESTED, b""))
    assert harness.handle(facts.DiskUsersChecked(1, ())) == []
    assert kinds(harness.handle(facts.PduReceived(1, LOGOUT_RESPONSE, b""))) == ["CheckDiskUsers"]
    assert kinds(harness.handle(facts.DiskUsersChecked(1, ()))) == ["DestroySession"]


def test_at_power_down_a_session_that_stays_down_is_destroyed_though_its_disks_are_in_use() -> None:
    """A mounted file system would wait for the target, and the machine for the file system."""
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.handle(facts.PowerDownReceived())
    assert kinds(harness.wait(TimerPurpose.POWER_DOWN)) == ["DestroySession"]


def test_at_power_down_the_kernel_lets_io_fail_that_waits_from_now_on() -> None:
    harness = Harness()
    harness.up()
    (order,) = harness.handle(facts.PowerDownReceived())
    assert isinstance(order, orders.ApplyTimeouts)
    assert (order.sid, order.timeouts.recovery) == (1, 30)
    assert harness.handle(facts.PowerDownReceived()) == []
    assert harness.wait(TimerPurpose.POWER_DOWN) == [], "a session that is up stays up"


def test_at_power_down_a_session_that_went_down_later_has_its_own_half_minute() -> None:
    """The kernel measures it: a target that only starts again is not given up."""
    harness = Harness()
    harness.up()
    harness.handle(facts.PowerDownReceived())
    harness.now += 29
    harness.handle(facts.ConnectionLost(1, "reset"))
    assert harness.wait(TimerPurpose.POWER_DOWN) == []


def test_at_power_down_a_session_that_came_back_is_not_given_up_for_its_next_outage() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.handle(facts.PowerDownReceived())
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    harness.handle(facts.ConnectionLost(1, "reset"))
    assert harness.wait(TimerPurpose.POWER_DOWN) == []


def test_at_power_down_a_session_that_begins_later_waits_no_longer_than_others() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.handle(facts.PowerDownReceived())
    harness.discovered(record())
    (order,) = (each for each in harness.logged_in() if isinstance(each, orders.StartSession))
    assert order.description.timeouts.recovery == 30


def test_sigint_at_power_down_leaves_no_session_that_the_kernel_would_wait_for() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.PowerDownReceived())
    harness.handle(facts.ConnectionLost(1, "reset"))
    assert kinds(harness.handle(facts.InterruptReceived())) == ["DestroySession"]
    assert harness.handle(facts.SessionDestroyed(1)) == [orders.Leave(0)]


@pytest.mark.parametrize(
    "stray",
    [
        facts.SessionStarted(Binding(9, 9), 7, 8),
        facts.SessionRefused(Binding(9, 9), REFUSED),
        facts.CmdSnLearned(7, 1),
        facts.CmdSnNotLearned(7, REFUSED),
        facts.RequestRefused(7, REFUSED),
        facts.ConnectionLost(7, "reset"),
        facts.SessionUnrecoverable(7, "its SCSI host is being removed"),
        facts.DiskUsersChecked(7, ()),
        facts.SessionUnbound(7),
        facts.SessionDestroyed(7),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_LOGIN, Binding(9, 9))),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_DISCOVERY, SECOND)),
        facts.ScanFinished(JobId(999)),
        facts.ScanFailed(JobId(999), REFUSED),
        facts.LoginFailed(JobId(999), REFUSED),
        facts.DiscoveryCompleted(JobId(999)),
        facts.WorkerEnded(JobId(999)),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_about_an_unknown_session_or_job_changes_nothing(stray: Fact) -> None:
    harness = Harness()
    harness.up()
    assert harness.handle(stray) == []


def test_a_network_that_comes_up_ends_all_pauses_of_what_was_unreachable() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    for _ in range(8):
        harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
        harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    began = harness.now
    assert harness.handle(facts.NetworkChanged()) == []
    harness.wait(TimerPurpose.NETWORK)
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]
    assert harness.now == began + 1


def test_a_network_that_changes_does_not_overrule_how_long_a_target_asked_to_wait() -> None:
    harness = Harness()
    harness.up()
    harness.now += 60
    dropping = bytes([0x32, 0x80, *bytes(34), 2, 0, 0, 0, 0, 40, 0, 60, *bytes(4)])
    harness.handle(facts.PduReceived(1, dropping, b""))
    harness.handle(facts.ConnectionLost(1, "the target closed the connection"))
    began = harness.now
    harness.handle(facts.NetworkChanged())
    harness.wait(TimerPurpose.NETWORK)
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    assert harness.now == began + 40


def test_a_network_that_flaps_does_not_hurry_more_than_every_ten_seconds() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    expired: list[float] = []
    for _ in range(600):
        harness.now += 0.1
        harness.handle(facts.NetworkChanged())
        due = [t for t in harness.timers if t.purpose is TimerPurpose.NETWORK]
        if due and harness.timers[due[0]] <= harness.now:
            harness.wait(TimerPurpose.NETWORK)
            expired.append(harness.now)
    gaps = [after - before for before, after in zip(expired, expired[1:], strict=False)]
    assert 5 <= len(expired) <= 7 and min(gaps) >= 9.9


def test_what_was_refused_for_another_reason_does_not_hurry_with_the_network() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    slow = Failure(Retry.LATER, "authentication failed")
    harness.handle(facts.LoginFailed(harness.job, slow), facts.WorkerEnded(harness.job))
    harness.handle(facts.NetworkChanged())
    began = harness.now
    assert harness.wait(TimerPurpose.NETWORK) == []
    (pause,) = (at for timer, at in harness.timers.items() if timer.purpose.name == "RETRY_LOGIN")
    assert pause > began + 20
