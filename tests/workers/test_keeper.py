"""The keeper with real children: started, heard, stopped, killed, reaped."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iscsid.errors import Decision
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
from iscsid.protocol.parameters import LoginResult
from iscsid.workers.login import Confine
from iscsid.workers.reporter import Heard, Reporter
from tests.workers.jobs import ISID, TARGET, discovery_job, login_job, scan_job
from tests.workers.ring import Ring, children, open_descriptors, status_of, until

ONE = JobId(1)
RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1)

Perform = Callable[[Job, Reporter, Confine], None]


def finishes(job: Job, reporter: Reporter, _confine: Confine) -> None:
    reporter.report(ScanFinished(job.job))


def hangs(_job: Job, reporter: Reporter, _confine: Confine) -> None:
    reporter.doing("hanging")
    time.sleep(60)


def hangs_and_hears_no_signal(_job: Job, reporter: Reporter, _confine: Confine) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reporter.doing("hanging")
    time.sleep(60)


@pytest.fixture
def portal() -> Iterator[Portal]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Portal(*listener.getsockname())


def logs_in(portal: Portal, then: Callable[[], None] = lambda: None) -> Perform:
    """Hands over a real connection, and then does something else."""

    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        with socket.create_connection((portal.host, portal.port)) as near:
            reporter.report(LoginSucceeded(job.job, RESULT, portal), near)
        then()

    return perform


def pid_of(ring: Ring, number: int = 1) -> int:
    return ring.keeper._wards[JobId(number)].pid


# --- the ordinary life --------------------------------------------------------------------------


def test_a_job_ends_with_its_facts_and_then_its_end() -> None:
    ring = Ring(finishes)
    assert ring.run(scan_job()) == [ScanFinished(ONE), WorkerEnded(ONE)]
    assert ring.ears == {}


def test_facts_come_while_the_child_still_runs() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(TargetDiscovered(job.job, DiscoveryRecord(TARGET, ())))
        time.sleep(60)

    ring = Ring(perform)
    ring.start(discovery_job())
    ring.until(lambda: ring.facts != [])
    assert ring.facts == [TargetDiscovered(ONE, DiscoveryRecord(TARGET, ()))]
    ring.keeper.end_all()


def test_what_a_child_said_is_told_before_its_end_even_if_nobody_listened_in_between() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        for number in range(200):
            name = IscsiName(f"iqn.2024-01.org.example:t{number}")
            reporter.report(TargetDiscovered(job.job, DiscoveryRecord(name, ())))
        reporter.report(DiscoveryCompleted(job.job))

    ring = Ring(perform)
    ring.start(discovery_job())
    until(lambda: status_of(pid_of(ring))["State"].startswith("Z"))
    facts = ring.keeper.reap()
    assert len(facts) == 202
    assert facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_one_that_says_much_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        for _ in range(150):
            reporter.report(TargetDiscovered(job.job, DiscoveryRecord(TARGET, ())))
        (tmp_path / "done").touch()
        time.sleep(60)

    ring = Ring(perform)
    ring.start(discovery_job())
    (ear,) = ring.ears.values()
    until((tmp_path / "done").exists)
    assert [len(ear()) for _ in range(4)] == [64, 64, 22, 0]
    ring.keeper.end_all()


def test_lines_for_the_log_go_to_the_log() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.doing("testing")
        reporter.say(Level.WARNING, "look out")
        reporter.report(ScanFinished(job.job))

    ring = Ring(perform)
    ring.run(scan_job())
    assert ring.said == [(Level.DEBUG, "testing"), (Level.WARNING, "look out")]


def test_forty_children_at_once_are_all_reaped() -> None:
    ring = Ring(finishes)
    before, others = open_descriptors(), children()
    ring.run(*(scan_job(number) for number in range(1, 41)))
    assert {ring.ending_of(JobId(number)).how for number in range(1, 41)} == {None}
    assert sum(isinstance(fact, ScanFinished) for fact in ring.facts) == 40
    assert children() == others
    assert open_descriptors() == before


def test_a_foreign_child_is_not_reaped() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    until(lambda: status_of(pid)["State"].startswith("Z"))
    Ring(finishes).run(scan_job())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_child_that_somebody_else_reaped_has_ended_too() -> None:
    ring = Ring(hangs)
    ring.start(scan_job())
    os.kill(pid_of(ring), signal.SIGKILL)
    os.waitpid(pid_of(ring), 0)
    (ended,) = ring.keeper.reap()
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert len(ring.keeper) == 0


def test_a_child_that_cannot_be_started_is_a_failed_attempt() -> None:
    ring = Ring(finishes)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        facts = ring.keeper.start(scan_job())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    (ended,) = facts
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "no worker could be started: Too many open files"
    assert ended.how.decision is Decision.RETRY
    assert len(ring.keeper) == 0


def test_a_failed_fork_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "")

    ring = Ring(finishes)
    before = open_descriptors()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(os, "fork", fork)
    (ended,) = ring.keeper.start(scan_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert open_descriptors() == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


# --- deaths -------------------------------------------------------------------------------------

STEPS = ["starting", "resolving x", "connecting to x", "logging in"]


@pytest.mark.parametrize("step", STEPS)
def test_a_child_that_is_killed_is_exactly_one_failed_attempt(step: str) -> None:
    def perform(_job: Job, reporter: Reporter, _confine: Confine) -> None:
        for each in STEPS[1 : STEPS.index(step) + 1]:
            reporter.doing(each)
        os.kill(os.getpid(), signal.SIGKILL)

    (ended,) = Ring(perform).run(login_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == f"the worker was killed (SIGKILL) while {step}"


def test_a_child_that_is_killed_after_its_last_word_has_not_failed(portal: Portal) -> None:
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ring = Ring(logs_in(portal, killed))
    succeeded, ended = ring.run(login_job())
    assert isinstance(succeeded, LoginSucceeded)
    assert ended == WorkerEnded(ONE)
    ring.keeper.close_socket(ONE)


def test_a_kept_discovery_that_is_killed_after_its_answer_has_failed() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(DiscoveryCompleted(job.job, kept=True))
        os.kill(os.getpid(), signal.SIGKILL)

    completed, ended = Ring(perform).run(discovery_job(keep=True))
    assert completed == DiscoveryCompleted(ONE, kept=True)
    assert isinstance(ended, WorkerEnded) and ended.how is not None


def test_a_kept_discovery_that_leaves_after_its_answer_has_not_failed() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(DiscoveryCompleted(job.job, kept=True))

    facts = Ring(perform).run(discovery_job(keep=True))
    assert facts == [DiscoveryCompleted(ONE, kept=True), WorkerEnded(ONE)]


def test_a_child_that_leaves_without_a_word_has_failed() -> None:
    def perform(_job: Job, _reporter: Reporter, _confine: Confine) -> None:
        """Says nothing."""

    (ended,) = Ring(perform).run(login_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert "without a result" in ended.how.what


# --- deadlines ----------------------------------------------------------------------------------


def test_without_children_there_is_no_deadline() -> None:
    assert Ring(finishes).keeper.next_deadline() is None


def test_a_job_without_a_limit_has_no_deadline() -> None:
    ring = Ring(hangs)
    ring.start(scan_job(deadline=0))
    assert ring.keeper.next_deadline() is None
    ring.keeper.end_all()


def test_the_nearest_deadline_counts() -> None:
    ring = Ring(hangs)
    now = time.monotonic()
    for number, deadline in ((1, 100), (2, 50), (3, 0)):
        ring.start(scan_job(number, deadline=deadline))
    nearest = ring.keeper.next_deadline()
    assert nearest is not None and 52 <= nearest - now < 60
    ring.keeper.end_all()


def test_a_child_that_overstays_is_ended_as_one_failed_attempt() -> None:
    ring = Ring(hangs)
    ring.start(login_job(deadline=15))
    ring.until_said("hanging")
    ring.keeper.enforce_deadlines(time.monotonic() + 16)
    assert status_of(pid_of(ring)) != {}
    ring.keeper.enforce_deadlines(time.monotonic() + 18)
    ring.until(lambda: len(ring.keeper) == 0)
    (ended,) = ring.facts
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "not finished within 15 s, ended while hanging"


def test_a_child_that_overstays_and_hears_no_signal_is_killed() -> None:
    ring = Ring(hangs_and_hears_no_signal)
    ring.start(login_job(deadline=15))
    ring.until_said("hanging")
    late = time.monotonic() + 18
    ring.keeper.enforce_deadlines(late)
    due = ring.keeper.next_deadline()
    assert due == pytest.approx(late + 1)
    ring.keeper.enforce_deadlines(late + 2)
    assert ring.keeper.next_deadline() is None
    ring.until(lambda: len(ring.keeper) == 0)
    ending = ring.ending_of(ONE)
    assert ending.how is not None and "not finished within 15 s" in ending.how.what


def test_a_kept_discovery_has_no_deadline_once_it_has_answered_until_it_is_asked_again() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        while True:
            reporter.report(DiscoveryCompleted(job.job, kept=True))
            while reporter.hear() is not Heard.ASK_AGAIN:
                time.sleep(0.01)

    ring = Ring(perform)
    ring.start(discovery_job(keep=True, deadline=15))
    assert ring.keeper.next_deadline() is not None
    ring.until(lambda: len(ring.facts) == 1)
    assert ring.keeper.next_deadline() is None
    ring.keeper.ask_again(ONE)
    assert ring.keeper.next_deadline() is not None
    ring.until(lambda: len(ring.facts) == 2)
    assert ring.keeper.next_deadline() is None
    ring.keeper.end_all()


def test_a_child_that_does_not_leave_after_its_last_word_is_ended(portal: Portal) -> None:
    ring = Ring(logs_in(portal, lambda: time.sleep(60)))
    ring.start(login_job(deadline=0))
    ring.until(lambda: len(ring.facts) == 1)
    due = ring.keeper.next_deadline()
    assert due is not None
    ring.keeper.enforce_deadlines(due)
    ring.until(lambda: len(ring.keeper) == 0)
    assert ring.facts[1:] == [WorkerEnded(ONE)]
    ring.keeper.close_socket(ONE)


# --- orders -------------------------------------------------------------------------------------


def test_a_stopped_child_ends_and_that_is_no_failure() -> None:
    ring = Ring(hangs)
    ring.start(login_job())
    ring.until_said("hanging")
    ring.keeper.stop(ONE)
    ring.until(lambda: len(ring.keeper) == 0)
    assert ring.facts == [WorkerEnded(ONE)]


def test_what_a_stopped_child_had_said_is_not_told_and_its_socket_is_closed(portal: Portal) -> None:
    ring = Ring(logs_in(portal))
    before = open_descriptors()
    ring.start(login_job())
    until(lambda: status_of(pid_of(ring))["State"].startswith("Z"))
    ring.keeper.stop(ONE)
    assert ring.keeper.reap() == [WorkerEnded(ONE)]
    assert open_descriptors() == before


def test_a_stopped_child_that_hears_no_signal_is_killed() -> None:
    ring = Ring(hangs_and_hears_no_signal)
    ring.start(login_job(deadline=0))
    ring.until_said("hanging")
    ring.keeper.stop(ONE)
    ring.keeper.stop(ONE)
    due = ring.keeper.next_deadline()
    assert due is not None
    ring.keeper.enforce_deadlines(due)
    ring.until(lambda: len(ring.keeper) == 0)
    assert ring.facts == [WorkerEnded(ONE)]


def test_orders_about_children_that_are_gone_do_no_harm() -> None:
    ring = Ring(finishes)
    ring.run(scan_job())
    ring.keeper.stop(ONE)
    ring.keeper.ask_again(ONE)
    ring.keeper.close_socket(ONE)
    ring.keeper.enforce_deadlines(time.monotonic() + 1000)
    assert ring.keeper.reap() == []


def test_the_loop_may_call_once_more_for_a_child_that_was_just_reaped() -> None:
    """Its channel and SIGCHLD may be ready in the same turn."""
    ring = Ring(finishes)
    ring.start(scan_job())
    (ear,) = ring.ears.values()
    ring.until(lambda: len(ring.keeper) == 0)
    assert ear() == []


def test_the_socket_of_a_login_is_handed_out_once_and_stands(portal: Portal) -> None:
    ring = Ring(logs_in(portal))
    ring.run(login_job())
    with ring.keeper.take_socket(ONE) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    with pytest.raises(KeyError):
        ring.keeper.take_socket(ONE)


def test_the_socket_of_a_login_that_came_too_late_can_be_closed(portal: Portal) -> None:
    ring = Ring(logs_in(portal))
    before = open_descriptors()
    ring.run(login_job())
    ring.keeper.close_socket(ONE)
    ring.keeper.close_socket(ONE)
    assert open_descriptors() == before


def test_only_a_kept_discovery_is_asked_again() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.doing("waiting")
        time.sleep(0.1)
        reporter.say(Level.INFO, reporter.hear().name)
        reporter.report(DiscoveryCompleted(job.job, kept=False))

    for keep, heard in ((True, "ASK_AGAIN"), (False, "NOTHING")):
        ring = Ring(perform)
        ring.start(discovery_job(keep=keep))
        ring.until_said("waiting")
        ring.keeper.ask_again(ONE)
        ring.until(lambda ring=ring: len(ring.keeper) == 0)  # type: ignore[misc]
        assert ring.lines[-1] == heard


def test_all_children_end_on_order_those_that_hear_no_signal_too() -> None:
    def perform(job: Job, reporter: Reporter, confine: Confine) -> None:
        (hangs if job.job % 2 else hangs_and_hears_no_signal)(job, reporter, confine)

    others = children()
    ring = Ring(perform)
    for number in range(1, 9):
        ring.start(scan_job(number))
    ring.until(lambda: ring.lines.count("hanging") == 8)
    ring.keeper.end_all(seconds=20)
    assert len(ring.keeper) == 0
    assert children() == others
    assert ring.ears == {}


def test_waiting_for_the_end_has_a_limit() -> None:
    """A scan may hang in the kernel, where no signal reaches it."""
    ring = Ring(hangs_and_hears_no_signal)
    ring.start(scan_job())
    ring.until_said("hanging")
    pid = pid_of(ring)
    ring.keeper.end_all(seconds=0.2)
    assert len(ring.keeper) == 1
    os.kill(pid, signal.SIGKILL)
    ring.until(lambda: len(ring.keeper) == 0)


# --- without a fork -----------------------------------------------------------------------------


def test_a_job_can_be_done_without_a_fork(portal: Portal) -> None:
    pids: list[int] = []

    def perform(job: Job, reporter: Reporter, confine: Confine) -> None:
        pids.append(os.getpid())
        confine()
        logs_in(portal)(job, reporter, confine)

    ring = Ring(perform)
    uid = os.getuid()
    succeeded, ended = ring.keeper.run_inline(login_job())
    assert isinstance(succeeded, LoginSucceeded)
    assert ended == WorkerEnded(ONE)
    assert pids == [os.getpid()]
    assert os.getuid() == uid
    with ring.keeper.take_socket(ONE) as connection:
        assert not connection.get_inheritable()


def test_a_failure_without_a_fork_is_the_same_fact() -> None:
    def perform(_job: Job, _reporter: Reporter, _confine: Confine) -> None:
        raise ConnectionRefusedError(111, "")

    failed, ended = Ring(perform).keeper.run_inline(login_job())
    assert isinstance(failed, LoginFailed)
    assert ended == WorkerEnded(ONE)


def test_a_discovery_without_a_fork_is_not_kept() -> None:
    def perform(job: Job, reporter: Reporter, _confine: Confine) -> None:
        assert job == discovery_job(keep=False)
        assert reporter.hear() is Heard.NOTHING
        reporter.report(DiscoveryCompleted(job.job))

    facts = Ring(perform).keeper.run_inline(discovery_job(keep=True))
    assert facts == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]
