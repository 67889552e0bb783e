"""When ``--once`` has handled its one connection, and with what outcome.

FreeBSD's ``-d``: no fork, and the daemon leaves after one connection. Pure.
"""

from __future__ import annotations

from iscsid.exit_status import ExitStatus
from iscsid.facts import (
    DiscoveryFailed,
    Fact,
    LoginFailed,
    ScanFailed,
    ScanFinished,
    SessionRefused,
    WorkerEnded,
)


def outcome(fact: Fact) -> ExitStatus | None:
    """Return the exit status that ``fact`` brings; ``None``: the connection goes on."""
    match fact:
        case ScanFinished():
            return ExitStatus.SUCCESS
        case DiscoveryFailed() | LoginFailed() | ScanFailed() | SessionRefused():
            return ExitStatus.FAILURE
        case WorkerEnded(how=how) if how is not None:
            return ExitStatus.FAILURE
    return None
