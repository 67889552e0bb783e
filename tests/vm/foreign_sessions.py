"""Sessions that iscsid did not make, or did not make to the end.

Other programs' sessions are to be left alone; what a daemon that was killed has left half-made is
to be cleared away. Raw requests, in the numbers of the kernel's include/scsi/iscsi_if.h.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace

from iscsid.facts import SessionStarted
from iscsid.jobs import JobId
from iscsid.kernel.interface import Kernel
from iscsid.orders import StartSession
from tests.vm import kernel_helpers
from tests.vm.sessions import NETLINK_ISCSI, transport_handle

CREATE_SESSION, CREATE_CONN, STOP_CONN, UNBIND_SESSION = 11, 13, 18, 27
STOP_CONN_TERM, STOP_CONN_RECOVER = 1, 3
MARKER = "default"
"""What open-iscsi calls the interface of its sessions."""


def make_session() -> int:
    """Log in to ``kernel_helpers.TARGET`` as another program would; return the session's number."""
    kernel = Kernel.open()
    try:
        sock, description = kernel_helpers.log_in()
        # Such that it never sends a ping of its own accord.
        timeouts = replace(description.timeouts, ping_interval=0, ping_timeout=0)
        foreign = replace(description, session_tag=MARKER, timeouts=timeouts)
        order = StartSession(kernel_helpers.BINDING, JobId(1), foreign)
        fact = kernel.start_session(order, sock)
    finally:
        kernel.close()
    assert isinstance(fact, SessionStarted), fact
    return fact.sid


def leave_half_made(*, with_connection: bool) -> int:
    """Begin a session in a process that dies at once; return the session's number."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        sid = _request(CREATE_SESSION, struct.pack("=IHH", 1, 128, 32))
        if with_connection:
            _request(CREATE_CONN, struct.pack("=II", sid, 0))
        os.write(writer, str(sid).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as output:
        return int(output.read())


def begin_logout(sid: int) -> None:
    """Have the kernel remove a session's devices, the first step of a logout."""
    _request(UNBIND_SESSION, struct.pack("=I", sid))


def stop_for_good(sid: int) -> None:
    """Begin the destruction of a session, and get no further."""
    _request(STOP_CONN, struct.pack("=IIQI", sid, 0, 0, STOP_CONN_TERM))


def stop_for_recovery(sid: int) -> None:
    """Begin the recovery of a session, and get no further."""
    _request(STOP_CONN, struct.pack("=IIQI", sid, 0, 0, STOP_CONN_RECOVER))


def _request(event: int, arguments: bytes) -> int:
    """Ask the kernel; return the first number of its answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI) as kernel:
        kernel.bind((0, 0))
        kernel.settimeout(60)
        body = struct.pack("=IIQ", event, 0, transport_handle()) + arguments.ljust(24, b"\0")
        body += bytes(16)
        kernel.send(struct.pack("=IHHII", 16 + len(body), event, 0, 0, 0) + body)
        answer = kernel.recv(4096)
    assert struct.unpack_from("=II", answer, 16) == (event, 0), answer
    return int(struct.unpack_from("=I", answer, 56)[0])
