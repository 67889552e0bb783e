"""What signals, timers and the network have said. Past tense, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from iscsid.binding import Binding
from iscsid.protocol.names import Portal


@dataclass(frozen=True, slots=True)
class HangupReceived:
    """SIGHUP: read the configuration again, discover again, reprobe."""


@dataclass(frozen=True, slots=True)
class TerminateReceived:
    """SIGTERM: end, and leave the kernel's sessions alone."""


@dataclass(frozen=True, slots=True)
class InterruptReceived:
    """SIGINT: end, after all sessions have been logged out."""


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """A link, an address or a route has come."""


class TimerPurpose(Enum):
    RETRY_DISCOVERY = "retry discovery"
    RETRY_LOGIN = "retry login"
    SCAN = "scan"
    LOGOUT = "logout"
    CHECK_KERNEL = "check the kernel"
    SAVE_BINDINGS = "save the bindings"
    SUMMARY = "summary"
    NETWORK = "network"
    REVIVE = "revive"
    """Those who wait for a portal may be called again."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer's name: setting it again moves it."""

    purpose: TimerPurpose
    subject: Binding | Portal | None = None


@dataclass(frozen=True, slots=True)
class TimerExpired:
    timer: Timer
