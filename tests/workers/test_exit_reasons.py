"""The end of a worker in words, from real wait statuses."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from iscsid.errors import Retry
from iscsid.workers.exit_reasons import (
    INTERNAL_ERROR,
    deadline_exceeded,
    invalid_message,
    not_started,
    unexpected_exit,
)


def _status_of_a_child_that(*, kills_itself_with: int = 0, exits_with: int = 0) -> int:
    pid = os.fork()
    if pid == 0:
        if kills_itself_with:
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            os.kill(os.getpid(), kills_itself_with)
        os._exit(exits_with)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "the worker was killed (SIGKILL) while logging in"),
        (signal.SIGTERM, "the worker was asked to end (SIGTERM) while logging in"),
        (signal.SIGXCPU, "the worker used up the processor time it may have (SIGXCPU)"),
        (signal.SIGUSR1, "the worker died (SIGUSR1) while logging in"),
        (signal.SIGRTMIN + 1, f"the worker died (signal {signal.SIGRTMIN + 1})"),
    ],
)
def test_a_death_by_signal_names_the_signal_and_what_was_done(number: int, words: str) -> None:
    failure = unexpected_exit(_status_of_a_child_that(kills_itself_with=number), "logging in")
    assert failure.what.startswith(words)
    assert failure.retry is Retry.SOON


def test_a_kill_hints_at_memory() -> None:
    status = _status_of_a_child_that(kills_itself_with=signal.SIGKILL)
    assert "out of memory" in unexpected_exit(status, "logging in").advice


def test_an_error_of_our_own_points_at_the_log() -> None:
    failure = unexpected_exit(_status_of_a_child_that(exits_with=INTERNAL_ERROR), "logging in")
    assert "an error of its own while logging in" in failure.what
    assert "report it" in failure.advice


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_without_a_word_is_a_failure_even_with_status_0(code: int) -> None:
    failure = unexpected_exit(_status_of_a_child_that(exits_with=code), "logging in")
    assert failure.what == f"the worker ended with status {code} while logging in, without a result"


def test_an_overstay_is_reported_with_how_long_and_during_what() -> None:
    assert (
        deadline_exceeded(15, "resolving x").what
        == "not finished within 15 s, ended while resolving x"
    )


def test_a_failed_fork_names_what_is_short() -> None:
    failure = not_started(OSError(errno.EAGAIN, ""))
    assert failure.what.startswith("no worker could be started: ")
    assert failure.retry is Retry.SOON


def test_nonsense_is_quoted() -> None:
    assert "no JSON" in invalid_message(ValueError("no JSON")).what
