"""Sessions that pause before the next attempt, by the portal that they wait for.

When a login or discovery reaches a portal, all others that wait for it try at once, however long
their pauses would still be. So attempts at a portal that does not answer can be few, and the
sessions take turns. Every call costs the same however many sessions wait, so that the loss of
all sessions at once stays linear. Pure.
"""

from __future__ import annotations

from iscsid.bindings.binding import Binding
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.outbox import Outbox
from iscsid.protocol.names import Portal

HOLDOFF = 5.0
"""Seconds between two releases of the sessions that wait for one portal: one that fails although
the portal answers is not tried again because each of a thousand others succeeds."""


class PortalBackoff:
    """The sessions that pause; they are known here by their bindings."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._portals: dict[Binding, Portal] = {}
        self._waiting: dict[Portal, dict[Binding, None]] = {}
        self._holdoffs: dict[Portal, bool] = {}
        """Portals in their holdoff, and whether they have answered again meanwhile."""

    def waiting_at(self, portal: Portal) -> int:
        """Return the number of sessions that wait for ``portal``."""
        return len(self._waiting.get(portal, ()))

    def begin_waiting(self, binding: Binding, portal: Portal) -> None:
        """A session pauses before its next attempt at ``portal``."""
        self.stop_waiting(binding)
        self._portals[binding] = portal
        self._waiting.setdefault(portal, {})[binding] = None

    def stop_waiting(self, binding: Binding) -> None:
        """A session's pause is over; harmless if it had none."""
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
        """``portal`` has answered: return the sessions that try at once."""
        if portal in self._holdoffs:
            self._holdoffs[portal] = True
            return []
        waiting = list(self._waiting.get(portal, ()))
        if waiting:
            self._holdoffs[portal] = False
            self._outbox.set_timer(Timer(TimerPurpose.RETRY_PORTAL, portal), HOLDOFF)
        return waiting

    def holdoff_over(self, portal: Portal) -> list[Binding]:
        """Return the sessions that try at once, if the portal has answered during its holdoff."""
        return self.answered(portal) if self._holdoffs.pop(portal, False) else []
