"""An exchange over a connection: what is sent, and how much is read; real loopback sockets."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from iscsid.errors import ConnectionFailed
from iscsid.orders import Level
from iscsid.protocol.trace import Trace
from iscsid.workers.transport import Deadline, ExchangeDriver, Limits, StreamEnded, StreamReset
from tests.support.patience import PATIENCE
from tests.support.recording_reporter import RecordingReporter
from tests.support.supervisor_harness import forked

RELAXED = Limits(PATIENCE, Deadline.after(0))
HURRIED = 0.2


class Reader:
    """An exchange that sends one thing and then wants so many octets."""

    def __init__(self, wanted: int, to_send: bytes = b"") -> None:
        self.trace = Trace()
        self.bytes_wanted = wanted
        self.is_between_pdus = True
        self.received: list[bytes] = []
        self._to_send = to_send

    def data_to_send(self) -> bytes:
        self.trace.sent((("Question", "1"),))
        data, self._to_send = self._to_send, b""
        return data

    def receive_data(self, data: bytes) -> None:
        assert 0 < len(data) <= self.bytes_wanted
        self.received.append(data)
        self.trace.received((("Answer", "1"),))
        self.bytes_wanted -= len(data)
        self.is_between_pdus = self.bytes_wanted == 0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            yield near, far


def driver_of(
    near: socket.socket,
    reader: Reader,
    limits: Limits = RELAXED,
    reporter: RecordingReporter | None = None,
) -> ExchangeDriver:
    reporter = reporter or RecordingReporter(Level.INFO)
    return ExchangeDriver(near, reader, limits, "logging in", reporter)


@pytest.mark.parametrize("level", [Level.DEBUG, Level.INFO])
def test_the_trace_is_sent_as_it_goes_or_dropped_if_it_is_not_wanted(
    level: Level, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    reporter = RecordingReporter(level)
    lines = reporter.lines
    reader = Reader(5, b"question")
    driver = driver_of(near, reader, reporter=reporter)
    driver.step()
    asked = [">     Question=1"]
    assert lines == (asked if level is Level.DEBUG else [])
    far.sendall(b"hello")
    driver.step()
    assert lines == ([*asked, *asked, "<     Answer=1"] if level is Level.DEBUG else [])
    assert reader.trace.take() == ()


def test_what_is_to_be_sent_goes_out_first(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    driver = driver_of(near, Reader(48, b"request"))
    driver.step()
    assert far.recv(100) == b"request"
    assert not driver.send()


def test_not_an_octet_more_is_read_than_was_wanted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.sendall(b"h" * 48 + b"what belongs to the kernel")
    reader = Reader(48)
    driver = driver_of(near, reader)
    while reader.bytes_wanted:
        driver.step()
    assert b"".join(reader.received) == b"h" * 48
    assert near.recv(100) == b"what belongs to the kernel"


def test_octets_that_come_one_by_one_are_taken_one_by_one(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    reader = Reader(20)
    driver = driver_of(near, reader)
    for number in range(20):
        far.sendall(bytes([number]))
        driver.step()
    assert reader.received == [bytes([number]) for number in range(20)]


def test_a_large_pdu_is_not_read_in_one_piece(pair: tuple[socket.socket, socket.socket]) -> None:
    """Whatever length it announces, memory is taken only for what has come."""
    near, far = pair
    asked: list[int] = []

    class Watched(Reader):
        def receive_data(self, data: bytes) -> None:
            asked.append(len(data))

    far.sendall(b"x" * 100_000)
    driver = driver_of(near, Watched(2**24))
    driver.step()
    assert asked[0] <= 65536


def test_a_target_that_sends_nothing_is_given_up_in_time(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    driver = driver_of(pair[0], Reader(48, b"request"), Limits(HURRIED, Deadline.after(PATIENCE)))
    driver.step()
    with pytest.raises(ConnectionFailed, match="logging in: no answer within 0.2 s"):
        driver.step()


def test_a_limit_that_ends_between_two_octets_is_worded_as_one_that_ends_while_waiting(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Half a PDU is no silence: the cable is not what to look at."""
    near, far = pair
    driver = driver_of(near, Reader(5), Limits(PATIENCE, Deadline.after(HURRIED)))
    far.sendall(b"a")
    driver.step()
    time.sleep(HURRIED)
    with pytest.raises(ConnectionFailed, match="the rest not within 0.2 s"):
        driver.step()


def test_a_target_that_drips_is_given_up_as_if_it_sent_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The limit is for the answer, not for each octet of it."""
    near, far = pair
    driver = driver_of(near, Reader(48, b"request"), Limits(HURRIED, Deadline.after(PATIENCE)))

    def drip() -> None:
        while True:
            far.sendall(b"x")
            time.sleep(HURRIED / 10)

    with forked(drip):
        driver.step()
        with pytest.raises(ConnectionFailed, match="the rest not within 0.2 s"):
            for _ in range(48):
                driver.step()


def test_the_limit_for_all_of_it_holds_for_each_answer(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    limits = Limits(PATIENCE, Deadline.after(HURRIED, words="the 60 s for all of the login"))
    driver = driver_of(pair[0], Reader(48, b"request"), limits)
    driver.step()
    with pytest.raises(ConnectionFailed, match="within the 60 s for all of the login"):
        driver.step()


def test_a_target_that_does_not_read_is_given_up_in_time(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    request = b"x" * 16_000_000
    driver = driver_of(pair[0], Reader(48, request), Limits(HURRIED, Deadline.after(PATIENCE)))
    with pytest.raises(ConnectionFailed, match="no answer within 0.2 s"):
        driver.step()


def test_the_end_of_the_stream_is_distinguished_from_a_reset(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.sendall(b"half")
    far.shutdown(socket.SHUT_WR)
    driver = driver_of(near, Reader(48))
    driver.step()
    with pytest.raises(StreamEnded, match="logging in: the target closed the connection"):
        driver.step()


def test_a_reset_is_distinguished_from_the_end_of_the_stream(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with pytest.raises(StreamReset, match="logging in: the connection was reset"):
        driver_of(near, Reader(48)).step()
