"""Signals are queued by their handlers and read as facts; none is lost, however many come at once.

Quotations are from the two manual pages that iscsid keeps.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest

from iscsid.facts import (
    Fact,
    HangupReceived,
    InterruptReceived,
    PowerDownReceived,
    TerminateReceived,
    WorkerEnded,
)
from iscsid.jobs import JobId
from iscsid.process import signals as module
from iscsid.process.signals import Signals
from tests.support.kill_at_step import run_in_child
from tests.support.programs import run


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in (*module.HANDLED, *module.IGNORED)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signals = Signals()
    yield signals
    signals.close()
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "fact"),
    [
        (signal.SIGHUP, HangupReceived()),
        (signal.SIGTERM, TerminateReceived()),
        (signal.SIGINT, InterruptReceived()),
        (signal.SIGPWR, PowerDownReceived()),
    ],
)
def test_each_signal_is_a_fact(signals: Signals, number: signal.Signals, fact: Fact) -> None:
    """Linux-iSCSI: "reacts to a set of signals"."""
    send(number)
    assert signals.read() == [fact]
    assert signals.read() == []


def test_several_hangups_at_once_are_one_fact(signals: Signals) -> None:
    send(signal.SIGHUP, signal.SIGHUP, signal.SIGHUP)
    assert signals.read() == [HangupReceived()]
    send(signal.SIGHUP)
    assert signals.read() == [HangupReceived()]


def test_different_signals_keep_their_order(signals: Signals) -> None:
    send(signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    assert signals.read() == [InterruptReceived(), HangupReceived(), TerminateReceived()]


def test_a_signal_wakes_what_polls_the_descriptor(signals: Signals) -> None:
    assert select.select([signals], [], [], 0)[0] == []
    send(signal.SIGTERM)
    assert select.select([signals], [], [], 0)[0] == [signals]
    signals.read()
    assert select.select([signals], [], [], 0)[0] == []


def test_a_signal_behind_a_flood_is_not_lost(signals: Signals) -> None:
    """Thousands of children may die before the loop comes round: the wake-up pair is full then."""
    send(*[signal.SIGCHLD] * 5000, signal.SIGTERM)
    assert signals.read() == [TerminateReceived()]
    send(signal.SIGHUP)
    assert signals.read() == [HangupReceived()]


def test_sigchld_calls_the_reaper_and_passes_its_facts_on(signals: Signals) -> None:
    """Linux-iSCSI: "Wait for children"."""
    ended: list[Fact] = [WorkerEnded(JobId(1)), WorkerEnded(JobId(2))]
    signals.set_reaper(lambda: ended)
    send(signal.SIGCHLD)
    assert signals.read() == ended
    assert signals.read() == []


def test_sigchld_without_a_reaper_is_harmless(signals: Signals) -> None:
    send(signal.SIGCHLD)
    assert signals.read() == []


def test_sigpipe_does_no_harm(signals: Signals) -> None:
    near, far = socket.socketpair()
    far.close()
    with pytest.raises(BrokenPipeError):
        near.send(b"x")
    near.close()


def test_a_signal_before_signals_are_opened_is_read_later() -> None:
    """The pid file names the daemon before its loop turns: a signal sent then must not kill it."""
    run(
        """
        import os, signal
        from iscsid.facts import HangupReceived
        from iscsid.process import signals
        signals.hold()
        os.kill(os.getpid(), signal.SIGHUP)
        opened = signals.Signals()
        assert opened.read() == [HangupReceived()]
        """
    )


def test_a_sleeping_loop_wakes_on_a_signal() -> None:
    out = run(
        """
        import os, signal
        from iscsid.process.loop import Loop
        from iscsid.process.signals import Signals
        opened, loop = Signals(), Loop(print)
        loop.add(opened.fileno(), opened.read)
        if os.fork() == 0:
            os.kill(os.getppid(), signal.SIGTERM)
            os._exit(0)
        facts = []
        while not facts:
            facts = loop.wait()
        print(facts)
        """
    )
    assert out == "[TerminateReceived()]\n"


def test_dead_children_are_all_reaped() -> None:
    """Linux-iSCSI: "Wait for children". Twenty deaths may be one SIGCHLD; none stays a zombie."""
    run(
        """
        import os
        from iscsid.process.loop import Loop
        from iscsid.process.signals import Signals

        children = set()

        def reap():
            while children:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                children.remove(pid)
            return []

        opened, loop = Signals(), Loop(print)
        opened.set_reaper(reap)
        loop.add(opened.fileno(), opened.read)
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            children.add(pid)
        while children:
            loop.wait()
        """
    )


def test_dispositions_inherited_from_nohup_or_a_shell_are_overridden() -> None:
    run(
        """
        import os, signal
        from iscsid.process.signals import Signals
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM])
        opened = Signals()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(opened.read()) == 2
        """
    )


# --- signals that the kernel has flushed (see vm/test_killed) -------------------------------------


def test_a_process_that_was_not_killed_goes_on_and_no_signal_stays_pending() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for _ in range(3):
        module.recover_lost_signals()
    assert signal.SIGURG not in signal.sigpending()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_process_that_blocks_all_signals_goes_on() -> None:
    def recover() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        module.recover_lost_signals()

    assert run_in_child(recover) == 0


def test_a_process_that_receives_no_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def recover() -> None:
        monkeypatch.setattr(signal, "sigpending", lambda: set[int]())
        module.recover_lost_signals()

    status = run_in_child(recover)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == os.EX_OSERR


def test_children_that_ended_meanwhile_are_reaped() -> None:
    def recover() -> None:
        received: list[int] = []
        signal.signal(signal.SIGCHLD, lambda number, _frame: received.append(number))
        module.recover_lost_signals()
        assert received == [signal.SIGCHLD]

    assert run_in_child(recover) == 0
