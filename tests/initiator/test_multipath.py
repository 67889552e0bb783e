"""Targets with a session per path: each path keeps its numbers, whatever happens."""

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
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
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


def lines(harness: Harness) -> list[list[str]]:
    return [line.split() for line in harness.bindings.splitlines() if line[0] != "#"]


@each_policy
def test_each_path_is_named_in_the_kernel(policy: MultipathPolicy) -> None:
    harness = Harness()
    harness.begin(with_policy(policy))
    harness.discovered(TARGET)
    logins = [job for job in harness.jobs if isinstance(job, LoginJob)]
    assert [job.portal for job in logins] == [PORTAL, SECOND]
    (start,) = harness.logged_in(SECOND)
    assert isinstance(start, orders.StartSession)
    session_tag = parse_session_tag(start.description.session_tag)
    assert session_tag is not None
    assert (session_tag.binding, session_tag.path) == (ONE, PATHS[policy][1])


@each_policy
def test_both_paths_are_adopted_although_their_lines_were_removed(policy: MultipathPolicy) -> None:
    harness = Harness()
    found = [path(1, policy), path(0, policy)]
    given = harness.begin(with_policy(policy), *found)
    assert kinds(given).count("AdoptSession") == 2 and "LoginJob" not in kinds(given)
    first, second = PATHS[policy]
    assert lines(harness) == [["1", "0", DISK, second], ["0", "0", DISK, first]]
    assert harness.discovered(TARGET) == [], "they are what is wanted"


def discoveries(harness: Harness) -> list[DiscoveryJob]:
    return [job for job in harness.jobs if isinstance(job, DiscoveryJob)]


def test_a_path_that_another_address_reports_waits_for_its_answer() -> None:
    """Each address of an array may report its own portal alone."""
    harness = Harness()
    policy = MultipathPolicy.PORTAL
    both = configuration(PORTAL, SECOND, settings=settings(multipath=policy))
    harness.begin(both, path(0, policy), path(1, policy))
    first, second = discoveries(harness)
    only = DiscoveryRecord(DISK, (TargetAddress(PORTAL, 1),))
    answer = facts.TargetDiscovered(first.id, only), facts.DiscoveryCompleted(first.id)
    assert harness.handle(*answer, facts.WorkerEnded(first.id)) == []
    unreachable = Failure(Retry.SOON, "connection refused")
    harness.handle(facts.DiscoveryFailed(second.id, unreachable), facts.WorkerEnded(second.id))
    harness.reload(both)
    again = discoveries(harness)[-2:]
    for asked in again:
        done = facts.DiscoveryCompleted(asked.id), facts.WorkerEnded(asked.id)
        reported = facts.TargetDiscovered(asked.id, only)
        given = harness.handle(*([reported] if asked.portal == PORTAL else []), *done)
        assert kinds(given) == ([] if asked is again[0] else ["CheckDiskUsers"])
    assert given == [orders.CheckDiskUsers(2)], "it is not reported any more"


@each_policy
def test_both_paths_keep_their_numbers_when_the_lines_go_while_they_are_up(
    policy: MultipathPolicy,
) -> None:
    harness = Harness()
    harness.begin(with_policy(policy), path(0, policy), path(1, policy))
    harness.discovered(TARGET)
    harness.bindings = "# end of bindings\n"
    given = harness.reload(with_policy(policy))
    assert not {"SendLogout", "LoginJob", "CheckDiskUsers"} & set(kinds(given))
    first, second = PATHS[policy]
    assert lines(harness) == [["0", "0", DISK, first], ["1", "0", DISK, second]]
    assert not harness.has_logged("no longer gives")


