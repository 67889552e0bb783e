"""To whom a job speaks while it runs: the daemon at the other end of a channel, or a list."""

from __future__ import annotations

import socket
from enum import Enum
from typing import Protocol

from iscsid.orders import Level
from iscsid.workers.messages import Report


class ParentMessage(Enum):
    """What the daemon has said to a worker."""

    NOTHING = "nothing"
    ASK_AGAIN = "ask again"
    GOODBYE = "goodbye"
    """The daemon is gone."""


class Reporter(Protocol):
    """What a job function is given to speak with, and to listen to while it waits."""

    def report(self, fact: Report, connection: socket.socket | None = None) -> None:
        """Tell a fact, with a duplicate of ``connection`` for the daemon if there is one."""

    def doing(self, what: str) -> None:
        """Tell what comes next, in words that go behind "while": "connecting to 192.0.2.1"."""

    def wants(self, level: Level) -> bool:
        """Whether lines of this level are wanted at all."""

    def say(self, level: Level, text: str) -> None:
        """Offer a line for the log; it may not be wanted."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is something to ``hear``."""

    def hear(self) -> ParentMessage:
        """Take one word of the daemon's, without waiting."""


_LOUDNESS = {Level.ERROR: 3, Level.WARNING: 2, Level.INFO: 1, Level.DEBUG: 0}


def is_loud_enough(level: Level, least: Level) -> bool:
    """Whether a line of ``level`` is wanted where ``least`` is the quietest that is."""
    return _LOUDNESS[level] >= _LOUDNESS[least]
