"""Targets behind real loopback sockets, which the test has answer: one step at a time.

A target is anything with ``receive_data``, ``data_to_send`` and ``is_closed``: the scripted one of
``tests.target``, or one of those here that misbehave.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from iscsid.protocol.names import Portal
from tests.target.portal import Target
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget


class AnswersOnce:
    """Answers the first octets that come with ``octets``, whatever they are; then hangs up, or
    sends nothing more."""

    def __init__(self, octets: bytes = b"", *, hangs_up: bool = False) -> None:
        self.is_closed = False
        self._octets = octets
        self._hangs_up = hangs_up

    def receive_data(self, data: bytes) -> None:
        self.is_closed = self._hangs_up

    def data_to_send(self) -> bytes:
        octets, self._octets = self._octets, b""
        return octets


class LoopbackPortal:
    """A listening socket, and a target of its own for every connection that comes."""

    def __init__(self, listener: socket.socket, make: Callable[[], Target]) -> None:
        self.listener = listener
        self.make = make
        self.links: list[tuple[socket.socket, Target]] = []
        self._unsent: dict[socket.socket, bytes] = {}
        self.portal = Portal(*listener.getsockname()[:2])

    @property
    def targets(self) -> list[ScriptedTarget]:
        """The scripted targets, in the order in which they were connected to."""
        return [target for _, target in self.links if isinstance(target, ScriptedTarget)]

    def serve(self) -> None:
        """Accept, read and answer what there is; never blocks."""
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            pass
        else:
            connection.setblocking(False)
            self.links.append((connection, self.make()))
        for connection, target in self.links:
            if connection.fileno() >= 0:
                self._serve_one(connection, target)

    def send(self, octets: bytes) -> None:
        """Send something on the last connection; what has no room goes with the next ``serve``."""
        self._send(self.links[-1][0], octets)

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the last connection, with a reset if wanted (SO_LINGER of 0 seconds)."""
        connection = self.links[-1][0]
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()

    def _serve_one(self, connection: socket.socket, target: Target) -> None:
        data: bytes | None = None
        with suppress(BlockingIOError):
            try:
                self._send(connection)
                data = connection.recv(65536)
            except ConnectionError:
                data = b""
        if data is not None:
            target.receive_data(data)
            self._send(connection, target.data_to_send())
        if data == b"" or (target.is_closed and not self._unsent.get(connection)):
            connection.close()

    def _send(self, connection: socket.socket, octets: bytes = b"") -> None:
        """Never waits: a peer that sends to this process would wait for it, and both for ever."""
        octets = self._unsent.pop(connection, b"") + octets
        if not octets:
            return
        with suppress(BlockingIOError):
            octets = octets[connection.send(octets) :]
        self._unsent[connection] = octets


@contextmanager
def loopback_portal(
    make: Callable[[], Target], host: str = "127.0.0.1"
) -> Iterator[LoopbackPortal]:
    """A portal on a free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.setblocking(False)
        found = LoopbackPortal(listener, make)
        try:
            yield found
        finally:
            for connection, _ in found.links:
                connection.close()


@contextmanager
def scripted(script: Script | None = None) -> Iterator[LoopbackPortal]:
    """A portal with scripted targets, which must not find anything to complain about."""
    with loopback_portal(lambda: ScriptedTarget(script)) as found:
        yield found
        assert [target.diagnostics for target in found.targets if target.diagnostics] == []
