"""The line between daemon and worker: borders of messages, descriptors, ends; real socket pairs."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from iscsid.facts import LoginSucceeded, ScanFinished
from iscsid.jobs import Job
from iscsid.orders import Level
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Credentials, LoginResult
from iscsid.secret import Secret
from iscsid.workers.channel import LONGEST, ChannelClosed, ParentEnd, WorkerEnd
from iscsid.workers.codec import Malformed
from iscsid.workers.job_kinds import encode
from iscsid.workers.messages import (
    Connecting,
    ConnectionWanted,
    LogLine,
    Progress,
    SendTargetsAgain,
)
from iscsid.workers.reporter import ParentMessage
from tests.support.jobs import ALICE, ISID, discovery_job, login_job, scan_job
from tests.support.supervisor_harness import open_descriptors

JOB = login_job()
CAPITALS = IscsiName("iqn.2003-02.org.example:HOST-Me")
SUCCESS = LoginSucceeded(
    JOB.id, LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1), Portal("127.0.0.1")
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def parent(ends: tuple[socket.socket, socket.socket]) -> ParentEnd:
    return ParentEnd(ends[0])


@pytest.fixture
def worker(ends: tuple[socket.socket, socket.socket], parent: ParentEnd) -> WorkerEnd:
    """The worker's end, at work on ``JOB``."""
    worker = WorkerEnd(ends[1])
    parent.send_job(JOB, Level.INFO)
    assert worker.receive_job() == JOB
    return worker


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as portal:
        with socket.create_connection(portal.getsockname()) as near, portal.accept()[0]:
            yield near


# --- messages -----------------------------------------------------------------------------------


def test_messages_arrive_whole_and_in_order(parent: ParentEnd, worker: WorkerEnd) -> None:
    worker.progress("first")
    worker.log(Level.WARNING, "second\nof two lines")
    assert parent.receive(JOB) == Progress(JOB.id, "first")
    assert parent.receive(JOB) == LogLine(JOB.id, Level.WARNING, "second\nof two lines")
    assert parent.receive(JOB) is None


def test_lines_below_the_level_are_not_sent(parent: ParentEnd, worker: WorkerEnd) -> None:
    worker.log(Level.DEBUG, "> login request")
    assert not worker.wants(Level.DEBUG)
    assert parent.receive(JOB) is None


def test_what_was_sent_before_the_end_is_received_before_the_end(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd, worker: WorkerEnd
) -> None:
    worker.progress("leaving")
    ends[1].close()
    assert parent.receive(JOB) == Progress(JOB.id, "leaving")
    with pytest.raises(ChannelClosed):
        parent.receive(JOB)


def test_a_worker_that_ends_with_messages_unread_has_still_sent_its_own(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd, worker: WorkerEnd
) -> None:
    """The kernel reports an error first where something of ours was left unread."""
    worker.progress("leaving")
    parent.send_order(SendTargetsAgain())
    ends[1].close()
    assert parent.receive(JOB) == Progress(JOB.id, "leaving")
    with pytest.raises(ChannelClosed):
        parent.receive(JOB)


@pytest.mark.parametrize("octets", [b"{}", b"\xff", b"x" * (LONGEST + 1), b"x" * 190_000])
def test_nonsense_and_oversize_are_refused(
    parent: ParentEnd, ends: tuple[socket.socket, socket.socket], octets: bytes
) -> None:
    ends[1].send(octets)
    with pytest.raises(Malformed):
        parent.receive(JOB)


# --- jobs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        discovery_job(keep=True),
        scan_job(),
        replace(
            login_job(authentication=replace(ALICE, incoming=Credentials("tina", Secret("\xe4")))),
            identities=((0, b"\0\x83"), (2**63, b"")),
            deadline=1.5,
            tcp_window_size=65536,
        ),
        replace(scan_job(), luns=frozenset({1, 2**40}), drop=frozenset({3})),
        replace(JOB, login=replace(JOB.login, initiator_name=CAPITALS)),
    ],
)
def test_a_job_arrives_as_it_was_sent(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd, job: Job
) -> None:
    parent.send_job(job, Level.DEBUG)
    worker = WorkerEnd(ends[1])
    assert worker.receive_job() == job
    assert worker.wants(Level.DEBUG)


