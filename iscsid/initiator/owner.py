"""The owner of all state: it is told facts, one at a time, and answers with orders.

``Initiator.handle`` is the only door. Each kind of fact has one method, found in one table; what
concerns a single session or DiscoveryAddress is decided there. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iscsid import facts
from iscsid.errors import Decision, Failure
from iscsid.exit_status import ExitStatus
from iscsid.facts import Fact, Timer, TimerPurpose
from iscsid.initiator.bindings import Bindings
from iscsid.initiator.devices import DeviceFact
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.inventory import Inventory
from iscsid.initiator.kernel_pdus import pdu_received
from iscsid.initiator.outbox import Employer, Outbox
from iscsid.initiator.scans import Scans
from iscsid.initiator.session import Identity, Session
from iscsid.initiator.session_table import Event
from iscsid.jobs import JobId
from iscsid.orders import CloseSocket, Leave, LookAtKernel, Order, ReadConfiguration
from iscsid.protocol.names import Portal

LOOK_SOON = 2.0
"""Seconds: an error sent just before we listened may precede the change of its state file."""
LOOK_AGAIN = 30.0
SAVE_AGAIN = 60.0
"""Seconds before the bindings file is written again after a failure."""

LOOK = Timer(TimerPurpose.CHECK_KERNEL)
SAVE = Timer(TimerPurpose.SAVE_BINDINGS)


class Initiator:
    """The whole daemon's mind.

    At the start it is told ``ConfigurationRead``, ``BindingsRead`` and ``SessionsFound``, in this
    order; nothing is begun before the third, so that no session is started twice.
    """

    def __init__(self, *, login_timeout: float, max_processes: int, bindings_file: str) -> None:
        self._outbox = Outbox(max_processes)
        self._inventory = Inventory(self._outbox)
        self._login_timeout = login_timeout
        self._bindings_file = bindings_file
        self._has_begun = False
        self._is_ending = False
        self._look_ordered_at = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            facts.ConfigurationRead: self._configuration_read,
            facts.ConfigurationRefused: self._configuration_refused,
            facts.BindingsRead: self._bindings_read,
            facts.BindingsSaved: self._bindings_saved,
            facts.BindingsNotSaved: self._bindings_not_saved,
            facts.HangupReceived: self._hangup_received,
            facts.TerminateReceived: self._terminate_received,
            facts.InterruptReceived: self._interrupt_received,
            facts.TimerExpired: self._timer_expired,
            facts.TargetDiscovered: self._target_discovered,
            facts.DiscoveryCompleted: self._discovery_completed,
            facts.DiscoveryFailed: self._job_failed,
            facts.LoginSucceeded: self._login_succeeded,
            facts.LoginFailed: self._job_failed,
            facts.ScanFinished: self._scan_finished,
            facts.ScanFailed: self._job_failed,
            facts.WorkerEnded: self._worker_ended,
            facts.SessionStarted: self._inventory.started,
            facts.SessionRefused: self._session_refused,
            facts.CmdSnLearned: self._cmd_sn_learned,
            facts.CmdSnNotLearned: self._request_refused,
            facts.RequestRefused: self._request_refused,
            facts.ConnectionBroke: self._connection_broke,
            facts.PduReceived: self._pdu_received,
            facts.DisksChecked: self._disks_checked,
            facts.SessionUnbound: self._session_unbound,
            facts.SessionDestroyed: self._session_destroyed,
            facts.EventsLost: self._events_lost,
            facts.SessionsFound: self._sessions_found,
            facts.DeviceAppeared: self._tree_changed,
            facts.DeviceVanished: self._tree_changed,
            facts.DevicesEnumerated: self._tree_changed,
            facts.LinksFound: self._tree_changed,
            facts.LinkNotMade: self._tree_changed,
        }

    def handle(self, fact: Fact, now: float) -> list[Order]:
        """Take note of ``fact`` at ``now`` (monotonic, seconds); return what shall be done."""
        self._outbox.begin(now)
        self._handlers[type(fact)](fact)
        if self._is_ending:
            self._leave_when_done()
        return self._outbox.take()

    # --- files ----------------------------------------------------------------------------------

    def _configuration_read(self, fact: facts.ConfigurationRead) -> None:
        inventory = self._inventory
        identity = Identity(fact.initiator_name, fact.initiator_alias, self._login_timeout)
        if self._has_begun and identity.initiator_name != inventory.identity.initiator_name:
            self._outbox.warn("", "the InitiatorName changed: running sessions keep the old one")
        inventory.identity = identity
        affected = inventory.targets.configure(fact.configuration, identity, self._outbox)
        for note in fact.configuration.notes:
            self._outbox.warn("", str(note))
        if self._has_begun:
            self._begin_again(affected | {s.path.target_name for s in inventory.sessions})

    def _begin_again(self, affected: set[Any]) -> None:
        """Do what SIGHUP promises: discover, log in and probe anew."""
        for discovery in self._inventory.targets.discoveries.values():
            discovery.ask(prune=True)
        self._inventory.reconcile(affected)
        self._outbox.order(*self._inventory.tree.accept())
        for session in self._inventory.sessions:
            session.attempt_now()
            session.scan()

    def _configuration_refused(self, fact: facts.ConfigurationRefused) -> None:
        for complaint in fact.complaints:
            self._outbox.error("", complaint)
        self._outbox.error("", "the configuration has errors: the running one stays in force")

    def _bindings_read(self, fact: facts.BindingsRead) -> None:
        inventory = self._inventory
        inventory.bindings = Bindings.parse(fact.text, self._bindings_file)
        for complaint in inventory.bindings.complaints:
            self._outbox.warn("", str(complaint))
        for session in inventory.sessions:
            if not inventory.bindings.adopt(session.path.target_name, session.path.binding):
                self._outbox.error(
                    session.who,
                    f"the bindings file no longer gives {session.path.binding} to this target; "
                    "the running session keeps it",
                )
        inventory.save_bindings()

    def _bindings_saved(self, _: facts.BindingsSaved) -> None:
        self._inventory.bindings.saved()
        self._outbox.cancel_timer(SAVE)

    def _bindings_not_saved(self, fact: facts.BindingsNotSaved) -> None:
        self._outbox.error("", f"the bindings are not saved, going on without: {fact.reason}")
        self._outbox.set_timer(SAVE, SAVE_AGAIN)

    # --- signals and timers ---------------------------------------------------------------------

    def _hangup_received(self, _: facts.HangupReceived) -> None:
        self._outbox.info("", "SIGHUP: reading the configuration, discovering and probing again")
        self._outbox.order(ReadConfiguration())

    def _terminate_received(self, _: facts.TerminateReceived) -> None:
        self._outbox.info("", "SIGTERM: leaving; the sessions stay in the kernel")
        self._outbox.order(Leave(ExitStatus.SUCCESS))

    def _interrupt_received(self, _: facts.InterruptReceived) -> None:
        if self._is_ending:
            self._outbox.info("", "SIGINT again: the sessions are being logged out already")
            return
        self._outbox.info("", "SIGINT: logging out all sessions, then leaving")
        self._is_ending = True
        for discovery in self._inventory.targets.discoveries.values():
            discovery.stop()
        for session in self._inventory.sessions:
            session.unwanted()
            self._inventory.sessions.drop_if_gone(session)

    def _leave_when_done(self) -> None:
        sessions = self._inventory.sessions
        if all(session.is_settled for session in sessions):
            self._is_ending = False
            self._outbox.order(
                Leave(ExitStatus.SESSIONS_LEFT if len(sessions) else ExitStatus.SUCCESS)
            )

    def _timer_expired(self, fact: facts.TimerExpired) -> None:
        purpose, subject = fact.timer.purpose, fact.timer.subject
        if purpose is TimerPurpose.CHECK_KERNEL:
            self._look_at_kernel()
        elif purpose is TimerPurpose.SAVE_BINDINGS:
            self._inventory.save_bindings()
        elif isinstance(subject, Portal):
            discovery = self._inventory.targets.discoveries.get(subject)
            if discovery is not None:
                discovery.ask()
        elif subject is not None:
            session = self._inventory.sessions.get(subject)
            if session is None:
                return
            if purpose is TimerPurpose.RETRY_LOGIN:
                session.attempt_now()
            else:
                self._fire(session, Event.PATIENCE_ENDED)

    # --- workers --------------------------------------------------------------------------------

    def _target_discovered(self, fact: facts.TargetDiscovered) -> None:
        discovery = self._outbox.employer(fact.job)
        if isinstance(discovery, Discovery):
            discovery.reported(fact.record)

    def _discovery_completed(self, fact: facts.DiscoveryCompleted) -> None:
        discovery = self._outbox.employer(fact.job)
        if isinstance(discovery, Discovery):
            affected = discovery.completed(fact)
            if discovery.has_confirmed:
                portal = discovery.settings.portal
                sessions = self._inventory.sessions
                affected |= {s.path.target_name for s in sessions if s.path.found_at == portal}
            self._inventory.reconcile(affected)

    def _login_succeeded(self, fact: facts.LoginSucceeded) -> None:
        session = self._outbox.employer(fact.job)
        self._outbox.dismiss(fact.job)
        if isinstance(session, Session):
            session.login_succeeded(fact)
        else:
            self._outbox.order(CloseSocket(fact.job))

    def _scan_finished(self, fact: facts.ScanFinished) -> None:
        scans = self._outbox.employer(fact.job)
        self._outbox.dismiss(fact.job)
        if isinstance(scans, Scans):
            scans.ended(None)

    def _job_failed(
        self, fact: facts.DiscoveryFailed | facts.LoginFailed | facts.ScanFailed
    ) -> None:
        self._tell_failure(fact.job, fact.failure)

    def _worker_ended(self, fact: facts.WorkerEnded) -> None:
        self._outbox.release(fact.job)
        if fact.how is not None:
            self._tell_failure(fact.job, fact.how)
            return
        employer = self._outbox.employer(fact.job)
        self._outbox.dismiss(fact.job)
        if isinstance(employer, Discovery):
            employer.ended()
        elif employer is not None:
            silence = Failure(Decision.RETRY, "the child ended without a word")
            self._fail(employer, silence)

    def _tell_failure(self, job: JobId, failure: Failure) -> None:
        employer = self._outbox.employer(job)
        self._outbox.dismiss(job)
        if employer is not None:
            self._fail(employer, failure)

    def _fail(self, employer: Employer, failure: Failure) -> None:
        if isinstance(employer, Session):
            employer.login_failed(failure)
        elif isinstance(employer, Discovery):
            employer.failed(failure)
        elif isinstance(employer, Scans):
            employer.ended(failure)

    # --- the kernel -----------------------------------------------------------------------------

    def _session_refused(self, fact: facts.SessionRefused) -> None:
        session = self._inventory.sessions.get(fact.binding)
        if session is not None:
            session.refused(fact.failure)

    def _cmd_sn_learned(self, fact: facts.CmdSnLearned) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.cmd_sn_learned(fact.cmd_sn)

    def _request_refused(self, fact: facts.CmdSnNotLearned | facts.RequestRefused) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            self._outbox.debug(session.who, str(fact.failure))
            session.refused(fact.failure)

    def _connection_broke(self, fact: facts.ConnectionBroke) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.broke(fact.reason)

    def _pdu_received(self, fact: facts.PduReceived) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            pdu_received(session, fact.header, fact.data)

    def _disks_checked(self, fact: facts.DisksChecked) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.disks_checked(fact.uses)

    def _session_unbound(self, fact: facts.SessionUnbound) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            self._fire(session, Event.UNBOUND)

    def _session_destroyed(self, fact: facts.SessionDestroyed) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            self._fire(session, Event.DESTROYED)
            self._inventory.sessions.forget_sid(fact.sid)

    def _fire(self, session: Session, event: Event) -> None:
        session.fire(event)
        gone = self._inventory.sessions.drop_if_gone(session)
        if gone and session.is_wanted and not self._is_ending:
            self._inventory.reconcile({session.path.target_name})

    def _events_lost(self, _: facts.EventsLost) -> None:
        self._outbox.warn("", "events from the kernel were lost: reading the truth from sysfs")
        self._look_at_kernel()

    def _look_at_kernel(self) -> None:
        self._look_ordered_at = self._outbox.turn
        self._outbox.order(LookAtKernel())
        self._outbox.set_timer(LOOK, LOOK_AGAIN)

    def _sessions_found(self, fact: facts.SessionsFound) -> None:
        if self._has_begun:
            self._inventory.compare(fact.sessions, self._look_ordered_at)
            return
        self._has_begun = True
        self._inventory.adopt(fact.sessions)
        self._outbox.set_timer(LOOK, LOOK_SOON)
        for discovery in self._inventory.targets.discoveries.values():
            discovery.ask()
        self._inventory.reconcile(self._inventory.targets.static)

    # --- devices and links ----------------------------------------------------------------------

    def _tree_changed(self, fact: DeviceFact) -> None:
        self._outbox.order(*self._inventory.tree.handle(fact))
