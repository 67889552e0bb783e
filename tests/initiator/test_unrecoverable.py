"""Scenarios: sessions that the kernel cannot carry on, or that were never complete."""

from __future__ import annotations

from dataclasses import replace

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
