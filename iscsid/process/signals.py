"""Signals, heard like everything else: a handler only queues, the loop reads the queue.

It may touch signal dispositions, the signal mask and one socket pair. What a signal means is the
owner's business; reaping is the workers' keeper's. From the manual page's chapter on signals.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType

from iscsid.facts import Fact, HangupReceived, InterruptReceived, TerminateReceived

FACTS: dict[signal.Signals, Fact] = {
    signal.SIGHUP: HangupReceived(),
    signal.SIGTERM: TerminateReceived(),
    signal.SIGINT: InterruptReceived(),
}
HEARD = (*FACTS, signal.SIGCHLD)
IGNORED = (signal.SIGPIPE,)
"""A reader that went away shows itself as an error where we write; it must not end the daemon."""


def hold() -> None:
    """Let the signals we hear wait until ``Signals`` is opened.

    Called before the pid file names us: whoever reads it may send a signal at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)


class Signals:
    """The ear for signals: opened once, in the main thread, after detaching.

    Register ``fileno()`` and ``read`` with the loop.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, None] = {}
        self._reap: Callable[[], list[Fact]] = list
        self._reader, self._writer = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in HEARD:
            signal.signal(number, self._queue)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

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
        """Stop hearing: what comes from now on is ignored, for the daemon is leaving anyway."""
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
