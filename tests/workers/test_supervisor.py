"""The keeper with real children: started, heard, stopped, reaped."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.errors import Retry
from iscsid.facts import (
    DiscoveryCompleted,
    LoginFailed,
    LoginSucceeded,
    ScanFinished,
    TargetDiscovered,
    WorkerEnded,
)
from iscsid.jobs import Job, JobId
from iscsid.orders import Level
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from iscsid.workers.reporter import ParentMessage, Reporter
from iscsid.workers.sandbox import Confine
from tests.support.fake_jobs import finishes, hangs, hangs_and_hears_no_signal, logs_in
from tests.support.jobs import TARGET, discovery_job, login_job, scan_job
from tests.support.supervisor_harness import (
    WorkersHarness,
    children,
    is_zombie,
    open_descriptors,
    until,
)

ONE = JobId(1)


@pytest.fixture
def portal() -> Iterator[Portal]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Portal(*listener.getsockname())


# --- the ordinary life --------------------------------------------------------------------------


def test_a_job_ends_with_its_facts_and_then_its_end() -> None:
    harness = WorkersHarness(finishes)
    assert harness.run(scan_job()) == [ScanFinished(ONE), WorkerEnded(ONE)]
    assert harness.ears == {}


def test_facts_come_while_the_child_still_runs() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(TargetDiscovered(job.id, DiscoveryRecord(TARGET, ())))
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.start(discovery_job())
    harness.until(lambda: harness.facts != [])
    assert harness.facts == [TargetDiscovered(ONE, DiscoveryRecord(TARGET, ()))]
    harness.supervisor.end_all()


def test_what_a_child_said_is_told_before_its_end_even_if_nobody_listened_in_between() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        for number in range(200):
            name = IscsiName(f"iqn.2024-01.org.example:t{number}")
            reporter.report(TargetDiscovered(job.id, DiscoveryRecord(name, ())))
        reporter.report(DiscoveryCompleted(job.id))

    harness = WorkersHarness(run_job)
    harness.start(discovery_job())
    until(lambda: is_zombie(harness.pid_of()))
    facts = harness.supervisor.reap()
    assert len(facts) == 202
    assert facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_one_that_says_much_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        for _ in range(150):
            reporter.report(TargetDiscovered(job.id, DiscoveryRecord(TARGET, ())))
        (tmp_path / "done").touch()
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.start(discovery_job())
    (ear,) = harness.ears.values()
    until((tmp_path / "done").exists)
    assert [len(ear()) for _ in range(4)] == [64, 64, 22, 0]
    harness.supervisor.end_all()


def test_lines_for_the_log_go_to_the_log() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.progress("testing")
        reporter.log(Level.WARNING, "look out")
        reporter.report(ScanFinished(job.id))

    harness = WorkersHarness(run_job)
    harness.run(scan_job())
    assert harness.said == [(Level.DEBUG, "testing"), (Level.WARNING, "look out")]


def test_forty_children_at_once_are_all_reaped() -> None:
    harness = WorkersHarness(finishes)
    before, others = open_descriptors(), children()
    harness.run(*(scan_job(number) for number in range(1, 41)))
    assert {harness.ending_of(JobId(number)).how for number in range(1, 41)} == {None}
    assert sum(isinstance(fact, ScanFinished) for fact in harness.facts) == 40
    assert children() == others
    assert open_descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_sixty_logins_may_end_before_the_daemon_looks_at_the_first(portal: Portal) -> None:
    """The kernel counts the sockets on their way against the limit of the workers' one user."""

    def run_job(job: Job, reporter: Reporter, confine: Confine) -> None:
        confine()
        logs_in(portal)(job, reporter, confine)

    harness = WorkersHarness(run_job)
    numbers = range(1, 61)
    for number in numbers:
        harness.start(login_job(number))
    until(lambda: all(is_zombie(harness.pid_of(number)) for number in numbers))
    harness.facts += harness.supervisor.reap()
    assert sum(isinstance(fact, LoginSucceeded) for fact in harness.facts) == 60
    for number in numbers:
        harness.supervisor.close_socket(JobId(number))


def test_a_foreign_child_is_not_reaped() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    until(lambda: is_zombie(pid))
    WorkersHarness(finishes).run(scan_job())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_child_that_somebody_else_reaped_has_ended_too() -> None:
    harness = WorkersHarness(hangs)
    harness.start(scan_job())
    os.kill(harness.pid_of(), signal.SIGKILL)
    os.waitpid(harness.pid_of(), 0)
    (ended,) = harness.supervisor.reap()
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert len(harness.supervisor) == 0


def test_a_child_that_cannot_be_started_is_a_failed_attempt() -> None:
    harness = WorkersHarness(finishes)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        facts = harness.supervisor.start(scan_job())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    (ended,) = facts
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "no worker could be started: Too many open files"
    assert ended.how.retry is Retry.SOON
    assert len(harness.supervisor) == 0


