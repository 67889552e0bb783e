"""What is done about signals that the kernel took away; ``vm/test_killed`` sees it do that."""

from __future__ import annotations

import os
import signal

import pytest

from iscsid.kernel import lost_signals
from tests.support.kill_at_step import run_in_child


def test_who_has_not_been_killed_goes_on_and_no_signal_is_left_behind() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for _ in range(3):
        lost_signals.make_up_for_lost_signals()
    assert signal.SIGURG not in signal.sigpending()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_who_blocks_all_signals_hears_them_all_the_same() -> None:
    def ask() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        lost_signals.make_up_for_lost_signals()

    assert run_in_child(ask) == 0


def test_who_hears_no_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> None:
        monkeypatch.setattr(signal, "sigpending", lambda: set[int]())
        lost_signals.make_up_for_lost_signals()

    status = run_in_child(ask)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == os.EX_OSERR


def test_children_that_ended_meanwhile_are_looked_for() -> None:
    def ask() -> None:
        heard: list[int] = []
        signal.signal(signal.SIGCHLD, lambda number, _frame: heard.append(number))
        lost_signals.make_up_for_lost_signals()
        assert heard == [signal.SIGCHLD]

    assert run_in_child(ask) == 0
