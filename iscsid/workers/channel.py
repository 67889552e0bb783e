"""The channel between the daemon and one worker: whole messages, and a descriptor beside some.

A pair of SOCK_SEQPACKET sockets keeps the borders of messages and carries descriptors (unix(7),
SCM_RIGHTS). The worker has the ``WorkerEnd``, the daemon the ``ParentEnd``, which never blocks and
trusts nothing that it receives. May touch these two sockets, and what is received on them.
"""

from __future__ import annotations

import array
import os
import select
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from iscsid.errors import Failure
from iscsid.facts import Fact
from iscsid.jobs import WorkerJob
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.workers.codec import Malformed
from iscsid.workers.job_kinds import (
    MOST_OCTETS,
    FromWorker,
    ToWorker,
    decode,
    decode_job,
    decode_order,
    encode,
    encode_job,
    encode_order,
    kind_of,
)
from iscsid.workers.messages import (
    Connecting,
    ConnectionWanted,
    JobEnded,
    LogLine,
    Progress,
    Unprotected,
)
from iscsid.workers.reporter import Attempt, ParentMessage, is_logged
from iscsid.workers.resolver import HostResolved
from iscsid.workers.sandbox import Confinement

LONGEST = 128 * 1024
"""Octets of one datagram. The kernel's default socket buffer takes no more than about 200 kB."""
_ATTACHED = b"@"
"""Instead of a message: it is in the memfd beside this octet."""
_DESCRIPTOR = array.array("i").itemsize
_ANCILLARY = socket.CMSG_SPACE(_DESCRIPTOR * 4)
"""Room for more descriptors than the one that may come: the others are closed, not left open."""
_LINGER_OFF = struct.pack("ii", 0, 0)


class WorkerEnd:
    """The worker's end: receives jobs, and is the ``Reporter`` of the job that runs."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._job: WorkerJob | None = None
        self._level = Level.INFO

    @property
    def job(self) -> WorkerJob:
        """The last job received."""
        assert self._job is not None
        return self._job

    def receive_job(self) -> WorkerJob | None:
        """Wait for the next job; ``None`` if the daemon has closed its end."""
        while True:
            try:
                received, descriptors = _receive(self._end, 0)
            except ConnectionResetError:
                return None
            if not received:
                return None
            if received == _ATTACHED:
                received = _read_attached(descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            if decoded := decode_job(received):
                self._job, self._level = decoded
                return self._job

    def end_job(self, failure: Failure | None, *, is_reusable: bool) -> None:
        self._send(JobEnded(self.job.id, failure, is_reusable))

    def report(self, fact: Fact | HostResolved) -> None:
        self._send(fact)

    def progress(self, what: str) -> None:
        self._send(Progress(self.job.id, what))

    def unprotected(self, what: str) -> None:
        self._send(Unprotected(self.job.id, what))

    def wants(self, level: Level) -> bool:
        return is_logged(level, self._level)

    def log(self, level: Level, text: str) -> None:
        if self.wants(level):
            self._send(LogLine(self.job.id, level, text))

    def fileno(self) -> int:
        return self._end.fileno()

    def poll_parent(self) -> ParentMessage:
        try:
            received, _ = _receive(self._end, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return ParentMessage.NOTHING
        except ConnectionResetError:
            return ParentMessage.CLOSED
        return ParentMessage.ASK_AGAIN if received else ParentMessage.CLOSED

    def connect(self, portal: Portal, index: int, seconds: float | None) -> Attempt:
        self._send(ConnectionWanted(self.job.id, portal, index))
        while True:
            if not _is_readable(self._end, seconds):
                raise TimeoutError
            received, descriptors = _receive(self._end, 0)
            if not received:
                raise ConnectionAbortedError("the daemon is gone")
            answer = decode_order(received)
            if isinstance(answer, Connecting):
                connection = socket.socket(fileno=descriptors[0]) if descriptors else None
                return Attempt(answer, connection)

    def _send(self, message: FromWorker) -> None:
        octets = encode(message)
        if len(octets) <= LONGEST:
            # Not sendmsg(2), which the sandbox forbids: it could carry a descriptor.
            self._end.send(octets)
            return
        with _attach(octets) as attached:
            socket.send_fds(self._end, [_ATTACHED], [attached])


class ChannelClosed(Exception):
    """The worker has closed its end: nothing more will come."""


class ParentEnd:
    """The daemon's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def send_job(self, job: WorkerJob, level: Level) -> None:
        """Raises ``OSError`` if the worker is gone or descriptors run out. Never blocks."""
        octets = encode_job(job, level)
        if len(octets) <= LONGEST:
            self._send(octets, [])
            return
        with _attach(octets) as attached:
            self._send(_ATTACHED, [attached])

    def send_order(self, order: ToWorker, connection: socket.socket | None = None) -> None:
        """Send a message about the job that runs; if the worker is gone, that is noticed elsewhere.

        A full channel loses the message: many of its kind are unread, and one more would change
        nothing.
        """
        try:
            self._send(encode_order(order), [connection.fileno()] if connection else [])
        except OSError:
            pass

    def receive(self, job: WorkerJob) -> FromWorker | None:
        """Return the next message of the worker of ``job``, ``None`` if there is none.

        Never blocks. Raises ``ChannelClosed`` at the end, and ``Malformed`` for anything but a
        valid message.
        """
        try:
            received, descriptors = self._read()
        except BlockingIOError:
            return None
        try:
            if not received:
                raise ChannelClosed
            if descriptors and kind_of(job).confinement is not Confinement.PRIVILEGED:
                raise Malformed("a descriptor came with a message")
            if received == _ATTACHED:
                received = _read_attached(descriptors)
            return decode(job, received)
        finally:
            for descriptor in descriptors:
                _close_quickly(descriptor)

    def has_data(self) -> bool:
        """Whether anything has come, the end included."""
        return _is_readable(self._end, 0)

    def close(self) -> None:
        self._end.close()

    def _send(self, octets: bytes, descriptors: list[int]) -> None:
        send_with(self._end, octets, descriptors)

    def _read(self) -> tuple[bytes, list[int]]:
        try:
            return _receive(self._end, socket.MSG_DONTWAIT)
        except ConnectionResetError:
            # The worker ended with a message of ours unread. What it sent itself is still here.
            return _receive(self._end, socket.MSG_DONTWAIT)


