"""The sockets to the kernel, over real netlink, with a stand-in at the other end."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from struct import pack_into

import pytest

from iscsid.errors import KernelError
from iscsid.facts import ConnectionLost, SessionDestroyed, SessionUnbound
from iscsid.kernel import iscsi_if, netlink
from iscsid.kernel.iscsi_if import Command
from iscsid.kernel.netlink import EventSocket, RequestSocket
from tests.support.fake_kernel import HANDLE, StandIn, usersock
from tests.support.recorded_uevents import RECORDED


@pytest.fixture
def kernel() -> Iterator[StandIn]:
    kernel = StandIn()
    yield kernel
    kernel.close()


@pytest.fixture
def requests(kernel: StandIn) -> Iterator[RequestSocket]:
    requests = kernel.request_socket()
    yield requests
    requests.close()


def test_reply_carries_what_the_kernel_made(requests: RequestSocket) -> None:
    reply = requests.ask(iscsi_if.create_session(1, 0, 0))
    assert (reply.sid, reply.host_no) == (1, 101)


def test_batch_is_one_message_and_answers_in_order(
    kernel: StandIn, requests: RequestSocket
) -> None:
    replies = requests.ask_all([iscsi_if.create_session(1, 0, 0) for _ in range(30)])
    assert [reply.sid for reply in replies] == list(range(1, 31))


def test_refused_request_is_named(requests: RequestSocket) -> None:
    with pytest.raises(
        KernelError, match="refused to unbind the session: .* \\(EINVAL\\)"
    ) as error:
        requests.ask(iscsi_if.unbind_session(77))
    assert error.value.code == errno.EINVAL


def test_refusal_by_return_code_is_one_too(kernel: StandIn, requests: RequestSocket) -> None:
    kernel.refusals[Command.START_CONN] = errno.ENOTCONN
    with pytest.raises(KernelError, match="start the connection: .* \\(ENOTCONN\\)"):
        requests.ask(iscsi_if.start_connection(1))


def test_first_refusal_of_a_batch_is_the_one_that_counts(
    kernel: StandIn, requests: RequestSocket
) -> None:
    kernel.refusals = {Command.CREATE_CONN: errno.ENOMEM, Command.START_CONN: errno.EPERM}
    with pytest.raises(KernelError, match="create a connection"):
        requests.ask_all(
            [
                iscsi_if.create_session(1, 0, 0),
                iscsi_if.create_connection(1),
                iscsi_if.start_connection(1),
            ]
        )
    assert kernel.asked == [Command.CREATE_SESSION, Command.CREATE_CONN, Command.START_CONN]


def test_kernel_that_does_not_answer_is_no_reason_to_wait_for_ever(kernel: StandIn) -> None:
    with usersock() as sock:
        requests = RequestSocket(sock, HANDLE, kernel_port=kernel.port, answer_time=0.0)
        with pytest.raises(KernelError, match="create a session"):
            requests.ask(iscsi_if.create_session(1, 0, 0))


def test_messages_of_others_do_not_prolong_the_wait(kernel: StandIn) -> None:
    with usersock() as sock, usersock() as other:
        for _ in range(50):
            other.sendto(bytes(72), (sock.getsockname()[0], 0))
        requests = RequestSocket(sock, HANDLE, kernel_port=kernel.port, answer_time=0.0)
        with pytest.raises(KernelError, match="ETIMEDOUT"):
            requests.ask(iscsi_if.create_session(1, 0, 0))


def _session_created(tag: int, sid: int) -> bytes:
    reply = bytearray(RECORDED["create_session", "reply"])
    pack_into("=I", reply, 52, tag)
    pack_into("=I", reply, 56, sid)
    return bytes(reply)


def test_answer_to_an_older_request_is_not_taken_for_this_one(kernel: StandIn) -> None:
    with usersock() as sock:
        requests = RequestSocket(sock, HANDLE, kernel_port=kernel.port)
        for tag, sid in ((99, 66), (1, 5)):
            kernel.socket.sendto(_session_created(tag, sid), (sock.getsockname()[0], 0))
        assert requests.ask(iscsi_if.create_session(1, 0, 0)).sid == 5


def test_forged_answer_from_another_process_is_not_believed(kernel: StandIn) -> None:
    with usersock() as sock, usersock() as forger:
        requests = RequestSocket(sock, HANDLE, kernel_port=kernel.port)
        for sender, sid in ((forger, 66), (kernel.socket, 5)):
            sender.sendto(_session_created(1, sid), (sock.getsockname()[0], 0))
        assert requests.ask(iscsi_if.create_session(1, 0, 0)).sid == 5


def test_lost_interface_is_a_refusal_not_a_crash() -> None:
    with usersock() as sock, usersock() as gone:
        unused = gone.getsockname()[0]
        gone.close()
        with pytest.raises(KernelError, match="create a session: .*ECONNREFUSED"):
            RequestSocket(sock, kernel_port=unused).ask(iscsi_if.create_session(1, 0, 0))


@pytest.fixture
def events(kernel: StandIn) -> Iterator[EventSocket]:
    events = kernel.event_socket()
    yield events
    events.close()


def test_events_come_in_order_until_nothing_is_left(kernel: StandIn, events: EventSocket) -> None:
    kernel.report(102, 3, 0, 1020)
    kernel.report(105, 3, 7)
    kernel.report(104, 7, 3)
    assert list(events.read()) == [
        ConnectionLost(3, "the target closed the connection"),
        SessionUnbound(3),
        SessionDestroyed(3),
    ]
    assert list(events.read()) == []


def test_forged_event_from_another_process_is_not_believed(
    kernel: StandIn, events: EventSocket
) -> None:
    with usersock() as forger:
        port = kernel.listener.getsockname()[0]
        forger.sendto(RECORDED["connection_error", "event"], (port, 0))
    assert list(events.read()) == []


@pytest.mark.parametrize("length", [1, 15, 16, 71])
def test_event_cut_short_is_passed_over(kernel: StandIn, events: EventSocket, length: int) -> None:
    whole = RECORDED["connection_error", "event"]
    kernel.socket.sendto(whole[:length], (kernel.listener.getsockname()[0], 0))
    kernel.report(105, 3, 7)
    assert list(events.read()) == [SessionUnbound(3)]


def test_event_larger_than_any_is_passed_over(kernel: StandIn, events: EventSocket) -> None:
    kernel.report(101, 3, 0, payload=bytes(70000))
    kernel.report(105, 3, 7)
    assert list(events.read()) == [SessionUnbound(3)]


def test_flood_of_events_does_not_keep_the_loop_waiting(
    kernel: StandIn, events: EventSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "_EVENTS_AT_ONCE", 3)
    for sid in range(1, 6):
        kernel.report(105, sid, 7)
    assert [len(list(events.read())) for _ in range(3)] == [3, 2, 0]


# --- which programs have a socket -----------------------------------------------------------------

# From Linux 6.1: the column names, the kernel's own socket, the two of iscsid, one of udev.
LISTED = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000002a5ef0a4 8   0          00000000 0        0        0     2        0        16390
00000000c1b7dd05 8   1201       00000001 0        0        0     2        0        17110
0000000059a7cb41 8   3301294816 00000000 0        0        0     2        0        17111
000000005fdc3a97 15  415        00000002 0        0        0     2        0        11207
"""


def test_ports_of_other_protocols_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "netlink"
    table.write_text(LISTED)
    monkeypatch.setattr(netlink, "_PORT_TABLE", table)
    assert netlink.open_ports() == {0, 1201, 3301294816}


def test_the_table_of_this_machine_can_be_read() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as other:
        other.bind((0, 0))
        assert other.getsockname()[0] not in netlink.open_ports()
