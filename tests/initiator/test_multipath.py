"""Stories of targets with a session per path: each path keeps its numbers, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid import facts, orders
from iscsid.bindings.binding import Binding
from iscsid.config.configuration import Configuration
from iscsid.config.settings import MultipathPolicy
from iscsid.errors import Failure, Retry
from iscsid.facts import KernelSession
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.protocol.names import DiscoveryRecord, TargetAddress
from tests.support.harness import (
    DISK,
    PORTAL,
    SECOND,
    ZERO,
    Stage,
    configuration,
    kernel_session,
    kinds,
    settings,
)

ONE = Binding(1, 0)
PATHS = {
    MultipathPolicy.PORTAL: (str(PORTAL), str(SECOND)),
    MultipathPolicy.PORTAL_GROUP: ("1", "2"),
}
each_policy = pytest.mark.parametrize("policy", PATHS)
TARGET = DiscoveryRecord(DISK, (TargetAddress(PORTAL, 1), TargetAddress(SECOND, 2)))


def with_policy(policy: MultipathPolicy) -> Configuration:
    return configuration(PORTAL, settings=settings(multipath=policy))


def path(number: int, policy: MultipathPolicy) -> KernelSession:
    """One of the two paths as the kernel runs it."""
    session_tag = f"iscsid:{number}:0:80aabbcc0{number}00/{PATHS[policy][number]}@{PORTAL}"
    return replace(
        kernel_session(number + 1, session_tag=session_tag),
        persistent_portal=(PORTAL, SECOND)[number],
        portal_group_tag=number + 1,
    )


def lines(stage: Stage) -> list[list[str]]:
    return [line.split() for line in stage.bindings.splitlines() if line[0] != "#"]


@each_policy
def test_each_path_says_in_the_kernel_which_it_is(policy: MultipathPolicy) -> None:
    stage = Stage()
    stage.begin(with_policy(policy))
    stage.discovered(TARGET)
    logins = [job for job in stage.jobs if isinstance(job, LoginJob)]
    assert [job.portal for job in logins] == [PORTAL, SECOND]
    (start,) = stage.logged_in(SECOND)
    assert isinstance(start, orders.StartSession)
    session_tag = parse_session_tag(start.description.session_tag)
    assert session_tag is not None
    assert (session_tag.binding, session_tag.path) == (ONE, PATHS[policy][1])


@each_policy
def test_both_paths_are_adopted_although_their_lines_were_removed(policy: MultipathPolicy) -> None:
    stage = Stage()
    found = [path(1, policy), path(0, policy)]
    given = stage.begin(with_policy(policy), *found)
    assert kinds(given).count("AdoptSession") == 2 and "LoginJob" not in kinds(given)
    first, second = PATHS[policy]
    assert lines(stage) == [["1", "0", DISK, second], ["0", "0", DISK, first]]
    assert stage.discovered(TARGET) == [], "they are what is wanted"


def discoveries(stage: Stage) -> list[DiscoveryJob]:
    return [job for job in stage.jobs if isinstance(job, DiscoveryJob)]


def test_a_path_that_another_address_reports_waits_for_what_that_says() -> None:
    """Each address of an array may report its own portal alone."""
    stage = Stage()
    policy = MultipathPolicy.PORTAL
    both = configuration(PORTAL, SECOND, settings=settings(multipath=policy))
    stage.begin(both, path(0, policy), path(1, policy))
    first, second = discoveries(stage)
    only = DiscoveryRecord(DISK, (TargetAddress(PORTAL, 1),))
    answer = facts.TargetDiscovered(first.id, only), facts.DiscoveryCompleted(first.id)
    assert stage.tell(*answer, facts.WorkerEnded(first.id)) == []
    unreachable = Failure(Retry.SOON, "connection refused")
    stage.tell(facts.DiscoveryFailed(second.id, unreachable), facts.WorkerEnded(second.id))
    stage.reload(both)
    again = discoveries(stage)[-2:]
    for asked in again:
        done = facts.DiscoveryCompleted(asked.id), facts.WorkerEnded(asked.id)
        reported = facts.TargetDiscovered(asked.id, only)
        given = stage.tell(*([reported] if asked.portal == PORTAL else []), *done)
        assert kinds(given) == ([] if asked is again[0] else ["CheckDiskUsers"])
    assert given == [orders.CheckDiskUsers(2, may_open=True)], "nobody knows of it any more"


@each_policy
def test_both_paths_keep_their_numbers_when_the_lines_go_while_they_are_up(
    policy: MultipathPolicy,
) -> None:
    stage = Stage()
    stage.begin(with_policy(policy), path(0, policy), path(1, policy))
    stage.discovered(TARGET)
    stage.bindings = "# end of bindings\n"
    given = stage.reload(with_policy(policy))
    assert not {"SendLogout", "LoginJob", "CheckDiskUsers"} & set(kinds(given))
    first, second = PATHS[policy]
    assert lines(stage) == [["0", "0", DISK, first], ["1", "0", DISK, second]]
    assert not stage.said("no longer gives")


def test_a_session_that_becomes_one_of_several_paths_says_so_with_a_new_login() -> None:
    stage = Stage()
    stage.up()
    stage.reload(with_policy(MultipathPolicy.PORTAL))
    assert stage.said("info", DISK, "logging in again")
    stage.tell(facts.PduReceived(1, bytes([0x26, 0x80]) + bytes(46), b""))
    stage.wait(facts.TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    (resume,) = stage.logged_in()
    assert isinstance(resume, orders.ResumeSession) and resume.binding == ZERO
    session_tag = parse_session_tag(resume.description.session_tag)
    assert session_tag is not None and session_tag.path == str(PORTAL)


def test_a_session_whose_number_goes_to_another_portals_path_moves_there() -> None:
    """Else two paths would lead through one portal."""
    stage = Stage()
    failed_over = replace(kernel_session(), persistent_portal=SECOND)
    stage.begin(with_policy(MultipathPolicy.PORTAL), failed_over)
    assert kinds(stage.discovered(TARGET)) == ["SendLogout", "LoginJob"]
    assert stage.said("info", f"{DISK} via {PORTAL}", "logging in again")
    (login,) = (job for job in stage.jobs if isinstance(job, LoginJob))
    assert login.portal == SECOND
