"""What systemd gets from the daemon, byte for byte, at a real socket."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from iscsid.process.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The supervisor's socket, by both kinds of address."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = str(tmp_path / "notify")
    listener.bind(path if request.param == "path" else f"\0iscsid-test-{os.getpid()}")
    listener.setblocking(False)
    yield listener
    listener.close()


def address(supervisor: socket.socket) -> str:
    """Return the address as systemd writes it into the environment."""
    name = supervisor.getsockname()
    return "@" + name[1:].decode() if isinstance(name, bytes) else str(name)


Opened = Callable[[dict[str, str]], Notifier]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Make notifiers, and close them after the test."""
    with ExitStack() as stack:

        def make(environment: dict[str, str]) -> Notifier:
            notifier = Notifier.open(environment)
            stack.callback(notifier.close)
            return notifier

        yield make


def test_the_life_of_a_daemon_as_systemd_receives_it(
    supervisor: socket.socket, opened: Opened
) -> None:
    notifier = opened({"NOTIFY_SOCKET": address(supervisor)})
    notifier.ready()
    notifier.status("12 of 14 sessions up")
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.settled()
    notifier.settled()
    notifier.stopping()
    messages = [supervisor.recv(4096).decode() for _ in range(5)]
    assert messages[0] == messages[3] == "READY=1"
    assert messages[1] == "STATUS=12 of 14 sessions up"
    reloading = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=([0-9]+)", messages[2])
    assert reloading and before <= int(reloading[1]) <= time.monotonic_ns() // 1000
    assert messages[4] == "STOPPING=1"


def test_a_status_cannot_smuggle_in_another_assignment(
    supervisor: socket.socket, opened: Opened
) -> None:
    notifier = opened({"NOTIFY_SOCKET": address(supervisor)})
    notifier.status("odd\nSTOPPING=1")
    assert supervisor.recv(4096) == rb"STATUS=odd\nSTOPPING=1"


def test_a_status_that_is_known_is_not_sent_again(
    supervisor: socket.socket, opened: Opened
) -> None:
    notifier = opened({"NOTIFY_SOCKET": address(supervisor)})
    for text in ("1 of 2 sessions up", "1 of 2 sessions up", "2 of 2 sessions up"):
        notifier.status(text)
    assert supervisor.recv(4096) == b"STATUS=1 of 2 sessions up"
    assert supervisor.recv(4096) == b"STATUS=2 of 2 sessions up"


def test_children_do_not_inherit_the_address(supervisor: socket.socket, opened: Opened) -> None:
    environment = {"NOTIFY_SOCKET": address(supervisor), "PATH": "/bin"}
    opened(environment)
    assert environment == {"PATH": "/bin"}


def test_a_busy_supervisor_is_not_waited_for(supervisor: socket.socket, opened: Opened) -> None:
    notifier = opened({"NOTIFY_SOCKET": address(supervisor)})
    for number in range(2000):
        notifier.status(f"{number} sessions up")
    assert supervisor.recv(4096) == b"STATUS=0 sessions up"


@pytest.mark.parametrize("value", ["", "/nowhere/at/all", "@no-socket-here", "not absolute"])
def test_without_a_supervisor_nothing_happens(value: str, opened: Opened) -> None:
    notifier = opened({"NOTIFY_SOCKET": value})
    notifier.ready()
    notifier.status("fine")
    notifier.reloading()
    notifier.stopping()
    opened({}).ready()


def test_signs_of_life_are_due_twice_in_the_time_that_systemd_waits(
    supervisor: socket.socket, opened: Opened
) -> None:
    environment = {
        "NOTIFY_SOCKET": address(supervisor),
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notifier = opened(environment)
    due = notifier.deadline()
    assert due is not None and due <= time.monotonic(), "the first one does not wait"
    notifier.show_life(1000.0)
    assert supervisor.recv(4096) == b"WATCHDOG=1"
    assert notifier.deadline() == 1030.0
    assert environment == {}


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}])
def test_signs_of_life_that_are_not_awaited_are_not_sent(
    variables: dict[str, str], supervisor: socket.socket, opened: Opened
) -> None:
    assert opened({"NOTIFY_SOCKET": address(supervisor), **variables}).deadline() is None
