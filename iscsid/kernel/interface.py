"""The kernel's iSCSI interface: each method carries out one order and returns facts.

An order is one short sequence of requests; nothing here decides what to do next. Every request that
could harm goes through ``connection``, whose classes allow no wrong sequence. Touches netlink and
/sys, and blocks for no longer than the kernel takes to answer: milliseconds, as no request here
waits for the network.
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from iscsid.devices.sysfs import Sysfs
from iscsid.errors import Failure, IscsidError, KernelError, Retry
from iscsid.facts import (
    CmdSnLearned,
    CmdSnNotLearned,
    ConnectionLost,
    EventsLost,
    Fact,
    KernelSession,
    RequestRefused,
    SessionDestroyed,
    SessionRefused,
    SessionsFound,
    SessionStarted,
    SessionUnbound,
    SessionUnrecoverable,
    TimeoutsRefused,
)
from iscsid.kernel import cmd_sn, iscsi_if
from iscsid.kernel.connection import Connections, Ended, Stopped
from iscsid.kernel.kernel_parameters import (
    KernelParameter,
    Parameter,
    session_settings,
    timeout_settings,
)
from iscsid.kernel.netlink import EventSocket, RequestSocket, open_ports
from iscsid.kernel.open_iscsi import refuse_open_iscsi
from iscsid.orders import KernelTimeouts, ResumeSession, StartSession
from iscsid.process.signals import recover_lost_signals
from iscsid.protocol.pdu import LogoutRequest

OLDEST_KERNEL = (5, 10)
"""The oldest kernel whose interface was compared with this program. Before 5.6 sessions cannot be
destroyed without waiting, and a connection that breaks while no daemon runs hangs its I/O."""
_NO_SESSION = 0xFFFFFFFF
"""The kernel counts sids up from 1."""
_LOGOUT = LogoutRequest(initiator_task_tag=0, cmd_sn=0, exp_stat_sn=0).encode()
"""The session is to be closed; the kernel fills in the numbers."""

LOOK_AGAIN = 1.0
"""Seconds until a look at the sessions that could not be made is begun again."""


class Kernel:
    """The one user of the kernel's iSCSI interface in the daemon."""

    def __init__(self, requests: RequestSocket, events: EventSocket, sysfs: Sysfs) -> None:
        self._requests = requests
        self._events = events
        self._sysfs = sysfs
        self._connections = Connections(requests)
        self._seen: dict[int, KernelSession] = {}
        """The sessions as they were listed last; a number is not given twice."""
        self._unseen: Iterator[tuple[int, KernelSession | None]] | None = None
        """The rest of a look that has been begun."""
        self._look_at: float | None = None
        """When to go on with it, on the monotonic clock; ``None`` if none is wanted."""
        self._turn = math.inf
        self._found: dict[int, KernelSession | None] = {}
        """What that look has shown so far."""

    @classmethod
    def open(cls) -> Kernel:
        """Open both sockets; raises ``IscsidError`` with advice."""
        refuse_unsupported_kernel(os.uname().release, sys.maxsize)
        refuse_open_iscsi()
        sysfs = Sysfs()
        handle = sysfs.transport_handle()
        with ExitStack() as undo:
            try:
                events = EventSocket.open()
                undo.callback(events.close)
                requests = RequestSocket.open(handle)
                undo.callback(requests.close)
                _check_access(requests)
            except OSError as error:
                raise _no_access(error) from error
            undo.pop_all()
        return cls(requests, events, sysfs)

    def close(self) -> None:
        """Close both sockets; the sessions go on."""
        self._events.close()
        self._requests.close()

    # --- events ---------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are events."""
        return self._events.fileno()

    def read_events(self) -> list[Fact]:
        """Return what happened to sessions of ours since the last time."""
        facts: list[Fact] = []
        for event in self._events.read():
            if isinstance(event, EventsLost) or self._concerns_us(event):
                facts.append(event)
            if isinstance(event, EventsLost):
                self._seen.clear()
            if isinstance(event, SessionDestroyed):
                self._connections.forget(event.sid)
                self._seen.pop(event.sid, None)  # the module may be reloaded, and count from 1
                self._found.pop(event.sid, None)
        return facts

    def _concerns_us(self, event: iscsi_if.Event) -> bool:
        """Whether the event is about a session of ours, and not the effect of our own stop.

        A healthy connection that is stopped reports that it was closed; so the loss of a
        connection that has no socket is about the socket it had.
        """
        if event.sid not in self._connections:
            return False
        has_no_socket = isinstance(self._connections[event.sid], (Stopped, Ended))
        return not (has_no_socket and isinstance(event, ConnectionLost))

    def list_sessions(self) -> SessionsFound:
        """Return every session of the tcp transport, ours or not. Raises ``OSError``."""
        self.begin_look()
        (found,) = self._look(math.inf)
        return found

    def begin_look(self, turn: float = math.inf) -> None:
        """Begin to list the sessions, in pieces; one that was begun and has not ended is dropped.

        ``turn`` comes back with what it shows, which may have changed since.
        """
        self._turn = turn
        self._unseen, self._found = None, {}
        self._look_at = 0.0

    def look_deadline(self) -> float | None:
        """Return when ``go_on_looking`` must be called: at once, until the look has ended."""
        return self._look_at

    def go_on_looking(self, seconds: float) -> list[SessionsFound]:
        """Go on for so long with the look that was begun; return what it has shown at its end."""
        if self._look_at is None:
            return []
        try:
            return self._look(seconds)
        except OSError:
            # Descriptors have run out, which says nothing about any session.
            self._unseen, self._found = None, {}
            self._look_at = time.monotonic() + LOOK_AGAIN
            return []

    def _look(self, seconds: float) -> list[SessionsFound]:
        if self._unseen is None:
            self._unseen = self._sysfs.each_session(open_ports(), self._seen)
        until = time.monotonic() + seconds
        for sid, session in self._unseen:
            self._found[sid] = session
            if time.monotonic() >= until:
                return []
        found = self._found
        self._unseen, self._found, self._look_at = None, {}, None
        self._seen = {sid: session for sid, session in found.items() if session}
        unread = tuple(sid for sid, session in found.items() if session is None)
        return [SessionsFound(tuple(self._seen.values()), unread, self._turn)]

    # --- orders ---------------------------------------------------------------------------------

    def adopt(self, sid: int) -> None:
        """Take over a session that was running before us; nothing is sent."""
        self._connections.adopt(sid)

    def start_session(
        self, order: StartSession, sock: socket.socket
    ) -> SessionStarted | SessionRefused:
        """Create a session around ``sock``, which is closed here; on failure leave nothing."""
        with sock:
            try:
                settings = session_settings(order.description)
                # Read each time: a reloaded module has another handle.
                self._requests.handle = self._sysfs.transport_handle()
                made = order.description
                create = iscsi_if.create_session(made.cmd_sn, made.commands_max, made.queue_depth)
                session = self._requests.ask(create)
            except IscsidError as error:
                recover_lost_signals()
                return SessionRefused(order.binding, error.failure())
            try:
                self._connections.create(session.sid).bind(sock, settings).start()
            except IscsidError as error:
                self._undo(session.sid)
                return SessionRefused(order.binding, error.failure())
        return SessionStarted(order.binding, session.sid, session.host_no)

    def resume_session(
        self, order: ResumeSession, sock: socket.socket
    ) -> SessionStarted | SessionRefused:
        """Give a session a new connection, ``sock``, which is closed here."""
        with sock:
            try:
                host_no = self._sysfs.host_no(order.sid)
                if host_no is None:
                    raise KernelError(f"find session {order.sid}", errno.ENOENT)
                settings = session_settings(order.description)
                self._connections.stop(order.sid).bind(sock, settings).start()
            except IscsidError as error:
                with suppress(KernelError):  # the next attempt begins with it anyway
                    self._connections.stop(order.sid)
                return SessionRefused(order.binding, error.failure())
        return SessionStarted(order.binding, order.sid, host_no)

    def learn_cmd_sn(self, sid: int) -> CmdSnLearned | CmdSnNotLearned | SessionUnrecoverable:
        """Stop the connection for recovery, and ask for what a new one must match."""
        try:
            learnt = cmd_sn.learn(self._connections, sid)
            identities = self._sysfs.identities(sid)
        except cmd_sn.StoppedForGood:
            return SessionUnrecoverable(sid, "it was stopped for good")
        except IscsidError as error:
            return CmdSnNotLearned(sid, error.failure())
        except OSError as error:
            why = f"reading the identities of the disks: {error.strerror or error}"
            return CmdSnNotLearned(sid, Failure(Retry.SOON, why))
        return CmdSnLearned(sid, learnt, identities)

    def apply_timeouts(self, sid: int, timeouts: KernelTimeouts) -> Fact | None:
        """Change a session's timeouts; one that is down gets them when it is resumed."""
        connection = self._connections[sid]
        if isinstance(connection, (Stopped, Ended)):
            return None
        try:
            connection.set(timeout_settings(timeouts))
        except KernelError as error:
            if error.code == errno.ENOTCONN:
                return None
            fact = self._refused(sid, error)
            # Not RequestRefused: no step of the session depends on it.
            is_refused = isinstance(fact, RequestRefused)
            return TimeoutsRefused(sid, error.failure()) if is_refused else fact
        return None

    def unbind_session(self, sid: int) -> Fact | None:
        """Have the kernel flush and remove the session's devices; ``SessionUnbound`` follows."""
        if self._sysfs.target_state(sid) == "UNBOUND":
            return SessionUnbound(sid)  # the kernel would send no event
        self._connections[sid]  # adopts it, so that its events are read
        try:
            self._requests.ask(iscsi_if.unbind_session(sid))
        except KernelError as error:
            return self._refused(sid, error)
        return None

    def send_logout(self, sid: int, session_tag: str) -> Fact | None:
        """Mark the session and send a Logout Request; its response comes as ``PduReceived``."""
        connection = self._connections[sid]
        try:
            if isinstance(connection, (Stopped, Ended)):
                raise KernelError("send a logout", errno.ENOTCONN)
            connection.send(_LOGOUT, (KernelParameter(Parameter.IFACE_NAME, session_tag),))
        except KernelError as error:
            return self._refused(sid, error)
        return None

    def destroy_session(self, sid: int) -> Fact | None:
        """Remove all of the session; ``SessionDestroyed`` follows, or comes at once."""
        try:
            self._connections[sid].end().destroy()
            self._requests.ask(iscsi_if.destroy_session_async(sid))
        except KernelError as error:
            return self._refused(sid, error)
        return None

    # --- helpers --------------------------------------------------------------------------------

    def _undo(self, sid: int) -> None:
        """Remove a session that was never reported, without reporting its end."""
        self.destroy_session(sid)
        self._connections.forget(sid)

    def _refused(self, sid: int, error: KernelError) -> Fact | None:
        """Return what a refusal means: the session is gone, on its way out, or stays as it is."""
        if error.code == errno.EINVAL and not self._sysfs.has_session(sid):
            self._connections.forget(sid)
            return SessionDestroyed(sid)
        if error.code == errno.EINVAL and isinstance(self._connections[sid], Ended):
            return None
        return RequestRefused(sid, error.failure())


