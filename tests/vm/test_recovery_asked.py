"""A target that asks for a logout: it gets one, and the same session comes back.

Neither tgtd nor LIO ever asks; the scripted target does, with the kernel as its initiator.
"""

from __future__ import annotations

import selectors
import socket
import threading

import pytest

from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent
from iscsid.protocol.pdu import AsyncMessage, LogoutRequest
from tests.support.patience import wait_until
from tests.target.portal import listen
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget
from tests.vm import sessions
from tests.vm.daemon import Daemon
from tests.vm.faults import Stopwatch, is_dead, killed_at_send

NAME = "iqn.2024-01.org.example:scripted"


class AskingTarget(ScriptedTarget):
    """A scripted target that can send unasked."""

    @property
    def is_normal(self) -> bool:
        return any(b"SessionType=Normal" in octets for octets in self.login_requests)

    @property
    def was_logged_out(self) -> bool:
        return any(isinstance(received.pdu, LogoutRequest) for received in self.received)

    @property
    def isid(self) -> bytes:
        return self.login_requests[0][8:14]

    def unasked(self, event: AsyncEvent, parameter2: int, parameter3: int) -> bytes:
        """Return an Asynchronous Message, numbered as the next PDU that it sends."""
        return AsyncMessage(
            initiator_task_tag=RESERVED_TAG,
            async_event=event,
            parameter2=parameter2,
            parameter3=parameter3,
            **self._numbers(),
        ).encode()


class AskingPortal(threading.Thread):
    """Scripted targets behind a port, in a thread; and a way to send something unasked."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = listen()
        port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._script = Script(listed=(Listed(NAME, (f"{self.address},1",)),), luns=(1,))
        self._lock = threading.Lock()
        self._live: dict[socket.socket, AskingTarget] = {}
        self.all: list[AskingTarget] = []

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        connection, _ = self._listener.accept()
                        selector.register(connection, selectors.EVENT_READ)
                        self._accept(connection)
                    elif isinstance(key.fileobj, socket.socket) and self._is_over(key.fileobj):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()

    def _accept(self, connection: socket.socket) -> None:
        with self._lock:
            self._live[connection] = AskingTarget(self._script)
            self.all.append(self._live[connection])

    def _is_over(self, connection: socket.socket) -> bool:
        with self._lock:
            target = self._live[connection]
            try:
                data = connection.recv(65536)
                target.receive_data(data)
                connection.sendall(target.data_to_send())
            except ConnectionError:
                data = b""
            is_over = not data or target.is_closed
            if is_over:
                del self._live[connection]
            return is_over

    def announce(self, event: AsyncEvent, *, parameter2: int = 0, parameter3: int = 0) -> None:
        """Send an Asynchronous Message over every connection of a normal session."""
        with self._lock:
            for connection, target in self._live.items():
                if target.is_normal:
                    connection.sendall(target.unasked(event, parameter2, parameter3))

    def drop(self) -> None:
        """Close every connection of a normal session."""
        with self._lock:
            for connection, target in self._live.items():
                if target.is_normal:
                    connection.shutdown(socket.SHUT_RDWR)

    def normal(self) -> list[AskingTarget]:
        """Return every connection of a normal session there has been."""
        with self._lock:
            return [target for target in self.all if target.is_normal]


@pytest.fixture
def portal() -> AskingPortal:
    portal = AskingPortal()
    portal.start()
    return portal


def wait_until_up(daemon: Daemon, times: int) -> None:
    wait_until(lambda: len(daemon.lines_about("session is up")) >= times, daemon.log)


def bring_up(portal: AskingPortal, daemon: Daemon) -> int:
    """Start the daemon; return the number of its one session, which is up."""
    daemon.configure(f"DiscoveryAddress={portal.address}")
    daemon.start()
    wait_until_up(daemon, 1)
    return sessions.session_of(NAME)


def assert_logged_out_and_in_again(portal: AskingPortal) -> None:
    before, after = portal.normal()[-2:]
    assert before.was_logged_out and not after.was_logged_out
    assert before.isid == after.isid


def test_a_target_that_asks_for_a_logout_gets_it_and_the_session_comes_back(
    portal: AskingPortal, daemon: Daemon
) -> None:
    sid = bring_up(portal, daemon)
    for count, event in enumerate(
        (AsyncEvent.LOGOUT_REQUESTED, AsyncEvent.NEGOTIATION_REQUESTED), start=1
    ):
        portal.announce(event, parameter3=30)
        wait_until_up(daemon, count + 1)
        assert_logged_out_and_in_again(portal)
    assert sessions.session_of(NAME) == sid
    assert not [diagnostic for target in portal.normal() for diagnostic in target.diagnostics]


def test_a_daemon_that_dies_after_the_logout_is_followed_by_one_that_logs_in_again(
    portal: AskingPortal, daemon: Daemon
) -> None:
    """The kernel shows LOGGED_IN and up for a session on which it no longer sends any command."""
    sid = bring_up(portal, daemon)
    with killed_at_send(daemon, 2):
        portal.announce(AsyncEvent.LOGOUT_REQUESTED, parameter3=30)
        wait_until(lambda: is_dead(daemon), daemon.log)
    daemon.end()
    daemon.start()
    wait_until_up(daemon, 2)
    assert_logged_out_and_in_again(portal)
    assert sessions.session_of(NAME) == sid


def test_a_target_that_drops_the_session_is_left_alone_for_as_long_as_it_wants(
    portal: AskingPortal, daemon: Daemon
) -> None:
    sid = bring_up(portal, daemon)
    portal.announce(AsyncEvent.SESSION_DROPPED, parameter2=7, parameter3=60)
    daemon.wait_for_line("asks to wait 7 s")
    watch = Stopwatch()
    portal.drop()
    wait_until_up(daemon, 2)
    assert watch.lap("the session is back") >= 6.9
    assert sessions.session_of(NAME) == sid
