"""What the tests of the kernel interface share in the virtual machine: a login, a start."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from iscsid.bindings.binding import Binding
from iscsid.devices.sysfs import ScsiDevice, Sysfs
from iscsid.facts import CmdSnLearned, SessionDestroyed, SessionRefused, SessionStarted
from iscsid.jobs import JobId
from iscsid.kernel.interface import Kernel
from iscsid.orders import KernelTimeouts, ResumeSession, SessionDescription, StartSession
from iscsid.protocol.login_exchange import RANDOM_OCTETS, LoginExchange
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Digest, Isid, LoginPlan, LoginResult, Offer
from tests.support.patience import PATIENCE
from tests.vm import sessions

INITIATOR = IscsiName("iqn.2004-09.org.example:initiator")
TARGET = IscsiName("iqn.2004-09.org.example:disks")
PORTAL = Portal("127.0.0.1", 3260)
BINDING = Binding(0, 3)
MARKER = "iscsid:0:3:800000000003"
ISID = Isid(bytes.fromhex("800000000003"))
TIMEOUTS = KernelTimeouts(
    recovery=-1, abort=11, lun_reset=12, target_reset=13, ping_interval=14, ping_timeout=15
)

Login = tuple[socket.socket, SessionDescription]
Result = TypeVar("Result")


def until(question: Callable[[], Result | None]) -> Result:
    """Ask until the answer is neither ``None`` nor false."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{question} stayed unanswered")


def until_event(kernel: Kernel, kind: type[Result]) -> Result:
    """Read events until one of this kind has come; the others are dropped."""

    def look() -> Result | None:
        return next((fact for fact in kernel.read_events() if isinstance(fact, kind)), None)

    return until(look)


def log_in(*, cmd_sn: int = 1, digest: Digest = Digest.NONE) -> Login:
    """Log in on a raw socket, and describe the session to the kernel."""
    offer = Offer(header_digest=(digest,), data_digest=(digest,))
    plan = LoginPlan(
        initiator_name=INITIATOR, target_name=TARGET, isid=ISID, cmd_sn=cmd_sn, offer=offer
    )
    exchange = LoginExchange(plan, os.urandom(RANDOM_OCTETS))
    address = (PORTAL.host, PORTAL.port)
    with ExitStack() as undo:
        sock = undo.enter_context(socket.create_connection(address, timeout=PATIENCE))
        while exchange.result is None:
            sock.sendall(exchange.data_to_send())
            data = sock.recv(exchange.bytes_wanted)
            assert data, exchange.connection_closed()
            exchange.receive_data(data)
        undo.pop_all()
    assert isinstance(exchange.result, LoginResult)
    return sock, describe(exchange.result)


def describe(result: LoginResult) -> SessionDescription:
    """Describe a session to the kernel."""
    return SessionDescription(
        target_name=TARGET,
        initiator_name=INITIATOR,
        portal=PORTAL,
        portal_group_tag=1,
        session_tag=MARKER,
        cmd_sn=result.cmd_sn,
        exp_stat_sn=result.exp_stat_sn,
        parameters=result.parameters,
        timeouts=TIMEOUTS,
    )


def start(kernel: Kernel, *, cmd_sn: int = 1, digest: Digest = Digest.NONE) -> SessionStarted:
    """Log in and pass the socket to the kernel."""
    sock, description = log_in(cmd_sn=cmd_sn, digest=digest)
    fact = kernel.start_session(StartSession(BINDING, JobId(1), description), sock)
    assert isinstance(fact, SessionStarted), fact
    return fact


def learn(kernel: Kernel, sid: int) -> int:
    """Stop the session and learn its CmdSN."""
    fact = kernel.learn_cmd_sn(sid)
    assert isinstance(fact, CmdSnLearned), fact
    return fact.cmd_sn


def resume_order(sid: int, description: SessionDescription) -> ResumeSession:
    return ResumeSession(BINDING, sid, JobId(2), description)


def resume(
    kernel: Kernel, sid: int, cmd_sn: int, *, digest: Digest = Digest.NONE
) -> SessionStarted | SessionRefused:
    """Log in again with the CmdSN the kernel goes on with, and pass the socket to the kernel."""
    sock, description = log_in(cmd_sn=cmd_sn, digest=digest)
    return kernel.resume_session(resume_order(sid, description), sock)


def not_tcp() -> socket.socket:
    """Return a connected socket that the kernel refuses to take over."""
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


def unit_of(sid: int, lun: int) -> ScsiDevice:
    """Wait for a logical unit."""
    return until(lambda: next((unit for unit in Sysfs().devices(sid) if unit.lun == lun), None))


def disk_of(session: SessionStarted, lun: int) -> Path:
    """Have the kernel look for all LUNs; return the node of one that is a disk."""
    Sysfs().scan(session.host_no)

    def look() -> Path | None:
        nodes = [Path("/dev", path.name) for path in unit_of(session.sid, lun).block_devices()]
        return nodes[0] if nodes and _can_be_opened(nodes[0]) else None

    return until(look)


def _can_be_opened(node: Path) -> bool:
    """The kernel shows a new disk in /sys, and its node, before it can be opened."""
    try:
        os.close(os.open(node, os.O_RDONLY))
    except OSError:
        return False
    return True


@contextmanager
def opened() -> Iterator[Kernel]:
    """Open the interface; when the block ends, so do all sessions in the kernel."""
    kernel = Kernel.open()
    try:
        yield kernel
    finally:
        kernel.close()
        sessions.destroy_all()


def until_destroyed(kernel: Kernel, sid: int) -> None:
    """Destroy a session and wait for its end."""
    assert kernel.destroy_session(sid) is None
    assert until_event(kernel, SessionDestroyed) == SessionDestroyed(sid)
