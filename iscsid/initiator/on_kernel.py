"""What the kernel said, and what sysfs shows. Pure."""

from __future__ import annotations

from iscsid import facts
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.async_pdus import pdu_received
from iscsid.initiator.reconciler import Handlers, Reconciler
from iscsid.initiator.session_fsm import Event
from iscsid.orders import ListSessions

LOOK_SOON = 2.0
"""Seconds: an error sent just before we listened may precede the change of its state file."""
LOOK_AGAIN = 30.0
LOOKS_AT_START = 5
"""Attempts to read what could not be read at first, before the daemon goes on without."""
LOOK = Timer(TimerPurpose.CHECK_KERNEL)


class KernelFacts:
    """Facts from the iSCSI interface of the kernel."""

    def __init__(self, inventory: Reconciler) -> None:
        self._inventory = inventory
        self._outbox = inventory.outbox
        self._look_ordered_at = 0
        self._looks = 1
        self.handlers: Handlers = {
            facts.SessionRefused: self._session_refused,
            facts.CmdSnLearned: self._cmd_sn_learned,
            facts.CmdSnNotLearned: self._request_refused,
            facts.RequestRefused: self._request_refused,
            facts.ConnectionLost: self._connection_broke,
            facts.SessionUnrecoverable: self._session_doomed,
            facts.PduReceived: self._pdu_received,
            facts.DiskUsersChecked: self._disks_checked,
            facts.LunUsersChecked: self._units_checked,
            facts.UnitAttentionReported: self._unit_attention_reported,
            facts.SessionUnbound: self._session_unbound,
            facts.SessionDestroyed: self._session_destroyed,
            facts.EventsLost: self._events_lost,
            facts.SessionsFound: self._sessions_found,
            facts.SessionStarted: inventory.started,
        }

    def _session_refused(self, fact: facts.SessionRefused) -> None:
        session = self._inventory.sessions.get(fact.binding)
        if session is not None:
            session.refused(fact.failure)

    def _cmd_sn_learned(self, fact: facts.CmdSnLearned) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.cmd_sn_learned(fact)

    def _request_refused(self, fact: facts.CmdSnNotLearned | facts.RequestRefused) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            self._outbox.debug(session.log_prefix, str(fact.failure))
            session.refused(fact.failure)

    def _connection_broke(self, fact: facts.ConnectionLost) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.broke(fact.reason)

    def _session_doomed(self, fact: facts.SessionUnrecoverable) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.doomed(fact.reason)

    def _pdu_received(self, fact: facts.PduReceived) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            pdu_received(session, fact.header, fact.data)

    def _disks_checked(self, fact: facts.DiskUsersChecked) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.disks_checked(fact.uses)

    def _units_checked(self, fact: facts.LunUsersChecked) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.scans.units_checked(fact.uses)

    def _unit_attention_reported(self, fact: facts.UnitAttentionReported) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            session.unit_attention(fact.lun, fact.change)

    def _session_unbound(self, fact: facts.SessionUnbound) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            self._inventory.fire(session, Event.UNBOUND)

    def _session_destroyed(self, fact: facts.SessionDestroyed) -> None:
        session = self._inventory.sessions.with_sid(fact.sid)
        if session is not None:
            self._inventory.fire(session, Event.DESTROYED)
            self._inventory.sessions.forget_sid(fact.sid)

    def _events_lost(self, _: facts.EventsLost) -> None:
        self._outbox.warn("", "events from the kernel were lost: reading the truth from sysfs")
        self.look()

    def look(self) -> None:
        self._look_ordered_at = self._outbox.turn
        self._outbox.order(ListSessions())
        self._outbox.set_timer(LOOK, LOOK_AGAIN)

    def _sessions_found(self, fact: facts.SessionsFound) -> None:
        if self._inventory.has_begun:
            self._inventory.sync_with_sysfs(fact, self._look_ordered_at)
            return
        if fact.unread and self._looks < LOOKS_AT_START:
            # To log in now might end a session of ours that could not be read.
            self._looks += 1
            self._outbox.set_timer(LOOK, LOOK_SOON)
            return
        for sid in fact.unread:
            self._outbox.error("", f"session {sid} cannot be read from sysfs: it is left alone")
        self._inventory.has_begun = True
        self._inventory.adopt(fact.sessions)
        self._outbox.set_timer(LOOK, LOOK_SOON)
        for discovery in self._inventory.targets.discoveries.values():
            discovery.ask()
        self._inventory.reconcile(self._inventory.targets.static)
        self._inventory.reconcile_orphans()
