"""``iscsid --wait``: return when the daemon has tried everything once and the links are there.

For boot scripts. It reads the pid file and the status file, sleeps, and on a terminal shows what
is still missing; it sends nothing to the daemon or the kernel.
"""

from __future__ import annotations

import os
import sys
import time

from iscsid.cli.daemon_status import read_status
from iscsid.errors import IscsidError, Retry
from iscsid.exit_status import ExitStatus
from iscsid.process.pidfile import PidFile
from iscsid.status.model import Status, for_terminals
from iscsid.status.readiness import missing, progress

PAUSE = 0.2
"""Seconds between two looks; the daemon writes its status at most once a second."""
COLUMNS = 80
"""Of a terminal whose width is not known."""
NAMED = 3
"""How many of the missing the error names."""


def wait(pidfile: str, seconds: int) -> ExitStatus:
    """Wait for the daemon with this pid file, at most ``seconds`` (0: for ever).

    Raises ``IscsidError`` if no daemon runs, or if time runs out; it names what is missing.
    """
    until = time.monotonic() + seconds if seconds else None
    shown = ""
    while True:
        status = _read(pidfile)
        lacking = ("the daemon's status",) if status is None else missing(status)
        if status is not None:
            shown = _show(progress(status, lacking), shown)
        if not lacking:
            _show("", shown)
            return ExitStatus.SUCCESS
        if until is not None and time.monotonic() >= until:
            _show("", shown)
            raise IscsidError(f"not complete after {seconds} s: {_name(lacking)}")
        time.sleep(PAUSE)


def _read(pidfile: str) -> Status | None:
    """Return the status, ``None`` while there is none yet."""
    if not PidFile(pidfile).is_locked():
        raise IscsidError(
            f"no iscsid runs with the pid file {pidfile}",
            advice="start it, or name its pid file with -P",
            retry=Retry.NEVER,
        )
    try:
        return for_terminals(read_status(pidfile))
    except (OSError, ValueError) as error:
        raise IscsidError(f"the daemon's status cannot be read: {error}") from None


def _name(lacking: tuple[str, ...]) -> str:
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return ", ".join(lacking[:NAMED]) + more


def _show(line: str, shown: str) -> str:
    """Put ``line`` in place of the one shown, on a terminal only; return what is shown now."""
    if not sys.stderr.isatty():
        return ""
    # A line that wraps could not be overwritten.
    width = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    line = line[: width - 1]
    if line != shown:
        sys.stderr.write("\r" + line.ljust(len(shown)) + ("" if line else "\r"))
        sys.stderr.flush()
    return line
