"""The interface through which a running job reports to the daemon, and asks it for connections."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from iscsid.facts import Fact
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.workers.messages import Connecting

if TYPE_CHECKING:
    from iscsid.workers.resolver import HostResolved


class ParentMessage(Enum):
    """What ``poll_parent`` found."""

    NOTHING = "nothing"
    ASK_AGAIN = "ask again"
    CLOSED = "closed"
    """The daemon is gone."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that the daemon has begun; no ``connection`` if ``answer`` has an error."""

    answer: Connecting
    connection: socket.socket | None


class Reporter(Protocol):
    """Passed to each job function."""

    def report(self, fact: Fact | HostResolved) -> None:
        """Send a fact. A ``LoginSucceeded`` is about the last connection that was begun."""

    def progress(self, what: str) -> None:
        """Send the next step, worded to follow "while": "connecting to 192.0.2.1"."""

    def wants(self, level: Level) -> bool:
        """Whether lines of this level are logged."""

    def log(self, level: Level, text: str) -> None:
        """Send a line for the log, if lines of its level are logged."""

    def fileno(self) -> int:
        """The descriptor that is readable when ``poll_parent`` will find something."""

    def poll_parent(self) -> ParentMessage:
        """Read one message of the daemon's, without waiting."""

    def connect(self, portal: Portal, index: int, seconds: float | None) -> Attempt:
        """Let the daemon begin a connection to one of the addresses of ``portal``.

        Raises ``TimeoutError`` after ``seconds`` without an answer.
        """


_SEVERITY = {Level.ERROR: 3, Level.WARNING: 2, Level.INFO: 1, Level.DEBUG: 0}


def is_logged(level: Level, least: Level) -> bool:
    """Whether a line of ``level`` is logged if ``least`` is the least severe that is."""
    return _SEVERITY[level] >= _SEVERITY[least]
