"""The oracle notices what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.hostile import oracle
from tests.hostile.attempt import Outcome, Run, spent
from tests.hostile.case import ALICES_SECRET, Case, plays
from tests.support.patience import wait_until
from tests.support.programs import started
from tests.target.portal import Portals, listen
from tests.target.scripted import ScriptedTarget

Spoil = Callable[[Outcome], None]


@pytest.fixture
def outcome() -> Outcome:
    """One that nothing is wrong with."""
    with closing(Portals()) as portals:
        portal = portals.add(listen(), ScriptedTarget)
    outcome = Outcome(Case("refuses", plays(statuses={0: 0x0203}), "not found"), 1, portal)
    portal.connections, outcome.failed_after = 1, 0.1
    log_line(outcome, "not found")
    return outcome


def log_line(outcome: Outcome, text: str, word: str = "warning: ") -> None:
    outcome.lines.append(f"iscsid: {word}{outcome.target} via {outcome.address}: {text}")


def put(**values: object) -> Spoil:
    def spoil(outcome: Outcome) -> None:
        for name, value in values.items():
            setattr(outcome, name, value)

    return spoil


def logs_instead(*texts: str) -> Spoil:
    def spoil(outcome: Outcome) -> None:
        outcome.lines.clear()
        for text in texts:
            log_line(outcome, text)

    return spoil


FAULTS: dict[str, tuple[Spoil, str]] = {
    "session": (put(session_after=0.1), "asked for a session"),
    "late": (put(failed_after=1000.0), "it took 1000.0 s"),
    "silent": (put(lines=[]), "nothing came of it"),
    "another-cause": (logs_instead("the cable"), "no line names the cause"),
    "two-lines": (logs_instead("not found", "not found, too"), "more than 1 lines"),
    "repeats": (logs_instead(*["not found"] * 10), "10 lines of 1 connections"),
    "escape": (logs_instead("not found \x1b[2J"), "not escaped"),
    "long-line": (logs_instead("not found " + "x" * 1024), "too long"),
    "no-name": (put(lines=["iscsid: warning: not found"]), "does not name the target"),
    "memory": (put(memory=1 << 30), "a worker had 1024 MiB"),
    "busy": (put(processor=1.0), "1.00 s of processor time"),
}


def test_a_failure_in_one_line_passes(outcome: Outcome) -> None:
    assert oracle.faults_of(outcome) == []


@pytest.mark.parametrize(("spoil", "words"), FAULTS.values(), ids=FAULTS)
def test_each_fault_of_an_outcome_is_noticed(outcome: Outcome, spoil: Spoil, words: str) -> None:
    spoil(outcome)
    assert any(words in fault for fault in oracle.faults_of(outcome)), oracle.faults_of(outcome)


def test_what_is_to_be_borne_may_not_fail(outcome: Outcome) -> None:
    outcome.case = Case("pings", plays(), "")
    assert any("it is borne" in fault for fault in oracle.faults_of(outcome))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": 1}, "ended with 1"),
        ({"log": "Traceback (most recent call last):"}, "a traceback"),
        ({"log": f"password {ALICES_SECRET.decode()}"}, "a secret in the log"),
        ({"written": ALICES_SECRET.hex().encode()}, "a secret in a file"),
        ({"written": b'"last_error": "\x1b[2J"'}, "something unprintable"),
        ({"titles": {ALICES_SECRET.decode()}}, "a secret in a title"),
        ({"memory": 1 << 30}, "the daemon had 1024 MiB"),
        ({"processor": 1000.0}, "the daemon took"),
        ({"requests": ["CREATE_SESSION"]}, "1 sessions of 0"),
    ],
)
def test_each_fault_of_the_run_is_noticed(values: dict[str, object], words: str) -> None:
    run = Run([], status=0)
    assert oracle.faults_of_run(run) == []
    for name, value in values.items():
        setattr(run, name, value)
    assert any(words in fault for fault in oracle.faults_of_run(run)), oracle.faults_of_run(run)


def test_a_busy_loop_is_seen_as_processor_time() -> None:
    with started([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL) as process:
        wait_until(lambda: spent(process.pid)[0] > oracle.STARTING, "it takes no processor time")


def test_memory_is_seen_when_it_has_been_returned() -> None:
    script = "x = b'x' * 100_000_000; del x; print(flush=True); input()"
    command = [sys.executable, "-c", script]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert spent(process.pid)[1] > oracle.WORKER_MEMORY
    assert spent(os.getpid())[1] > 0
