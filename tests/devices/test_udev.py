"""udev's events on this machine; sessions and lost events are tested in the virtual machine."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.devices.udev import Removals, Udev, attach_prefix_filter, is_udevd_running


@pytest.fixture
def udev() -> Udev:
    try:
        return Udev()
    except OSError as error:
        pytest.skip(f"udev's events cannot be received here: {error}")


def test_devices_of_no_session_are_not_reported(udev: Udev) -> None:
    assert udev.enumerate() == []


def test_reading_when_there_is_nothing_does_not_wait(udev: Udev) -> None:
    assert udev.read_events() == []
    assert select.select([udev], [], [], 0) == ([], [], [])


def test_removals_do_not_wait_for_one(udev: Udev) -> None:
    removals = Removals()
    assert removals.read_events() == []
    assert select.select([removals], [], [], 0) == ([], [], [])


@pytest.mark.parametrize("state", ["missing", "left", "listening"])
def test_udevd_runs_if_its_socket_listens(tmp_path: Path, state: str) -> None:
    """Without it no link would ever be made, and no line would show why."""
    control = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        if state != "missing":
            sock.bind(control)
        if state == "listening":
            sock.listen()
        assert is_udevd_running(control) is (state == "listening")


# --- the filter of the kernel's events ------------------------------------------------------------

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two sockets of messages: what the first sends the second receives."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.setblocking(False)
        yield ours, theirs


def received(pair: Pair) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(pair[1].recv(1 << 16))
        except BlockingIOError:
            return messages


@pytest.mark.parametrize("beginning", [b"remove@", b"remo", b"removal@", b"removals@"])
def test_only_messages_that_begin_so_come_through(pair: Pair, beginning: bytes) -> None:
    attach_prefix_filter(pair[1].fileno(), beginning)
    wanted = [beginning + b"/devices/platform\0ACTION=...", beginning]
    near = [
        beginning[:place] + bytes([octet ^ 1]) + beginning[place + 1 :]
        for place, octet in enumerate(beginning)
    ]
    for message in [*wanted, beginning[:-1], b"", b"x" + beginning, *near]:
        pair[0].send(message)
    assert received(pair) == wanted


def test_a_message_comes_through_whole(pair: Pair) -> None:
    attach_prefix_filter(pair[1].fileno(), b"remove@")
    message = b"remove@" + bytes(range(256)) * 64
    pair[0].send(message)
    assert received(pair) == [message]


def test_what_waits_already_stays(pair: Pair) -> None:
    pair[0].send(b"add@/devices")
    attach_prefix_filter(pair[1].fileno(), b"remove@")
    pair[0].send(b"add@/devices")
    assert received(pair) == [b"add@/devices"]


def test_the_socket_stays_open(pair: Pair) -> None:
    with pytest.raises(OSError):
        attach_prefix_filter(1 << 20, b"remove@")
    attach_prefix_filter(pair[1].fileno(), b"remove@")
    pair[0].send(b"remove@")
    assert received(pair) == [b"remove@"]
