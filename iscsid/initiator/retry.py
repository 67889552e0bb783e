"""Which portal a session tries next, and how long it waits before that.

Portals are tried one after another without a pause; after the last one comes a pause that grows
with every round. A session that comes up and drops again and again pauses too. Pure: the jitter
that keeps a thousand machines from retrying in lockstep is computed from a seed, which differs
from machine to machine and from session to session, and the number of failures, so that the same
course of events always gives the same delays.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import inf

from iscsid.errors import Failure, Retry
from iscsid.initiator.planning import PlannedSession, PortalOption
from iscsid.protocol.names import Portal

LONGEST = 60.0
"""Seconds: the longest pause while the portal may be reachable again at any moment."""

DELAYS: dict[Retry, tuple[float, ...] | None] = {
    Retry.SOON: (1, 2, 4, 8, 15, 30, LONGEST),
    Retry.LATER: (30, 60, 120, 300),
    Retry.NEVER: None,
}
"""Seconds before the second, third, ... attempt; the last value repeats. ``None``: only SIGHUP."""

JITTER = 0.25
"""The part of a delay that is left to chance: a delay of 8 s becomes one of 6 to 8 s."""

ATTEMPTS_PER_SECOND = 4.0
"""Attempts in a second at one portal, on average at most."""
_SHORTENED_RATE = ATTEMPTS_PER_SECOND * (1 - JITTER)
"""The rate that even the shortest pauses bring to no more than that."""
LEAST_CONNECT_TIMEOUT = 4.0
"""Seconds. TCP sends its first segments after 0, 1, 3 and 7 s, then ever more rarely: attempts of
4 s find a portal that is back within 2 s, and still bear a round trip of a second."""
LEAST_PATIENCE = 2.0
"""Seconds: the longest pause between attempts for the same disk while few wait with it."""

STABLE_AFTER = 30.0
"""Seconds a session must have been up for its next loss to count as a first failure."""

LOSSES_THAT_SUGGEST_A_DUPLICATE_NAME = 3
"""Losses in a row, each soon after a login, that suggest a duplicate InitiatorName."""


def delay_before_retry(
    retry: Retry, failures: int, seed: object, longest: float = inf
) -> float | None:
    """Return the seconds to wait after ``failures`` failed attempts in a row (at least 1).

    At most ``longest`` seconds, however many failed. ``None`` means that waiting does not help.
    ``seed`` is what the jitter is computed from: an ISID, which no other machine has.
    """
    delays = DELAYS[retry]
    if delays is None:
        return None
    return _jittered(min(delays[min(failures, len(delays)) - 1], longest), seed, failures)


def _jittered(delay: float, seed: object, failures: int) -> float:
    # A checksum such as CRC-32 is linear: the chances of failures in a row would add up to the same
    # sum on every machine, and with it the times of the attempts.
    digest = sha256(f"{seed} {failures}".encode()).digest()
    chance = int.from_bytes(digest[:4], "big") / 2**32
    return delay * (1 - JITTER * chance)


def longest_pause(disks_waiting: int) -> float:
    """Return the longest pause, in seconds, of one of ``disks_waiting`` sessions at one portal.

    Applications wait with them, so a few are tried often. Many share the attempts among them, and
    the first to get through brings the others (``portal_backoff``).
    """
    return max(LEAST_PATIENCE, disks_waiting / _SHORTENED_RATE)


def stagger(ahead: int) -> float:
    """Return the seconds before the attempt of a session that finds ``ahead`` at its portal.

    All targets of an array fail together; one attempt finds out for all.
    """
    return min(ahead / _SHORTENED_RATE, LONGEST)


class RetryState:
    """The portals, failures and losses of one session."""

    def __init__(self, plan: PlannedSession, seed: object) -> None:
        """``seed`` is that of ``delay_before_retry``."""
        self._plan = plan
        self._seed = seed
        self._option = 0
        self._moved_to: Portal | None = None
        self._last_retry: Retry | None = None
        self._is_silent = False
        """Whether nothing is known of the portal but that it gave no answer."""
        self._alike = 0
        """Rounds in a row that failed with ``_last_retry``."""
        self.failures = 0
        """Rounds through all portals since the session was last up."""
        self.losses = 0
        """Losses in a row, each soon after a login, since the session was last stable."""

    @property
    def option(self) -> PortalOption:
        """The portal in use, or the one to be tried next."""
        return self._plan.options[self._option]

    @property
    def portal(self) -> Portal:
        """Where to connect: the portal, or the address to which it has moved for good."""
        return self._moved_to or self.option.portal

    @property
    def suspects_duplicate_name(self) -> bool:
        return self.losses == LOSSES_THAT_SUGGEST_A_DUPLICATE_NAME

    def connect_timeout(self) -> float:
        """Return the seconds for the next attempt to connect; 0 is ``LoginTimeout``.

        More and shorter attempts find the return of a silent portal sooner. One that has answered
        others meanwhile is busy, and gets its time.
        """
        longest = self.option.settings.timeouts.login
        shorter = max(LEAST_CONNECT_TIMEOUT, longest / 4)
        return shorter if self._is_silent and shorter < longest else 0

    def portal_answered(self) -> None:
        """The portal that is tried next has answered another session, or a discovery."""
        self._is_silent = False

    def change_plan(self, plan: PlannedSession) -> None:
        """Take over other portals, and stay with the one in use if it is still among them."""
        portal = self.option.portal
        self._plan = plan
        self._option = next(
            (i for i, option in enumerate(plan.options) if option.portal == portal), 0
        )

    def moved(self, portal: Portal | None) -> None:
        """Remember a permanent redirection until an attempt there fails."""
        self._moved_to = portal or self._moved_to

    def delay_after_failure(
        self, failure: Failure, waiting_at: Callable[[Portal], int], *, is_kept: bool = False
    ) -> float | None:
        """Return the seconds before the next attempt, ``None`` if only SIGHUP helps.

        ``waiting_at`` returns how many other sessions wait for a portal: they take turns.
        ``is_kept``: the kernel keeps the session for the sake of its disks. For such a one nothing
        is final: targets that boot answer "not found" for a while.
        """
        if self._moved_to is not None:
            self._moved_to = None
            return 0.0
        if self.option.settings.portal_failover:
            self._option = (self._option + 1) % len(self._plan.options)
            if self._option:
                return 0.0
        self.failures += 1
        retries = self.option.settings.login_retries
        if retries and self.failures >= retries and not is_kept:
            return None
        # A portal that answers at last, if only to refuse, is news: the pauses grow from the first.
        self._alike = self._alike + 1 if failure.retry is self._last_retry else 1
        self._last_retry = failure.retry
        self._is_silent = is_unreachable = failure.retry is Retry.SOON
        ahead = waiting_at(self.portal) if is_unreachable else 0
        # The short pauses are for a target that cannot be reached, not for one that refuses.
        longest = longest_pause(ahead + 1) if is_kept and is_unreachable else inf
        pause = self._pause(Retry.SOON if is_kept else failure.retry, self._alike, longest)
        if pause is None:
            return None
        return max(pause, min(_jittered(stagger(ahead), self._seed, self._alike), self._longest))

    def delay_after_loss(self, seconds_up: float, time2wait: float) -> float:
        """Return the seconds before the first attempt after a session was lost.

        The target's own value, ``time2wait``, is the least; a session that does not stay up for
        long, again and again, waits as if the logins had failed.
        """
        self.failures, self._last_retry, self._is_silent = 0, None, False
        self.losses = 0 if seconds_up >= STABLE_AFTER else self.losses + 1
        if self.losses <= 1:
            return time2wait
        return max(time2wait, self._pause(Retry.SOON, self.losses - 1) or 0.0)

    @property
    def _longest(self) -> float:
        return self.option.settings.login_retry_interval or inf

    def _pause(self, retry: Retry, failures: int, longest: float = inf) -> float | None:
        longest = min(longest, self._longest)
        return delay_before_retry(retry, failures, self._seed, longest)