def open_channel() -> tuple[ParentEnd, socket.socket]:
    """Make the two ends; raises ``OSError`` if descriptors run out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ParentEnd(ours), theirs


def _receive(end: socket.socket, flags: int) -> tuple[bytes, list[int]]:
    """Read one message and every descriptor beside it."""
    received, ancillary, got, _ = end.recvmsg(
        LONGEST + 1, _ANCILLARY, flags | socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
    if len(received) > LONGEST or got & socket.MSG_CTRUNC:
        for descriptor in descriptors:
            _close_quickly(descriptor)
        raise Malformed("more than a message may hold, or than there is room for")
    return received, list(descriptors)


def _close_quickly(descriptor: int) -> None:
    """Close what a worker has sent, whatever it is."""
    try:
        with socket.socket(fileno=descriptor) as found:
            forbid_linger(found)
    except OSError:
        os.close(descriptor)


def send_with(end: socket.socket, octets: bytes, descriptors: list[int]) -> None:
    """Send a message and descriptors, without blocking. Raises ``OSError``."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    # Not socket.send_fds, which ignores its flags.
    end.sendmsg([octets], rights if descriptors else [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def forbid_linger(found: socket.socket) -> None:
    """With SO_LINGER set and data unsent, close(2) makes its caller wait (socket(7))."""
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)


@contextmanager
def _attach(octets: bytes) -> Iterator[int]:
    """Make a memfd with the octets of a message."""
    descriptor = os.memfd_create("message")
    try:
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        yield descriptor
    finally:
        os.close(descriptor)


def _read_attached(descriptors: list[int]) -> bytes:
    """Read a memfd from its start; its offset is shared with the sender, so it is not used."""
    if len(descriptors) != 1:
        raise Malformed("a message is attached, but not in one descriptor")
    found = os.fstat(descriptors[0])
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_OCTETS:
        raise Malformed(f"what is attached is no file of at most {MOST_OCTETS} octets")
    parts: list[bytes] = []
    length = 0
    while length < found.st_size:
        part = os.pread(descriptors[0], found.st_size - length, length)
        if not part:
            break
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _is_readable(end: socket.socket, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
