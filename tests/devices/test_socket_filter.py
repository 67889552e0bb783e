"""A filter that drops too much makes the daemon deaf, and one that drops too little is no use."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from iscsid.devices.socket_filter import attach_prefix_filter

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
