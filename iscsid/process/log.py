"""The log: one line per event, to syslog or to standard error, and never a reason to wait.

A line that cannot be delivered now is kept, up to a bound, and goes out when the way is free
again; then a line says how long it was not. Control characters are escaped, so that nobody on
the network can forge a line. May touch the log's socket or standard error, the wall clock (for
stamps) and the monotonic one; it decides nothing but which lines the debug level lets through.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from iscsid.orders import Level
from iscsid.process.log_sinks import LogSink, StandardError, Syslog
from iscsid.protocol.printable import printable

IDENT = "iscsid"
LONGEST_LINE = 1024
"""Bytes of a whole line, prefix and all: what RFC 3164 grants a syslog message."""
BACKLOG = 1000
"""Lines kept while they cannot be delivered: at most a megabyte."""
RETRY = 1.0
"""Seconds between two attempts to deliver what was kept."""
SYSLOG = "/dev/log"


@dataclass(slots=True)
class _Outage:
    """A time in which nothing can be delivered, and the lines that wait for its end."""

    since: float
    """On the wall clock, for the line that tells of it."""
    why: str
    next_attempt: float
    """On the monotonic clock."""
    lines: deque[bytes] = field(default_factory=deque)
    kept: int = 0
    lost: int = 0

    def keep(self, line: bytes) -> None:
        if len(self.lines) >= BACKLOG:
            # The newest are dropped: the first lines of a calamity tell what began it.
            self.lost += 1
            return
        self.lines.append(line)
        self.kept += 1

    def __str__(self) -> str:
        started = time.strftime("%H:%M:%S", time.localtime(self.since))
        return (
            f"the log could not be reached since {started} ({self.why}): "
            f"{self.kept} late, {self.lost} lost"
        )


class DaemonLog:
    """Write lines, each about one event; see ``open``."""

    def __init__(self, way: LogSink, debug: int) -> None:
        self._way = way
        self._debug = debug
        self._outage: _Outage | None = None

    @classmethod
    def open(cls, foreground: bool, debug: int, address: str = SYSLOG) -> DaemonLog:
        """Open the log: standard error in the foreground, else syslog (facility daemon).

        ``debug`` is the level that ``-d`` counts. Never fails: a log that is not there yet is
        waited for. Open it after detaching.
        """
        return cls(StandardError(IDENT, debug > 0) if foreground else Syslog(address, IDENT), debug)

    def write(self, level: Level, log_prefix: str, text: str, depth: int = 1) -> None:
        """Log one line. ``log_prefix`` is the target and portal it is about, empty for the daemon.

        A line of ``Level.DEBUG`` is written from debug level ``depth`` on.
        """
        if level is Level.DEBUG and depth > self._debug:
            return
        text = printable(f"{log_prefix}: {text}" if log_prefix else text, LONGEST_LINE)
        line = _cut(f"{self._way.head(level)}{text}".encode())
        now = time.monotonic()
        if self._outage is not None and now >= self._outage.next_attempt:
            self.flush(now)
        if self._outage is None and (why := self._way.send(line)) is not None:
            self._outage = _Outage(time.time(), why, now + RETRY)
        if self._outage is not None:
            self._outage.keep(line)

    def deadline(self) -> float | None:
        """When ``flush`` is next worth calling (on the monotonic clock); for the loop."""
        return self._outage.next_attempt if self._outage is not None else None

    def flush(self, now: float) -> None:
        """Try to deliver what was kept; ``now`` is on the monotonic clock."""
        outage = self._outage
        if outage is None:
            return
        while outage.lines:
            if self._way.send(outage.lines[0]) is not None:
                outage.next_attempt = now + RETRY
                return
            outage.lines.popleft()
        self._outage = None
        self.write(Level.WARNING, "", str(outage))

    def close(self) -> None:
        """Try once more to deliver what was kept, and let go of the log."""
        self.flush(time.monotonic())
        self._way.close()


def _cut(line: bytes) -> bytes:
    if len(line) <= LONGEST_LINE:
        return line
    # Cut between characters, never within one.
    return line[: LONGEST_LINE - 3].decode("utf-8", "ignore").encode() + b"..."
