"""The log: one line per event, to syslog or to standard error, and no call ever blocks.

A line that cannot be delivered now is kept, up to a bound, and delivered later; then a line reports
how many were late or lost. Control characters are escaped, so that no target can forge a line. May
touch the log's socket or standard error, the wall clock (for stamps) and the monotonic one; it
decides nothing but which lines the debug level lets through.

The standard library's ``logging`` is not used: its SysLogHandler blocks while syslog's queue is
full, its StreamHandler while a pipe is, and neither reports that a line was not delivered. Both
would be replaced whole, its levels and formatters as well, and importing it costs every start a few
milliseconds.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from iscsid.orders import Level
from iscsid.protocol.printable import printable

IDENT = "iscsid"
LONGEST_LINE = 1024
"""Bytes of a whole line, prefix and all: what RFC 3164 grants a syslog message."""
BACKLOG = 1000
"""Lines kept while they cannot be delivered: at most a megabyte."""
RETRY = 1.0
"""Seconds between two attempts to deliver what was kept."""
SYSLOG = "/dev/log"
DAEMON_FACILITY = 3 << 3
PRIORITY = {Level.ERROR: 3, Level.WARNING: 4, Level.INFO: 6, Level.DEBUG: 7}
"""Numbers of syslog(3)."""
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(slots=True)
class _Outage:
    """A time in which nothing can be delivered, and the lines that wait for its end."""

    since: float
    """On the wall clock, for the line that reports it."""
    why: str
    next_attempt: float
    """On the monotonic clock."""
    lines: deque[bytes] = field(default_factory=deque)
    kept: int = 0
    lost: int = 0

    def keep(self, line: bytes) -> None:
        if len(self.lines) >= BACKLOG:
            # The newest are dropped: the first lines of an outage show its cause.
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

    def __init__(self, sink: LogSink, debug: int) -> None:
        self._sink = sink
        self._debug = debug
        self._outage: _Outage | None = None

    @classmethod
    def open(cls, foreground: bool, debug: int, address: str = SYSLOG) -> DaemonLog:
        """Open the log: standard error in the foreground, else syslog (facility daemon).

        ``debug`` is the level that ``-d`` counts. Never fails: lines wait for a log that is not
        there yet. Open it after detaching.
        """
        return cls(StandardError(IDENT, debug > 0) if foreground else Syslog(address, IDENT), debug)

    def write(self, level: Level, log_prefix: str, text: str, depth: int = 1) -> None:
        """Log one line. ``log_prefix`` is the target and portal it is about, empty for the daemon.

        A line of ``Level.DEBUG`` is written from debug level ``depth`` on.
        """
        if level is Level.DEBUG and depth > self._debug:
            return
        text = printable(f"{log_prefix}: {text}" if log_prefix else text, LONGEST_LINE)
        line = _cut(f"{self._sink.head(level)}{text}".encode())
        now = time.monotonic()
        if self._outage is not None and now >= self._outage.next_attempt:
            self.flush(now)
        if self._outage is None and (why := self._sink.send(line)) is not None:
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
            if self._sink.send(outage.lines[0]) is not None:
                outage.next_attempt = now + RETRY
                return
            outage.lines.popleft()
        self._outage = None
        self.write(Level.WARNING, "", str(outage))

    def close(self) -> None:
        """Try once more to deliver what was kept, and close the log."""
        self.flush(time.monotonic())
        self._sink.close()


class LogSink(Protocol):
    """Where lines go."""

    def head(self, level: Level) -> str:
        """Return what stands before a line written now."""

    def send(self, line: bytes) -> str | None:
        """Deliver one whole line; returns why not, if it could not be delivered."""

    def close(self) -> None:
        """Close what is open."""


class Syslog:
    """The local syslog's datagram socket, in the format of syslog(3)."""

    def __init__(self, address: str, ident: str) -> None:
        self._address = address
        self._ident = ident
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )

    def head(self, level: Level) -> str:
        now = time.localtime()
        # Not strftime, which would name the month in the locale's language.
        stamp = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {time.strftime('%H:%M:%S', now)}"
        return f"<{DAEMON_FACILITY | PRIORITY[level]}>{stamp} {self._ident}[{os.getpid()}]: "

    def send(self, line: bytes) -> str | None:
        try:
            # Addressed each time, not connected: a syslog that was restarted is found again.
            self._socket.sendto(line, self._address)
        except OSError as error:
            return _describe(error)
        return None

    def close(self) -> None:
        self._socket.close()


_MAY_PASS = (errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOMEM)
"""Errors of a descriptor, after which it may take lines again: its file system was full."""


class StandardError:
    """Standard error, wherever it leads; if it is closed, lines are dropped."""

    def __init__(
        self, ident: str, stamped: bool, fd: int = 2, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._ident = ident
        self._stamped = stamped
        self._fd = fd
        self._to_journald = _leads_to_journald(fd, environment)
        self._rest = b""
        """Of a line for which a full file system had no more room."""

    def head(self, level: Level) -> str:
        if self._to_journald:
            return f"<{PRIORITY[level]}>"  # see sd-daemon(3); journald adds the rest
        stamp = ""
        if self._stamped:
            now = time.time()
            stamp = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03} "
        word = f"{level.value}: " if level in (Level.ERROR, Level.WARNING) else ""
        return f"{stamp}{self._ident}: {word}"

    def send(self, line: bytes) -> str | None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        ready = poll.poll(0)
        if not ready:
            # A pipe that is not writable now would make us wait for its reader. One that is has
            # room for PIPE_BUF bytes, more than a line has.
            return "its reader does not read"
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
            if self._rest:
                return os.strerror(errno.ENOSPC)
            octets = line + b"\n"
            self._rest = octets[os.write(self._fd, octets) :]
        except OSError as error:
            # Otherwise closed, or its reader has gone: the lines are not wanted.
            return _describe(error) if error.errno in _MAY_PASS else None
        return None

    def close(self) -> None:
        """Do nothing: the descriptor is not ours."""


def _describe(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _leads_to_journald(fd: int, environment: Mapping[str, str]) -> bool:
    """Whether ``fd`` is the stream systemd has set up for us (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _cut(line: bytes) -> bytes:
    if len(line) <= LONGEST_LINE:
        return line
    # Cut between characters, never within one.
    return line[: LONGEST_LINE - 3].decode("utf-8", "ignore").encode() + b"..."
