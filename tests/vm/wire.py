"""What is on the wire: every segment of a TCP connection on loopback, and the scissors to cut it.

Nothing of iscsid is used here. The layouts are those of IPv4, TCP and the Basic Header Segment
(RFC 7143, section 11.2.1).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.vm import resets, sessions

ETH_P_IP = 0x0800
PACKET_HOST = 0
"""Loopback shows a packet as it goes and as it comes; what has come is all there was."""
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
BUFFER = 64 << 20

NOP_OUT, SCSI_COMMAND, LOGIN_REQUEST, LOGOUT_REQUEST = 0x00, 0x01, 0x03, 0x06
LOGOUT_RESPONSE = 0x26
SYNCHRONIZE_CACHE = (0x35, 0x91)


@dataclass(frozen=True)
class Segment:
    """One TCP segment, with or without data."""

    source: int
    destination: int
    sequence_number: int
    data: bytes


@dataclass(frozen=True)
class Header:
    """The Basic Header Segment of one PDU."""

    octets: bytes

    @property
    def opcode(self) -> int:
        return self.octets[0] & 0x3F

    @property
    def command(self) -> int:
        """The SCSI operation code, of a SCSI Command."""
        return self.octets[32]


class Capture:
    """All that went over loopback while it was open."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._segments: list[Segment] = []

    def segments(self, port: int) -> list[Segment]:
        """Return every segment so far to or from a port. None may have been missed."""
        self._read()
        _, drops = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert not drops, f"{drops} packets were missed"
        return [each for each in self._segments if port in (each.source, each.destination)]

    def carried(self, port: int) -> list[Segment]:
        """Return every segment so far with data in it, in either direction.

        One without is TCP's own: it acknowledges late what came before the capture began.
        """
        return [each for each in self.segments(port) if each.data]

    def requests(self, port: int) -> list[Header]:
        """Return the PDUs that the initiator's end, ``port``, has sent."""
        return list(_headers(join(e for e in self.segments(port) if e.source == port)))

    def responses(self, port: int) -> list[Header]:
        """Return the PDUs that were sent to the initiator's end."""
        return list(_headers(join(e for e in self.segments(port) if e.source != port)))

    def _read(self) -> None:
        while True:
            try:
                packet, address = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                return
            if address[2] == PACKET_HOST and packet[9] == socket.IPPROTO_TCP:
                self._segments.append(_segment(packet))


def _segment(packet: bytes) -> Segment:
    length = struct.unpack_from(">H", packet, 2)[0] or len(packet)
    tcp = packet[(packet[0] & 0x0F) * 4 : length]
    source, destination, sequence_number = struct.unpack_from(">HHI", tcp)
    return Segment(source, destination, sequence_number, tcp[(tcp[12] >> 4) * 4 :])


def join(segments: Iterable[Segment]) -> bytes:
    """Return the stream of one direction.

    On a slow machine some of it is sent twice, and two processors may show what they send in
    another order than they sent it.
    """
    # One without data may be a SYN, which counts as an octet and is none.
    carrying = [each for each in segments if each.data]
    first = carrying[0].sequence_number if carrying else 0
    places = [((each.sequence_number - first + 2**31) % 2**32 - 2**31) for each in carrying]
    stream = b""
    for place, segment in sorted(zip(places, carrying, strict=True), key=lambda each: each[0]):
        again = min(places) + len(stream) - place
        assert again >= 0, "a segment is missing"
        stream += segment.data[again:]
    return stream


def _headers(stream: bytes) -> Iterator[Header]:
    """Cut a stream that begins with a PDU, without digests."""
    while stream:
        assert len(stream) >= 48, "the stream ends within a header"
        yield Header(stream[:48])
        data = int.from_bytes(stream[5:8], "big")
        stream = stream[48 + stream[4] * 4 + (data + 3) // 4 * 4 :]


@contextmanager
def captured() -> Iterator[Capture]:
    """Listen to loopback while the block runs."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.bind(("lo", ETH_P_IP))
        yield Capture(sock)


def source_port(sid: int) -> int:
    """Return the TCP port of our end of a session's connection."""
    return int(sessions.connection_attribute(sid, "local_port"))


def cut(sid: int) -> None:
    """Reset the connection of a session, as a router that has forgotten it would."""
    assert resets.reset(ours=source_port(sid))
