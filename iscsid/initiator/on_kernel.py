"""What follows from the kernel's events and from what sysfs shows. Pure."""

from __future__ import annotations

from typing import assert_never

from iscsid import facts
from iscsid.errors import Retry
from iscsid.facts import KernelFact, Timer, TimerPurpose
from iscsid.initiator.async_pdus import pdu_received
from iscsid.initiator.reconciler import Reconciler
from iscsid.initiator.retry import LONGEST, delay_before_retry
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event
from iscsid.orders import ListSessions

CHECK_DISKS = Timer(TimerPurpose.CHECK_DISKS)
CHECK_AT_THE_END = 2.0
"""Seconds after a check of disks that found out nothing, while the daemon ends."""
LOOK_SOON = 2.0
"""Seconds: an event sent just before the daemon could receive it precedes its state file."""
LOOK_AGAIN = 30.0
LOOKS_AT_START = 5
"""Attempts to read what could not be read at first, before the daemon goes on without."""
LOOK = Timer(TimerPurpose.CHECK_KERNEL)


class OnKernel:
    """Handles facts from the kernel's iSCSI interface."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._outbox = reconciler.outbox
        self._looks = 1
        self._doubts = 0
        """Rounds of checks in which nothing could be found out about some disks."""

    def handle(self, fact: KernelFact) -> None:
        match fact:
            case facts.SessionStarted():
                self._reconciler.started(fact)
            case facts.SessionRefused(binding, failure):
                refused = self._reconciler.sessions.get(binding)
                if refused is not None:
                    refused.refused(failure)
            case facts.EventsLost():
                self._outbox.warn("", "kernel events lost; re-reading session states from sysfs")
                self.look()
            case facts.SessionsFound():
                self._sessions_found(fact)
            case _:
                # An event about a session that is gone, or of another program, means nothing.
                session = self._reconciler.sessions.with_sid(fact.sid)
                if session is not None:
                    self._session_event(session, fact)

    def _session_event(self, session: Session, fact: facts.SessionEvent) -> None:
        match fact:
            case facts.CmdSnLearned():
                session.cmd_sn_learned(fact)
            case facts.CmdSnNotLearned(_, failure) | facts.RequestRefused(_, failure):
                self._outbox.debug(session.log_prefix, str(failure))
                session.refused(failure)
            case facts.TimeoutsRefused(_, failure):
                session.timeouts_refused(failure)
            case facts.ConnectionLost(_, reason):
                session.connection_lost(reason)
            case facts.SessionUnrecoverable(_, reason):
                session.unrecoverable(reason)
            case facts.PduReceived(_, header, data):
                pdu_received(session, self._outbox, header, data)
            case facts.DiskUsersChecked(_, uses):
                session.disks_checked(uses)
                self._check_again_if_in_doubt(session)
            case facts.LunUsersChecked():
                session.lun_scanner.units_checked(fact.uses)
            case facts.UnitAttentionReported(_, lun, change):
                session.lun_scanner.unit_attention(lun, change)
            case facts.SessionUnbound():
                session.fire(Event.UNBOUND)
            case facts.SessionDestroyed(sid):
                session.fire(Event.DESTROYED)
                self._reconciler.sessions.forget_sid(sid)
            case _:
                assert_never(fact)

    def _check_again_if_in_doubt(self, session: Session) -> None:
        """What held a disk for a moment is gone soon, and a busy machine will answer later."""
        if not session.is_kept_in_doubt:
            self._doubts = 0
        elif self._outbox.is_ending:
            self._outbox.set_timer(CHECK_DISKS, CHECK_AT_THE_END)
        else:
            pause = delay_before_retry(Retry.SOON, self._doubts + 1, session.isid)
            self._outbox.set_timer(CHECK_DISKS, pause or 0.0)

    def check_doubts(self) -> None:
        """Ask once more about the disks of which nothing could be found out."""
        self._doubts += 1
        for session in self._reconciler.sessions:
            if session.is_kept_in_doubt and session.is_settled:
                session.unwanted()
            elif session.is_kept_in_doubt:
                # It is being logged in to again.
                self._outbox.set_timer(CHECK_DISKS, LONGEST)

    def look(self) -> None:
        """Read sysfs, now and from now on every half minute: events may get lost."""
        self._outbox.order(ListSessions(self._outbox.turn))
        self._outbox.set_timer(LOOK, LOOK_AGAIN)

    def _sessions_found(self, fact: facts.SessionsFound) -> None:
        reconciler = self._reconciler
        if reconciler.has_begun:
            reconciler.sync_with_sysfs(fact)
            return
        if fact.unread and self._looks < LOOKS_AT_START:
            # To log in now might end a session of iscsid's own that could not be read.
            self._looks += 1
            self._outbox.set_timer(LOOK, LOOK_SOON)
            return
        for sid in fact.unread:
            self._outbox.error("", f"session {sid} cannot be read from sysfs: it is left alone")
        reconciler.has_begun = True
        reconciler.adopt(fact.sessions)
        self._outbox.set_timer(LOOK, LOOK_SOON)
        for discovery in reconciler.targets.discoveries.values():
            discovery.ask()
        reconciler.reconcile(reconciler.targets.static)
        reconciler.reconcile_orphans()
