"""The line between daemon and worker: borders of messages, descriptors, ends; real socket pairs."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest

from iscsid.facts import LoginFailed, LoginSucceeded, ScanFinished
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import LoginResult
from iscsid.workers.channel import ChannelClosed, ParentEnd, Received, WorkerEnd
from iscsid.workers.codec import Malformed
from iscsid.workers.messages import LONGEST, LogLine, Progress, encode
from iscsid.workers.reporter import ParentMessage
from tests.support.jobs import ISID, discovery_job, login_job
from tests.support.supervisor_harness import open_descriptors

JOB = login_job()
SUCCESS = LoginSucceeded(
    JOB.id, LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1), Portal("127.0.0.1")
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def listener(ends: tuple[socket.socket, socket.socket]) -> ParentEnd:
    return ParentEnd(JOB, ends[0])


@pytest.fixture
def speaker(ends: tuple[socket.socket, socket.socket]) -> WorkerEnd:
    return WorkerEnd(JOB, ends[1], Level.INFO)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as portal:
        with socket.create_connection(portal.getsockname()) as near, portal.accept()[0]:
            yield near


# --- messages -----------------------------------------------------------------------------------


def test_messages_arrive_whole_and_in_order(listener: ParentEnd, speaker: WorkerEnd) -> None:
    speaker.progress("first")
    speaker.log(Level.WARNING, "second\nof two lines")
    assert listener.receive() == Received(Progress(JOB.id, "first"))
    assert listener.receive() == Received(LogLine(JOB.id, Level.WARNING, "second\nof two lines"))
    assert listener.receive() is None


def test_lines_nobody_wants_are_not_sent(listener: ParentEnd, speaker: WorkerEnd) -> None:
    speaker.log(Level.DEBUG, "> login request")
    assert not speaker.wants(Level.DEBUG)
    assert listener.receive() is None


def test_what_was_said_before_the_end_is_heard_before_the_end(
    listener: ParentEnd, speaker: WorkerEnd
) -> None:
    speaker.progress("leaving")
    speaker.close()
    assert listener.receive() == Received(Progress(JOB.id, "leaving"))
    with pytest.raises(ChannelClosed):
        listener.receive()


def test_a_worker_that_leaves_without_listening_is_still_heard(
    listener: ParentEnd, speaker: WorkerEnd
) -> None:
    """The kernel reports an error first where something of ours was left unread."""
    speaker.progress("leaving")
    listener.ask_again()
    speaker.close()
    assert listener.receive() == Received(Progress(JOB.id, "leaving"))
    with pytest.raises(ChannelClosed):
        listener.receive()


@pytest.mark.parametrize("octets", [b"{}", b"\xff", b"x" * (LONGEST + 1), b"x" * 190_000])
def test_nonsense_and_oversize_are_refused(
    listener: ParentEnd, ends: tuple[socket.socket, socket.socket], octets: bytes
) -> None:
    ends[1].send(octets)
    with pytest.raises(Malformed):
        listener.receive()


# --- descriptors --------------------------------------------------------------------------------


def test_a_socket_comes_with_a_login_and_is_not_inherited(
    listener: ParentEnd, speaker: WorkerEnd, connection: socket.socket
) -> None:
    speaker.report(SUCCESS, connection)
    arrival = listener.receive()
    assert arrival is not None and arrival.connection is not None
    with arrival.connection as received:
        assert arrival.message == SUCCESS
        assert received.fileno() != connection.fileno()
        assert received.getsockname() == connection.getsockname()
        assert fcntl.fcntl(received, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_login_without_a_socket_is_refused(listener: ParentEnd, speaker: WorkerEnd) -> None:
    speaker.report(SUCCESS)
    with pytest.raises(Malformed, match="without exactly one TCP connection"):
        listener.receive()


def test_a_connection_that_broke_on_the_way_is_a_failed_login(
    listener: ParentEnd, speaker: WorkerEnd
) -> None:
    before = open_descriptors()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unconnected:
        speaker.report(SUCCESS, unconnected)
    arrival = listener.receive()
    assert arrival is not None and isinstance(arrival.message, LoginFailed)
    assert "broke right after the login" in arrival.message.failure.what
    assert arrival.connection is None
    assert open_descriptors() == before


@contextmanager
def _datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.connect(("127.0.0.1", 9))
        yield near


@contextmanager
def _local() -> Iterator[socket.socket]:
    near, far = socket.socketpair()
    with near, far:
        yield near


@pytest.mark.parametrize("make", [_datagrams, _local])
def test_a_socket_that_is_no_tcp_connection_is_refused_and_closed(
    listener: ParentEnd,
    speaker: WorkerEnd,
    make: Callable[[], AbstractContextManager[socket.socket]],
) -> None:
    with make() as wrong:
        before = open_descriptors()
        speaker.report(SUCCESS, wrong)
        with pytest.raises(Malformed, match="without exactly one TCP connection"):
            listener.receive()
        assert open_descriptors() == before


def test_a_descriptor_that_is_no_socket_is_refused_and_closed(
    listener: ParentEnd, ends: tuple[socket.socket, socket.socket]
) -> None:
    with open(os.devnull) as null:
        before = open_descriptors()
        socket.send_fds(ends[1], [encode(SUCCESS)], [null.fileno()])
        with pytest.raises(Malformed, match="without exactly one TCP connection"):
            listener.receive()
        assert open_descriptors() == before


@pytest.mark.parametrize("number", [2, 4, 30])
def test_more_descriptors_than_one_are_refused_and_all_closed(
    listener: ParentEnd,
    ends: tuple[socket.socket, socket.socket],
    connection: socket.socket,
    number: int,
) -> None:
    before = open_descriptors()
    socket.send_fds(ends[1], [encode(SUCCESS)], [connection.fileno()] * number)
    with pytest.raises(Malformed):
        listener.receive()
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "octets", [encode(Progress(JOB.id, "x")), b"nonsense", b"x" * (LONGEST + 1)]
)
def test_a_descriptor_beside_another_message_is_refused_and_closed(
    listener: ParentEnd,
    ends: tuple[socket.socket, socket.socket],
    connection: socket.socket,
    octets: bytes,
) -> None:
    before = open_descriptors()
    socket.send_fds(ends[1], [octets], [connection.fileno()])
    with pytest.raises(Malformed):
        listener.receive()
    assert open_descriptors() == before


# --- the other way ------------------------------------------------------------------------------


def test_the_daemon_can_ask_again(listener: ParentEnd, speaker: WorkerEnd) -> None:
    assert speaker.poll_parent() is ParentMessage.NOTHING
    listener.ask_again()
    assert speaker.poll_parent() is ParentMessage.ASK_AGAIN
    assert speaker.poll_parent() is ParentMessage.NOTHING


def test_asking_a_worker_that_does_not_listen_never_blocks(
    listener: ParentEnd, speaker: WorkerEnd
) -> None:
    for _ in range(5000):
        listener.ask_again()
    assert speaker.poll_parent() is ParentMessage.ASK_AGAIN


def test_asking_a_worker_that_is_gone_is_no_error(listener: ParentEnd, speaker: WorkerEnd) -> None:
    speaker.close()
    listener.ask_again()


def test_a_worker_hears_that_the_daemon_is_gone(listener: ParentEnd, speaker: WorkerEnd) -> None:
    listener.close()
    assert speaker.poll_parent() is ParentMessage.CLOSED


def test_a_worker_hears_that_the_daemon_left_with_its_words_unread(
    listener: ParentEnd, speaker: WorkerEnd
) -> None:
    speaker.progress("nothing")
    listener.close()
    assert speaker.poll_parent() is ParentMessage.CLOSED


def test_a_fact_of_another_job_is_refused(ends: tuple[socket.socket, socket.socket]) -> None:
    listener = ParentEnd(discovery_job(), ends[0])
    WorkerEnd(JOB, ends[1], Level.INFO).report(ScanFinished(JOB.id))
    with pytest.raises(Malformed):
        listener.receive()


def test_a_login_that_is_only_tried_brings_no_descriptor(
    ends: tuple[socket.socket, socket.socket], connection: socket.socket
) -> None:
    listener = ParentEnd(replace(JOB, only_try=True), ends[0])
    ends[1].send(encode(SUCCESS))
    arrival = listener.receive()
    assert arrival is not None and (arrival.message, arrival.connection) == (SUCCESS, None)
    before = open_descriptors()
    socket.send_fds(ends[1], [encode(SUCCESS)], [connection.fileno()])
    with pytest.raises(Malformed, match="a message that has none"):
        listener.receive()
    assert open_descriptors() == before
