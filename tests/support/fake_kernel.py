"""A fake kernel behind real netlink sockets, as strict as the kernel is not.

It answers every request before ``sendto`` returns, as the kernel does, keeps what sessions and
connections there are, and writes down each order that would have brought a real machine down. It
proves nothing about the kernel: that is what ``tests/vm`` is for.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field
from struct import pack_into, unpack_from
from typing import Any

from iscsid.kernel.iscsi_if import Command, StopFlag, split
from iscsid.kernel.netlink import EventSocket, RequestSocket

HANDLE = 0xFFFF888012345678
_USERSOCK = 2
_BY_RETCODE = (Command.BIND_CONN, Command.START_CONN, Command.SEND_PDU)


def usersock() -> socket.socket:
    """Return a netlink socket of the family that is for talking among programs."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _USERSOCK)
    sock.bind((0, 0))
    return sock


@dataclass(slots=True)
class ConnectionThere:
    """A connection as the kernel has it; ``bound`` is a copy of the descriptor it was given."""

    bound: socket.socket | None = None
    is_up: bool = False
    is_over: bool = False
    parameters: dict[int, str] = field(default_factory=dict)


class StandIn:
    """``refusals``: which commands fail, and how; each is used as often as it is asked."""

    def __init__(self) -> None:
        self.socket = usersock()
        self.port: int = self.socket.getsockname()[0]
        self.refusals: dict[Command, int] = {}
        self.sessions: dict[int, ConnectionThere | None] = {}
        self.asked: list[Command] = []
        self.disasters: list[str] = []
        self.cmd_sn = 0x01020304
        self._sid = 0

    def request_socket(self) -> RequestSocket:
        return RequestSocket(_SynchronousSocket(self), HANDLE, kernel_port=self.port)

    def event_socket(self) -> EventSocket:
        self.listener = usersock()
        return EventSocket(self.listener, kernel_port=self.port)

    def lose_connection(self, sid: int) -> None:
        """Forget a connection as if another program had destroyed it."""
        if connection := self.sessions[sid]:
            self._release(connection)
        self.sessions[sid] = None

    def close(self) -> None:
        for sid in self.sessions:
            self.lose_connection(sid)
        self.socket.close()

    def report(self, kind: int, *numbers: int, payload: bytes = b"") -> None:
        """Send an event, as the kernel multicasts it."""
        message = bytearray(72) + payload + bytes(-len(payload) % 4)
        pack_into("=IHHIIII", message, 0, len(message), 0, 0, 0, 0, kind, 0)
        pack_into(f"={len(numbers)}I", message, 56, *numbers)
        self.socket.sendto(message, (self.listener.getsockname()[0], 0))

    def answer(self, asker: int) -> None:
        """Carry out what has come in, and answer it."""
        for message in split(self.socket.recv(65536)):
            reply = bytearray(message[:72])
            command = Command(unpack_from("=I", message, 16)[0])
            self.asked.append(command)
            assert unpack_from("=Q", message, 24)[0] == HANDLE
            code = self.refusals.get(command) or self._carry_out(command, message, reply)
            if code and command in _BY_RETCODE:
                pack_into("=i", reply, 56, -code)
            elif code:
                pack_into("=Ii", reply, 16, 103, -code)
            pack_into("=I", reply, 0, 72)
            self.socket.sendto(reply, (asker, 0))

    def _carry_out(self, command: Command, message: bytes, reply: bytearray) -> int:
        if command is Command.CREATE_SESSION:
            self._sid += 1
            self.sessions[self._sid] = None
            pack_into("=II", reply, 56, self._sid, self._sid + 100)
            return 0
        sid: int = unpack_from("=I", message, 32)[0]
        if sid not in self.sessions:
            return errno.EINVAL
        if command is Command.DESTROY_SESSION_ASYNC:
            return self._destroy_session(sid)
        if command is Command.UNBIND_SESSION:
            return 0
        if command is Command.CREATE_CONN:
            self.sessions[sid] = ConnectionThere()
            return 0
        connection = self.sessions[sid]
        if connection is None:
            return errno.EINVAL
        if command is Command.DESTROY_CONN:
            self.lose_connection(sid)
            return 0
        return self._use(command, connection, message)

    def _destroy_session(self, sid: int) -> int:
        if self.sessions[sid] is not None:
            return errno.EBUSY
        del self.sessions[sid]
        return 0

    def _use(self, command: Command, connection: ConnectionThere, message: bytes) -> int:
        if command is Command.BIND_CONN:
            if connection.bound is not None:
                self.disasters.append("BIND of a second socket: the kernel panics")
            connection.bound = socket.socket(fileno=os.dup(unpack_from("=Q", message, 40)[0]))
        elif command is Command.START_CONN:
            if connection.bound is None:
                self.disasters.append("START without a socket: the session is up for nothing")
            connection.is_up = True
        elif command is Command.STOP_CONN:
            connection.is_over |= unpack_from("=I", message, 48)[0] == StopFlag.TERM
            self._release(connection)
        elif connection.bound is None:
            return errno.ENOTCONN
        elif command is Command.SET_PARAM:
            number, length = unpack_from("=II", message, 40)
            connection.parameters[number] = message[72 : 72 + length - 1].decode()
        elif command is Command.SEND_PDU:
            if connection.is_over:
                return errno.EPERM
            header = bytearray(message[72:120])
            pack_into(">I", header, 24, self.cmd_sn)
            connection.bound.sendall(header)
        return 0

    def _release(self, connection: ConnectionThere) -> None:
        connection.is_up = False
        if connection.bound is not None:
            connection.bound.close()
            connection.bound = None


class _SynchronousSocket(socket.socket):
    """Real netlink, whose other end has answered before ``sendto`` returns."""

    def __init__(self, kernel: StandIn) -> None:
        super().__init__(socket.AF_NETLINK, socket.SOCK_RAW, _USERSOCK)
        self.bind((0, 0))
        self._kernel = kernel

    def sendto(self, *arguments: Any) -> int:
        sent = super().sendto(*arguments)
        self._kernel.answer(self.getsockname()[0])
        return sent
