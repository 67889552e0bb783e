"""A kernel as the initiator sees it: sessions that start, break, resume and go.

Every order that would harm a real kernel is a failed assertion here. It stands beside the runs on
a real kernel (``tests/vm``), where a thousand seeds would take days.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from iscsid.bindings.binding import Binding
from iscsid.errors import Failure, Retry
from iscsid.facts import (
    CmdSnLearned,
    CmdSnNotLearned,
    DiskUsersChecked,
    Fact,
    KernelSession,
    RequestRefused,
    SessionDestroyed,
    SessionRefused,
    SessionsFound,
    SessionStarted,
    SessionUnrecoverable,
    TimeoutsRefused,
)
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.jobs import LoginJob
from iscsid.orders import KernelTimeouts, ResumeSession, SessionDescription, StartSession
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Isid

REFUSED = Failure(Retry.SOON, "the kernel refused")


@dataclass
class Running:
    """One session in the kernel."""

    sid: int
    host_no: int
    description: SessionDescription
    is_up: bool = True
    is_stopped: bool = False
    is_logged_out: bool = False
    """A Logout Request was sent: no command gets through, though the kernel shows nothing of it."""
    has_refused_logout: bool = False
    """Whether the last logout was refused: to the daemon the connection is as good as broken."""
    is_unbound: bool = False
    cmd_sn: int = 1
    learnt: int | None = None
    """The CmdSN that was asked for since the connection was last stopped."""
    checked_unused: bool = False
    in_use: bool = False
    unused_since: float = 0.0
    has_name: bool = True
    """Whether it has its name; a daemon that is killed may never come to that."""
    has_connection: bool = True
    is_scanned: bool = False
    """Whether its LUNs have been looked for. A daemon that is killed may never come to that."""
    is_terminated: bool = False
    """Stopped for good: all I/O fails, and nothing brings it back."""

    settings: tuple[object, ...] = ()
    """What the last login was made with, as far as only a login can change it."""
    isid: Isid | None = None
    created_at: float = 0.0
    last_up: float = 0.0

    def note(self, login: LoginJob) -> None:
        self.isid = login.login.isid
        offer, authentication = login.login.offer, login.login.authentication
        sockets = login.tcp_window_size, login.socket_options
        self.settings = (offer, authentication, *sockets)

    @property
    def target_state(self) -> str:
        if self.is_unbound:
            return "UNBOUND"
        return "SCANNED" if self.is_scanned else "ALLOCATED"

    @property
    def has_life(self) -> bool:
        return self.has_name and self.has_connection and not self.is_terminated

    def assert_may_go(self, *, is_given_up: bool) -> None:
        was_used = self.has_life
        assert self.is_unbound or self.checked_unused or not was_used or is_given_up


@dataclass
class Kernel:
    """All sessions; ``random`` decides which requests fail."""

    random: Random
    failure_rate: float = 0.0
    sessions: dict[int, Running] = field(default_factory=dict)
    sids: int = 0
    refusals: int = 0

    def start(self, order: StartSession, login: LoginJob, now: float) -> Fact:
        assert self.sid_of(order.binding) is None, f"{order.binding} started twice"
        if self._fails():
            return SessionRefused(order.binding, REFUSED)
        running = self._create(order.description)
        running.note(login)
        running.created_at = now
        return SessionStarted(order.binding, running.sid, running.host_no)

    def _create(self, description: SessionDescription) -> Running:
        self.sids += 1
        running = Running(self.sids, self.sids + 1, description, cmd_sn=description.cmd_sn)
        self.sessions[self.sids] = running
        return running

    def learn_cmd_sn(self, sid: int) -> Fact:
        running = self.sessions.get(sid)
        if running is None or self._fails():
            return CmdSnNotLearned(sid, REFUSED)
        running.is_up, running.is_stopped = False, True
        running.has_refused_logout = False
        if running.is_terminated:
            return SessionUnrecoverable(sid, "it was stopped for good")
        running.learnt = running.cmd_sn
        return CmdSnLearned(sid, running.cmd_sn)

    def resume(self, order: ResumeSession, login: LoginJob) -> Fact:
        running = self.sessions.get(order.sid)
        if running is None or running.is_terminated or self._fails():
            return SessionRefused(order.binding, REFUSED)
        assert running.is_stopped, "a second BIND without STOP"
        assert running.learnt == order.description.cmd_sn, "a CmdSN that is not the kernel's"
        assert not running.is_up
        was = running.description
        assert order.description.initiator_name == was.initiator_name, "resumed with another name"
        assert running.isid in (None, login.login.isid), "resumed with another ISID"
        running.note(login)
        running.is_up, running.is_stopped, running.learnt = True, False, None
        running.is_logged_out = False
        running.description = order.description
        running.cmd_sn = (running.cmd_sn + self.random.randrange(1000)) % 2**32
        return SessionStarted(order.binding, running.sid, running.host_no)

    def apply_timeouts(self, sid: int, timeouts: KernelTimeouts) -> Fact | None:
        running = self.sessions.get(sid)
        if running is None or not running.is_up:
            return None  # it gets them when it is resumed
        if self._fails():
            return TimeoutsRefused(sid, REFUSED)
        running.description = replace(running.description, timeouts=timeouts)
        return None

    def check_disks(self, sid: int) -> Fact:
        running = self.sessions.get(sid)
        if running is None or not running.in_use:
            if running is not None:
                running.checked_unused = True
            return DiskUsersChecked(sid, ())
        return DiskUsersChecked(sid, ("sda is mounted on /data",))

    def unbind(self, sid: int) -> Fact | None:
        running = self.sessions.get(sid)
        if running is None:
            return RequestRefused(sid, REFUSED)
        assert running.checked_unused, "disks are taken away unchecked"
        running.is_unbound = True
        return None

    def scan(self, sid: int) -> None:
        running = self.sessions.get(sid)
        if running is not None and running.is_up:
            running.is_scanned = True

    def send_logout(self, sid: int, session_tag: str) -> Fact | None:
        running = self.sessions.get(sid)
        if running is None or not running.is_up:
            return RequestRefused(sid, REFUSED)
        if self._fails():
            running.has_refused_logout = True
            return RequestRefused(sid, REFUSED)
        running.description = replace(running.description, session_tag=session_tag)
        running.is_logged_out = True
        return None

    def destroy(self, sid: int, *, is_given_up: bool = False) -> Fact | None:
        """Refuse, or remove the session: then its end is an event to come."""
        running = self.sessions.get(sid)
        if running is None:
            return SessionDestroyed(sid)
        running.assert_may_go(is_given_up=is_given_up)
        if self._fails():
            return RequestRefused(sid, REFUSED)
        del self.sessions[sid]
        return None

    def look(self) -> SessionsFound:
        return SessionsFound(tuple(self._show(running) for running in self.sessions.values()))

    def sid_of(self, binding: Binding) -> int | None:
        for running in self.sessions.values():
            session_tag = parse_session_tag(running.description.session_tag)
            if running.has_life and session_tag is not None and session_tag.binding == binding:
                return running.sid
        return None

    # --- a daemon that is killed in the middle of an order --------------------------------------

    def start_half(self, order: StartSession) -> None:
        """Come as far as a session without a name or a connection, or as far as its bind."""
        running = self._create(order.description)
        running.is_up = False
        running.has_name = self.random.random() < 0.5
        running.has_connection = running.has_name or self.random.random() < 0.5

    def resume_half(self, sid: int) -> None:
        """Come as far as the stop, or as far as the bind."""
        if running := self.sessions.get(sid):
            running.is_up, running.is_stopped = False, False

    def destroy_half(self, sid: int, *, is_given_up: bool = False) -> None:
        """Come as far as the stop for good, or as far as the destruction of the connection."""
        if running := self.sessions.get(sid):
            running.assert_may_go(is_given_up=is_given_up)
            running.is_up, running.is_terminated = False, True
            running.has_connection = self.random.random() < 0.5

    def _show(self, running: Running) -> KernelSession:
        described, portal = running.description, running.description.portal
        is_reachable = running.has_name and running.has_connection
        connection_state = "up" if running.is_up else "failed"
        if running.is_terminated and not running.is_stopped:
            connection_state = "down"
        return KernelSession(
            sid=running.sid,
            host_no=running.host_no,
            target_name=described.target_name if running.has_name else "",
            initiator_name=described.initiator_name if running.has_name else "",
            session_tag=described.session_tag if running.has_name else "",
            state="LOGGED_IN" if running.is_up else "FAILED",
            target_state=running.target_state,
            connection_state=connection_state if running.has_connection else None,
            persistent_portal=Portal(portal.host, portal.port) if is_reachable else None,
            portal_group_tag=described.portal_group_tag,
            maker_is_gone=not running.has_name,
        )

    def _fails(self) -> bool:
        fails = self.random.random() < self.failure_rate
        self.refusals += fails
        return fails