def test_a_job_larger_than_a_datagram_arrives_whole(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    job = replace(JOB, identities=tuple((lun, bytes(200)) for lun in range(4096)))
    before = open_descriptors()
    parent.send_job(job, Level.INFO)
    assert WorkerEnd(ends[1]).receive_job() == job
    assert open_descriptors() == before


def test_a_large_fact_of_a_privileged_worker_arrives_whole(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    finished = ScanFinished(JOB.id, tuple(range(2**63, 2**63 + 4096)) * 4)
    octets = encode(finished) + b" " * LONGEST
    with memfd(octets) as descriptor:
        socket.send_fds(ends[1], [b"@"], [descriptor])
    received = parent.receive(scan_job())
    assert isinstance(received, ScanFinished) and len(received.missing) == 4096


def test_a_message_about_the_job_before_is_no_job(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    parent.send_order(SendTargetsAgain())
    parent.send_job(JOB, Level.INFO)
    assert WorkerEnd(ends[1]).receive_job() == JOB


# --- descriptors --------------------------------------------------------------------------------


@contextmanager
def memfd(octets: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("test")
    os.write(descriptor, octets)
    yield descriptor
    os.close(descriptor)


def test_a_memfd_of_a_worker_that_talks_to_a_target_is_refused(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    with memfd(encode(Progress(JOB.id, "x"))) as descriptor:
        socket.send_fds(ends[1], [b"@"], [descriptor])
    before = open_descriptors()
    with pytest.raises(Malformed, match="a descriptor came"):
        parent.receive(JOB)
    assert len(open_descriptors()) == len(before)


def test_what_is_attached_and_no_file_is_refused_unread(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    """Reading a pipe would block."""
    reader, writer = os.pipe()
    socket.send_fds(ends[1], [b"@"], [reader])
    os.close(reader)
    with pytest.raises(Malformed, match="no file"):
        parent.receive(scan_job())
    os.close(writer)


def test_closing_a_socket_that_lingers_never_blocks(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    """close(2) waits as long as SO_LINGER demands while data is unsent."""
    with socket.create_server(("127.0.0.1", 0)) as portal:
        near = socket.create_connection(portal.getsockname())
        far = portal.accept()[0]
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                near.send(bytes(65536))
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
        socket.send_fds(ends[1], [encode(Progress(JOB.id, "x"))], [near.fileno()])
        os.close(near.detach())
        began = time.monotonic()
        with pytest.raises(Malformed):
            parent.receive(JOB)
        assert time.monotonic() - began < 5
        far.close()


@pytest.mark.parametrize("number", [2, 4, 30])
def test_more_descriptors_than_one_are_refused_and_all_closed(
    parent: ParentEnd,
    ends: tuple[socket.socket, socket.socket],
    connection: socket.socket,
    number: int,
) -> None:
    before = open_descriptors()
    socket.send_fds(ends[1], [encode(SUCCESS)], [connection.fileno()] * number)
    with pytest.raises(Malformed):
        parent.receive(JOB)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "octets", [encode(Progress(JOB.id, "x")), b"nonsense", b"x" * (LONGEST + 1)]
)
def test_a_descriptor_beside_another_message_is_refused_and_closed(
    parent: ParentEnd,
    ends: tuple[socket.socket, socket.socket],
    connection: socket.socket,
    octets: bytes,
) -> None:
    before = open_descriptors()
    socket.send_fds(ends[1], [octets], [connection.fileno()])
    with pytest.raises(Malformed):
        parent.receive(JOB)
    assert open_descriptors() == before


# --- the other way ------------------------------------------------------------------------------


def test_the_daemon_can_ask_again(parent: ParentEnd, worker: WorkerEnd) -> None:
    assert worker.poll_parent() is ParentMessage.NOTHING
    parent.send_order(SendTargetsAgain())
    assert worker.poll_parent() is ParentMessage.ASK_AGAIN
    assert worker.poll_parent() is ParentMessage.NOTHING


def test_asking_a_worker_that_does_not_listen_never_blocks(
    parent: ParentEnd, worker: WorkerEnd
) -> None:
    for _ in range(5000):
        parent.send_order(SendTargetsAgain())
    assert worker.poll_parent() is ParentMessage.ASK_AGAIN


def test_asking_a_worker_that_is_gone_is_no_error(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd
) -> None:
    ends[1].close()
    parent.send_order(SendTargetsAgain())


def test_a_worker_notices_that_the_daemon_is_gone(parent: ParentEnd, worker: WorkerEnd) -> None:
    parent.close()
    assert worker.poll_parent() is ParentMessage.CLOSED


def test_a_worker_notices_that_the_daemon_left_with_its_messages_unread(
    parent: ParentEnd, worker: WorkerEnd
) -> None:
    worker.progress("nothing")
    parent.close()
    assert worker.poll_parent() is ParentMessage.CLOSED


def test_a_fact_of_another_kind_of_job_is_refused(parent: ParentEnd, worker: WorkerEnd) -> None:
    worker.report(ScanFinished(JOB.id))
    with pytest.raises(Malformed):
        parent.receive(discovery_job())


def test_a_connection_comes_with_its_answer(
    ends: tuple[socket.socket, socket.socket], parent: ParentEnd, connection: socket.socket
) -> None:
    worker = WorkerEnd(ends[1])
    parent.send_job(JOB, Level.INFO)
    worker.receive_job()
    parent.send_order(SendTargetsAgain())
    parent.send_order(Connecting("127.0.0.1", 1), connection)
    attempt = worker.connect(JOB.portal, 0, 10)
    assert parent.receive(JOB) == ConnectionWanted(JOB.id, JOB.portal, 0)
    assert attempt.answer == Connecting("127.0.0.1", 1)
    assert attempt.connection is not None
    with attempt.connection as received:
        assert received.getsockname() == connection.getsockname()
        assert fcntl.fcntl(received, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_daemon_that_does_not_answer_is_given_up_in_time(
    parent: ParentEnd, worker: WorkerEnd
) -> None:
    with pytest.raises(TimeoutError):
        worker.connect(JOB.portal, 0, 0.1)
