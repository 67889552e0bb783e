"""Workers that die, and workers that take too long: each is exactly one failed attempt."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from iscsid.errors import IscsidError
from iscsid.facts import (
    DiscoveryCompleted,
    LoginFailed,
    LoginSucceeded,
    WorkerEnded,
)
from iscsid.jobs import Job, JobId, LoginJob, ResolveJob
from iscsid.protocol.names import Portal
from iscsid.workers.reporter import ParentMessage, Reporter
from tests.support.fake_jobs import finishes, hangs, hangs_and_ignores_signals, logs_in
from tests.support.jobs import discovery_job, login_job, scan_job
from tests.support.supervisor_harness import WorkersHarness, not_confined, status_of

ONE = JobId(1)


@pytest.fixture
def portal() -> Iterator[Portal]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Portal(*listener.getsockname())


# --- deaths -------------------------------------------------------------------------------------

STEPS = ["starting", "resolving x", "connecting to x", "logging in"]


@pytest.mark.parametrize("step", STEPS)
def test_a_child_that_is_killed_is_exactly_one_failed_attempt(step: str) -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        for each in STEPS[1 : STEPS.index(step) + 1]:
            reporter.progress(each)
        os.kill(os.getpid(), signal.SIGKILL)

    (ended,) = WorkersHarness(run_job, confine=not_confined).run(login_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == f"the worker was killed (SIGKILL) while {step}"


def test_a_child_that_is_killed_after_its_last_word_has_not_failed(portal: Portal) -> None:
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    harness = WorkersHarness(logs_in(portal, killed), confine=not_confined)
    succeeded, ended = harness.run(login_job())
    assert isinstance(succeeded, LoginSucceeded)
    assert ended == WorkerEnded(ONE)
    harness.supervisor.close_socket(ONE)


def test_a_kept_discovery_that_is_killed_after_its_answer_has_failed() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(DiscoveryCompleted(job.id, kept=True))
        os.kill(os.getpid(), signal.SIGKILL)

    harness = WorkersHarness(run_job, confine=not_confined)
    completed, ended = harness.run(discovery_job(keep=True))
    assert completed == DiscoveryCompleted(ONE, kept=True)
    assert isinstance(ended, WorkerEnded) and ended.how is not None


def test_a_kept_discovery_that_leaves_after_its_answer_has_not_failed() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(DiscoveryCompleted(job.id, kept=True))

    facts = WorkersHarness(run_job).run(discovery_job(keep=True))
    assert facts == [DiscoveryCompleted(ONE, kept=True), WorkerEnded(ONE)]


def test_a_child_that_leaves_without_a_word_has_failed() -> None:
    def run_job(_job: Job, _reporter: Reporter) -> None:
        """Sends nothing."""

    (ended,) = WorkersHarness(run_job).run(login_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert "without a result" in ended.how.what


# --- deadlines ----------------------------------------------------------------------------------


def test_without_children_there_is_no_deadline() -> None:
    assert WorkersHarness(finishes).supervisor.next_deadline() is None


def test_a_job_without_a_limit_has_no_deadline() -> None:
    harness = WorkersHarness(hangs)
    harness.start(scan_job(deadline=0))
    harness.pid_of()
    assert harness.supervisor.next_deadline() is None
    harness.supervisor.end_all()


def test_the_nearest_deadline_counts() -> None:
    harness = WorkersHarness(hangs)
    now = time.monotonic()
    for number, deadline in ((1, 100), (2, 50), (3, 0)):
        harness.start(scan_job(number, deadline=deadline))
        harness.pid_of(number)
    nearest = harness.supervisor.next_deadline()
    assert nearest is not None and 52 <= nearest - now < 60
    harness.supervisor.end_all()


def test_a_child_that_overstays_is_ended_as_one_failed_attempt() -> None:
    harness = WorkersHarness(hangs)
    harness.start(login_job(deadline=15))
    harness.wait_until_logged("hanging")
    harness.supervisor.enforce_deadlines(time.monotonic() + 16)
    assert status_of(harness.pid_of()) != {}
    harness.supervisor.enforce_deadlines(time.monotonic() + 18)
    harness.until(lambda: len(harness.supervisor) == 0)
    (ended,) = harness.facts
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "not finished within 15 s, ended while hanging"


def test_a_name_server_that_hangs_ends_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "The limit for name resolution, connecting and the login phase of one login or discovery.
    When it has passed, that attempt fails." """

    def getaddrinfo(*_: object, flags: int, **_options: int) -> object:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "")
        while True:
            time.sleep(60)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    harness = WorkersHarness()
    harness.start(login_job(portal=Portal("array.example"), deadline=15))
    harness.start(discovery_job(2, portal=Portal("array.example"), deadline=60))
    harness.until(lambda: len(harness.logged) == 2)
    harness.supervisor.enforce_deadlines(time.monotonic() + 18)
    harness.until(lambda: len(harness.supervisor) == 1)
    (ended,) = harness.facts
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "not finished within 15 s, ended while resolving array.example"
    harness.supervisor.end_all()


