"""The owner of all state: it is told facts, one at a time, and answers with orders.

``Initiator.handle`` is the only door. Facts from files, children and the kernel are heard in
``hear_files``, ``hear_workers`` and ``hear_kernel``; signals and timers, which begin and end
things, are heard here. Pure.
"""

from __future__ import annotations

from iscsid import facts
from iscsid.errors import Failure, Retry
from iscsid.exit_status import ExitStatus
from iscsid.facts import Fact, Timer, TimerPurpose
from iscsid.initiator.on_files import FileFacts
from iscsid.initiator.on_kernel import KernelFacts
from iscsid.initiator.on_workers import WorkerFacts
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.reconciler import Handlers, Reconciler
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event, State
from iscsid.orders import Leave, Order, ReadConfiguration
from iscsid.protocol.names import Portal
from iscsid.status.model import Status
from iscsid.status.snapshot import Overview

NETWORK = Timer(TimerPurpose.NETWORK)
NETWORK_SETTLES = 1.0
"""Seconds: an address comes before its route, and duplicate address detection takes its time."""
NETWORK_REST = 10.0
"""Seconds at least between two rounds of attempts that the network's changes bring about."""


class Initiator:
    """The whole daemon's mind.

    At the start it is told ``ConfigurationRead``, ``BindingsRead`` and ``SessionsFound``, in this
    order; nothing is begun before the third, so that no session is started twice.
    """

    def __init__(self, *, login_timeout: float, max_processes: int, bindings_file: str) -> None:
        self._outbox = Outbox(max_processes)
        self._inventory = inventory = Reconciler(self._outbox)
        self._kernel = KernelFacts(inventory)
        files = FileFacts(inventory, login_timeout=login_timeout, bindings_file=bindings_file)
        self._network_settles = False
        self._network_tried_at = -NETWORK_REST
        self._handlers: Handlers = {
            facts.HangupReceived: self._hangup_received,
            facts.TerminateReceived: self._terminate_received,
            facts.InterruptReceived: self._interrupt_received,
            facts.NetworkChanged: self._network_changed,
            facts.TimerExpired: self._timer_expired,
            **files.handlers,
            **WorkerFacts(inventory).handlers,
            **self._kernel.handlers,
        }

    def handle(self, fact: Fact, now: float) -> list[Order]:
        """Take note of ``fact`` at ``now`` (monotonic, seconds); return what shall be done."""
        self._outbox.begin(now)
        self._handlers[type(fact)](fact)
        if self._inventory.is_ending:
            self._leave_when_done()
        return self._outbox.take()

    @property
    def status(self) -> str:
        """How the daemon is, in one line."""
        sessions = list(self._inventory.sessions)
        up = sum(session.state is State.UP for session in sessions)
        return f"{up} of {len(sessions)} session{'' if len(sessions) == 1 else 's'} up"

    def overview(self, now: float, clock: float, *, version: str, pid: int, basedir: str) -> Status:
        """Return all there is to show at ``now``; ``clock`` is the time of day at monotonic 0."""
        return Overview(clock).status(
            self._inventory, now=now, version=version, pid=pid, basedir=basedir
        )

    # --- signals --------------------------------------------------------------------------------

    def _hangup_received(self, _: facts.HangupReceived) -> None:
        if self._inventory.is_ending:
            self._outbox.info("", "SIGHUP: too late, all sessions are being logged out")
            return
        self._outbox.info("", "SIGHUP: reading the configuration, discovering and probing again")
        self._outbox.order(ReadConfiguration())

    def _terminate_received(self, _: facts.TerminateReceived) -> None:
        self._outbox.info("", "SIGTERM: leaving; the sessions stay in the kernel")
        self._outbox.order(Leave(ExitStatus.SUCCESS))

    def _interrupt_received(self, _: facts.InterruptReceived) -> None:
        inventory = self._inventory
        if inventory.is_ending:
            self._outbox.info("", "SIGINT again: the sessions are being logged out already")
            return
        self._outbox.info("", "SIGINT: logging out all sessions, then leaving")
        inventory.is_ending = True
        for discovery in inventory.targets.discoveries.values():
            discovery.stop()
        for session in inventory.sessions:
            session.unwanted()
            inventory.sessions.drop_if_gone(session)

    def _leave_when_done(self) -> None:
        sessions = self._inventory.sessions
        if all(session.is_settled for session in sessions):
            self._inventory.is_ending = False
            left = len(sessions) > 0
            self._outbox.order(Leave(ExitStatus.SESSIONS_LEFT if left else ExitStatus.SUCCESS))

    # --- timers ---------------------------------------------------------------------------------

    def _timer_expired(self, fact: facts.TimerExpired) -> None:
        purpose, subject = fact.timer.purpose, fact.timer.subject
        if purpose is TimerPurpose.CHECK_KERNEL:
            self._kernel.look()
        elif purpose is TimerPurpose.NETWORK:
            self._try_what_was_unreachable()
        elif purpose is TimerPurpose.SUMMARY:
            self._outbox.summarise()
        elif purpose is TimerPurpose.SAVE_BINDINGS:
            self._inventory.save_bindings()
        elif purpose is TimerPurpose.RETRY_PORTAL and isinstance(subject, Portal):
            self._inventory.portal_holdoff_over(subject)
        elif isinstance(subject, Portal):
            discovery = self._inventory.targets.discoveries.get(subject)
            if discovery is not None:
                discovery.ask()
        elif subject is not None:
            session = self._inventory.sessions.get(subject)
            if session is not None:
                self._session_timer_expired(session, purpose)

    def _session_timer_expired(self, session: Session, purpose: TimerPurpose) -> None:
        if purpose is TimerPurpose.RETRY_LOGIN:
            session.attempt_now()
        elif purpose is TimerPurpose.SCAN:
            session.scan()
        else:
            self._inventory.fire(session, Event.TIMED_OUT)

    # --- the network ----------------------------------------------------------------------------

    def _network_changed(self, _: facts.NetworkChanged) -> None:
        """Let the network settle, then try; however often it changes, not more than that often."""
        if not self._network_settles:
            self._network_settles = True
            quiet = self._network_tried_at + NETWORK_REST - self._outbox.now
            self._outbox.set_timer(NETWORK, max(NETWORK_SETTLES, quiet))

    def _try_what_was_unreachable(self) -> None:
        self._network_settles, self._network_tried_at = False, self._outbox.now
        self._outbox.debug("", "the network has changed: trying again what was unreachable")
        for discovery in self._inventory.targets.discoveries.values():
            if _was_unreachable(discovery.last_failure):
                discovery.ask()
        self._inventory.network_has_changed()


def _was_unreachable(failure: Failure | None) -> bool:
    return failure is not None and failure.retry is Retry.SOON
