"""The supervisor with real workers: started, read, stopped, reaped."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.errors import Retry
from iscsid.facts import (
    DiscoveryCompleted,
    Fact,
    LoginSucceeded,
    ScanFinished,
    TargetDiscovered,
    WorkerEnded,
)
from iscsid.jobs import Job, JobId, ScanJob, WorkerJob
from iscsid.orders import Level
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from iscsid.workers import fork_server
from iscsid.workers.channel import ParentEnd
from iscsid.workers.reporter import Reporter
from iscsid.workers.supervisor import NoForkServer
from iscsid.workers.worker import IDLE, SURPLUS
from tests.support.fake_jobs import finishes, hangs, hangs_and_ignores_signals, logs_in
from tests.support.jobs import TARGET, discovery_job, login_job, scan_job
from tests.support.patience import PATIENCE
from tests.support.supervisor_harness import (
    WorkersHarness,
    not_confined,
    open_descriptors,
    status_of,
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


def test_facts_come_while_the_child_still_runs() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(TargetDiscovered(job.id, DiscoveryRecord(TARGET, ())))
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.start(discovery_job())
    harness.until(lambda: harness.facts != [])
    assert harness.facts == [TargetDiscovered(ONE, DiscoveryRecord(TARGET, ()))]
    harness.supervisor.end_all()


def test_what_a_worker_reported_comes_before_its_end_even_if_its_end_is_read_first() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        for number in range(200):
            name = IscsiName(f"iqn.2024-01.org.example:t{number}")
            reporter.report(TargetDiscovered(job.id, DiscoveryRecord(name, ())))
        reporter.report(DiscoveryCompleted(job.id))
        os.kill(os.getpid(), signal.SIGKILL)

    harness = WorkersHarness(run_job, confine=not_confined)
    harness.start(discovery_job())
    facts: list[Fact] = []
    while not facts:
        facts = harness.supervisor._read_fork_server()
    assert len(facts) == 202
    assert facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_one_that_sends_much_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        for _ in range(150):
            reporter.report(TargetDiscovered(job.id, DiscoveryRecord(TARGET, ())))
        (tmp_path / "done").touch()
        time.sleep(60)

    harness = WorkersHarness(run_job, confine=not_confined)
    harness.start(discovery_job())
    read = harness.readers[harness.worker_of().channel.fileno()]
    until((tmp_path / "done").exists)
    assert [len(read()) for _ in range(4)] == [64, 64, 22, 0]
    harness.supervisor.end_all()


def test_lines_for_the_log_go_to_the_log() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.progress("testing")
        reporter.log(Level.WARNING, "look out")
        reporter.report(ScanFinished(job.id))

    harness = WorkersHarness(run_job)
    harness.run(scan_job())
    assert harness.logged == [(Level.DEBUG, "testing"), (Level.WARNING, "look out")]


def test_forty_workers_at_once_all_end() -> None:
    harness = WorkersHarness(finishes)
    before = open_descriptors()
    harness.run(*(scan_job(number) for number in range(1, 41)))
    assert {harness.ending_of(JobId(number)).how for number in range(1, 41)} == {None}
    assert sum(isinstance(fact, ScanFinished) for fact in harness.facts) == 40
    harness.supervisor.end_all()
    assert harness.supervisor.processes == 0
    assert open_descriptors() == before


def test_sixty_logins_may_succeed_before_the_daemon_looks_at_the_first() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        portal = Portal(*listener.getsockname())
        harness = WorkersHarness(logs_in(portal))
        numbers = range(1, 61)
        harness.run(*(login_job(number, portal) for number in numbers))
        assert sum(isinstance(fact, LoginSucceeded) for fact in harness.facts) == 60
        for number in numbers:
            with harness.supervisor.take_socket(JobId(number)) as connection:
                assert connection.getpeername()[1] == portal.port


# --- workers that stay --------------------------------------------------------------------------


def pids_of(harness: WorkersHarness, *jobs: Job) -> list[int]:
    pids = []
    for job in jobs:
        harness.start(job)
        pids.append(harness.pid_of(job.id))
        harness.until(lambda: len(harness.supervisor) == 0)
    return pids


def test_a_worker_does_one_job_after_another_at_the_same_portal(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    first, second = pids_of(harness, login_job(1, portal), login_job(2, portal))
    assert first == second
    assert harness.supervisor.processes == 1


def test_a_worker_never_meets_the_target_of_another_portal(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    other = Portal("127.0.0.2", portal.port)
    pids = pids_of(harness, login_job(1, portal), login_job(2, other), login_job(3, portal))
    assert pids[0] == pids[2] != pids[1]


def test_privileged_jobs_have_workers_of_their_own(portal: Portal) -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        if isinstance(job, ScanJob):
            finishes(job, reporter)
        else:
            logs_in(portal)(job, reporter)

    harness = WorkersHarness(run_job)
    pids = pids_of(harness, scan_job(1), login_job(2, portal), scan_job(3))
    assert pids[0] == pids[2] != pids[1]


def test_an_idle_worker_ends_after_a_while() -> None:
    harness = WorkersHarness(finishes)
    harness.run(scan_job())
    due = harness.supervisor.next_deadline()
    assert due is not None and 0 < due - time.monotonic() <= IDLE
    harness.supervisor.enforce_deadlines(due)
    harness.until(lambda: harness.supervisor.processes == 0)
    assert harness.facts == [ScanFinished(ONE), WorkerEnded(ONE)]


def test_after_a_burst_a_few_workers_stay(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    harness.run(*(login_job(number, portal) for number in range(1, 13)))
    harness.until(lambda: harness.supervisor.processes <= 4)
    due = harness.supervisor.next_deadline()
    assert due is not None and due - time.monotonic() > SURPLUS


def test_idle_workers_count_as_processes_and_make_room(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal), most=2)
    for number in range(1, 5):
        harness.run(login_job(number, Portal(f"127.0.0.{number}", portal.port)))
        harness.until(lambda: harness.supervisor.processes <= 2)


def test_an_idle_worker_that_was_killed_costs_no_job() -> None:
    harness = WorkersHarness(finishes)
    (pid,) = pids_of(harness, scan_job(1))
    os.kill(pid, signal.SIGKILL)
    until(lambda: status_of(pid) == {})
    harness.facts.clear()
    assert harness.run(scan_job(2)) == [ScanFinished(JobId(2)), WorkerEnded(JobId(2))]


def test_a_worker_that_met_a_bug_is_not_used_again() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        if job.id == 1:
            raise RuntimeError
        finishes(job, reporter)

    harness = WorkersHarness(run_job)
    harness.run(scan_job(1))
    assert harness.run(scan_job(2))[-1] == WorkerEnded(JobId(2))


# --- the fork server ----------------------------------------------------------------------------


def test_a_fork_server_that_is_killed_is_replaced_and_its_jobs_have_failed() -> None:
    harness = WorkersHarness(hangs)
    harness.start(scan_job(1))
    pid = harness.pid_of()
    os.kill(harness.fork_server.pid, signal.SIGKILL)
    harness.until(lambda: len(harness.supervisor) == 0)
    ended = harness.ending_of(ONE)
    assert ended.how is not None and "process that starts workers was killed" in ended.how.what
    until(lambda: status_of(pid).get("State", "Z")[0] in "ZX")
    # Its socket is closed before it has ended.
    until(lambda: status_of(harness.fork_server.pid).get("State", "Z")[0] == "Z")
    harness.fork_server.reap()
    assert status_of(harness.fork_server.pid) == {}
    harness.start(scan_job(2))
    harness.wait_until_logged("hanging")
    harness.supervisor.end_all()


def test_every_fork_server_that_is_killed_is_replaced() -> None:
    harness = WorkersHarness(hangs)
    for number in range(1, 4):
        harness.start(scan_job(number))
        server = int(status_of(harness.pid_of(number))["PPid"])
        os.kill(server, signal.SIGKILL)
        harness.until(lambda: len(harness.supervisor) == 0)
    harness.start(scan_job(9))
    harness.wait_until_logged("hanging")
    harness.supervisor.end_all()


def standby_of(harness: WorkersHarness) -> int:
    """Wait for the fork server that stands by, and return its process."""
    children = Path(f"/proc/{harness.fork_server.pid}/task/{harness.fork_server.pid}/children")
    until(lambda: children.read_text() != "")
    return int(children.read_text().split()[0])


def kill_and_await(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: status_of(pid).get("State", "Z")[0] in "ZX")


def test_fork_server_that_stands_by_and_is_killed_is_replaced_before_it_is_needed() -> None:
    harness = WorkersHarness(hangs)
    kill_and_await(standby_of(harness))
    harness.start(scan_job(1))
    harness.wait_until_logged("hanging")
    harness.logged.clear()
    os.kill(harness.fork_server.pid, signal.SIGKILL)
    harness.until(lambda: len(harness.supervisor) == 0)
    harness.start(scan_job(2))
    harness.wait_until_logged("hanging")
    harness.supervisor.end_all()


def test_daemon_whose_fork_servers_were_both_killed_does_not_go_on_without() -> None:
    """Its sessions would never be revived; another start adopts them."""
    harness = WorkersHarness(hangs)
    kill_and_await(standby_of(harness))
    kill_and_await(harness.fork_server.pid)
    with pytest.raises(NoForkServer):
        harness.until(lambda: False)
    harness.start(scan_job(2))
    assert harness.ending_of(JobId(2)).how is not None
    harness.supervisor.end_all()


def test_the_end_is_reached_even_if_both_fork_servers_were_killed() -> None:
    harness = WorkersHarness(hangs)
    harness.start(scan_job(1))
    harness.wait_until_logged("hanging")
    kill_and_await(standby_of(harness))
    kill_and_await(harness.fork_server.pid)
    harness.supervisor.end_all()
    assert harness.supervisor.processes == 0


def test_a_fork_server_that_is_stopped_is_given_up_and_its_jobs_have_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGSTOP, or a debugger: no job would begin, and none that crashed would end."""
    monkeypatch.setattr(fork_server, "HANGS_AFTER", 0.3)
    harness = WorkersHarness(hangs)
    harness.start(scan_job(1))
    pid = harness.pid_of()
    os.kill(harness.fork_server.pid, signal.SIGSTOP)
    harness.start(scan_job(2))
    harness.until(lambda: len(harness.supervisor) == 0)
    for number in (1, 2):
        ended = harness.ending_of(JobId(number))
        assert ended.how is not None and "did not answer for" in ended.how.what
    harness.logged.clear()
    harness.start(scan_job(3))
    harness.wait_until_logged("hanging")
    os.kill(harness.fork_server.pid, signal.SIGCONT)
    until(lambda: status_of(harness.fork_server.pid).get("State", "Z")[0] in "ZX")
    until(lambda: status_of(pid).get("State", "Z")[0] in "ZX")
    harness.supervisor.end_all()


