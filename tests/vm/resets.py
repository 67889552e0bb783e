"""Resets TCP connections of this machine from outside, as a firewall that has lost its state does.

A raw socket is all that it needs; the two ends need not be known to any process. An end takes a
reset only with the sequence number that it expects next (RFC 5961): a SYN out of place makes it
answer with an ACK, and that has the number. IPv4 only.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.patience import PATIENCE

SYN, RST, ACK = 0x02, 0x04, 0x10
HEADERS = 40
"""Octets of IP's header and TCP's, without options."""
TABLE = Path("/proc/net/tcp")
CONNECTED = ("01", "08")
"""ESTABLISHED and CLOSE_WAIT, as ``TABLE`` writes them."""
NO_RATE_LIMIT = Path("/proc/sys/net/ipv4/tcp_invalid_ratelimit")
PAUSE = 0.05
"""Seconds until an end that has not answered is asked again."""


class Address(NamedTuple):
    host: bytes
    port: int


class End(NamedTuple):
    """One end of a connection; the other end, if it is on this machine, is one, too."""

    here: Address
    there: Address


def reset(*, ours: int = 0, theirs: int = 0) -> int:
    """Reset each connection from the port ``ours`` or to the port ``theirs``.

    Return how many there were; neither end of them is left.
    """
    NO_RATE_LIMIT.write_text("0")
    chosen = _ends(lambda end: end.here.port == ours or end.there.port == theirs)
    ends = chosen | {End(end.there, end.here) for end in chosen}
    limit = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        while left := _ends(ends.__contains__):
            assert time.monotonic() < limit, f"these cannot be reset: {left}"
            for end in left:
                _send(raw, end, SYN, 0)
            until = time.monotonic() + PAUSE
            while (seconds := until - time.monotonic()) > 0:
                if select.select([raw], [], [], seconds)[0]:
                    _answer(raw, raw.recv(65536), left)
    return len(chosen)


def _answer(raw: socket.socket, packet: bytes, ends: set[End]) -> None:
    """Reset the end that has sent ``packet``, if it is one of ``ends``."""
    tcp = packet[(packet[0] & 15) * 4 :]
    source, destination, _, expected, _, flags = struct.unpack_from("!HHIIBB", tcp)
    end = End(Address(packet[12:16], source), Address(packet[16:20], destination))
    if flags & (ACK | RST | SYN) == ACK and end in ends:
        _send(raw, end, RST, expected)


def _send(raw: socket.socket, end: End, flags: int, number: int) -> None:
    """Send to an end what looks like a segment of the other."""
    ports = struct.pack("!HH", end.there.port, end.here.port)
    rest = struct.pack("!IIBBH", number, 0, 5 << 4, flags, 0)
    addresses = end.there.host + end.here.host
    pseudo_header = addresses + struct.pack("!HH", socket.IPPROTO_TCP, 20)
    total = sum(struct.unpack("!16H", pseudo_header + ports + rest + bytes(4)))
    checksum = ~(total % 0xFFFF) & 0xFFFF
    # The kernel fills in the length and the checksum of IP's header.
    header = struct.pack("!BBHIBBH", 0x45, 0, HEADERS, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    segment = header + ports + rest + struct.pack("!HH", checksum, 0)
    raw.sendto(segment, (socket.inet_ntoa(end.here.host), 0))


def _ends(are_meant: Callable[[End], bool]) -> set[End]:
    """Return the ends of connections of this machine that are meant."""
    rows = [line.split() for line in TABLE.read_text().splitlines()[1:]]
    ends = (End(_address(row[1]), _address(row[2])) for row in rows if row[3] in CONNECTED)
    return {end for end in ends if are_meant(end)}


def _address(text: str) -> Address:
    host, port = text.split(":")
    return Address(int(host, 16).to_bytes(4, "little"), int(port, 16))
