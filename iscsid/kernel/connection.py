"""A connection in the kernel, as a class for each state it can be in.

Three orders in the wrong state bring the machine down or make it lie: a second BIND without a stop
in between (a NULL pointer in the kernel), START without a bound socket (a session that claims to be
logged in and has no connection), and BIND beside something unknown. So what may be done is a
matter of what one holds:

    Connections.create  ->  Stopped          Connections.adopt  ->  Unknown
    Stopped.bind  ->  Bound                  Bound.start  ->  Running
    any of these .stop  ->  Stopped          any of these .end  ->  Ended,  which has destroy

No other class has ``bind``, no other has ``start``. The ledger, ``Connections``, knows the one
handle that counts for each connection; every step spends the handle it is taken on, and leaves
``Unknown`` behind where the kernel refuses. A spent handle, or one made by hand, raises
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
    """The ledger: for each session of ours, what is known of its one connection."""

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
        """Take over a connection somebody else made, or whose state is in doubt."""
        return self._replace(Unknown(self, sid))

    def __getitem__(self, sid: int) -> State:
        """Return the handle that counts; what was never heard of is adopted."""
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
        """Ask in the name of ``handle``, which must be the one that counts."""
        self._check(handle)
        self._requests.ask_all(requests)

    def _step(self, handle: _Handle, new: _NewState, *requests: Request) -> _NewState:
        """Put ``new`` in the place of ``handle`` if the kernel agrees to all of ``requests``."""
        self._check(handle)
        self.adopt(handle.sid)  # holds, should the kernel refuse or not answer
        self._requests.ask_all(requests)
        return self._replace(new)

    def _check(self, handle: _Handle) -> None:
        if self._current.get(handle.sid) is not handle:
            raise RuntimeError(f"this {type(handle).__name__} of session {handle.sid} is spent")

    def _replace(self, new: _NewState) -> _NewState:
        self._current[new.sid] = new
        return new


class _Handle:
    def __init__(self, ledger: Connections, sid: int) -> None:
        self._ledger = ledger
        self.sid = sid


class _Stoppable(_Handle):
    def stop(self) -> Stopped:
        """Let go of the socket; commands wait for a new one. Harmless where it is stopped.

        The kernel refuses everything after an error until it is told this, so each attempt at a
        recovery begins with it, whatever happened before.
        """
        request = iscsi_if.stop_connection(self.sid, StopFlag.RECOVER)
        return self._ledger._step(self, Stopped(self._ledger, self.sid), request)

    def end(self) -> Ended:
        """Stop for good: the session can only be destroyed after this."""
        request = iscsi_if.stop_connection(self.sid, StopFlag.TERM)
        ended = Ended(self._ledger, self.sid)
        try:
            return self._ledger._step(self, ended, request)
        except KernelError as error:
            if error.code != errno.EINVAL:
                raise
            return self._ledger._replace(ended)  # a session whose connection was never made


class _Usable(_Stoppable):
    """What harms no connection, whatever its state; the kernel refuses it where it is down."""

    def send(self, pdu: bytes, settings: Iterable[KernelParameter] = ()) -> None:
        """Hand a PDU without data to the kernel, which numbers it and sends it.

        The parameters are changed with it, by one message: no death comes between the two.
        """
        self._ledger._ask(self, *_set(self.sid, settings), iscsi_if.send_pdu(self.sid, pdu))

    def set(self, settings: Iterable[KernelParameter]) -> None:
        """Change parameters of the session."""
        self._ledger._ask(self, *_set(self.sid, settings))


class Unknown(_Usable):
    """It may be running, broken, half-made or not there at all."""


class Stopped(_Stoppable):
    """No socket is bound: fresh, or stopped by us."""

    def bind(self, sock: socket.socket, settings: Iterable[KernelParameter]) -> Bound:
        """Give it a connected TCP socket and its parameters, as one message.

        The kernel takes its own reference, so ``sock`` may be closed at any time after this.
        """
        requests = [iscsi_if.bind_connection(self.sid, sock.fileno()), *_set(self.sid, settings)]
        return self._ledger._step(self, Bound(self._ledger, self.sid), *requests)


class Bound(_Usable):
    """It has a socket, and no command has been sent over it."""

    def start(self) -> Running:
        """Let the commands flow."""
        request = iscsi_if.start_connection(self.sid)
        return self._ledger._step(self, Running(self._ledger, self.sid), request)


class Running(_Usable):
    """Commands flow, unless the connection has broken since."""


class Ended(_Handle):
    """Stopped for good."""

    def end(self) -> Ended:
        return self

    def destroy(self) -> None:
        """Remove the connection from the kernel, where it is there at all."""
        try:
            self._ledger._ask(self, iscsi_if.destroy_connection(self.sid))
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
