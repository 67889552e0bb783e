"""One child, as its keeper knows it: what it has said, and when the next step against it is due.

It believes nothing: what the child says is checked, counted, and dropped once it is a last word.
May touch the child's process and channel, and no other; lives in the daemon.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from iscsid.errors import Failure
from iscsid.facts import DiscoveryCompleted, Fact, TargetDiscovered
from iscsid.jobs import DiscoveryJob, Job
from iscsid.orders import Level
from iscsid.workers.channel import ChannelClosed, ParentEnd, Received
from iscsid.workers.codec import Malformed
from iscsid.workers.exit_reasons import deadline_exceeded, invalid_message, unexpected_exit
from iscsid.workers.messages import LogLine, Progress, Report, is_last_word

GRACE = 2.0
"""Seconds beyond its own deadline before a child is ended: it should have ended by itself."""
FAREWELL = 10.0
"""Seconds a child may take to leave after its last word; a discovery logs out meanwhile."""
PATIENCE = 1.0
"""Seconds between SIGTERM and SIGKILL."""
MOST_TARGETS = 65536
"""Targets in one answer: there are no more bindings than that."""
MOST_LINES = 20000
"""Lines for the log within ``LINES_COUNT_FOR``, or between two answers of a kept discovery."""
LINES_COUNT_FOR = 3600.0
"""Seconds: a kept discovery may be silent for days but for its target's pings."""

WriteLine = Callable[[Job, Level, str], None]


class Worker:
    """A child that was forked and is not reaped yet.

    ``due`` is when the next step against it is taken, on the monotonic clock. ``connection`` is
    the socket of a login that succeeded, until the keeper takes it over.
    """

    def __init__(
        self, job: Job, pid: int, channel: ParentEnd, write_line: WriteLine, now: float
    ) -> None:
        self.job = job
        self.pid = pid
        self.channel = channel
        self.is_readable = True
        self.connection: socket.socket | None = None
        self.due: float | None = None
        self._write_line = write_line
        self._progress = "starting"
        self._verdict: Failure | None = None
        """Why we ended it."""
        self._is_wanted = True
        self._is_gone = False
        """Reaped: its number may belong to another process by now."""
        self._was_told_to_end = False
        self._has_answered = False
        self._has_said_last_word = False
        self._targets = 0
        self._lines = 0
        self._lines_since = now
        self._expect_answer(now)

    # --- what is done to it ---------------------------------------------------------------------

    def stop(self, now: float) -> None:
        """End it; from now on nothing it says is told, and its end is no failure."""
        self._is_wanted = False
        self._tell_to_end(now)

    def ask_again(self, now: float) -> None:
        """Make it ask SendTargets once more, if it is a kept discovery."""
        if isinstance(self.job, DiscoveryJob) and self.job.keep:
            self.channel.ask_again()
            self._expect_answer(now)

    def enforce(self, now: float) -> None:
        """Take the step that is due, if one is: SIGTERM first, SIGKILL after a while."""
        if self.due is None or self.due > now:
            return
        if self._was_told_to_end:
            self._kill()
        else:
            self._verdict = deadline_exceeded(self.job.deadline, self._progress)
            self._tell_to_end(now)

    def wait(self) -> int | None:
        """Reap it: return its wait status, ``None`` while it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Somebody else has reaped it. That it is gone is all we know.
            pid, status = self.pid, os.EX_OK
        self._is_gone = pid == self.pid
        return status if self._is_gone else None

    def failure(self, status: int) -> Failure | None:
        """Say why it is gone; ``None`` where that is no failure, or was reported already.

        A kept discovery that has answered and then leaves in good order is no failure: its target
        closed the session, as targets do that do not keep discovery sessions.
        """
        if self._has_said_last_word or not self._is_wanted:
            return None
        if self._verdict is None and self._has_answered and status == os.EX_OK:
            return None
        return self._verdict or unexpected_exit(status, self._progress)

    # --- what it says ---------------------------------------------------------------------------

    def hear(self, most: int, now: float) -> list[Fact]:
        """Return the facts among its next messages, of which ``most`` are taken; never blocks."""
        facts: list[Fact] = []
        while self.is_readable and most > 0:
            most -= 1
            try:
                received = self.channel.receive()
                if received is None:
                    break
                facts += self._take(received, now)
            except ChannelClosed:
                # It is leaving, where a signal changes nothing any more; or else it should.
                self.is_readable = False
                self._tell_to_end(now)
            except (Malformed, OSError) as error:
                self.is_readable = False
                self._verdict = self._verdict or invalid_message(error)
                self._kill()
        return facts

    def _take(self, received: Received, now: float) -> list[Fact]:
        message = received.message
        if isinstance(message, LogLine | Progress):
            self._take_line(message, now)
            return []
        try:
            self._check(message)
        except Malformed:
            received.drop()
            raise
        if not self._is_wanted:
            received.drop()
            return []
        if is_last_word(message):
            self._has_said_last_word = True
            self.due = now + FAREWELL
        elif isinstance(message, DiscoveryCompleted):
            self._has_answered = True
            self._targets = self._lines = 0
            self.due = None
        elif self._has_answered and self.due is None:
            self._expect_answer(now)
        self.connection = received.connection
        return [message]

    def _take_line(self, message: LogLine | Progress, now: float) -> None:
        if now - self._lines_since > LINES_COUNT_FOR:
            self._lines, self._lines_since = 0, now
        self._lines += 1
        if self._lines > MOST_LINES:
            raise Malformed(f"more than {MOST_LINES} lines for the log")
        if not self._is_wanted:
            return
        if isinstance(message, Progress):
            self._progress = message.what
            self._write_line(self.job, Level.DEBUG, message.what)
        else:
            self._write_line(self.job, message.level, message.text)

    def _check(self, message: Report) -> None:
        """Raise ``Malformed`` for a fact that may not come now."""
        if self._has_said_last_word:
            raise Malformed("something after its last word")
        if isinstance(message, TargetDiscovered):
            self._targets += 1
            if self._targets > MOST_TARGETS:
                raise Malformed(f"more than {MOST_TARGETS} targets")
        if isinstance(message, DiscoveryCompleted) and isinstance(self.job, DiscoveryJob):
            if message.kept and not self.job.keep:
                raise Malformed("a discovery session was kept, and nobody had asked for that")

    # --- steps ----------------------------------------------------------------------------------

    def _expect_answer(self, now: float) -> None:
        self.due = now + self.job.deadline + GRACE if self.job.deadline else None

    def _tell_to_end(self, now: float) -> None:
        if not self._was_told_to_end:
            self._was_told_to_end = True
            self.due = now + PATIENCE
            self._signal(signal.SIGTERM)

    def _kill(self) -> None:
        self._was_told_to_end = True
        self.due = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self._is_gone:
            os.kill(self.pid, number)
