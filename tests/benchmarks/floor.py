"""The least that sessions cost: log in, hand over to the kernel, scan, and nothing else.

No discovery, bindings, links, workers or recovery. Run inside the virtual machine by ``scale``, in
a process of its own: ``python -m tests.benchmarks.floor COUNT PREFIX``. It logs in to PREFIX0,
PREFIX1, ... one after the other and waits for SIGTERM, since the kernel stops sessions whose maker
has gone from being recovered.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from iscsid.bindings.binding import Binding
from iscsid.devices.sysfs import Sysfs
from iscsid.facts import SessionStarted
from iscsid.jobs import JobId
from iscsid.kernel.interface import Kernel
from iscsid.orders import KernelTimeouts, SessionDescription, StartSession
from iscsid.protocol.login_exchange import RANDOM_OCTETS, LoginExchange
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Isid, LoginPlan, LoginResult

INITIATOR = IscsiName("iqn.2003-02.org.example:floor")
PORTAL = Portal("127.0.0.1", 3260)
TIMEOUTS = KernelTimeouts(
    recovery=-1, abort=15, lun_reset=30, target_reset=30, ping_interval=5, ping_timeout=5
)


def log_in(name: IscsiName, number: int) -> tuple[socket.socket, SessionDescription]:
    isid = Isid(b"\x80" + number.to_bytes(5, "big"))
    plan = LoginPlan(initiator_name=INITIATOR, target_name=name, isid=isid)
    exchange = LoginExchange(plan, os.urandom(RANDOM_OCTETS))
    sock = socket.create_connection((PORTAL.host, PORTAL.port))
    while exchange.result is None:
        sock.sendall(exchange.data_to_send())
        exchange.receive_data(sock.recv(exchange.bytes_wanted))
    result = exchange.result
    assert isinstance(result, LoginResult)
    description = SessionDescription(
        target_name=name,
        initiator_name=INITIATOR,
        portal=PORTAL,
        portal_group_tag=1,
        session_tag=f"floor:{number}",
        cmd_sn=result.cmd_sn,
        exp_stat_sn=result.exp_stat_sn,
        parameters=result.parameters,
        timeouts=TIMEOUTS,
    )
    return sock, description


def main() -> int:
    count, prefix = int(sys.argv[1]), sys.argv[2]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    kernel, sysfs = Kernel.open(), Sysfs()
    hosts = []
    for number in range(count):
        sock, description = log_in(IscsiName(f"{prefix}{number}"), number)
        order = StartSession(Binding(number // 256, number % 256), JobId(1), description)
        started = kernel.start_session(order, sock)
        assert isinstance(started, SessionStarted), started
        hosts.append(started.host_no)
    for host in hosts:
        sysfs.scan(host)
    signal.sigwait({signal.SIGTERM})
    return 0


if __name__ == "__main__":
    sys.exit(main())
