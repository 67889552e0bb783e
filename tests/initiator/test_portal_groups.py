"""Whether a login has reached the portal group it was meant for, and what follows if not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid import facts, orders
from iscsid.config.settings import SessionSettings
from iscsid.errors import Retry
from iscsid.facts import LoginSucceeded, TimerPurpose
from iscsid.initiator.planning import PortalOption
from iscsid.initiator.portal_groups import LoginEndpoint, compare_portal_group
from iscsid.jobs import JobId, LoginJob
from iscsid.orders import Order
from iscsid.protocol.names import DiscoveryRecord, Portal, TargetAddress
from iscsid.protocol.parameters import Isid, LoginResult
from tests.support.harness import (
    DISK,
    PORTAL,
    SECOND,
    ZERO,
    Harness,
    configuration,
    kernel_session,
    kinds,
)


def login(tag: int | None, portal: Portal = PORTAL) -> LoginSucceeded:
    result = LoginResult(
        isid=Isid(bytes(6)), tsih=1, cmd_sn=1, exp_stat_sn=1, target_portal_group_tag=tag
    )
    return LoginSucceeded(JobId(1), result, portal)


@pytest.mark.parametrize(
    ("known", "found", "portal", "before", "is_the_same"),
    [
        (1, 1, PORTAL, None, True),
        (1, 2, PORTAL, None, False),
        (None, 2, PORTAL, None, True),
        (1, None, PORTAL, None, True),
        (1, 2, SECOND, None, True),
        (1, 2, PORTAL, LoginEndpoint(PORTAL, 2), True),
        (1, 2, PORTAL, LoginEndpoint(SECOND, 2), False),
        (1, 3, PORTAL, LoginEndpoint(PORTAL, 2), False),
        (0, 0, PORTAL, None, True),
        (0, 1, PORTAL, None, False),
    ],
    ids=[
        "the same",
        "another",
        "discovery names none",
        "the target names none",
        "redirected",
        "discovery has always been wrong",
        "it was so elsewhere",
        "neither",
        "zero",
        "not zero",
    ],
)
def test_portal_groups_are_compared_where_both_are_known(
    known: int | None,
    found: int | None,
    portal: Portal,
    before: LoginEndpoint | None,
    is_the_same: bool,
) -> None:
    option = PortalOption(PORTAL, known, SessionSettings())
    failure = compare_portal_group(option, login(found, portal), before)
    assert (failure is None) is is_the_same
    if failure is not None:
        assert failure.retry is Retry.LATER
        assert f"was {known} and is {found}" in failure.what


# --- sequences ----------------------------------------------------------------------------------


def log_in(harness: Harness, tag: int, portal: Portal = PORTAL) -> list[Order]:
    """The worker ordered last has reached a portal group with this tag."""
    job = harness.jobs[-1]
    assert isinstance(job, LoginJob)
    has_logged = login(tag, portal)
    result = replace(has_logged.result, isid=job.login.isid, cmd_sn=job.login.cmd_sn)
    return harness.handle(
        facts.LoginSucceeded(job.id, result, portal, has_logged.moved_to), facts.WorkerEnded(job.id)
    )


def lose(harness: Harness) -> None:
    harness.now += 100
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))


def test_a_session_does_not_go_on_with_another_portal_group() -> None:
    harness = Harness()
    harness.up()
    lose(harness)
    job = harness.job
    assert log_in(harness, tag=2) == [orders.CloseSocket(job)]
    assert harness.has_logged(DISK, "another target answers here", "was 1 and is 2")
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    assert kinds(log_in(harness, tag=1)) == ["ResumeSession"]


def test_a_session_goes_on_behind_a_redirection_whatever_the_tag() -> None:
    harness = Harness()
    harness.up()
    lose(harness)
    assert kinds(log_in(harness, tag=7, portal=SECOND)) == ["ResumeSession"]


def test_the_next_portal_is_compared_with_its_own_tag() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    addresses = (TargetAddress(PORTAL, 1), TargetAddress(SECOND, 2))
    harness.discovered(DiscoveryRecord(DISK, addresses))
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    harness.handle(facts.ScanFinished(harness.job), facts.WorkerEnded(harness.job))
    lose(harness)
    log_in(harness, tag=2)
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    login_job = harness.jobs[-1]
    assert isinstance(login_job, LoginJob) and login_job.portal == SECOND
    assert kinds(log_in(harness, tag=2, portal=SECOND)) == ["ResumeSession"]


def test_a_target_whose_list_was_wrong_from_the_start_is_used_with_a_warning_and_recovers() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(DiscoveryRecord(DISK, (TargetAddress(PORTAL, 1),)))
    assert kinds(log_in(harness, tag=3)) == ["StartSession"]
    assert harness.has_logged("warning", "was 1 and is 3")
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    harness.handle(facts.ScanFinished(harness.job), facts.WorkerEnded(harness.job))
    lose(harness)
    assert kinds(log_in(harness, tag=3)) == ["ResumeSession"]


def test_an_adopted_session_remembers_the_portal_group_it_has() -> None:
    """The kernel's session has tag 1, discovery reports 5: the session may keep what it had."""
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session())
    harness.discovered(DiscoveryRecord(DISK, (TargetAddress(PORTAL, 5),)))
    lose(harness)
    assert kinds(log_in(harness, tag=1)) == ["ResumeSession"]
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    lose(harness)
    assert kinds(log_in(harness, tag=2)) == ["CloseSocket"]