def test_a_fork_server_that_answers_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "HANGS_AFTER", 0.3)
    harness = WorkersHarness(hangs)
    harness.start(scan_job(1))
    harness.pid_of()
    harness.supervisor.stop(ONE)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.fork_server.due is None
    server = harness.fork_server.fileno()
    late = time.monotonic() + 0.5
    harness.until(lambda: time.monotonic() > late)
    assert harness.fork_server.fileno() == server


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may exceed net.core.wmem_max")
def test_four_hundred_jobs_may_be_started_before_the_first_worker_is_forked() -> None:
    """As with --max-processes=0; the default buffer of a socket takes fewer than 300 requests."""
    harness = WorkersHarness(finishes)
    os.kill(harness.fork_server.pid, signal.SIGSTOP)
    for number in range(1, 401):
        harness.start(scan_job(number))
    assert harness.facts == []
    assert len(harness.supervisor) == 400
    harness.fork_server.close()
    os.kill(harness.fork_server.pid, signal.SIGKILL)


def test_no_process_is_left_when_the_daemon_is_gone() -> None:
    harness = WorkersHarness(hangs)
    harness.start(scan_job())
    worker = harness.pid_of()
    parent = int(status_of(worker)["PPid"])
    harness.fork_server.close()
    until(lambda: status_of(worker).get("State", "Z")[0] in "ZX")
    until(lambda: status_of(parent).get("State", "Z")[0] in "ZX")


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


