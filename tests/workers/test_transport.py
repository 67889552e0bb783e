"""TCP as the exchanges see it: real loopback sockets and a real resolver."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from iscsid.errors import ConnectionFailed, Decision
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.workers import transport
from iscsid.workers.deadline import Deadline
from iscsid.workers.notebook import Notebook
from iscsid.workers.transport import Line, Patience, StreamEnded, StreamReset, connect
from tests.workers.jobs import login_job
from tests.workers.ring import forked

RELAXED = Patience(20, Deadline.after(0))
HURRIED = 0.2


@pytest.fixture
def lines() -> list[str]:
    """What is said for the log."""
    return []


@pytest.fixture
def notebook(lines: list[str]) -> Notebook:
    return Notebook(login_job(), lambda _job, _level, text: lines.append(text), Level.DEBUG)


class Reader:
    """An exchange that sends one thing and then wants so many octets."""

    def __init__(self, wanted: int, to_send: bytes = b"") -> None:
        self.bytes_wanted = wanted
        self.received: list[bytes] = []
        self._to_send = to_send

    def data_to_send(self) -> bytes:
        data, self._to_send = self._to_send, b""
        return data

    def receive_data(self, data: bytes) -> None:
        assert 0 < len(data) <= self.bytes_wanted
        self.received.append(data)
        self.bytes_wanted -= len(data)


# --- connecting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_a_listening_portal_is_connected_to(
    host: str, bind: str, notebook: Notebook, lines: list[str]
) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.create_server((bind, 0), family=family) as listener:
        port = listener.getsockname()[1]
        with connect(Portal(host, port), RELAXED, notebook) as connection:
            assert connection.getpeername()[:2] == (host, port)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert lines == [f"connecting to {Portal(host, port)}"]


def test_the_buffers_have_the_size_that_was_asked_for(notebook: Notebook) -> None:
    """The kernel counts its own housekeeping in, and so tells twice the size (socket(7))."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
        with connect(portal, RELAXED, notebook, window=32768) as connection:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                assert connection.getsockopt(socket.SOL_SOCKET, option) == 65536


