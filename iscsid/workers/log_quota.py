"""Limits how many lines one worker may log, since a target can trigger some of them.

A line that repeats itself is counted, and comes again after a minute with the count. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.orders import Level

BURST = 60
"""Lines that pass at once. A discovery has at most as many notes."""
SECONDS_A_LINE = 20.0
"""After a burst, one line passes in so many seconds."""
TRACE_FACTOR = 400
"""Debug lines are asked for, and one answer of many targets has thousands."""


SAME_AGAIN = 60.0
"""Seconds until a line that has passed may pass again."""
MOST_TEXTS = 64
"""Lines that are remembered; a target may vary its texts without end."""


@dataclass(slots=True)
class _Passed:
    """A line that has passed at some time, and how often it came since."""

    at: float
    repeats: int = 0


class LogQuota:
    """Passes lines on, and counts those that it drops."""

    def __init__(self, now: float) -> None:
        self._passed: dict[str, _Passed] = {}
        self._left = {False: float(BURST), True: float(BURST * TRACE_FACTOR)}
        self._at = now
        self._dropped = 0

    def pass_on(self, level: Level, text: str, now: float) -> list[str]:
        """Return what to log: nothing, the line, or a summary of dropped lines and the line."""
        self._refill(now)
        is_trace = level is Level.DEBUG
        before = None if is_trace else self._passed.get(text)
        if before is not None and now - before.at < SAME_AGAIN:
            before.repeats += 1
            return []
        if self._left[is_trace] < 1:
            self._dropped += 1
            return []
        self._left[is_trace] -= 1
        if is_trace:
            return [text]
        self._remember(text, now)
        if before is not None and before.repeats:
            text = f"{text} ({before.repeats} times more)"
        if not self._dropped:
            return [text]
        summary = f"{self._dropped} lines were not logged, since there were too many"
        self._dropped = 0
        return [summary, text]

    def _remember(self, text: str, now: float) -> None:
        if len(self._passed) >= MOST_TEXTS and text not in self._passed:
            del self._passed[next(iter(self._passed))]
        self._passed[text] = _Passed(now)

    def _refill(self, now: float) -> None:
        lines = (now - self._at) / SECONDS_A_LINE
        self._at = now
        for is_trace, most in ((False, BURST), (True, BURST * TRACE_FACTOR)):
            share = lines * (TRACE_FACTOR if is_trace else 1)
            self._left[is_trace] = min(self._left[is_trace] + share, float(most))
