"""The job of a discovery: ask SendTargets, report each target, and log out or stay.

A discovery that stays answers the target's pings and asks again when the target says that
something changed, or when the daemon wants it. It ends in good order when the target closes the
session or asks for a logout; whether and when to come back is the owner's decision. Runs inside a
worker.
"""

from __future__ import annotations

import math
import select
import time

from iscsid.errors import IscsidError
from iscsid.facts import DiscoveryCompleted, TargetDiscovered
from iscsid.jobs import DiscoveryJob
from iscsid.orders import Level
from iscsid.protocol.discovery_exchange import (
    ConnectionDropped,
    DiscoveryExchange,
    DiscoveryOutcome,
    LogoutRequested,
    SomethingChanged,
)
from iscsid.workers.deadline import Deadline
from iscsid.workers.login_worker import LoggedIn, log_in
from iscsid.workers.logout import LOGOUT
from iscsid.workers.reporter import ParentMessage, Reporter
from iscsid.workers.sandbox import Confine, allow_more_processor_time
from iscsid.workers.transport import ExchangeDriver, Limits, StreamEnded, ask_after_silence

BURST = 1.0
"""Seconds from a target's first word that something changed until it is asked: they come in
bursts, one for each target or portal that an administrator adds."""


def discover(job: DiscoveryJob, reporter: Reporter, confine: Confine) -> None:
    """Do the job; raises ``IscsidError`` where it fails."""
    entry = log_in(job, reporter, confine)
    with entry.connection:
        session = _DiscoverySession(job, entry, reporter)
        session.ask(entry.patience)
        if not job.keep or session.stay():
            session.leave()


class _DiscoverySession:
    """One discovery session, from its login to its end."""

    def __init__(self, job: DiscoveryJob, entry: LoggedIn, reporter: Reporter) -> None:
        self._job = job
        self._connection = entry.connection
        self._exchange = DiscoveryExchange(entry.result, entry.portal)
        self._reporter = reporter
        self._ask_at = math.inf
        """When to ask again, on the monotonic clock."""
        self._may_stay = True

    def ask(self, patience: Limits) -> None:
        """Let the question be answered, and report all targets."""
        doing = "asking for targets"
        self._reporter.doing(doing)
        line = ExchangeDriver(self._connection, self._exchange, patience, doing, self._reporter)
        while self._exchange.outcome is None:
            line.turn()
            for record in self._exchange.take_records():
                self._reporter.report(TargetDiscovered(self._job.id, record))
        notes = self._exchange.take_notes()
        self._reporter.report(DiscoveryCompleted(self._job.id, self._job.keep, notes))

    def stay(self) -> bool:
        """Live on until the target or the daemon has had enough of the session.

        Return whether to log out: not if the connection or the daemon is gone.
        """
        self._reporter.doing("waiting for the target to report changes")
        timeouts = self._job.timeouts
        ask_after_silence(self._connection, timeouts.idle, timeouts.ping)
        patience = Limits(timeouts.login, Deadline.after(0))
        doing = "keeping the discovery session"
        line = ExchangeDriver(self._connection, self._exchange, patience, doing, self._reporter)
        self._note_events()
        while self._may_stay:
            allow_more_processor_time()
            readable = self._wait()
            if self._reporter.fileno() in readable and not self._hear_daemon():
                return False
            if self._connection.fileno() in readable and not self._hear_target(line):
                return False
            if self._may_stay and self._ask_at <= time.monotonic():
                self._ask_again()
        return True

    def leave(self) -> None:
        """Log out, within bounds and without complaint: all that was wanted is reported."""
        doing = "logging out"
        self._reporter.doing(doing)
        patience = Limits(LOGOUT, Deadline.after(LOGOUT))
        line = ExchangeDriver(self._connection, self._exchange, patience, doing, self._reporter)
        self._exchange.log_out()
        try:
            while self._exchange.outcome is not DiscoveryOutcome.LOGGED_OUT:
                line.turn()
        except IscsidError as error:
            self._reporter.say(Level.DEBUG, str(error))

    def _wait(self) -> list[int]:
        """Sleep until somebody says something or it is time to ask."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._reporter.fileno(), select.POLLIN)
        seconds = max(self._ask_at - time.monotonic(), 0.0)
        return [fd for fd, _ in poll.poll(None if seconds == math.inf else seconds * 1000)]

    def _hear_daemon(self) -> bool:
        """Take the daemon's words, of which several count as one; say whether it is there."""
        while (heard := self._reporter.hear()) is ParentMessage.ASK_AGAIN:
            self._ask_at = time.monotonic()
        return heard is not ParentMessage.GOODBYE

    def _hear_target(self, line: ExchangeDriver) -> bool:
        """Take what has come, and answer it; say whether the target is there."""
        try:
            line.receive(Deadline.after(self._job.timeouts.login))
        except StreamEnded as error:
            self._reporter.say(Level.INFO, error.what)
            return False
        line.send()
        self._note_events()
        return True

    def _note_events(self) -> None:
        """Draw the conclusions from what the target has reported."""
        for note in self._exchange.take_notes():
            self._reporter.say(Level.INFO, note)
        for event in self._exchange.take_events():
            match event:
                case LogoutRequested() | ConnectionDropped():
                    self._may_stay = False
                case SomethingChanged():
                    self._ask_at = min(self._ask_at, time.monotonic() + BURST)

    def _ask_again(self) -> None:
        self._ask_at = math.inf
        self._exchange.ask_again()
        deadline = Deadline.after(self._job.deadline)
        self.ask(Limits(self._job.timeouts.login, deadline))
        self._note_events()