def test_a_window_of_0_leaves_the_buffers_to_the_kernel(notebook: Notebook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
        with connect(portal, RELAXED, notebook) as connection, socket.socket() as other:
            other.connect(listener.getsockname())
            size = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            assert size == other.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def test_a_closed_port_is_refused_in_words(notebook: Notebook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
    with pytest.raises(ConnectionFailed) as caught:
        connect(portal, RELAXED, notebook)
    assert caught.value.what == f"connecting to {portal}: connection refused"
    assert caught.value.decision is Decision.RETRY


def test_a_portal_that_does_not_answer_is_given_up_in_time(notebook: Notebook) -> None:
    """A listener whose queue is full lets connection attempts hang, as a dead host does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        portal = Portal(*listener.getsockname())
        with socket.create_connection(listener.getsockname()):
            with pytest.raises(ConnectionFailed) as caught:
                connect(portal, Patience(HURRIED, Deadline.after(20)), notebook)
    assert caught.value.what == f"connecting to {portal}: no answer within 0.2 s"


def test_all_of_the_attempt_has_a_limit_too(notebook: Notebook) -> None:
    spent = Deadline(time.monotonic() - 1, "the 60 s for all of the login")
    with pytest.raises(ConnectionFailed, match="no answer within the 60 s for all of the login"):
        connect(Portal("127.0.0.1", 1), Patience(20, spent), notebook)


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses, which loopback's own resolver does not have everywhere."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: bytes, port: int, **options: int) -> object:
        if host != b"array.example":
            return resolve(host, port, **options)
        if options["flags"] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "")
        return [*resolve("127.0.0.2", port, **options), *resolve("127.0.0.1", port, **options)] * 2

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_all_addresses_of_a_name_are_tried_in_turn(
    two_addresses: None, notebook: Notebook, lines: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal("array.example", listener.getsockname()[1])
        with connect(portal, RELAXED, notebook) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
    assert lines == [
        "resolving array.example",
        f"connecting to {portal} (127.0.0.2)",
        f"connecting to {portal} (127.0.0.1)",
    ]


def test_when_none_of_them_answers_each_is_told_once(
    two_addresses: None, notebook: Notebook
) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        connect(Portal("array.example", 1), RELAXED, notebook)
    assert caught.value.what == (
        "connecting to array.example:1 (127.0.0.2): connection refused; "
        "connecting to array.example:1 (127.0.0.1): connection refused"
    )


def test_a_name_of_this_machine_is_resolved(notebook: Notebook, lines: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal("localhost", listener.getsockname()[1])
        connect(portal, RELAXED, notebook).close()
    assert lines[0] == "resolving localhost"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (socket.EAI_NONAME, "no such name is known"),
        (socket.EAI_AGAIN, "the name service does not answer"),
    ],
)
def test_a_name_that_does_not_resolve_says_why(
    code: int, words: str, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **options: int) -> object:
        numeric = options["flags"] & socket.AI_NUMERICHOST
        raise socket.gaierror(socket.EAI_NONAME if numeric else code, "")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectionFailed) as caught:
        connect(Portal("array.example"), RELAXED, notebook)
    assert caught.value.what == f"resolving array.example: {words}"


def test_an_address_on_an_interface_that_does_not_exist_names_the_reason(
    notebook: Notebook,
) -> None:
    with pytest.raises(ConnectionFailed, match="the interface named in the address does not exist"):
        connect(Portal("fe80::1%nosuch0"), RELAXED, notebook)


def test_a_link_local_address_without_interface_says_how_to_write_it(notebook: Notebook) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        connect(Portal("fe80::1"), RELAXED, notebook)
    assert "fe80::1%eth0" in caught.value.advice or "route" in caught.value.advice


# --- talking ------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            yield near, far


def line_to(near: socket.socket, reader: Reader, patience: Patience = RELAXED) -> Line:
    return Line(near, reader, patience, "logging in")


def test_what_is_to_be_sent_goes_out_first(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    line = line_to(near, Reader(48, b"request"))
    line.turn()
    assert far.recv(100) == b"request"
    assert not line.send()


def test_not_an_octet_more_is_read_than_was_wanted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.sendall(b"h" * 48 + b"what belongs to the kernel")
    reader = Reader(48)
    line = line_to(near, reader)
    while reader.bytes_wanted:
        line.turn()
    assert b"".join(reader.received) == b"h" * 48
    assert near.recv(100) == b"what belongs to the kernel"


def test_octets_that_come_one_by_one_are_taken_one_by_one(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    reader = Reader(20)
    line = line_to(near, reader)
    for number in range(20):
        far.sendall(bytes([number]))
        line.turn()
    assert reader.received == [bytes([number]) for number in range(20)]


def test_a_large_pdu_is_not_read_in_one_piece(pair: tuple[socket.socket, socket.socket]) -> None:
    """Whatever length it announces, memory is taken only for what has come."""
    near, far = pair
    asked: list[int] = []

    class Watched(Reader):
        def receive_data(self, data: bytes) -> None:
            asked.append(len(data))

    far.sendall(b"x" * 100_000)
    line = line_to(near, Watched(2**24))
    line.turn()
    assert asked[0] <= 65536


def test_a_target_that_says_nothing_is_given_up_in_time(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    line = line_to(pair[0], Reader(48, b"request"), Patience(HURRIED, Deadline.after(20)))
    line.turn()
    with pytest.raises(ConnectionFailed, match="logging in: no answer within 0.2 s"):
        line.turn()


def test_a_target_that_drips_is_given_up_as_if_it_said_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The limit is for the answer, not for each octet of it."""
    near, far = pair
    line = line_to(near, Reader(48, b"request"), Patience(HURRIED, Deadline.after(20)))

    def drip() -> None:
        while True:
            far.sendall(b"x")
            time.sleep(HURRIED / 10)

    with forked(drip):
        line.turn()
        with pytest.raises(ConnectionFailed, match="no answer within 0.2 s"):
            for _ in range(48):
                line.turn()


def test_the_limit_for_all_of_it_holds_for_each_answer(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    patience = Patience(20, Deadline.after(HURRIED, words="the 60 s for all of the login"))
    line = line_to(pair[0], Reader(48, b"request"), patience)
    line.turn()
    with pytest.raises(ConnectionFailed, match="within the 60 s for all of the login"):
        line.turn()


def test_a_target_that_does_not_read_is_given_up_in_time(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    request = b"x" * 16_000_000
    line = line_to(pair[0], Reader(48, request), Patience(HURRIED, Deadline.after(20)))
    with pytest.raises(ConnectionFailed, match="no answer within 0.2 s"):
        line.turn()


def test_the_end_of_the_stream_is_told_from_a_reset(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.sendall(b"half")
    far.shutdown(socket.SHUT_WR)
    line = line_to(near, Reader(48))
    line.turn()
    with pytest.raises(StreamEnded, match="logging in: the target closed the connection"):
        line.turn()


def test_a_reset_is_told_from_the_end_of_the_stream(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with pytest.raises(StreamReset, match="logging in: the connection was reset"):
        line_to(near, Reader(48)).turn()


def test_the_most_addresses_of_a_name_are_bounded(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    resolve = socket.getaddrinfo

    def getaddrinfo(host: bytes, port: int, **options: int) -> object:
        return [
            entry
            for number in range(1, 100)
            for entry in resolve(f"127.0.1.{number}", port, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectionFailed):
        connect(Portal("many.example", 1), RELAXED, notebook)
    assert len(lines) == transport.ADDRESSES
