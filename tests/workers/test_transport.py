"""TCP as the exchanges see it: real loopback sockets and a real resolver."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iscsid.config.settings import SocketOptions
from iscsid.errors import ConnectionFailed, Retry
from iscsid.protocol.names import Portal
from iscsid.workers import resolver
from iscsid.workers.transport import Deadline, Limits, ask_after_silence, connect
from tests.support.patience import PATIENCE
from tests.support.recording_reporter import RecordingReporter

RELAXED = Limits(PATIENCE, Deadline.after(0))
HURRIED = 0.2


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_a_listening_portal_is_connected_to(
    host: str, bind: str, reporter: RecordingReporter
) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.create_server((bind, 0), family=family) as listener:
        port = listener.getsockname()[1]
        with connect(Portal(host, port), RELAXED, reporter) as connection:
            assert connection.getpeername()[:2] == (host, port)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert reporter.lines == [f"connecting to {Portal(host, port)}"]


def test_the_buffers_have_the_size_that_was_asked_for() -> None:
    """The kernel counts its own housekeeping in, and so reports twice the size (socket(7))."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
        with connect(portal, RELAXED, RecordingReporter(window=32768)) as connection:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                assert connection.getsockopt(socket.SOL_SOCKET, option) == 65536


@pytest.mark.parametrize(
    ("silence", "reply", "expected"),
    [
        (60, 5, (1, 60, 1, 5)),
        (1, 1, (1, 1, 1, 1)),
        (7, 127, (1, 7, 1, 127)),
        (7, 300, (1, 7, 3, 100)),
        (2_147_483, 2_147_483, (1, 32767, 16910, 127)),
        (0, 5, (0,)),
        (5, 0, (0,)),
    ],
)
def test_tcp_asks_after_silence_for_as_long_as_a_reply_may_take(
    silence: int, reply: int, expected: tuple[int, ...]
) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        ask_after_silence(connection, silence, reply)
        tcp = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        found = (
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(connection.getsockopt(socket.IPPROTO_TCP, option) for option in tcp),
        )
    assert found[: len(expected)] == expected


