"""The line between the daemon and one worker: whole messages, and a socket now and then.

A pair of SOCK_SEQPACKET sockets keeps the borders of messages and carries a descriptor beside one
(unix(7), SCM_RIGHTS). The worker has the ``WorkerEnd``, the daemon the ``ParentEnd``, which never
blocks and trusts nothing that comes. May touch these two sockets only.
"""

from __future__ import annotations

import array
import os
import socket
from dataclasses import dataclass

from iscsid.errors import Failure, Retry
from iscsid.facts import LoginFailed, LoginSucceeded
from iscsid.jobs import Job, LoginJob
from iscsid.orders import Level
from iscsid.workers.codec import Malformed
from iscsid.workers.messages import (
    ASK_AGAIN,
    LONGEST,
    LogLine,
    Message,
    Progress,
    Report,
    decode,
    encode,
)
from iscsid.workers.reporter import ParentMessage, is_logged

_DESCRIPTOR = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE(_DESCRIPTOR * 4)
"""For more descriptors than the one that may come: the others are closed, not left open."""


class WorkerEnd:
    """The worker's end (a ``Reporter``); ``level`` is the quietest one whose lines are sent."""

    def __init__(self, job: Job, end: socket.socket, level: Level) -> None:
        self._job = job
        self._end = end
        self._level = level

    def report(self, fact: Report, connection: socket.socket | None = None) -> None:
        self._send(fact, [] if connection is None else [connection.fileno()])

    def progress(self, what: str) -> None:
        self._send(Progress(self._job.id, what))

    def wants(self, level: Level) -> bool:
        return is_logged(level, self._level)

    def log(self, level: Level, text: str) -> None:
        if self.wants(level):
            self._send(LogLine(self._job.id, level, text))

    def fileno(self) -> int:
        return self._end.fileno()

    def poll_parent(self) -> ParentMessage:
        try:
            word = self._end.recv(len(ASK_AGAIN), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return ParentMessage.NOTHING
        except ConnectionResetError:
            return ParentMessage.CLOSED
        return ParentMessage.ASK_AGAIN if word == ASK_AGAIN else ParentMessage.CLOSED

    def close(self) -> None:
        self._end.close()

    def _send(self, message: Message, descriptors: list[int] | None = None) -> None:
        socket.send_fds(self._end, [encode(message)], descriptors or [])


@dataclass(frozen=True, slots=True)
class Received:
    """One message, and the socket that came with it: there is one if and only if a login
    succeeded that was more than a try."""

    message: Message
    connection: socket.socket | None = None

    def drop(self) -> None:
        """Close the socket that nobody wants."""
        if self.connection is not None:
            self.connection.close()


_BROKE = Failure(
    Retry.SOON,
    "the connection broke right after the login",
    "look into the target's log",
)


class ChannelClosed(Exception):
    """The worker has closed its end: nothing more will come."""


class ParentEnd:
    """The daemon's end."""

    def __init__(self, job: Job, end: socket.socket) -> None:
        self._job = job
        self._only_tries = isinstance(job, LoginJob) and job.only_try
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def receive(self) -> Received | None:
        """Return the next message, ``None`` while there is none; never blocks.

        Raises ``ChannelClosed`` at the end, and ``Malformed`` for anything but a sound message.
        """
        try:
            received, connections = self._read()
        except BlockingIOError:
            return None
        try:
            return self._judge(received, connections)
        except (Malformed, ChannelClosed):
            for connection in connections:
                connection.close()
            raise

    def ask_again(self) -> None:
        """Say so to the worker; if it has many such words unread, one more changes nothing."""
        try:
            self._end.send(ASK_AGAIN, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            # Full, or gone; the end of a worker is noticed elsewhere.
            pass

    def close(self) -> None:
        self._end.close()

    def _read(self) -> tuple[bytes, list[socket.socket]]:
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        try:
            message = self._end.recvmsg(LONGEST + 1, _ROOM, flags)
        except ConnectionResetError:
            # The worker left with a word of ours unread. What it said itself is still here.
            message = self._end.recvmsg(LONGEST + 1, _ROOM, flags)
        received, ancillary, got, _ = message
        connections = _sockets_in(ancillary)
        if len(received) > LONGEST or got & socket.MSG_CTRUNC:
            for connection in connections:
                connection.close()
            raise Malformed("more was sent than a message may hold, or than there is room for")
        return received, connections

    def _judge(self, received: bytes, connections: list[socket.socket]) -> Received:
        if not received:
            raise ChannelClosed
        message = decode(self._job, received)
        if not isinstance(message, LoginSucceeded) or self._only_tries:
            if connections:
                raise Malformed("a descriptor came with a message that has none")
            return Received(message)
        if len(connections) != 1 or not _is_tcp(connections[0]):
            raise Malformed("a login succeeded without exactly one TCP connection")
        if not _stands(connections[0]):
            connections[0].close()
            return Received(LoginFailed(message.job_id, _BROKE))
        return Received(message, connections[0])


def open_channel(job: Job, level: Level) -> tuple[ParentEnd, WorkerEnd]:
    """Make the two ends; raises ``OSError`` when descriptors run out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ParentEnd(job, ours), WorkerEnd(job, theirs, level)


def _sockets_in(ancillary: list[tuple[int, int, bytes]]) -> list[socket.socket]:
    """Take every descriptor that came, so that none stays open unnoticed; close what is none."""
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
    found: list[socket.socket] = []
    for descriptor in descriptors:
        try:
            found.append(socket.socket(fileno=descriptor))
        except OSError:
            os.close(descriptor)
    return found


def _is_tcp(candidate: socket.socket) -> bool:
    return (
        candidate.family in (socket.AF_INET, socket.AF_INET6)
        and candidate.type == socket.SOCK_STREAM
        and candidate.proto == socket.IPPROTO_TCP
    )


def _stands(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
