"""Keeps failures that repeat themselves from flooding the log.

A new failure is logged at once. The same one again is counted, and the counts are logged once a
minute, those of many targets in one line if the failure is the same. Pure: the time comes in with
every call, lines go out.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.orders import Level, Log

MINUTE = 60.0
FORGET = 600.0
"""Seconds after which a failure that did not come again is news once more."""
MOST_TEXTS = 5
"""Different failures of one peer that become lines; a peer may vary its texts without end."""
MOST_NAMED = 3
"""Peers named in a line about many."""
OTHERS = "other failures"


@dataclass(slots=True)
class _Failure:
    """One failure of one peer."""

    level: Level
    last: float
    count: int = 0
    """How often it came since it was last logged."""


class FailureLog:
    """The failures of every peer (a target, a portal, or the daemon itself).

    After each call, a timer belongs at ``deadline``; when it expires, ``summarise``.
    """

    def __init__(self) -> None:
        self._peers: dict[str, dict[str, _Failure]] = {}
        self._summary_at: float | None = None

    def failed(self, level: Level, log_prefix: str, text: str, now: float) -> tuple[Log, ...]:
        """Note a failure; return the line to log at once, if it is new."""
        if self._summary_at is None:
            self._summary_at = now + MINUTE
        failures = self._peers.setdefault(log_prefix, {})
        if text not in failures and len(failures) >= MOST_TEXTS:
            text = OTHERS
            failures.setdefault(text, _Failure(level, now))
        if text not in failures:
            failures[text] = _Failure(level, now)
            return (Log(level, log_prefix, text),)
        failures[text].last = now
        failures[text].count += 1
        return ()

    def recovered(self, log_prefix: str) -> tuple[Log, ...]:
        """``log_prefix`` works again: return the lines for what was only counted, and forget it."""
        failures = self._peers.pop(log_prefix, {})
        return tuple(
            _summary_line(failure.level, text, {log_prefix: failure.count})
            for text, failure in failures.items()
            if failure.count
        )

    def deadline(self) -> float | None:
        """When the next summary is due; ``None`` while there is nothing to log or forget."""
        return self._summary_at

    def summarise(self, now: float) -> tuple[Log, ...]:
        """Return the lines for what was only counted since the last summary."""
        counts: dict[tuple[Level, str], dict[str, int]] = {}
        for log_prefix, failures in self._peers.items():
            for text, failure in failures.items():
                if failure.count:
                    counts.setdefault((failure.level, text), {})[log_prefix] = failure.count
                    failure.count = 0
        self._forget(now)
        self._summary_at = now + MINUTE if self._peers else None
        return tuple(_summary_line(level, text, peers) for (level, text), peers in counts.items())

    def _forget(self, now: float) -> None:
        for log_prefix, failures in list(self._peers.items()):
            recent = {text: each for text, each in failures.items() if now - each.last < FORGET}
            if recent:
                self._peers[log_prefix] = recent
            else:
                del self._peers[log_prefix]


def _summary_line(level: Level, text: str, counts: dict[str, int]) -> Log:
    total = sum(counts.values())
    times = "once more" if total == 1 else f"{total} times more"
    peers = list(counts)
    if len(peers) == 1:
        return Log(level, peers[0], f"{text} ({times})")
    named = ", ".join(peers[:MOST_NAMED])
    rest = f" and {len(peers) - MOST_NAMED} others" if len(peers) > MOST_NAMED else ""
    return Log(level, "", f"{text} ({times}, at {named}{rest})")
