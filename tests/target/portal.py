"""Scripted targets behind listening sockets, as many connections at once as come.

One selector, no threads: ``python -m tests.target`` runs it for initiators that are programs of
their own, a test may fork it or call ``turn``. A target is anything with ``receive_data``,
``data_to_send`` and ``is_closed``; one that sends by itself is asked for octets at every turn.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

TURN = 0.01
"""Seconds between two questions to a target that sends by itself."""
_AT_ONCE = 1 << 20
"""Octets that wait to be sent; a target with so many is not asked for more."""


class Target(Protocol):
    is_closed: bool

    def receive_data(self, data: bytes) -> None: ...

    def data_to_send(self) -> bytes: ...


@dataclass
class Portal:
    """One listening socket, and what has happened there."""

    listener: socket.socket
    make_target: Callable[[], Target]
    number: int
    """The port."""
    connections: int = 0
    octets: int = 0
    """Sent on all connections together."""
    first_at: float = 0.0
    """When the first connection came, on the monotonic clock."""


@dataclass
class _Connection:
    portal: Portal
    socket: socket.socket
    target: Target
    waiting: bytearray = field(default_factory=bytearray)


class Portals:
    """All listening sockets of one process, and the connections to them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._connections: list[_Connection] = []
        self.portals: list[Portal] = []

    def add(self, listener: socket.socket, make_target: Callable[[], Target]) -> Portal:
        """Give every connection to ``listener`` a target of its own."""
        listener.setblocking(False)
        portal = Portal(listener, make_target, listener.getsockname()[1])
        self.portals.append(portal)
        self._selector.register(listener, selectors.EVENT_READ, portal)
        return portal

    def turn(self, seconds: float | None = TURN) -> None:
        """Accept, read, and send what there is; wait for at most so long."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Portal):
                self._accept(key.data)
            elif _reads(key.data):
                self._close(key.data)
        for connection in list(self._connections):
            if not _sends(connection):
                self._close(connection)

    def close(self) -> None:
        for connection in list(self._connections):
            self._close(connection)
        for portal in self.portals:
            portal.listener.close()
        self._selector.close()

    def _accept(self, portal: Portal) -> None:
        accepted, _ = portal.listener.accept()
        accepted.setblocking(False)
        portal.connections += 1
        portal.first_at = portal.first_at or time.monotonic()
        connection = _Connection(portal, accepted, portal.make_target())
        self._connections.append(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _close(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.socket)
            if getattr(connection.target, "resets", False):
                linger = struct.pack("ii", 1, 0)
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.socket.close()


def _reads(connection: _Connection) -> bool:
    """Let the target read once; return whether the connection is over."""
    try:
        data = connection.socket.recv(65536)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    if data:
        connection.target.receive_data(data)
    return not data


def _sends(connection: _Connection) -> bool:
    """Send what the target has to send; return whether the connection stands."""
    if len(connection.waiting) < _AT_ONCE:
        connection.waiting += connection.target.data_to_send()
    try:
        while connection.waiting:
            sent = connection.socket.send(connection.waiting)
            del connection.waiting[:sent]
            connection.portal.octets += sent
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return not connection.target.is_closed


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a listening socket, by default on a free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def serve(listener: socket.socket, make_target: Callable[[], Target]) -> None:
    """Give every connection a target of its own, until the process is ended."""
    portals = Portals()
    portals.add(listener, make_target)
    while True:
        portals.turn()
