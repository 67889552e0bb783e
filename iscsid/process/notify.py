"""systemd's notifications (sd_notify(3)): a datagram to the socket it named, nothing more.

May touch that one socket and the monotonic clock. Without systemd every call does nothing, and a
message that cannot be delivered is dropped: the daemon never waits for its service manager.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from iscsid.protocol.printable import printable

VARIABLE = "NOTIFY_SOCKET"
WATCHDOG = ("WATCHDOG_USEC", "WATCHDOG_PID")
"""How long the service manager waits for a sign of life, and from which process."""


class Notifier:
    """Sends the daemon's state to the service manager at ``address``; empty: there is none.

    ``interval`` is the time in seconds between two signs of life; 0: none are awaited.
    """

    def __init__(self, address: str = "", interval: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        self._is_reloading = False
        self._status = ""
        self._interval = interval
        self._next_sign = time.monotonic()

    @classmethod
    def open(cls, environment: MutableMapping[str, str]) -> Notifier:
        """Take the address out of ``environment``: workers must not notify it."""
        limit, pid = (environment.pop(name, "") for name in WATCHDOG)
        is_awaited = limit.isdecimal() and pid in ("", str(os.getpid()))
        # Half of the limit, as sd_watchdog_enabled(3) recommends.
        interval = int(limit) / 2_000_000 if is_awaited else 0.0
        return cls(environment.pop(VARIABLE, ""), interval)

    def ready(self) -> None:
        """The start is complete."""
        self._send("READY=1")

    def settled(self) -> None:
        """Everything that was queued is done, so a reload is, too."""
        if self._is_reloading:
            self._is_reloading = False
            self.ready()

    def status(self, status: str) -> None:
        """Send the daemon's state in one line, if it has changed."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={printable(status)}")

    def reloading(self) -> None:
        """SIGHUP is being carried out; ``settled`` follows."""
        self._is_reloading = True
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self._send("STOPPING=1")

    def deadline(self) -> float | None:
        """Return when the next sign of life is due."""
        return self._next_sign if self._interval else None

    def show_life(self, now: float) -> None:
        """The loop has completed another turn."""
        self._next_sign = now + self._interval
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self, *assignments: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            pass  # the service manager is gone or busy, and can do without