def test_a_window_of_0_leaves_the_buffers_to_the_kernel(reporter: RecordingReporter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
        with connect(portal, RELAXED, reporter) as connection, socket.socket() as other:
            other.connect(listener.getsockname())
            size = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            assert size == other.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def test_a_closed_port_is_refused_in_words(reporter: RecordingReporter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
    with pytest.raises(ConnectionFailed) as caught:
        connect(portal, RELAXED, reporter)
    assert caught.value.what == f"connecting to {portal}: connection refused"
    assert caught.value.retry is Retry.SOON


@pytest.mark.parametrize(
    "limits",
    [
        Limits(HURRIED, Deadline.after(0)),
        Limits(PATIENCE, Deadline.after(0), connect_timeout=HURRIED),
    ],
    ids=["of everything", "for connecting alone"],
)
def test_a_portal_that_does_not_answer_is_given_up_in_time(
    reporter: RecordingReporter, limits: Limits
) -> None:
    """A listener whose queue is full lets connection attempts hang, as a dead host does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        portal = Portal(*listener.getsockname())
        with socket.create_connection(listener.getsockname()):
            with pytest.raises(ConnectionFailed) as caught:
                connect(portal, limits, reporter)
    assert caught.value.what == f"connecting to {portal}: no answer within 0.2 s"


def test_when_tcp_itself_gives_up_the_limit_is_not_ours(
    reporter: RecordingReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(connection: socket.socket, _seconds: float) -> None:
        connection.close()
        raise OSError(errno.ETIMEDOUT, "")

    monkeypatch.setattr("iscsid.workers.transport._wait_for_connection", give_up)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal(*listener.getsockname())
        with pytest.raises(ConnectionFailed) as caught:
            connect(portal, RELAXED, reporter)
    assert caught.value.what == f"connecting to {portal}: no answer in time"


def test_all_of_the_attempt_has_a_limit_too(reporter: RecordingReporter) -> None:
    spent = Deadline(time.monotonic() - 1, "the 60 s for all of the login")
    with pytest.raises(ConnectionFailed, match="no answer within the 60 s for all of the login"):
        connect(Portal("127.0.0.1", 1), Limits(20, spent), reporter)


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
    two_addresses: None, reporter: RecordingReporter
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal("array.example", listener.getsockname()[1])
        with connect(portal, RELAXED, reporter) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
    assert reporter.lines == [
        "resolving array.example",
        f"connecting to {portal} (127.0.0.2)",
        f"connecting to {portal} (127.0.0.1)",
    ]


def test_when_none_of_them_answers_each_is_reported_once(
    two_addresses: None, reporter: RecordingReporter
) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        connect(Portal("array.example", 1), RELAXED, reporter)
    assert caught.value.what == (
        "connecting to array.example:1 (127.0.0.2): connection refused; "
        "connecting to array.example:1 (127.0.0.1): connection refused"
    )


def test_a_name_of_this_machine_is_resolved(reporter: RecordingReporter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal("localhost", listener.getsockname()[1])
        with connect(portal, RELAXED, reporter):
            pass
    assert reporter.lines[0] == "resolving localhost"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (socket.EAI_NONAME, "no such name is known"),
        (socket.EAI_AGAIN, "the name service does not answer"),
    ],
)
def test_a_name_that_does_not_resolve_is_reported_with_the_cause(
    code: int, words: str, reporter: RecordingReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **options: int) -> object:
        numeric = options["flags"] & socket.AI_NUMERICHOST
        raise socket.gaierror(socket.EAI_NONAME if numeric else code, "")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectionFailed) as caught:
        connect(Portal("array.example"), RELAXED, reporter)
    assert caught.value.what == f"resolving array.example: {words}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_hosts_file_that_only_root_can_read_is_reported_as_the_reason(
    mode: int, tmp_path: Path
) -> None:
    """The worker that looks up the name is not root any more; the name itself is right."""
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 array.internal\n")
    hosts.chmod(mode)
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    resolver.chmod(0o644)
    config, name = tmp_path / "iscsi.conf", tmp_path / "initiatorname.iscsi"
    config.write_text("DiscoveryAddress=array.internal:1\n")
    name.write_text("InitiatorName=iqn.2003-02.org.example:me\n")
    mounts = f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf"
    command = f"-m iscsid --check --login -f {config} --initiatorname {name}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{mounts} && exec {sys.executable} {command}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    is_reported = "/etc/hosts cannot be read by the unprivileged worker" in done.stdout
    assert is_reported == (mode == 0o600), done.stdout + done.stderr
    assert ("chmod a+r /etc/hosts" in done.stdout) == (mode == 0o600)
    assert "correct the name" not in done.stdout
    if mode == 0o644:
        assert "connection refused" in done.stdout


def test_a_connection_goes_out_by_the_options() -> None:
    options = SocketOptions(interface="lo", source_address="127.0.0.9", dscp=18)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        portal = Portal("127.0.0.1", listener.getsockname()[1])
        with connect(portal, RELAXED, RecordingReporter(options=options)) as connection:
            device = connection.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            assert device.rstrip(b"\0") == b"lo"
            assert connection.getsockname()[0] == "127.0.0.9"
            assert connection.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 18 << 2


def test_a_connection_by_ipv6_goes_out_by_the_options() -> None:
    options = SocketOptions(interface="lo", source_address="::1", dscp=46)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        portal = Portal("::1", listener.getsockname()[1])
        with connect(portal, RELAXED, RecordingReporter(options=options)) as connection:
            assert connection.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 46 << 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SocketOptions(interface="nonesuch0"), "the interface named for it does not exist"),
        (SocketOptions(source_address="192.0.2.77"), "no local address fits"),
        (SocketOptions(source_address="::1"), "no local address fits"),
    ],
)
def test_a_way_out_that_does_not_exist_is_named(options: SocketOptions, words: str) -> None:
    with pytest.raises(ConnectionFailed, match=words):
        connect(Portal("127.0.0.1", 1), RELAXED, RecordingReporter(options=options))


def test_an_address_on_an_interface_that_does_not_exist_names_the_reason(
    reporter: RecordingReporter,
) -> None:
    with pytest.raises(ConnectionFailed, match="the interface named for it does not exist"):
        connect(Portal("fe80::1%nosuch0"), RELAXED, reporter)


def test_a_link_local_address_without_interface_is_refused_with_how_to_write_it(
    reporter: RecordingReporter,
) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        connect(Portal("fe80::1"), RELAXED, reporter)
    assert "fe80::1%eth0" in caught.value.advice or "route" in caught.value.advice


def test_the_most_addresses_of_a_name_are_bounded(
    reporter: RecordingReporter, monkeypatch: pytest.MonkeyPatch
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
        connect(Portal("many.example", 1), RELAXED, reporter)
    assert len(reporter.lines) == 1 + resolver.ADDRESSES
