"""Who waits while portals do not answer: disks for their session, sessions for their portal.

Whoever gets through to a portal that was dead has found out for all others who wait for it: they
try at once instead of sitting out their pauses. So they need not all knock, and take turns. Every
question costs the same however many wait, so that the loss of all sessions at once stays linear.
Pure.
"""

from __future__ import annotations

from iscsid.bindings.binding import Binding
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.outbox import Outbox
from iscsid.protocol.names import Portal

REST = 5.0
"""Seconds at least between two calls at one portal: whoever failed all the same is not hurried by
each of a thousand others who succeed."""


class PortalBackoff:
    """Sessions are known here by their bindings."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._disks: set[Binding] = set()
        self._portals: dict[Binding, Portal] = {}
        self._waiting: dict[Portal, dict[Binding, None]] = {}
        self._called: dict[Portal, bool] = {}
        """Portals whose rest lasts, and whether they have answered again meanwhile."""

    @property
    def disks_waiting(self) -> int:
        """The number of sessions that the kernel keeps without a connection: I/O waits for them."""
        return len(self._disks)

    def note_disks(self, binding: Binding, *, wait: bool) -> None:
        """A session has lost its connection, or has one again, or is no more."""
        if wait:
            self._disks.add(binding)
        else:
            self._disks.discard(binding)

    def begin_waiting(self, binding: Binding, portal: Portal) -> int:
        """A session pauses before it knocks at ``portal`` again; return how many do so already."""
        self.stop_waiting(binding)
        self._portals[binding] = portal
        waiting = self._waiting.setdefault(portal, {})
        waiting[binding] = None
        return len(waiting) - 1

    def stop_waiting(self, binding: Binding) -> None:
        """A session's pause is over; harmless where it had none."""
        portal = self._portals.pop(binding, None)
        if portal is None:
            return
        waiting = self._waiting[portal]
        del waiting[binding]
        if not waiting:
            del self._waiting[portal]

    def everyone(self) -> list[Binding]:
        """Return all sessions that pause."""
        return list(self._portals)

    def answered(self, portal: Portal) -> list[Binding]:
        """Somebody got through to ``portal``: return who shall try at once."""
        if portal in self._called:
            self._called[portal] = True
            return []
        waiting = list(self._waiting.get(portal, ()))
        if waiting:
            self._called[portal] = False
            self._outbox.set_timer(Timer(TimerPurpose.RETRY_PORTAL, portal), REST)
        return waiting

    def holdoff_over(self, portal: Portal) -> list[Binding]:
        """The rest after a call is over: return who shall try, if the portal answered again."""
        return self.answered(portal) if self._called.pop(portal, False) else []