def refuse_unsupported_kernel(release: str, largest: int) -> None:
    """Raise ``IscsidError`` for a kernel whose interface is another; the layouts are of 64 bits.

    ``release`` is uname(2)'s, ``largest`` the largest size (``sys.maxsize``).
    """
    match = re.match(r"(\d+)\.(\d+)", release)
    version = (int(match[1]), int(match[2])) if match else OLDEST_KERNEL
    if version < OLDEST_KERNEL or largest < 2**32:
        needed = ".".join(map(str, OLDEST_KERNEL))
        bits = "" if largest >= 2**32 else " in 32 bits"
        raise IscsidError(
            f"Linux {release}{bits} is not supported: iscsid needs Linux {needed} or later, "
            "in 64 bits",
            advice="start the machine with such a kernel",
            retry=Retry.NEVER,
        )


def _check_access(requests: RequestSocket) -> None:
    """Send a request that fails with EINVAL only if other requests would be accepted."""
    try:
        requests.ask(iscsi_if.unbind_session(_NO_SESSION))
    except KernelError as error:
        if error.code != errno.EINVAL:
            raise OSError(error.code, os.strerror(error.code)) from error


def _no_access(error: OSError) -> IscsidError:
    advice = {
        errno.EPROTONOSUPPORT: "load its module with 'modprobe iscsi_tcp'",
        errno.EPERM: "run as root",
        errno.ECONNREFUSED: "run in the initial network namespace, the only one that has it",
    }.get(error.errno or 0, "")
    return IscsidError(
        f"the kernel's iSCSI interface does not answer: {error.strerror or error}",
        advice=advice,
        retry=Retry.NEVER,
    )
