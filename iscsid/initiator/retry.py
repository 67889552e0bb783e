"""How long to wait before the next attempt: one table from outcome to delay.

Pure. The jitter that keeps a thousand initiators from knocking in step is computed from who is
waiting and how often it failed, so that the same story always gives the same delays.
"""

from __future__ import annotations

from math import inf
from zlib import crc32

from iscsid.errors import Retry

LONGEST = 60.0
"""Seconds that nobody waits longer for whose portal may be reachable again."""

DELAYS: dict[Retry, tuple[float, ...] | None] = {
    Retry.SOON: (1, 2, 4, 8, 15, 30, LONGEST),
    Retry.LATER: (30, 60, 120, 300),
    Retry.NEVER: None,
}
"""Seconds before the second, third, ... attempt; the last value repeats. ``None``: only SIGHUP."""

JITTER = 0.25
"""The part of a delay that is left to chance: a delay of 8 s becomes one of 6 to 8 s."""

ATTEMPTS_PER_SECOND = 4.0
"""Attempts in a second: at one portal, and on behalf of all disks that wait."""
LEAST_PATIENCE = 2.0
"""Seconds that the pauses between attempts for the same disk grow to at least."""

STABLE_AFTER = 30.0
"""Seconds a session must have been up for its next loss to count as a first failure."""


def delay_before_retry(
    retry: Retry, failures: int, log_prefix: str, longest: float = inf
) -> float | None:
    """Return the seconds to wait after ``failures`` failed attempts in a row (at least 1).

    At most ``longest`` seconds, however many failed. ``None`` means that waiting does not help.
    """
    delays = DELAYS[retry]
    if delays is None:
        return None
    delay = min(delays[min(failures, len(delays)) - 1], longest)
    chance = crc32(f"{log_prefix} {failures}".encode()) / 2**32
    return delay * (1 - JITTER * chance)


def longest_pause(disks_waiting: int) -> float:
    """Return the longest pause, in seconds, of one of ``disks_waiting`` sessions whose disks wait.

    People wait with them, so a few are tried often. Many share the attempts among them, and the
    first to get through calls the others (``portal_backoff``).
    """
    return max(LEAST_PATIENCE, disks_waiting / ATTEMPTS_PER_SECOND)


def turn(ahead: int) -> float:
    """Return the seconds until it is the turn of a session that finds ``ahead`` at its portal.

    All targets of an array fail together; one that knocks finds out for all.
    """
    return min(ahead / ATTEMPTS_PER_SECOND, LONGEST)
