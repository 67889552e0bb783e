"""Compares what sysfs shows with what the initiator knows: at a start to adopt sessions, and later.

Events from the kernel may get lost; sysfs is authoritative (``devices.sysfs`` reads it into
``KernelSession``). What could not be read proves nothing: a session is taken as broken, and removed
as useless, only for what was read. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from iscsid.errors import Retry
from iscsid.facts import KernelSession
from iscsid.initiator.retry import delay_before_retry
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event, State
from iscsid.initiator.session_tag import SessionTag, parse_session_tag
from iscsid.protocol.names import IscsiName

CONNECTED = {State.UP, State.LOGOUT_FOR_RELOGIN, State.LOGGING_OUT}
"""States in which the session has a connection, as far as the initiator knows."""
ALLOCATED = "ALLOCATED"
UNBOUND = "UNBOUND"
UNBINDING = "UNBINDING"


def is_broken(seen: KernelSession) -> bool:
    """Whether the session has certainly no working connection."""
    return seen.state != "LOGGED_IN" or seen.connection_state not in ("up", "")


def is_half_made(seen: KernelSession) -> bool:
    """Whether a daemon died between making the session and setting its name and tag.

    Name and tag are set before a session can carry its first command, so that nothing is lost.
    """
    has_owner = bool(seen.target_name or seen.session_tag)
    return seen.maker_is_gone and not has_owner and is_broken(seen)


def is_half_destroyed(seen: KernelSession) -> bool:
    """Whether a daemon died between the stop for good and the destruction of the session.

    The kernel fails all I/O from that stop on, and takes no login for the session any more. Its
    connection is down then, or destroyed; that of any other session with a tag is neither.
    """
    is_stopped = seen.connection_state in (None, "down")
    return is_stopped and parse_session_tag(seen.session_tag) is not None


def why_useless(seen: KernelSession) -> str:
    """Return why a session that a killed daemon left can be removed; empty if it cannot."""
    if is_half_destroyed(seen):
        return "whose destruction was begun: it cannot be revived"
    return "left half-made" if is_half_made(seen) else ""


def state_at_start(seen: KernelSession, session_tag: SessionTag) -> State:
    """Return the state in which a session of our own, found at the start, is taken over.

    One whose disks were being removed goes on with that: it can never be scanned again. One that
    was logged out in order to log in again is as good as broken, whatever the kernel shows.
    """
    if seen.target_state in (UNBOUND, UNBINDING):
        return State.UNBINDING
    return State.DOWN if is_broken(seen) or session_tag.is_logging_out else State.UP


def has_been_scanned(seen: KernelSession) -> bool:
    """Whether the LUNs have been looked for. A daemon that died just after a login may not have
    done so; on a kernel that does not show it, a scan is assumed."""
    return seen.target_state != ALLOCATED


def sync_with_sysfs(session: Session, seen: KernelSession | None) -> None:
    """Fire the events that a session has missed; ``seen`` is ``None`` if the kernel lost it."""
    if seen is None:
        session.fire(Event.DESTROYED)
    elif session.state in CONNECTED and is_broken(seen):
        session.connection_lost("the kernel reports the connection as lost")
    elif session.state is State.UNBINDING and seen.target_state == UNBOUND:
        session.fire(Event.UNBOUND)


class UselessSessions:
    """Useless sessions that the kernel is to remove. One that stays is tried ever less often."""

    def __init__(self) -> None:
        self._tried: dict[int, tuple[int, float]] = {}
        """By sid: how often, and when the next attempt is due."""

    def next_attempt(self, sid: int, now: float) -> int | None:
        """Begin an attempt if one is due, and return which it is: 1 is the first."""
        attempts, due = self._tried.get(sid, (0, now))
        if now < due:
            return None
        # The second comes with the next look: what refused may have been in the way for a moment.
        pause = delay_before_retry(Retry.LATER, attempts, str(sid)) if attempts else None
        self._tried[sid] = attempts + 1, now + (pause or 0.0)
        return attempts + 1

    def forget_missing(self, present: Collection[int]) -> None:
        self._tried = {sid: tried for sid, tried in self._tried.items() if sid in present}


class LeftAlone:
    """Sessions in the kernel that are ours by their tag, but could not be adopted.

    A second login to their targets may end them, or show their disks twice: while they exist, no
    other session with the same target begins.
    """

    def __init__(self) -> None:
        self._targets: dict[int, IscsiName] = {}

    def add(self, sid: int, target_name: IscsiName) -> None:
        self._targets[sid] = target_name

    def sid_of(self, target_name: IscsiName) -> int | None:
        """Return the session that keeps others with the same target from beginning."""
        return next((sid for sid, name in self._targets.items() if name == target_name), None)

    def remove_missing(self, present: Iterable[int]) -> set[IscsiName]:
        """Forget the sessions that the kernel has no more; return their targets."""
        gone = self._targets.keys() - set(present)
        return {self._targets.pop(sid) for sid in gone}