def test_a_failed_fork_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "")

    harness = WorkersHarness(finishes)
    before = open_descriptors()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(os, "fork", fork)
    (ended,) = harness.supervisor.start(scan_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert open_descriptors() == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


# --- orders -------------------------------------------------------------------------------------


def test_a_stopped_child_ends_and_that_is_no_failure() -> None:
    harness = WorkersHarness(hangs)
    harness.start(login_job())
    harness.until_said("hanging")
    harness.supervisor.stop(ONE)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts == [WorkerEnded(ONE)]


def test_what_a_stopped_child_had_said_is_not_told_and_its_socket_is_closed(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    before = open_descriptors()
    harness.start(login_job())
    until(lambda: is_zombie(harness.pid_of()))
    harness.supervisor.stop(ONE)
    assert harness.supervisor.reap() == [WorkerEnded(ONE)]
    assert open_descriptors() == before


def test_a_stopped_child_that_hears_no_signal_is_killed() -> None:
    harness = WorkersHarness(hangs_and_hears_no_signal)
    harness.start(login_job(deadline=0))
    harness.until_said("hanging")
    harness.supervisor.stop(ONE)
    harness.supervisor.stop(ONE)
    due = harness.supervisor.next_deadline()
    assert due is not None
    harness.supervisor.enforce_deadlines(due)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts == [WorkerEnded(ONE)]


def test_orders_about_children_that_are_gone_do_no_harm() -> None:
    harness = WorkersHarness(finishes)
    harness.run(scan_job())
    harness.supervisor.stop(ONE)
    harness.supervisor.ask_again(ONE)
    harness.supervisor.close_socket(ONE)
    harness.supervisor.enforce_deadlines(time.monotonic() + 1000)
    assert harness.supervisor.reap() == []


def test_the_loop_may_call_once_more_for_a_child_that_was_just_reaped() -> None:
    """Its channel and SIGCHLD may be ready in the same turn."""
    harness = WorkersHarness(finishes)
    harness.start(scan_job())
    (ear,) = harness.ears.values()
    harness.until(lambda: len(harness.supervisor) == 0)
    assert ear() == []


def test_the_socket_of_a_login_is_handed_out_once_and_stands(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    harness.run(login_job())
    with harness.supervisor.take_socket(ONE) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    with pytest.raises(KeyError):
        harness.supervisor.take_socket(ONE)


def test_the_socket_of_a_login_that_came_too_late_can_be_closed(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    before = open_descriptors()
    harness.run(login_job())
    harness.supervisor.close_socket(ONE)
    harness.supervisor.close_socket(ONE)
    assert open_descriptors() == before


def test_only_a_kept_discovery_is_asked_again(tmp_path: Path) -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.progress("waiting")
        until((tmp_path / f"asked {job.id}").exists)
        reporter.log(Level.INFO, reporter.poll_parent().name)
        reporter.report(DiscoveryCompleted(job.id, kept=False))

    for number, keep, heard in ((1, True, "ASK_AGAIN"), (2, False, "NOTHING")):
        harness = WorkersHarness(run_job)
        harness.start(discovery_job(number, keep=keep))
        harness.until_said("waiting")
        harness.supervisor.ask_again(JobId(number))
        (tmp_path / f"asked {number}").touch()
        harness.until(lambda harness=harness: len(harness.supervisor) == 0)  # type: ignore[misc]
        assert harness.lines[-1] == heard


def test_all_children_end_on_order_those_that_hear_no_signal_too() -> None:
    def run_job(job: Job, reporter: Reporter, confine: Confine) -> None:
        (hangs if job.id % 2 else hangs_and_hears_no_signal)(job, reporter, confine)

    others = children()
    harness = WorkersHarness(run_job)
    for number in range(1, 9):
        harness.start(scan_job(number))
    harness.until(lambda: harness.lines.count("hanging") == 8)
    harness.supervisor.end_all(seconds=20)
    assert len(harness.supervisor) == 0
    assert children() == others
    assert harness.ears == {}


def test_waiting_for_the_end_has_a_limit() -> None:
    """A scan may hang in the kernel, where no signal reaches it."""
    harness = WorkersHarness(hangs_and_hears_no_signal)
    harness.start(scan_job())
    harness.until_said("hanging")
    pid = harness.pid_of()
    harness.supervisor.end_all(seconds=0.2)
    assert len(harness.supervisor) == 1
    os.kill(pid, signal.SIGKILL)
    harness.until(lambda: len(harness.supervisor) == 0)


# --- without a fork -----------------------------------------------------------------------------


def test_a_job_can_be_done_without_a_fork(portal: Portal) -> None:
    pids: list[int] = []

    def run_job(job: Job, reporter: Reporter, confine: Confine) -> None:
        pids.append(os.getpid())
        confine()
        logs_in(portal)(job, reporter, confine)

    harness = WorkersHarness(run_job)
    uid = os.getuid()
    succeeded, ended = harness.supervisor.run_inline(login_job())
    assert isinstance(succeeded, LoginSucceeded)
    assert ended == WorkerEnded(ONE)
    assert pids == [os.getpid()]
    assert os.getuid() == uid
    with harness.supervisor.take_socket(ONE) as connection:
        assert not connection.get_inheritable()


def test_a_failure_without_a_fork_is_the_same_fact() -> None:
    def run_job(_job: Job, _reporter: Reporter, _confine: Confine) -> None:
        raise ConnectionRefusedError(111, "")

    failed, ended = WorkersHarness(run_job).supervisor.run_inline(login_job())
    assert isinstance(failed, LoginFailed)
    assert ended == WorkerEnded(ONE)


def test_a_discovery_without_a_fork_is_not_kept() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        assert job == discovery_job(keep=False)
        assert reporter.poll_parent() is ParentMessage.NOTHING
        reporter.report(DiscoveryCompleted(job.id))

    facts = WorkersHarness(run_job).supervisor.run_inline(discovery_job(keep=True))
    assert facts == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]
