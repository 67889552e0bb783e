"""What a worker may send, and when: real workers that send too much, or nonsense."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable

import pytest

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
from iscsid.protocol.names import DiscoveryRecord, Portal, TargetAddress
from iscsid.protocol.parameters import LoginResult
from iscsid.workers import log_quota, worker
from iscsid.workers.reporter import Reporter
from iscsid.workers.transport import Deadline, Limits, connect
from tests.support.jobs import ISID, TARGET, discovery_job, login_job, scan_job
from tests.support.supervisor_harness import WorkersHarness, open_descriptors

ONE = JobId(1)
RECORD = DiscoveryRecord(TARGET, ())
LIMITS = Limits(10, Deadline.after(0))
RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1)


def sending(octets: bytes) -> Callable[[Job, Reporter], None]:
    """A child that was taken over, and writes what it likes; then it stays."""

    def run_job(_job: Job, reporter: Reporter) -> None:
        os.write(reporter.fileno(), octets)
        time.sleep(60)

    return run_job


def how_it_ended(harness: WorkersHarness) -> str:
    ending = harness.ending_of(ONE)
    assert ending.how is not None
    return ending.how.what


@pytest.mark.parametrize("octets", [b"hello", b'["LoginFailed",{}]', b"[" * 1000, b"\0" * 190_000])
def test_a_child_that_sends_nonsense_is_ended_at_once(octets: bytes) -> None:
    harness = WorkersHarness(sending(octets))
    harness.run(login_job(deadline=0))
    assert harness.facts == [harness.ending_of(ONE)]
    assert how_it_ended(harness).startswith(
        "the worker was killed, because it sent an invalid message: "
    )


def test_nonsense_is_noticed_even_if_the_child_is_gone_by_then() -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        reporter.progress("testing")
        os.write(reporter.fileno(), b"hello")

    harness = WorkersHarness(run_job)
    harness.run(login_job())
    assert "sent an invalid message" in how_it_ended(harness)


def test_a_child_that_sends_nonsense_and_ignores_signals_is_ended_too() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sending(b"hello")(job, reporter)

    harness = WorkersHarness(run_job)
    harness.run(login_job(deadline=0))
    assert "sent an invalid message" in how_it_ended(harness)


def test_what_was_sent_before_the_nonsense_counts() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(TargetDiscovered(job.id, RECORD))
        sending(b"hello")(job, reporter)

    harness = WorkersHarness(run_job)
    harness.run(discovery_job())
    assert harness.facts == [TargetDiscovered(ONE, RECORD), harness.ending_of(ONE)]
    assert "sent an invalid message" in how_it_ended(harness)


def test_of_a_flood_of_lines_a_few_are_logged() -> None:
    """A target can trigger them, by an asynchronous event for instance, and sets the pace."""

    def run_job(job: Job, reporter: Reporter) -> None:
        for number in range(5000):
            reporter.log(Level.INFO, f"look at me, {number}")
        reporter.report(DiscoveryCompleted(job.id))

    harness = WorkersHarness(run_job)
    harness.run(discovery_job())
    assert log_quota.BURST <= len(harness.logged) <= log_quota.BURST + 3
    assert harness.ending_of(ONE).how is None


def test_answers_do_not_renew_what_may_be_logged() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        for answer in range(5):
            for number in range(100 * answer, 100 * answer + 100):
                reporter.log(Level.INFO, f"look at me, {number}")
            reporter.report(DiscoveryCompleted(job.id, kept=True))

    harness = WorkersHarness(run_job)
    harness.run(discovery_job(keep=True))
    assert len(harness.logged) <= log_quota.BURST + 3


def test_a_child_that_floods_us_with_targets_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        while True:
            reporter.report(TargetDiscovered(job.id, RECORD))

    monkeypatch.setattr(worker, "MOST_TARGETS", 300)
    harness = WorkersHarness(run_job)
    harness.run(discovery_job(deadline=0))
    assert len(harness.facts) == 301
    assert how_it_ended(harness) == "the target reported more than 300 targets in one answer"


def test_a_kept_discovery_may_report_as_much_again_after_each_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        for _ in range(3):
            for _ in range(300):
                reporter.report(TargetDiscovered(job.id, RECORD))
            reporter.report(DiscoveryCompleted(job.id, kept=True))

    monkeypatch.setattr(worker, "MOST_TARGETS", 300)
    harness = WorkersHarness(run_job)
    harness.run(discovery_job(keep=True))
    assert harness.facts.count(DiscoveryCompleted(ONE, kept=True)) == 3
    assert harness.ending_of(ONE).how is None


def test_nothing_comes_after_a_last_word() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(ScanFinished(job.id))
        reporter.report(ScanFinished(job.id))
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.run(scan_job())
    assert harness.facts == [ScanFinished(ONE), WorkerEnded(ONE)]


def test_a_second_login_of_one_job_is_refused_and_its_connection_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())

        def run_job(job: Job, reporter: Reporter) -> None:
            for _ in range(2):
                connect(portal, LIMITS, reporter)
                reporter.report(LoginSucceeded(job.id, RESULT, portal))

        harness = WorkersHarness(run_job)
        before = open_descriptors()
        harness.run(login_job(portal=portal))
        assert [type(fact) for fact in harness.facts] == [LoginSucceeded, WorkerEnded]
        harness.supervisor.close_socket(ONE)
        harness.until(lambda: harness.supervisor.processes == 0)
        assert open_descriptors() == before


def test_lines_for_the_log_may_come_after_a_last_word() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(DiscoveryCompleted(job.id))
        reporter.progress("logging out")
        reporter.log(Level.DEBUG, "logging out: no answer within 3 s")

    harness = WorkersHarness(run_job)
    harness.run(discovery_job())
    assert harness.lines == ["logging out", "logging out: no answer within 3 s"]


def test_a_discovery_that_was_not_to_be_kept_cannot_be_kept() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(DiscoveryCompleted(job.id, kept=True))
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.run(discovery_job(keep=False))
    assert harness.facts == [harness.ending_of(ONE)]
    assert "was not to be kept" in how_it_ended(harness)


def test_a_child_that_closes_its_channel_and_stays_is_ended() -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        os.close(reporter.fileno())
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.run(login_job(deadline=0))
    assert harness.ending_of(ONE).how is not None


def test_a_stopped_child_that_sends_nonsense_is_no_failure() -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        reporter.progress("waiting")
        signal.pause()
        os.write(reporter.fileno(), b"hello")
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.start(login_job(deadline=0))
    harness.wait_until_logged("waiting")
    harness.supervisor.stop(ONE)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts == [WorkerEnded(ONE)]


def test_a_login_without_a_connection_is_refused() -> None:
    def run_job(job: Job, reporter: Reporter) -> None:
        reporter.report(LoginSucceeded(job.id, RESULT, Portal("127.0.0.1", 1)))

    harness = WorkersHarness(run_job)
    harness.run(login_job())
    assert "a login succeeded without a connection" in how_it_ended(harness)


def test_a_connection_that_broke_on_the_way_is_a_failed_login() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())

        def run_job(job: Job, reporter: Reporter) -> None:
            with connect(portal, LIMITS, reporter) as connection:
                reporter.progress("reading")
                with pytest.raises(ConnectionResetError):
                    connection.settimeout(10)
                    connection.recv(1)
            reporter.report(LoginSucceeded(job.id, RESULT, portal))

        harness = WorkersHarness(run_job)
        harness.start(login_job(portal=portal))
        harness.wait_until_logged("reading")
        with listener.accept()[0] as far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        failed, ended = harness.run()
    assert isinstance(failed, LoginFailed)
    assert "broke right after the login" in failed.failure.what
    assert ended == WorkerEnded(ONE)


def test_a_worker_that_wants_connections_without_end_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        while True:
            reporter.connect(Portal("127.0.0.1", 1), 0, 10)

    monkeypatch.setattr(worker, "MOST_CONNECTIONS", 5)
    harness = WorkersHarness(run_job)
    harness.run(login_job())
    assert "more than 5 connections" in how_it_ended(harness)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "ff02::1"]
)
def test_no_connection_is_begun_where_no_target_can_be(host: str) -> None:
    def run_job(_job: Job, reporter: Reporter) -> None:
        reporter.connect(Portal(host, 3260), 0, 10)

    harness = WorkersHarness(run_job)
    harness.run(login_job())
    assert "sent an invalid message" in how_it_ended(harness)


def test_a_target_with_too_many_addresses_is_reported_as_the_target_s_doing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = DiscoveryRecord(TARGET, (TargetAddress(Portal("192.0.2.1")),) * 100)

    def run_job(job: Job, reporter: Reporter) -> None:
        for _ in range(10):
            reporter.report(TargetDiscovered(job.id, record))

    monkeypatch.setattr(worker, "MOST_ADDRESSES", 500)
    harness = WorkersHarness(run_job)
    harness.run(discovery_job(deadline=0))
    assert how_it_ended(harness) == "the target reported more than 500 addresses in one answer"
    assert len(harness.facts) == 6
