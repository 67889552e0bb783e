"""Portals that misbehave as no real target can be made to; the test itself makes each step."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support.patience import PATIENCE
from tests.support.scripted_portal import LoopbackPortal
from tests.target.scripted import ScriptedTarget


class Silent:
    """Listens, accepts, and never sends an octet."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._listener.setblocking(False)
        self._connections: list[socket.socket] = []
        self.address = "{}:{}".format(*listener.getsockname())

    def count(self) -> int:
        """Return how many have connected so far."""
        while True:
            try:
                self._connections.append(self._listener.accept()[0])
            except BlockingIOError:
                return len(self._connections)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@contextmanager
def silent(number: int) -> Iterator[list[Silent]]:
    """So many silent portals."""
    with ExitStack() as stack:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
        portals = [Silent(stack.enter_context(listener)) for listener in listeners]
        for portal in portals:
            stack.callback(portal.close)
        yield portals


def unused(number: int) -> list[str]:
    """Return addresses on which nothing listens."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return ["{}:{}".format(*each.getsockname()) for each in sockets]


class Stepwise:
    """A scripted target that gives so many answers, and holds back the rest until it may go on."""

    def __init__(self, target: ScriptedTarget, answers: int) -> None:
        self.target = target
        self.answers = answers
        self._held: list[bytes] = []
        self._given = 0
        self.is_closed = False

    @property
    def is_holding(self) -> bool:
        """Whether the initiator waits for an answer."""
        return bool(self._held)

    def receive_data(self, data: bytes) -> None:
        before = len(self.target.sent)
        self.target.receive_data(data)
        self.target.data_to_send()
        self._held += self.target.sent[before:]

    def data_to_send(self) -> bytes:
        free = self._held[: max(self.answers - self._given, 0)]
        self._held = self._held[len(free) :]
        self._given += len(free)
        self.is_closed = self.target.is_closed and not self._held
        return b"".join(free)


def serve_until(
    portal: LoopbackPortal, question: Callable[[], bool], what: str, *, seconds: float = PATIENCE
) -> None:
    """Let the portal work until ``question`` is answered with yes; ``what`` would that be?"""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, f"this did not come: {what}"
        portal.serve()
        for connection, target in portal.links:
            # What was held back goes out without a new request, once it may.
            if connection.fileno() >= 0 and (octets := target.data_to_send()):
                connection.sendall(octets)
        time.sleep(0.005)
