"""A connection in the kernel, as a class for each state it can be in.

Three requests in the wrong state crash the kernel or leave it reporting a false state: a second
BIND without a stop in between (a NULL pointer in the kernel), START without a bound socket (a
session that claims to be logged in and has no connection), and BIND beside something unknown. So
each state is a class that has only the methods that are safe in it:

    Connections.create  ->  Stopped          Connections.adopt  ->  Unknown
    Stopped.bind  ->  Bound                  Bound.start  ->  Running
    any of these .stop  ->  Stopped          any of these .end  ->  Ended,  which has destroy

No other class has ``bind``, no other has ``start``. ``Connections`` knows the one current
handle of each connection; every step spends the handle it is taken on, and leaves ``Unknown``
behind if the kernel refuses. A spent handle, or one made by hand, raises
``RuntimeError`` and sends nothing. GET_STATS exists nowhere.

It talks to the kernel through the request socket it is given, and touches nothing else.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import TypeVar

from iscsid.errors import KernelError
from iscsid.kernel import iscsi_if
from iscsid.kernel.iscsi_if import Request, StopFlag
from iscsid.kernel.kernel_parameters import KernelParameter
from iscsid.kernel.netlink import RequestSocket


class Connections:
    """For each session of ours, what is known of its one connection."""

    def __init__(self, requests: RequestSocket) -> None:
        self._requests = requests
        self._current: dict[int, State] = {}

    def create(self, sid: int) -> Stopped:
        """Make the connection of a new session; nothing is bound to it yet."""
        if sid in self:
            raise RuntimeError(f"session {sid} has a connection")
        self._requests.ask(iscsi_if.create_connection(sid))
        return self._replace(Stopped(self, sid))

    def adopt(self, sid: int) -> Unknown:
        """Take over a connection of another daemon, or one in an unknown state."""
        return self._replace(Unknown(self, sid))

    def __getitem__(self, sid: int) -> State:
        """Return the current handle; a session that has none is adopted."""
        return self._current.get(sid) or self.adopt(sid)

    def stop(self, sid: int) -> Stopped:
        """Stop the connection of a session that is not being destroyed."""
        current = self[sid]
        if isinstance(current, Ended):
            raise KernelError("revive a session that is being destroyed", errno.ESHUTDOWN)
        return current.stop()

    def __contains__(self, sid: int) -> bool:
        return sid in self._current

    def forget(self, sid: int) -> None:
        """Drop a session that is gone."""
        self._current.pop(sid, None)

    def _ask(self, handle: _Handle, *requests: Request) -> None:
        """Send requests for ``handle``, which must be the current one."""
        self._check(handle)
        self._requests.ask_all(requests)

    def _step(self, handle: _Handle, new: _NewState, *requests: Request) -> _NewState:
        """Put ``new`` in the place of ``handle`` if the kernel agrees to all of ``requests``."""
        self._check(handle)
        self.adopt(handle.sid)  # stays, should the kernel refuse or not answer
        self._requests.ask_all(requests)
        return self._replace(new)

    def _check(self, handle: _Handle) -> None:
        if self._current.get(handle.sid) is not handle:
            raise RuntimeError(f"this {type(handle).__name__} of session {handle.sid} is spent")

    def _replace(self, new: _NewState) -> _NewState:
        self._current[new.sid] = new
        return new


class _Handle:
    def __init__(self, connections: Connections, sid: int) -> None:
        self._connections = connections
        self.sid = sid


class _Stoppable(_Handle):
    def stop(self) -> Stopped:
        """Release the socket; commands wait for a new one. Harmless if it is stopped.

        The kernel refuses everything after an error until it gets this request, so each attempt at
        a recovery begins with it, whatever happened before.
        """
        request = iscsi_if.stop_connection(self.sid, StopFlag.RECOVER)
        return self._connections._step(self, Stopped(self._connections, self.sid), request)

    def end(self) -> Ended:
        """Stop for good: the session can only be destroyed after this."""
        request = iscsi_if.stop_connection(self.sid, StopFlag.TERM)
        ended = Ended(self._connections, self.sid)
        try:
            return self._connections._step(self, ended, request)
        except KernelError as error:
            if error.code != errno.EINVAL:
                raise
            return self._connections._replace(ended)  # a session whose connection was never made


class _Usable(_Stoppable):
    """Requests that are safe in every state; the kernel refuses them if the connection is down."""

    def send(self, pdu: bytes, settings: Iterable[KernelParameter] = ()) -> None:
        """Give the kernel a PDU without data, which it numbers and sends.

        The parameters are changed by the same message: being killed cannot separate the two.
        """
        self._connections._ask(self, *_set(self.sid, settings), iscsi_if.send_pdu(self.sid, pdu))

    def set(self, settings: Iterable[KernelParameter]) -> None:
        """Change parameters of the session."""
        self._connections._ask(self, *_set(self.sid, settings))


class Unknown(_Usable):
    """It may be running, broken, half-made or not there at all."""


class Stopped(_Stoppable):
    """No socket is bound: fresh, or stopped by us."""

    def bind(self, sock: socket.socket, settings: Iterable[KernelParameter]) -> Bound:
        """Give it a connected TCP socket and its parameters, as one message.

        The kernel takes its own reference, so ``sock`` may be closed at any time after this.
        """
        requests = [iscsi_if.bind_connection(self.sid, sock.fileno()), *_set(self.sid, settings)]
        return self._connections._step(self, Bound(self._connections, self.sid), *requests)


class Bound(_Usable):
    """It has a socket, and no command has been sent over it."""

    def start(self) -> Running:
        """Have the kernel send commands over it."""
        request = iscsi_if.start_connection(self.sid)
        return self._connections._step(self, Running(self._connections, self.sid), request)


class Running(_Usable):
    """Commands are sent over it, unless the connection has broken since."""


class Ended(_Handle):
    """Stopped for good."""

    def end(self) -> Ended:
        return self

    def destroy(self) -> None:
        """Remove the connection from the kernel, if there is one."""
        try:
            self._connections._ask(self, iscsi_if.destroy_connection(self.sid))
        except KernelError as error:
            if error.code != errno.EINVAL:
                raise


State = Unknown | Stopped | Bound | Running | Ended
_NewState = TypeVar("_NewState", Unknown, Stopped, Bound, Running, Ended)


def _set(sid: int, settings: Iterable[KernelParameter]) -> list[Request]:
    return [
        iscsi_if.set_parameter(sid, setting.parameter, setting.parameter.name, setting.text)
        for setting in settings
    ]
