"""What a target may tell a discovery session of its own accord (RFC 7143, section 11.9.1). Pure.

It should not, and may simply drop the connection (RFC 7143, section 7.4.3); one that speaks all the
same is listened to.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.protocol.codes import AsyncEvent
from iscsid.protocol.pdu import AsyncMessage


@dataclass(frozen=True, slots=True)
class LogoutRequested:
    """The target wants us to log out within so many seconds."""

    within: int


@dataclass(frozen=True, slots=True)
class ConnectionDropped:
    """The target drops the connection; it may be back after ``time2wait`` seconds."""

    time2wait: int
    time2retain: int


@dataclass(frozen=True, slots=True)
class SomethingChanged:
    """The target reports an event: asking again may bring another answer."""


DiscoveryEvent = LogoutRequested | ConnectionDropped | SomethingChanged


def event_of(pdu: AsyncMessage) -> DiscoveryEvent | None:
    """Say what an Asynchronous Message means for a discovery session."""
    match pdu.async_event:
        case AsyncEvent.LOGOUT_REQUESTED | AsyncEvent.NEGOTIATION_REQUESTED:
            # We never negotiate anew; logging out and in is the standard's other way.
            return LogoutRequested(pdu.parameter3)
        case AsyncEvent.CONNECTION_DROPPED | AsyncEvent.SESSION_DROPPED:
            return ConnectionDropped(pdu.parameter2, pdu.parameter3)
        case AsyncEvent.TASKS_ABORTED:
            return None
        case _:
            return SomethingChanged()
