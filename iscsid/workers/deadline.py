"""Limits on time: one inside another, each with the words for the day it is missed.

May touch the monotonic clock. Runs inside a worker.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from iscsid.workers.connect_errors import timed_out


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, infinitely far away where there is no limit."""

    at: float
    words: str
    """What the limit was: "15 s"."""

    @classmethod
    def after(cls, seconds: float, outer: Deadline | None = None, words: str = "") -> Deadline:
        """Begin a limit of ``seconds`` (0 is none) that cannot reach beyond the ``outer`` one."""
        at = time.monotonic() + seconds if seconds else math.inf
        own = cls(at, words or f"{seconds:g} s")
        return outer if outer is not None and outer.at <= at else own

    def left(self, doing: str) -> float | None:
        """Return the seconds that are left for ``doing`` something, ``None`` for any number.

        Raises ``ConnectionFailed`` when there are none.
        """
        if self.at == math.inf:
            return None
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise timed_out(doing, self.words)
        return seconds
