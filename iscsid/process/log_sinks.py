"""The two ways a log line can go: syslog's socket, and standard error. Neither ever blocks.

May touch /dev/log, the descriptor of standard error and the wall clock; what is written, and what
becomes of a line that did not get through, is the journal's business.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Mapping
from typing import Protocol

from iscsid.orders import Level

DAEMON_FACILITY = 3 << 3
PRIORITY = {Level.ERROR: 3, Level.WARNING: 4, Level.INFO: 6, Level.DEBUG: 7}
"""Numbers of syslog(3)."""
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class LogSink(Protocol):
    """Where lines go."""

    def head(self, level: Level) -> str:
        """Return what stands before a line written now."""

    def send(self, line: bytes) -> str | None:
        """Deliver one whole line; returns why not, where it could not be delivered."""

    def close(self) -> None:
        """Let go of whatever is open."""


class Syslog:
    """The local syslog's datagram socket, in the words of syslog(3)."""

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


class StandardError:
    """Standard error, wherever it leads; where it is closed, nowhere."""

    def __init__(
        self, ident: str, stamped: bool, fd: int = 2, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._ident = ident
        self._stamped = stamped
        self._fd = fd
        self._to_journald = _leads_to_journald(fd, environment)

    def head(self, level: Level) -> str:
        if self._to_journald:
            return f"<{PRIORITY[level]}>"  # as sd-daemon(3) says; the rest journald knows itself
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
            os.write(self._fd, line + b"\n")
        except BlockingIOError as error:
            return _describe(error)
        except OSError:
            pass  # closed, or its reader has gone: nobody wants these lines
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
