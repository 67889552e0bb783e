"""Changes of the network: an address, a route or a link has come.

A socket on the kernel's routing netlink (rtnetlink(7)); of its messages only the type is read. That
something came is all that is reported: what waited for the network may be tried again. Touches that
socket.
"""

from __future__ import annotations

import socket
import struct

from iscsid.facts import NetworkChanged

_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400
_GROUPS = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE
_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_ARRIVALS = {_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE}
_HEADER = struct.Struct("=IHHII")
_LARGEST = 65536


class RouteMonitor:
    """Register ``fileno()`` and ``read`` with the loop."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> tuple[NetworkChanged, ...]:
        """Read all messages that wait; however many arrivals they report, that is one fact.

        Messages that were lost may have reported one, too.
        """
        has_come = False
        while True:
            try:
                data, (sender, _) = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return (NetworkChanged(),) if has_come else ()
            except OSError:  # ENOBUFS: the kernel could not queue them all
                has_come = True
                continue
            has_come = has_come or (sender == 0 and _reports_arrival(data))

    def close(self) -> None:
        self._socket.close()


def _reports_arrival(data: bytes) -> bool:
    place = 0
    while place + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, place)
        if kind in _ARRIVALS:
            return True
        place += max(_HEADER.size, (length + 3) & ~3)
    return False
