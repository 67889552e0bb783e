"""The status that a running daemon has written, for ``--wait`` and iscsi-ls.

Reads the pid file, its lock, the status file and the clocks; needs no privilege.
"""

from __future__ import annotations

import time

from iscsid.process.pidfile import PidFile
from iscsid.process.status_files import STATUS, directory_for
from iscsid.status.model import Status, from_json, with_clock


def read_status(pidfile: str) -> Status | None:
    """Return the status of the daemon with this pid file; ``None``: it has not written one yet.

    Raises ``OSError`` or ``ValueError`` if there is one that cannot be read.
    """
    try:
        with open(f"{directory_for(pidfile)}/{STATUS}", encoding="utf-8") as file:
            status = from_json(file.read())
    except FileNotFoundError:
        return None
    if status.pid != PidFile(pidfile).read_pid():
        return None  # a daemon that was killed has left its status behind
    return with_clock(status, time.time() - time.monotonic())
