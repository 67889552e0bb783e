"""The route monitor, in a network namespace of its own: links and addresses come and go."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
from collections.abc import Callable

import pytest

from iscsid.facts import NetworkChanged
from iscsid.process.route_monitor import RouteMonitor, _reports_arrival

CLONE_NEWNET = 0x40000000


def in_own_namespace(check: Callable[[], None]) -> None:
    """Run ``check`` in a child with a network of its own, and pass on how it ended."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a network namespace")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                status = 77
            else:
                check()
                status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 77:
        pytest.skip("this machine does not let root make a network namespace")
    assert status == 0


def received(network: RouteMonitor) -> tuple[NetworkChanged, ...]:
    select.select([network], [], [], 5)
    return network.read()


def ip(*words: str) -> None:
    subprocess.run(["/usr/sbin/ip", *words], check=True)


def test_an_address_that_comes_is_one_fact_however_many_messages_report_it() -> None:
    def check() -> None:
        network = RouteMonitor()
        assert network.read() == ()
        ip("link", "set", "lo", "up")
        ip("address", "add", "192.0.2.7/24", "dev", "lo")
        assert received(network) == (NetworkChanged(),)
        assert network.read() == ()

    in_own_namespace(check)


def test_an_address_that_goes_is_no_fact() -> None:
    def check() -> None:
        ip("link", "set", "lo", "up")
        ip("address", "add", "192.0.2.7/24", "dev", "lo")
        network = RouteMonitor()
        ip("address", "del", "192.0.2.7/24", "dev", "lo")
        assert received(network) == ()

    in_own_namespace(check)


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\xff" * 40, b"\0" * 64])
def test_a_message_that_makes_no_sense_is_no_arrival_and_no_loop(data: bytes) -> None:
    assert not _reports_arrival(data)


def test_an_arrival_behind_another_message_is_seen() -> None:
    gone = struct.pack("=IHHII", 16, 21, 0, 0, 0)
    come = struct.pack("=IHHII", 16, 20, 0, 0, 0)
    assert _reports_arrival(gone + come) and not _reports_arrival(gone + gone)


def test_the_socket_is_closed_on_exec_and_closes() -> None:
    network = RouteMonitor()
    assert not os.get_inheritable(network.fileno())
    network.close()
    assert network.fileno() == -1