def waits_for_ever(*_: object, flags: int, **_options: int) -> object:
    """For ``socket.getaddrinfo``."""
    if flags & socket.AI_NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, "")
    while True:
        time.sleep(60)


def gives_up_on_the_name(job: LoginJob | ResolveJob, reporter: Reporter) -> None:
    """Wait for a connection, and not for long."""
    if isinstance(job, ResolveJob):
        waits_for_ever(flags=0)
    with pytest.raises(TimeoutError):
        reporter.connect(job.portal, 0, 0.2)
    raise IscsidError("resolving took too long")


def test_a_name_server_that_hangs_is_asked_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", waits_for_ever)
    harness = WorkersHarness()

    def clock() -> float:
        assert harness.supervisor.processes <= 2
        return time.monotonic()

    harness.supervisor._clock = clock
    job = login_job(portal=Portal("array.example"), deadline=0.5)
    assert isinstance(harness.run(job)[-1], WorkerEnded)
    harness.supervisor.end_all()


def test_a_worker_that_gives_up_while_its_name_is_resolved_is_read_at_once() -> None:
    harness = WorkersHarness(gives_up_on_the_name, confine=not_confined)
    harness.start(login_job(portal=Portal("array.example"), deadline=15))
    harness.until(lambda: len(harness.facts) == 2)
    failed, ended = harness.facts
    assert isinstance(failed, LoginFailed) and "too long" in str(failed.failure)
    assert ended == WorkerEnded(ONE)
    assert harness.supervisor.processes == 2
    harness.supervisor.end_all()


def test_a_child_that_overstays_and_ignores_signals_is_killed() -> None:
    harness = WorkersHarness(hangs_and_ignores_signals)
    harness.start(login_job(deadline=15))
    harness.wait_until_logged("hanging")
    late = time.monotonic() + 18
    harness.supervisor.enforce_deadlines(late)
    due = harness.supervisor.next_deadline()
    assert due == pytest.approx(late + 1)
    harness.supervisor.enforce_deadlines(late + 2)
    harness.until(lambda: harness.supervisor.next_deadline() is None)
    harness.until(lambda: len(harness.supervisor) == 0)
    ending = harness.ending_of(ONE)
    assert ending.how is not None and "not finished within 15 s" in ending.how.what


def test_a_kept_discovery_has_no_deadline_once_it_has_answered_until_it_is_asked_again() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        while True:
            reporter.report(DiscoveryCompleted(job.id, kept=True))
            while reporter.poll_parent() is not ParentMessage.ASK_AGAIN:
                time.sleep(0.01)

    harness = WorkersHarness(run_job)
    harness.start(discovery_job(keep=True, deadline=15))
    assert harness.supervisor.next_deadline() is not None
    harness.until(lambda: len(harness.facts) == 1)
    assert harness.supervisor.next_deadline() is None
    harness.supervisor.ask_again(ONE)
    assert harness.supervisor.next_deadline() is not None
    harness.until(lambda: len(harness.facts) == 2)
    assert harness.supervisor.next_deadline() is None
    harness.supervisor.end_all()


def test_a_child_that_does_not_leave_after_its_last_word_is_ended(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal, lambda: time.sleep(60)))
    harness.start(login_job(deadline=0))
    harness.until(lambda: len(harness.facts) == 1)
    due = harness.supervisor.next_deadline()
    assert due is not None
    harness.supervisor.enforce_deadlines(due)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts[1:] == [WorkerEnded(ONE)]
    harness.supervisor.close_socket(ONE)
