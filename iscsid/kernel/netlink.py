"""The two sockets to the kernel's iSCSI interface: one for requests, one for events.

They are two so that replies and events never mix. A request is answered before ``send`` returns,
so requests take no waiting; the timeout is for a kernel that dropped a reply. Messages that do not
come from the kernel itself are ignored. Touches netlink, /proc/net/netlink and the clock.
"""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from iscsid.errors import KernelError
from iscsid.facts import EventsLost
from iscsid.kernel import iscsi_if
from iscsid.kernel.iscsi_if import Reply, Request

_KERNEL = 0
"""The netlink port of the kernel; every process has another."""
_DATAGRAM = 65536
_SO_RCVBUFFORCE = 33
_EVENT_BUFFER = 16 << 20
"""The default holds fewer than 200 events; 128 sessions that fail at once need more."""
_EVENTS_AT_ONCE = 4096
"""Reading on without end would stop the loop."""
_ANSWER_TIME = 5.0
"""Seconds. Replies are there at once; this is for one that was lost."""
_PORT_TABLE = Path("/proc/net/netlink")
_PROTOCOL_COLUMN, _PORT_COLUMN = 1, 2


class RequestSocket:
    """Sends requests. ``handle`` names the transport, and changes when its module is reloaded."""

    def __init__(
        self,
        sock: socket.socket,
        handle: int = 0,
        *,
        kernel_port: int = _KERNEL,
        answer_time: float = _ANSWER_TIME,
    ) -> None:
        self.handle = handle
        self._socket = sock
        self._kernel_port = kernel_port
        self._answer_time = answer_time
        self._tags = itertools.count(1)
        sock.settimeout(answer_time)

    @classmethod
    def open(cls, handle: int) -> RequestSocket:
        return cls(_netlink_socket(groups=0), handle)

    def ask(self, request: Request) -> Reply:
        """Send one request and return its reply; raise ``KernelError`` if it is refused."""
        return self.ask_all([request])[0]

    def ask_all(self, requests: Sequence[Request]) -> list[Reply]:
        """Send all requests in one message, and return their replies in the same order.

        The kernel carries on after one it refuses, but the first refusal is raised as
        ``KernelError``. Keep it below a hundred: the replies must fit the receive buffer.
        """
        tagged = [(request, next(self._tags) & 0xFFFFFFFF) for request in requests]
        message = b"".join(request.pack(self.handle, tag) for request, tag in tagged)
        replies: list[Reply] = []
        deadline = time.monotonic() + self._answer_time
        try:
            self._socket.sendto(message, (self._kernel_port, 0))
            for _, tag in tagged:
                replies.append(self._reply_to(tag, deadline))
        except OSError as error:
            unanswered = requests[len(replies)]
            raise KernelError(unanswered.step, error.errno or errno.ETIMEDOUT) from error
        for request, reply in zip(requests, replies, strict=True):
            if reply.error:
                raise KernelError(request.step, reply.error)
        return replies

    def _reply_to(self, tag: int, deadline: float) -> Reply:
        """Return the next reply, which must have this tag; those to older requests are dropped."""
        while True:
            for message in _receive(self._socket, self._kernel_port):
                reply = iscsi_if.unpack_reply(message)
                if reply is not None and reply.tag == tag:
                    return reply
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "the kernel did not answer")

    def close(self) -> None:
        self._socket.close()


class EventSocket:
    """Receives the events of every session of every program."""

    def __init__(self, sock: socket.socket, *, kernel_port: int = _KERNEL) -> None:
        self._socket = sock
        self._kernel_port = kernel_port
        sock.setblocking(False)

    @classmethod
    def open(cls) -> EventSocket:
        sock = _netlink_socket(groups=iscsi_if.EVENT_GROUP)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER)
        return cls(sock)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> Iterator[iscsi_if.Event | EventsLost]:
        """Yield the events that wait, up to some thousand, of all sessions."""
        for _ in range(_EVENTS_AT_ONCE):
            try:
                messages = list(_receive(self._socket, self._kernel_port))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield EventsLost()
                continue
            yield from filter(None, map(iscsi_if.unpack_event, messages))

    def close(self) -> None:
        self._socket.close()


def open_ports() -> frozenset[int]:
    """Return the netlink port of every socket to the iSCSI interface on this machine.

    A session in the kernel records the port of the program that made it: if no socket has that
    port any more, the program is gone. Raises ``OSError``.
    """
    rows = (line.split() for line in _PORT_TABLE.read_text().splitlines()[1:])
    return frozenset(
        int(row[_PORT_COLUMN])
        for row in rows
        if int(row[_PROTOCOL_COLUMN]) == iscsi_if.NETLINK_ISCSI
    )


def _receive(sock: socket.socket, kernel_port: int) -> Iterator[bytes]:
    data, _ancillary, flags, sender = sock.recvmsg(_DATAGRAM)
    if sender[0] != kernel_port or flags & socket.MSG_TRUNC:
        return iter(())
    return iscsi_if.split(data)


def _netlink_socket(*, groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, iscsi_if.NETLINK_ISCSI)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock
