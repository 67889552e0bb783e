"""The wall clock, as the origin of the monotonic one: for times that people and programs read.

Nothing the daemon waits for is on the wall clock, which may be set at any time. May touch both
clocks.
"""

from __future__ import annotations

import math
import time

TOLERANCE = 0.5
"""Seconds. Two readings differ by microseconds, and a status in which each time differs by those
would be another status; one that NTP slews is followed in steps of this size."""


class WallClock:
    """Where the monotonic clock began on the wall clock."""

    def __init__(self) -> None:
        self._origin = -math.inf

    def origin(self) -> float:
        """Return the time of day when the monotonic clock was at 0, in seconds since 1970.

        It is the same number until the wall clock is set.
        """
        origin = time.time() - time.monotonic()
        if abs(origin - self._origin) > TOLERANCE:
            self._origin = origin
        return self._origin