def test_a_session_that_becomes_one_of_several_paths_gets_a_new_login() -> None:
    harness = Harness()
    harness.up()
    harness.reload(with_policy(MultipathPolicy.PORTAL))
    assert harness.has_logged("info", DISK, "logging in again")
    harness.handle(facts.PduReceived(1, bytes([0x26, 0x80]) + bytes(46), b""))
    harness.wait(facts.TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    (resume,) = harness.logged_in()
    assert isinstance(resume, orders.ResumeSession) and resume.binding == ZERO
    session_tag = parse_session_tag(resume.description.session_tag)
    assert session_tag is not None and session_tag.path == str(PORTAL)


def test_a_session_whose_number_goes_to_another_portals_path_moves_there() -> None:
    """Else two paths would lead through one portal."""
    harness = Harness()
    failed_over = replace(kernel_session(), persistent_portal=SECOND)
    harness.begin(with_policy(MultipathPolicy.PORTAL), failed_over)
    assert kinds(harness.discovered(TARGET)) == ["SendLogout", "LoginJob"]
    assert harness.has_logged("info", f"{DISK} via {PORTAL}", "logging in again")
    (login,) = (job for job in harness.jobs if isinstance(job, LoginJob))
    assert login.portal == SECOND


@each_policy
def test_a_path_without_a_number_ends_no_other_and_is_named(policy: MultipathPolicy) -> None:
    """The target's id is taken on every other bus."""
    others = "".join(f"{bus} 0 iqn.2001-04.com.example:x{bus}\n" for bus in range(1, 256))
    harness = Harness(bindings=f"0 0 {DISK} {PATHS[policy][0]}\n{others}")
    harness.begin(with_policy(policy), path(0, policy), bindings=harness.bindings)
    harness.discovered(TARGET)
    harness.reload(with_policy(policy))
    harness.discovered(TARGET)
    ended = (orders.CheckDiskUsers, orders.UnbindSession, orders.DestroySession)
    assert not [order for order in harness.given if isinstance(order, ended)]
    (session,) = harness.initiator.reconciler.sessions
    assert session.is_up and session.is_wanted and session.plan.binding == ZERO
    assert harness.has_logged("warning", DISK, "no persistent number is left")


# --- several sessions with one portal -----------------------------------------------------------


def with_sessions(number: int) -> Configuration:
    return configuration(PORTAL, settings=settings(sessions=number))


def further(number: int) -> KernelSession:
    """One of the sessions with the one portal as the kernel runs it."""
    name = f"/;{number}" if number > 1 else ""
    session_tag = f"iscsid:{number - 1}:0:80aabbcc0{number}00{name}@{PORTAL}"
    return kernel_session(number, session_tag=session_tag)


def test_several_sessions_with_a_portal_differ_in_isid_number_and_log() -> None:
    harness = Harness()
    harness.begin(with_sessions(3))
    harness.discovered(record())
    logins = [job for job in harness.jobs if isinstance(job, LoginJob)]
    assert [job.portal for job in logins] == [PORTAL] * 3
    assert len({job.login.isid for job in logins}) == 3
    assert lines(harness) == [["0", "0", DISK], ["1", "0", DISK, ";2"], ["2", "0", DISK, ";3"]]
    harness.handle(facts.LoginFailed(logins[1].id, Failure(Retry.LATER, "no more sessions")))
    assert harness.has_logged(f"{DISK} via {PORTAL}, session 2: no more sessions")
    (start,) = harness.logged_in()
    assert isinstance(start, orders.StartSession) and start.binding == Binding(2, 0)
    session_tag = parse_session_tag(start.description.session_tag)
    assert session_tag is not None and session_tag.path == ";3"


def test_several_sessions_are_adopted_although_their_lines_were_removed() -> None:
    harness = Harness()
    given = harness.begin(with_sessions(2), further(2), further(1))
    assert kinds(given).count("AdoptSession") == 2
    assert harness.discovered(record()) == [], "they are what is wanted"
    assert lines(harness) == [["1", "0", DISK, ";2"], ["0", "0", DISK]]


def test_fewer_sessions_end_those_beyond_and_no_other() -> None:
    harness = Harness()
    harness.begin(with_sessions(3), further(1), further(2), further(3))
    harness.discovered(record())
    assert harness.reload(with_sessions(1))[:2] == [
        orders.CheckDiskUsers(2),
        orders.CheckDiskUsers(3),
    ]
    assert not harness.has_logged("logging in again")