@pytest.mark.parametrize("is_late", [False, True], ids=["", "the job is sent afterwards"])
def test_a_failed_fork_is_a_failed_attempt_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    send_job = ParentEnd.send_job

    def send_late(end: ParentEnd, job: WorkerJob, level: Level) -> None:
        poll = select.poll()
        poll.register(end.fileno(), select.POLLHUP)
        assert poll.poll(PATIENCE * 1000)
        send_job(end, job, level)

    if is_late:
        monkeypatch.setattr(ParentEnd, "send_job", send_late)
    fork, server = os.fork, os.getpid()

    def fail_in_the_server() -> int:
        if os.getpid() != server:
            raise BlockingIOError(11, "")
        return fork()

    monkeypatch.setattr(os, "fork", fail_in_the_server)
    harness = WorkersHarness(finishes)
    before = open_descriptors()
    (ended,) = harness.run(scan_job())
    assert isinstance(ended, WorkerEnded) and ended.how is not None
    assert ended.how.what == "no worker could be started: Resource temporarily unavailable"
    # The second fork server could not be forked either: its socket may be another one by now.
    assert len(open_descriptors()) == len(before)


# --- orders -------------------------------------------------------------------------------------


def test_a_stopped_child_ends_and_that_is_no_failure() -> None:
    harness = WorkersHarness(hangs)
    harness.start(login_job())
    harness.wait_until_logged("hanging")
    harness.supervisor.stop(ONE)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts == [WorkerEnded(ONE)]


