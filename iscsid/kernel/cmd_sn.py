"""Read the CmdSN of a stopped session, which the kernel shows nowhere.

A session that is resumed must go on with the number the kernel has kept, or the target silently
ignores its commands. The kernel writes that number into every Login Request it sends; so it is made
to send one over a loopback connection, and the number is read at the other end. It takes a
millisecond or two. Touches TCP on 127.0.0.1.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from iscsid.errors import ConnectionFailed, KernelError
from iscsid.kernel.connection import Bound, Connections
from iscsid.protocol.codes import Stage
from iscsid.protocol.parameters import Isid
from iscsid.protocol.pdu import BHS_LENGTH, LoginRequest

_DEADLINE = 2.0
"""Seconds, for each wait."""
_MOST_FOREIGN = 16
"""Connections of other processes to the listening port that are closed before giving up."""
_CMD_SN = slice(24, 28)

_PROBE = LoginRequest(
    transit=True,
    current_stage=Stage.SECURITY_NEGOTIATION,
    next_stage=Stage.OPERATIONAL_NEGOTIATION,
    isid=Isid(bytes(6)),
    initiator_task_tag=0,
    cmd_sn=0,
    exp_stat_sn=0,
)


class StoppedForGood(KernelError):
    """The session was stopped with STOP_CONN_TERM once, and can only be destroyed."""


def learn(connections: Connections, sid: int) -> int:
    """Stop the connection of ``sid`` for recovery, and return the session's CmdSN.

    The connection is left stopped, whatever happens. Raises ``StoppedForGood``, ``KernelError``,
    ``ConnectionFailed``.
    """
    stopped = connections.stop(sid)
    try:
        with _loopback_pair() as (near, far):
            try:
                _probe(stopped.bind(near, ()))
                header = _read(far, BHS_LENGTH)
            finally:
                # Before the pair is closed: the kernel would take that for a connection error.
                connections.stop(sid)
    except OSError as error:
        raise ConnectionFailed.from_os("learning the CmdSN over a loopback pair", error) from error
    return int.from_bytes(header[_CMD_SN], "big")


def _probe(bound: Bound) -> None:
    try:
        bound.send(_PROBE.encode())
    except KernelError as error:
        if error.code == errno.EPERM:
            # Linux refuses so a second login in progress, which the stop has ended; or this.
            raise StoppedForGood(error.step, error.code) from error
        raise


@contextmanager
def _loopback_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as near:
        listener.settimeout(_DEADLINE)
        near.settimeout(_DEADLINE)
        near.connect(listener.getsockname())
        with _accept(listener, near.getsockname()) as far:
            far.settimeout(_DEADLINE)
            yield near, far


def _accept(listener: socket.socket, own: tuple[str, int]) -> socket.socket:
    """Accept the connection that comes from ``own``: any local process may have come first."""
    for _ in range(_MOST_FOREIGN):
        far, peer = listener.accept()
        if peer == own:
            return far
        far.close()
    raise ConnectionFailed(
        "other processes keep connecting to the loopback port of the CmdSN probe"
    )


def _read(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise ConnectionFailed("the kernel closed the loopback pair of the CmdSN probe")
        data += piece
    return data
