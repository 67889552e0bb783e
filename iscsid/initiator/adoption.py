"""What sysfs shows against what the owner believes: adoption at the start, the truth ever after.

Events from the kernel are hints that may get lost; the state files are the truth (``system.sysfs``
reads them into ``KernelSession``). Pure.
"""

from __future__ import annotations

from iscsid.facts import KernelSession
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event, State
from iscsid.initiator.session_tag import parse_session_tag

CONNECTED = {State.UP, State.LOGOUT_FOR_RELOGIN, State.LOGGING_OUT}
"""States in which the owner believes in a live connection."""
ALLOCATED = "ALLOCATED"
UNBOUND = "UNBOUND"
UNBINDING = "UNBINDING"


def is_healthy(seen: KernelSession) -> bool:
    """Whether the kernel runs the session over a live connection."""
    return seen.state == "LOGGED_IN" and seen.connection_state == "up"


def is_half_made(seen: KernelSession) -> bool:
    """Whether a daemon died between making the session and telling the kernel whose it is.

    Name and marker are set before a session can carry its first command, so nothing is lost.
    """
    return seen.maker_is_gone and not (seen.target_name or seen.session_tag or is_healthy(seen))


def is_half_destroyed(seen: KernelSession) -> bool:
    """Whether a daemon died between the stop for good and the destruction of the session.

    The kernel fails all I/O from that stop on, and takes no login for the session any more. Its
    connection is down then, or destroyed; one that has a marker, and so a socket, never is else.
    """
    return (
        seen.connection_state in (None, "down") and parse_session_tag(seen.session_tag) is not None
    )


def why_useless(seen: KernelSession) -> str:
    """Say what of a daemon that died has left nobody can use, empty for a session like others."""
    if is_half_destroyed(seen):
        return "whose destruction was begun: it cannot be revived"
    return "left half-made" if is_half_made(seen) else ""


def state_at_start(seen: KernelSession) -> State:
    """Return the state in which a session of our own, found at the start, is taken over.

    One whose disks were being removed goes on with that: it can never be scanned again. One that
    was logged out to come back is as good as broken, whatever the kernel shows.
    """
    if seen.target_state in (UNBOUND, UNBINDING):
        return State.UNBINDING
    session_tag = parse_session_tag(seen.session_tag)
    is_logging_out = session_tag is not None and session_tag.is_logging_out
    return State.UP if is_healthy(seen) and not is_logging_out else State.DOWN


def has_been_scanned(seen: KernelSession) -> bool:
    """Whether its LUNs have been looked for. A daemon that died just after the hand-over may never
    have come to that; a kernel that does not tell is believed to have been asked."""
    return seen.target_state != ALLOCATED


def compare(session: Session, seen: KernelSession | None) -> None:
    """Tell ``session`` what its events should have told: ``None`` if the kernel has it no more."""
    if seen is None:
        session.fire(Event.DESTROYED)
    elif session.state in CONNECTED and not is_healthy(seen):
        session.broke("the kernel reports the connection as lost")
    elif session.state is State.UNBINDING and seen.target_state == UNBOUND:
        session.fire(Event.UNBOUND)
