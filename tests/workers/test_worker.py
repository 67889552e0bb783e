"""What a keeper lets a child say, and when: real children that say too much, or nonsense."""

from __future__ import annotations

import os
import signal
import socket
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
from iscsid.protocol.names import DiscoveryRecord, Portal
from iscsid.protocol.parameters import LoginResult
from iscsid.workers import worker
from iscsid.workers.reporter import Reporter
from iscsid.workers.sandbox import Confine
from tests.support.jobs import ISID, TARGET, discovery_job, login_job, scan_job
from tests.support.supervisor_harness import WorkersHarness, open_descriptors

ONE = JobId(1)
RECORD = DiscoveryRecord(TARGET, ())
RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1)


def sending(octets: bytes) -> Callable[[Job, Reporter, Confine], None]:
    """A child that was taken over, and writes what it likes; then it stays."""

    def run_job(_job: Job, reporter: Reporter, _confine: Confine) -> None:
        os.write(reporter.fileno(), octets)
        time.sleep(60)

    return run_job


def how_it_ended(harness: WorkersHarness) -> str:
    ending = harness.ending_of(ONE)
    assert ending.how is not None
    return ending.how.what


@pytest.mark.parametrize("octets", [b"hello", b'["LoginFailed",{}]', b"[" * 1000, b"\0" * 190_000])
def test_a_child_that_says_nonsense_is_ended_at_once(octets: bytes) -> None:
    harness = WorkersHarness(sending(octets))
    harness.run(login_job(deadline=0))
    assert harness.facts == [harness.ending_of(ONE)]
    assert how_it_ended(harness).startswith("the worker was ended, as it said what it may not: ")


def test_nonsense_is_heard_even_if_the_child_is_gone_by_then() -> None:
    def run_job(_job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.progress("testing")
        os.write(reporter.fileno(), b"hello")

    harness = WorkersHarness(run_job)
    harness.run(login_job())
    assert "said what it may not" in how_it_ended(harness)


def test_a_child_that_says_nonsense_and_hears_no_signal_is_ended_too() -> None:
    def run_job(job: Job, reporter: Reporter, confine: Confine) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sending(b"hello")(job, reporter, confine)

    harness = WorkersHarness(run_job)
    harness.run(login_job(deadline=0))
    assert "said what it may not" in how_it_ended(harness)


def test_what_was_said_before_the_nonsense_stays_said() -> None:
    def run_job(job: Job, reporter: Reporter, confine: Confine) -> None:
        reporter.report(TargetDiscovered(job.id, RECORD))
        sending(b"hello")(job, reporter, confine)

    harness = WorkersHarness(run_job)
    harness.run(discovery_job())
    assert harness.facts == [TargetDiscovered(ONE, RECORD), harness.ending_of(ONE)]
    assert "said what it may not" in how_it_ended(harness)


def test_a_child_that_floods_the_log_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_job(_job: Job, reporter: Reporter, _confine: Confine) -> None:
        while True:
            reporter.log(Level.INFO, "look at me")

    monkeypatch.setattr(worker, "MOST_LINES", 300)
    harness = WorkersHarness(run_job)
    harness.run(login_job(deadline=0))
    assert len(harness.said) == 300
    assert "more than 300 lines" in how_it_ended(harness)


def test_a_kept_discovery_may_trace_the_pings_of_many_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(DiscoveryCompleted(job.id, kept=True))
        for _ in range(900):
            reporter.log(Level.INFO, "< nop in")

    monkeypatch.setattr(worker, "MOST_LINES", 300)
    monkeypatch.setattr(worker, "LINES_COUNT_FOR", -1)
    harness = WorkersHarness(run_job)
    harness.run(discovery_job(keep=True))
    assert len(harness.said) == 900 and harness.ending_of(ONE).how is None


def test_a_child_that_floods_us_with_targets_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        while True:
            reporter.report(TargetDiscovered(job.id, RECORD))

    monkeypatch.setattr(worker, "MOST_TARGETS", 300)
    harness = WorkersHarness(run_job)
    harness.run(discovery_job(deadline=0))
    assert len(harness.facts) == 301
    assert "more than 300 targets" in how_it_ended(harness)


def test_a_kept_discovery_may_say_as_much_again_after_each_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        for _ in range(3):
            for _ in range(300):
                reporter.report(TargetDiscovered(job.id, RECORD))
                reporter.log(Level.INFO, "one more")
            reporter.report(DiscoveryCompleted(job.id, kept=True))

    monkeypatch.setattr(worker, "MOST_TARGETS", 300)
    monkeypatch.setattr(worker, "MOST_LINES", 300)
    harness = WorkersHarness(run_job)
    harness.run(discovery_job(keep=True))
    assert harness.facts.count(DiscoveryCompleted(ONE, kept=True)) == 3
    assert harness.ending_of(ONE).how is None


def test_nothing_comes_after_a_last_word() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(ScanFinished(job.id))
        reporter.report(ScanFinished(job.id))
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.run(scan_job())
    assert harness.facts == [ScanFinished(ONE), WorkerEnded(ONE)]


def test_a_second_socket_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

        def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
            with socket.create_connection(address) as near:
                for _ in range(2):
                    reporter.report(LoginSucceeded(job.id, RESULT, Portal("127.0.0.1")), near)

        harness = WorkersHarness(run_job)
        before = open_descriptors()
        harness.run(login_job())
        assert [type(fact) for fact in harness.facts] == [LoginSucceeded, WorkerEnded]
        harness.supervisor.close_socket(ONE)
        assert open_descriptors() == before


def test_lines_for_the_log_may_come_after_a_last_word() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(DiscoveryCompleted(job.id))
        reporter.progress("logging out")
        reporter.log(Level.DEBUG, "logging out: no answer within 3 s")

    harness = WorkersHarness(run_job)
    harness.run(discovery_job())
    assert harness.lines == ["logging out", "logging out: no answer within 3 s"]


def test_a_discovery_that_nobody_wanted_to_keep_cannot_be_kept() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        reporter.report(DiscoveryCompleted(job.id, kept=True))
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.run(discovery_job(keep=False))
    assert harness.facts == [harness.ending_of(ONE)]
    assert "nobody had asked for that" in how_it_ended(harness)


def test_a_child_that_closes_its_channel_and_stays_is_ended() -> None:
    def run_job(_job: Job, reporter: Reporter, _confine: Confine) -> None:
        os.close(reporter.fileno())
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.run(login_job(deadline=0))
    assert harness.ending_of(ONE).how is not None


def test_a_stopped_child_that_says_nonsense_is_no_failure() -> None:
    def run_job(_job: Job, reporter: Reporter, _confine: Confine) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        reporter.progress("waiting")
        signal.pause()
        os.write(reporter.fileno(), b"hello")
        time.sleep(60)

    harness = WorkersHarness(run_job)
    harness.start(login_job(deadline=0))
    harness.until_said("waiting")
    harness.supervisor.stop(ONE)
    harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts == [WorkerEnded(ONE)]


def test_a_connection_that_broke_on_the_way_is_told_as_a_failed_login() -> None:
    def run_job(job: Job, reporter: Reporter, _confine: Confine) -> None:
        with socket.socket() as unconnected:
            reporter.report(LoginSucceeded(job.id, RESULT, Portal("127.0.0.1")), unconnected)

    failed, ended = WorkersHarness(run_job).run(login_job())
    assert isinstance(failed, LoginFailed)
    assert ended == WorkerEnded(ONE)
