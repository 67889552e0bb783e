"""Signals as facts: a handler only queues, and the loop reads the queue.

It may touch signal dispositions, the signal mask and one socket pair, of this process alone. What a
signal means is the initiator's business; reaping is the supervisor's. The signals are those of the
manual page's section SIGNALS.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

from iscsid.facts import (
    Fact,
    HangupReceived,
    InterruptReceived,
    PowerDownReceived,
    TerminateReceived,
)

FACTS: dict[signal.Signals, Fact] = {
    signal.SIGHUP: HangupReceived(),
    signal.SIGTERM: TerminateReceived(),
    signal.SIGINT: InterruptReceived(),
    signal.SIGPWR: PowerDownReceived(),
}
HANDLED = (*FACTS, signal.SIGCHLD)
IGNORED = (signal.SIGPIPE,)
"""A reader that went away is an error of the write; it must not end the daemon."""
_UNUSED = signal.SIGURG
"""A signal that is ignored by default."""


def hold() -> None:
    """Block the signals we handle until ``Signals`` is opened.

    Called before the pid file names us: a program that reads it may send a signal at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


class Signals:
    """Opened once, in the main thread, after detaching.

    Register ``fileno()`` and ``read`` with the loop.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, None] = {}
        self._reap: Callable[[], list[Fact]] = list
        self._reader, self._writer = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._queue)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def fileno(self) -> int:
        return self._reader.fileno()

    def set_reaper(self, reap: Callable[[], list[Fact]]) -> None:
        """Call ``reap`` after every SIGCHLD. Several deaths may come as one signal: reap all."""
        self._reap = reap

    def read(self) -> list[Fact]:
        """Return what arrived since the last call; the same signal several times is one fact."""
        self._drain()
        arrived, self._arrived = self._arrived, {}
        facts: list[Fact] = []
        for number in arrived:
            if number == signal.SIGCHLD:
                facts += self._reap()
            else:
                facts.append(FACTS[signal.Signals(number)])
        return facts

    def close(self) -> None:
        """Ignore the signals from now on: the daemon is leaving anyway."""
        for number in FACTS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def _queue(self, number: int, _frame: FrameType | None) -> None:
        # The queue is kept here and not in the socket pair, which only wakes the loop: a burst
        # of SIGCHLD fills the pair, and a SIGTERM behind it must not be lost.
        self._arrived[number] = None

    def _drain(self) -> None:
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            pass


def recover_lost_signals() -> None:
    """End if a SIGKILL was lost; otherwise have the supervisor look for ended workers.

    If Linux cannot make a session, it flushes all pending signals of the process that asked for it
    (iscsi_host_remove()), SIGKILL included, which may be the very reason of the failure. The
    process stays marked as dying and receives no further signals: no SIGCHLD comes, nothing can
    kill it, and its pid file stays locked. Other signals that were lost must be sent again.
    """
    if not _receives_signals():
        # The exit status is that of SIGKILL, whatever is given here: the kernel has kept it.
        os._exit(os.EX_OSERR)
    os.kill(os.getpid(), signal.SIGCHLD)


def _receives_signals() -> bool:
    """Whether a signal that is sent to this process reaches it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {_UNUSED})
    try:
        os.kill(os.getpid(), _UNUSED)
        has_come = _UNUSED in signal.sigpending()
        if has_come:
            signal.sigtimedwait({_UNUSED}, 0)
        return has_come
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