def test_what_a_stopped_worker_had_reported_is_dropped_and_its_socket_closed(
    portal: Portal,
) -> None:
    harness = WorkersHarness(logs_in(portal, signal.pause))
    before = open_descriptors()
    harness.start(login_job(portal=portal))
    harness.wait_until_logged("connecting")
    harness.supervisor.stop(ONE)
    harness.until(lambda: harness.supervisor.processes == 0)
    assert harness.facts == [WorkerEnded(ONE)]
    assert open_descriptors() == before


def test_a_stopped_child_that_ignores_signals_is_killed() -> None:
    harness = WorkersHarness(hangs_and_ignores_signals)
    harness.start(login_job(deadline=0))
    harness.wait_until_logged("hanging")
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


def test_the_loop_may_call_once_more_for_a_worker_that_has_just_ended() -> None:
    """Its channel and the fork server may be ready in the same turn."""
    harness = WorkersHarness(finishes)
    harness.start(scan_job())
    read = harness.readers[harness.worker_of().channel.fileno()]
    harness.supervisor.end_all()
    assert read() == []


def test_the_socket_of_a_login_is_handed_out_once_and_stands(portal: Portal) -> None:
    harness = WorkersHarness(logs_in(portal))
    harness.run(login_job(portal=portal))
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
    harness.supervisor.end_all()
    assert open_descriptors() == before


def test_only_a_kept_discovery_is_asked_again(tmp_path: Path) -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.progress("waiting")
        until((tmp_path / f"asked {job.id}").exists)
        reporter.log(Level.INFO, reporter.poll_parent().name)
        reporter.report(DiscoveryCompleted(job.id, kept=False))

    for number, keep, received in ((1, True, "ASK_AGAIN"), (2, False, "NOTHING")):
        harness = WorkersHarness(run_job, confine=not_confined)
        harness.start(discovery_job(number, keep=keep))
        harness.wait_until_logged("waiting")
        harness.supervisor.ask_again(JobId(number))
        (tmp_path / f"asked {number}").touch()
        harness.until(lambda harness=harness: len(harness.supervisor) == 0)  # type: ignore[misc]
        assert harness.lines[-1] == received


def test_all_children_end_on_order_those_that_ignore_signals_too() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        (hangs if job.id % 2 else hangs_and_ignores_signals)(job, reporter)

    harness = WorkersHarness(run_job)
    for number in range(1, 9):
        harness.start(scan_job(number))
    harness.until(lambda: harness.lines.count("hanging") == 8)
    harness.supervisor.end_all(seconds=20)
    assert len(harness.supervisor) == 0
    assert harness.supervisor.processes == 0
    assert list(harness.readers) == [harness.fork_server.fileno()]


def test_waiting_for_the_end_has_a_limit() -> None:
    """A scan may hang in the kernel, where no signal reaches it."""
    harness = WorkersHarness(hangs_and_ignores_signals)
    harness.start(scan_job())
    harness.wait_until_logged("hanging")
    pid = harness.pid_of()
    harness.supervisor.end_all(seconds=0.2)
    assert len(harness.supervisor) == 1
    os.kill(pid, signal.SIGKILL)
    harness.until(lambda: len(harness.supervisor) == 0)
