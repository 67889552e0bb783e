"""The number of a session that runs is never another target's, whatever is in the bindings file."""

from __future__ import annotations

import pytest

from iscsid import facts
from iscsid.bindings.binding import Binding
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.initiator.sessions import Sessions
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.orders import Order, StartWorker
from iscsid.protocol.names import DiscoveryRecord, IscsiName
from tests.support.harness import (
    DISK,
    OTHER,
    PORTAL,
    ZERO,
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
    two_sessions,
)

ONE = Binding(0, 1)
GONE = IscsiName("iqn.2024-01.org.example:gone")
REFUSED = Failure(Retry.SOON, "connection refused")


def logins(given: list[Order]) -> list[LoginJob]:
    jobs = [order.job for order in given if isinstance(order, StartWorker)]
    return [job for job in jobs if isinstance(job, LoginJob)]


def rediscovered(harness: Harness, *records: DiscoveryRecord) -> list[Order]:
    """The discovery that SIGHUP has begun has its answer; scans have begun after it."""
    job = next(job.id for job in reversed(harness.jobs) if isinstance(job, DiscoveryJob))
    return harness.handle(
        *(facts.TargetDiscovered(job, each) for each in records),
        facts.DiscoveryCompleted(job),
        facts.WorkerEnded(job),
    )


def lines(harness: Harness) -> set[tuple[str, ...]]:
    return {tuple(line.split()) for line in harness.bindings.splitlines() if line[:1] != "#"}


def assert_both_are_watched(harness: Harness) -> None:
    for sid, name in ((1, DISK), (2, OTHER)):
        harness.handle(facts.ConnectionLost(sid, "reset"))
        assert harness.has_logged(name, "session is down"), f"session {sid} has been forgotten"
    assert lines(harness) == {("0", "0", DISK), ("0", "1", OTHER)}


def test_exchanged_numbers_at_sighup_come_back_and_both_sessions_stay_watched() -> None:
    harness = two_sessions(f"0 0 {DISK}\n0 1 {OTHER}\n")
    harness.bindings = f"0 0 {OTHER}\n0 1 {DISK}\n"
    given = harness.reload(configuration(PORTAL))
    assert not logins(given), "a second session with a target that has one"
    assert harness.has_logged(DISK, "keeps bus0/target0") and harness.has_logged(
        OTHER, "keeps bus0/target1"
    )
    assert not logins(rediscovered(harness, record(), record(OTHER)))
    assert_both_are_watched(harness)


def test_exchanged_numbers_that_a_save_finds_come_back() -> None:
    """A person has edited the file since it was read; no SIGHUP follows."""
    harness = two_sessions(f"0 0 {DISK}\n0 1 {OTHER}\n")
    harness.handle(facts.BindingsRead(f"0 0 {OTHER}\n0 1 {DISK}\n"))
    assert_both_are_watched(harness)


def test_an_old_copy_of_the_file_does_not_evict_a_running_session() -> None:
    harness = two_sessions(f"0 0 {DISK}\n0 1 {OTHER}\n")
    harness.bindings = f"0 0 {GONE}\n0 7 {DISK}\n"
    harness.reload(configuration(PORTAL))
    assert harness.has_logged(GONE, "bus0/target0", "in use")
    given = rediscovered(harness, record(), record(OTHER), record(GONE))
    assert [job.login.target_name for job in logins(given)] == [GONE]
    assert {("0", "0", DISK), ("0", "1", OTHER)} <= lines(harness)
    assert not {("0", "0", GONE), ("0", "7", DISK)} & lines(harness)


def test_the_kernels_session_keeps_its_number_at_a_start_with_another_file() -> None:
    harness = Harness()
    given = harness.begin(configuration(PORTAL), kernel_session(), bindings=f"0 0 {OTHER}\n")
    assert "AdoptSession" in kinds(given)
    assert harness.has_logged(DISK, "keeps bus0/target0") and harness.has_logged(OTHER, "in use")
    given = harness.discovered(record(), record(OTHER))
    assert [job.login.target_name for job in logins(given)] == [OTHER]
    assert lines(harness) == {("0", "0", DISK), ("0", "1", OTHER)}


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        (DISK, "iscsid:0:0:80aabbcc0000"),
        (OTHER, "iscsid:0:0:80aabbcc0000"),
        (DISK, "iscsid:0:5:80aabbcc0005"),
    ],
)
def test_of_two_kernel_sessions_with_one_number_or_target_the_second_is_left_alone(
    name: IscsiName, tag: str
) -> None:
    harness = Harness()
    second = kernel_session(2, name=name, session_tag=f"{tag}@{PORTAL}")
    given = harness.begin(configuration(PORTAL), kernel_session(1), second)
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]
    assert harness.has_logged("error", name, "session 2", "left alone")
    harness.handle(facts.ConnectionLost(1, "reset"))
    assert harness.has_logged(DISK, "session is down")


def test_waiting_sessions_take_the_numbers_that_the_file_exchanges() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), bindings=f"0 0 {DISK}\n0 1 {OTHER}\n")
    harness.discovered(record(), record(OTHER))
    for job in [job for job in harness.jobs if isinstance(job, LoginJob)]:
        harness.handle(facts.LoginFailed(job.id, REFUSED), facts.WorkerEnded(job.id))
    harness.bindings = f"0 0 {OTHER}\n0 1 {DISK}\n"
    (first,) = logins(harness.reload(configuration(PORTAL)))
    refused = Failure(Retry.LATER, "no such target")
    ended = (facts.LoginFailed(first.id, refused), facts.WorkerEnded(first.id))
    begun = [first, *logins(harness.handle(*ended))]
    numbers = {job.login.target_name: job.login.isid[-2:] for job in begun}
    assert numbers == {DISK: bytes([0, 1]), OTHER: bytes([0, 0])}
    assert lines(harness) == {("0", "0", OTHER), ("0", "1", DISK)}


def test_a_waiting_session_takes_the_number_that_a_save_finds_in_the_file() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), bindings=f"0 0 {DISK}\n")
    harness.discovered(record())
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    (login,) = logins(harness.handle(facts.BindingsRead(f"0 3 {DISK}\n")))
    assert login.login.isid[-2:] == bytes([0, 3])
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.RETRY_LOGIN]


def test_a_session_is_not_added_in_the_place_of_another() -> None:
    harness = two_sessions(f"0 0 {DISK}\n0 1 {OTHER}\n")
    inventory = harness.initiator.reconciler
    first = inventory.sessions.get(ZERO)
    second = inventory.sessions.get(ONE)
    assert first is not None and second is not None
    sessions = Sessions()
    assert sessions.add(first)
    assert not sessions.add(first)
    assert len(sessions) == 1
