"""Scenarios: sessions that the kernel cannot carry on, or that were never complete."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from iscsid import facts, orders
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from tests.support.harness import (
    DISK,
    PORTAL,
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
)


def doomed(harness: Harness, reason: str = "it was stopped for good") -> None:
    """The kernel reports it, and is ordered to destroy what it has."""
    given = harness.handle(facts.SessionUnrecoverable(1, reason))
    assert orders.DestroySession(1) in given and kinds(given)[-1] == "DestroySession"
    assert harness.has_logged("error", DISK, f"the kernel cannot carry the session on: {reason}")
    assert harness.handle(facts.SessionUnrecoverable(1, reason)) == []


@pytest.mark.parametrize("connection_state", [None, "down"])
@pytest.mark.parametrize("target_state", ["SCANNED", "UNBOUND"])
def test_a_session_whose_destruction_a_killed_daemon_began_is_removed_and_made_anew(
    target_state: str, connection_state: str | None
) -> None:
    harness = Harness()
    left = replace(
        kernel_session(connection_state=connection_state, target_state=target_state),
        persistent_portal=None,
    )
    assert kinds(harness.begin(configuration(PORTAL), left)) == ["DestroySession", "DiscoveryJob"]
    assert harness.has_logged("warning", DISK, "destruction was begun: it cannot be revived")
    assert kinds(harness.discovered(record())) == ["LoginJob"]


def test_what_is_left_although_its_removal_was_ordered_is_removed_at_the_next_look() -> None:
    harness = Harness()
    left = kernel_session(connection_state="down")
    harness.begin(configuration(PORTAL), left)
    refusal = Failure(Retry.SOON, "the kernel refused to destroy the session")
    assert harness.handle(facts.RequestRefused(1, refusal)) == []
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert harness.handle(facts.SessionsFound((left,))) == [orders.DestroySession(1)]


def test_a_session_that_is_being_destroyed_is_not_removed_twice_by_a_look() -> None:
    harness = Harness()
    harness.up()
    doomed(harness)
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert harness.handle(facts.SessionsFound((kernel_session(connection_state="down"),))) == []


def test_a_session_that_the_kernel_will_never_carry_on_is_destroyed_and_made_anew() -> None:
    """Its disks cannot be saved: to try for ever would keep the target away for ever, too."""
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    harness.discovered(record())
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    doomed(harness)
    assert kinds(harness.handle(facts.SessionDestroyed(1))) == ["LoginJob"]
    assert kinds(harness.logged_in()) == ["StartSession"]


def test_a_session_whose_host_goes_is_ended_in_the_middle_of_a_login() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    doomed(harness, "its SCSI host is being removed")
    assert kinds(harness.logged_in()) == ["CloseSocket"], "the worker was too fast to be stopped"
    assert kinds(harness.handle(facts.SessionDestroyed(1))) == ["LoginJob"]


def test_a_session_that_is_up_and_doomed_does_not_come_back_at_the_end_of_all() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.InterruptReceived())
    doomed(harness)
    assert kinds(harness.handle(facts.SessionDestroyed(1))) == ["Leave"]


REFUSED = facts.RequestRefused(1, Failure(Retry.SOON, "the kernel refused (EBUSY)"))
DAY = 86400.0


def test_a_session_that_the_kernel_never_destroys_is_tried_ever_less_often() -> None:
    """It is logged once, and then counted."""
    harness = Harness()
    harness.up()
    doomed(harness)
    began, attempts = harness.now, []
    while harness.now < began + DAY:
        harness.handle(REFUSED)
        assert harness.wait(TimerPurpose.LOGOUT) == [orders.DestroySession(1)]
        attempts.append(harness.now)
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert pauses[0] == pytest.approx(15) and max(pauses) <= 60
    assert len(attempts) < DAY / 40
    assert harness.has_logged(DISK, "does not destroy the session", "EBUSY")
    lines = [line for line in harness.log if "does not destroy" in line]
    assert len(lines) < len(attempts) / 2


def test_what_a_killed_daemon_left_and_the_kernel_never_removes_is_tried_ever_less_often() -> None:
    harness = Harness()
    left = kernel_session(connection_state="down")
    harness.begin(configuration(PORTAL), left)
    began, attempts = harness.now, 0
    while harness.now < began + DAY:
        harness.wait(TimerPurpose.CHECK_KERNEL)
        attempts += orders.DestroySession(1) in harness.handle(facts.SessionsFound((left,)))
        harness.handle(REFUSED)
    assert 10 < attempts < DAY / 200
    assert sum("removing session 1" in line for line in harness.log) == 1
    assert harness.has_logged("session 1", "has not removed it yet", "destruction was begun")
    harness.handle(facts.SessionsFound(()))
    # The number may be that of another session when the module is loaded again.
    assert orders.DestroySession(1) in harness.handle(facts.SessionsFound((left,)))
