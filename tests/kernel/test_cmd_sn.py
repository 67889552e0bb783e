"""The CmdSN probe: over a real loopback connection, with a stand-in for the kernel."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from iscsid.errors import ConnectionFailed, KernelError
from iscsid.kernel import cmd_sn, iscsi_if
from iscsid.kernel.connection import Connections, Stopped
from iscsid.kernel.iscsi_if import Command
from tests.support.fake_kernel import StandIn


@pytest.fixture
def kernel() -> Iterator[StandIn]:
    kernel = StandIn()
    yield kernel
    assert kernel.disasters == []
    kernel.close()


@pytest.fixture
def connections(kernel: StandIn) -> Iterator[Connections]:
    requests = kernel.request_socket()
    requests.ask(iscsi_if.create_session(1, 0, 0))
    connections = Connections(requests)
    connections.create(1)
    kernel.asked.clear()
    yield connections
    requests.close()


@pytest.mark.parametrize("number", [0, 1, 467, 0xFFFFFFFF])
def test_number_is_the_one_the_kernel_wrote(
    number: int, kernel: StandIn, connections: Connections
) -> None:
    kernel.cmd_sn = number
    assert cmd_sn.learn(connections, 1) == number


def test_connection_is_stopped_before_and_after(kernel: StandIn, connections: Connections) -> None:
    cmd_sn.learn(connections, 1)
    assert kernel.asked == [
        Command.STOP_CONN,
        Command.BIND_CONN,
        Command.SEND_PDU,
        Command.STOP_CONN,
    ]
    assert isinstance(connections[1], Stopped)


def test_probe_can_be_repeated(connections: Connections) -> None:
    assert cmd_sn.learn(connections, 1) == cmd_sn.learn(connections, 1)


@pytest.mark.parametrize("command", [Command.BIND_CONN, Command.SEND_PDU])
def test_refused_probe_leaves_the_connection_stopped(
    command: Command, kernel: StandIn, connections: Connections
) -> None:
    kernel.refusals[command] = errno.ENOTCONN
    with pytest.raises(KernelError):
        cmd_sn.learn(connections, 1)
    assert isinstance(connections[1], Stopped)
    there = kernel.sessions[1]
    assert there is not None and there.bound is None


def test_session_that_was_stopped_for_good_is_recognised(
    kernel: StandIn, connections: Connections
) -> None:
    """A daemon that stopped it was killed; for the next one it is a connection like any other."""
    connections[1].end()
    connections.adopt(1)
    with pytest.raises(cmd_sn.StoppedForGood, match="EPERM"):
        cmd_sn.learn(connections, 1)
    assert isinstance(connections[1], Stopped)


def test_lack_of_privilege_is_no_stop_for_good(kernel: StandIn, connections: Connections) -> None:
    kernel.refusals[Command.STOP_CONN] = errno.EPERM
    with pytest.raises(KernelError, match="EPERM") as raised:
        cmd_sn.learn(connections, 1)
    assert not isinstance(raised.value, cmd_sn.StoppedForGood)


def test_unknown_session_cannot_be_probed(connections: Connections) -> None:
    with pytest.raises(KernelError, match="EINVAL"):
        cmd_sn.learn(connections, 99)


def test_another_process_that_connects_first_is_turned_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with (
            socket.create_connection(listener.getsockname()) as other,
            socket.create_connection(listener.getsockname()) as own,
            cmd_sn._accept(listener, own.getsockname()) as far,
        ):
            assert far.getpeername() == own.getsockname()
            assert other.recv(1) == b""


def test_foreign_connections_without_end_are_a_failure_and_not_an_endless_loop() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        crowd = [socket.create_connection(listener.getsockname()) for _ in range(20)]
        with pytest.raises(ConnectionFailed, match="other processes"):
            cmd_sn._accept(listener, ("127.0.0.1", 1))
        for other in crowd:
            other.close()


def test_pair_that_is_cut_short_is_a_failure() -> None:
    near, far = socket.socketpair()
    with far:
        near.sendall(bytes(47))
        near.close()
        with pytest.raises(ConnectionFailed, match="closed the loopback pair"):
            cmd_sn._read(far, 48)
