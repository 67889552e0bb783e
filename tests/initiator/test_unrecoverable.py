"""Stories of sessions that the kernel cannot carry on, or that were never made whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid import facts, orders
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from tests.support.harness import (
    DISK,
    PORTAL,
    Stage,
    configuration,
    kernel_session,
    kinds,
    record,
)


def doomed(stage: Stage, reason: str = "it was stopped for good") -> None:
    """The kernel says so, and is ordered to destroy what it has."""
    given = stage.tell(facts.SessionUnrecoverable(1, reason))
    assert orders.DestroySession(1) in given and kinds(given)[-1] == "DestroySession"
    assert stage.said("error", DISK, f"the kernel cannot carry the session on: {reason}")
    assert stage.tell(facts.SessionUnrecoverable(1, reason)) == []


@pytest.mark.parametrize("connection_state", [None, "down"])
@pytest.mark.parametrize("target_state", ["SCANNED", "UNBOUND"])
def test_a_session_whose_destruction_a_killed_daemon_began_is_removed_and_made_anew(
    target_state: str, connection_state: str | None
) -> None:
    stage = Stage()
    left = replace(
        kernel_session(connection_state=connection_state, target_state=target_state),
        persistent_portal=None,
    )
    assert kinds(stage.begin(configuration(PORTAL), left)) == ["DestroySession", "DiscoveryJob"]
    assert stage.said("warning", DISK, "destruction was begun: it cannot be revived")
    assert kinds(stage.discovered(record())) == ["LoginJob"]


def test_what_is_left_although_its_removal_was_ordered_is_removed_at_the_next_look() -> None:
    stage = Stage()
    left = kernel_session(connection_state="down")
    stage.begin(configuration(PORTAL), left)
    refusal = Failure(Retry.SOON, "the kernel refused to destroy the session")
    assert stage.tell(facts.RequestRefused(1, refusal)) == []
    stage.wait(TimerPurpose.CHECK_KERNEL)
    assert stage.tell(facts.SessionsFound((left,))) == [orders.DestroySession(1)]


def test_a_session_that_is_being_destroyed_is_not_removed_twice_by_a_look() -> None:
    stage = Stage()
    stage.up()
    doomed(stage)
    stage.wait(TimerPurpose.CHECK_KERNEL)
    assert stage.tell(facts.SessionsFound((kernel_session(connection_state="down"),))) == []


def test_a_session_that_the_kernel_will_never_carry_on_is_destroyed_and_made_anew() -> None:
    """Its disks cannot be saved: to try for ever would keep the target away for ever, too."""
    stage = Stage()
    stage.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    stage.discovered(record())
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    doomed(stage)
    assert kinds(stage.tell(facts.SessionDestroyed(1))) == ["LoginJob"]
    assert kinds(stage.logged_in()) == ["StartSession"]


def test_a_session_whose_host_goes_is_ended_in_the_middle_of_a_login() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionLost(1, "reset"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    doomed(stage, "its SCSI host is being removed")
    assert kinds(stage.logged_in()) == ["CloseSocket"], "the child was too fast to be stopped"
    assert kinds(stage.tell(facts.SessionDestroyed(1))) == ["LoginJob"]


def test_a_session_that_is_up_and_doomed_does_not_come_back_at_the_end_of_all() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.InterruptReceived())
    doomed(stage)
    assert kinds(stage.tell(facts.SessionDestroyed(1))) == ["Leave"]
