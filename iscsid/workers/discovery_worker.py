"""The discovery job: send SendTargets, report each target, and log out or keep the session.

A kept session answers the target's NOP-Ins and sends SendTargets again when the target announces
a change or the daemon asks for it. It ends in good order when the target closes the session or
requests a logout; the initiator decides when to log in again. Runs inside a worker.
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
from iscsid.workers.login_worker import LOGOUT, LoggedIn, log_in
from iscsid.workers.reporter import ParentMessage, Reporter
from iscsid.workers.sandbox import processor_time_is_short
from iscsid.workers.transport import (
    Deadline,
    ExchangeDriver,
    Limits,
    StreamEnded,
    ask_after_silence,
    peer_of,
)

LONGEST_PAUSE = 64.0
"""Seconds. A target that announces changes without end is asked no more often than this."""
BURST = 1.0
"""Seconds from a target's first announcement of a change until SendTargets: announcements come in
bursts, one for each target or portal that an administrator adds."""


def discover(job: DiscoveryJob, reporter: Reporter) -> None:
    """Do the job; raises ``IscsidError`` if it fails."""
    logged_in = log_in(job, reporter)
    with logged_in.connection:
        session = _DiscoverySession(job, logged_in, reporter)
        session.ask(logged_in.limits)
        if not job.keep or session.stay():
            session.leave()


class _DiscoverySession:
    """One discovery session, from its login to its end."""

    def __init__(self, job: DiscoveryJob, logged_in: LoggedIn, reporter: Reporter) -> None:
        self._job = job
        self._connection = logged_in.connection
        self._exchange = DiscoveryExchange(logged_in.result, logged_in.portal)
        self._reporter = reporter
        self._ask_at = math.inf
        """When to ask again, on the monotonic clock."""
        self._pause = BURST
        """Seconds from an announcement to the question; doubled while announcements go on."""
        self._asked_at = -math.inf
        self._may_stay = True

    def ask(self, limits: Limits) -> None:
        """Wait for the complete answer to SendTargets, and report all targets."""
        doing = "asking for targets"
        self._reporter.progress(doing)
        driver = ExchangeDriver(self._connection, self._exchange, limits, doing, self._reporter)
        while self._exchange.outcome is None:
            driver.step()
            for record in self._exchange.take_records():
                self._reporter.report(TargetDiscovered(self._job.id, record))
        notes, skipped = self._exchange.take_notes(), self._exchange.skipped_targets
        peer = peer_of(self._connection)
        answered_at = None if peer == self._job.portal else peer
        self._reporter.report(
            DiscoveryCompleted(self._job.id, self._job.keep, notes, skipped, answered_at)
        )

    def stay(self) -> bool:
        """Keep the session until the target or the daemon ends it.

        Return whether to log out: not if the connection or the daemon is gone.
        """
        self._reporter.progress("waiting for the target to report changes")
        timeouts = self._job.timeouts
        ask_after_silence(self._connection, timeouts.idle, timeouts.ping)
        limits = Limits(timeouts.login, Deadline.after(0))
        doing = "keeping the discovery session"
        driver = ExchangeDriver(self._connection, self._exchange, limits, doing, self._reporter)
        self._note_events()
        while self._may_stay and not processor_time_is_short():
            readable = self._wait(driver)
            if self._reporter.fileno() in readable and not self._poll_daemon():
                return False
            if self._connection.fileno() in readable and not self._receive(driver):
                return False
            driver.check_rest()
            if self._may_stay and self._ask_at <= time.monotonic():
                self._ask_again()
        return True

    def leave(self) -> None:
        """Log out within ``LOGOUT`` seconds; a failure is logged only, the job is done."""
        doing = "logging out"
        self._reporter.progress(doing)
        limits = Limits(LOGOUT, Deadline.after(LOGOUT))
        driver = ExchangeDriver(self._connection, self._exchange, limits, doing, self._reporter)
        self._exchange.log_out()
        try:
            while self._exchange.outcome is not DiscoveryOutcome.LOGGED_OUT:
                driver.step()
        except IscsidError as error:
            self._reporter.log(Level.DEBUG, str(error))

    def _wait(self, driver: ExchangeDriver) -> list[int]:
        """Sleep until the target or the daemon sends something, or it is time to do something."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._reporter.fileno(), select.POLLIN)
        seconds = max(min(self._ask_at, driver.rest_due) - time.monotonic(), 0.0)
        return [fd for fd, _ in poll.poll(None if seconds == math.inf else seconds * 1000)]

    def _poll_daemon(self) -> bool:
        """Read all messages of the daemon; return whether it is there."""
        while (message := self._reporter.poll_parent()) is ParentMessage.ASK_AGAIN:
            self._ask_at = time.monotonic()
        return message is not ParentMessage.CLOSED

    def _receive(self, driver: ExchangeDriver) -> bool:
        """Read once and answer; return whether the connection stands."""
        try:
            driver.receive_some()
        except StreamEnded as error:
            self._reporter.log(Level.INFO, error.what)
            return False
        driver.send()
        self._note_events()
        return True

    def _note_events(self) -> None:
        """Act on what the target has announced."""
        for note in self._exchange.take_notes():
            self._reporter.log(Level.INFO, note)
        for event in self._exchange.take_events():
            match event:
                case LogoutRequested() | ConnectionDropped():
                    self._may_stay = False
                case SomethingChanged():
                    self._plan_question()

    def _plan_question(self) -> None:
        """Ask soon; the more slowly, the more often the target wants to be asked."""
        now = time.monotonic()
        if self._ask_at == math.inf:
            is_calm = now - self._asked_at > 4 * self._pause
            self._pause = BURST if is_calm else min(2 * self._pause, LONGEST_PAUSE)
        self._ask_at = min(self._ask_at, now + self._pause)

    def _ask_again(self) -> None:
        self._ask_at, self._asked_at = math.inf, time.monotonic()
        self._exchange.ask_again()
        deadline = Deadline.after(self._job.deadline)
        self.ask(Limits(self._job.timeouts.login, deadline))
        self._note_events()
