"""The interface through which a running job reports to the daemon."""

from __future__ import annotations

import socket
from enum import Enum
from typing import Protocol

from iscsid.orders import Level
from iscsid.workers.messages import Report


class ParentMessage(Enum):
    """What ``poll_parent`` found."""

    NOTHING = "nothing"
    ASK_AGAIN = "ask again"
    CLOSED = "closed"
    """The daemon is gone."""


class Reporter(Protocol):
    """Passed to each job function."""

    def report(self, fact: Report, connection: socket.socket | None = None) -> None:
        """Send a fact, with a duplicate of ``connection`` for the daemon if there is one."""

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


_SEVERITY = {Level.ERROR: 3, Level.WARNING: 2, Level.INFO: 1, Level.DEBUG: 0}


def is_logged(level: Level, least: Level) -> bool:
    """Whether a line of ``level`` is logged if ``least`` is the least severe that is."""
    return _SEVERITY[level] >= _SEVERITY[least]
