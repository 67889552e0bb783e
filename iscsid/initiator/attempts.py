"""Which portal a session tries next, and when.

Portals are tried in turn without a pause; after the last one comes a pause that grows with every
round (``retry``). A session that comes up and drops again and again pauses too. Pure: it is told
what happened and answers with seconds.
"""

from __future__ import annotations

from math import inf

from iscsid.errors import Failure, Retry
from iscsid.initiator.planning import PlannedSession, PortalOption
from iscsid.initiator.retry import STABLE_AFTER, delay_before_retry, longest_pause, turn
from iscsid.protocol.names import Portal

LOSSES_THAT_SUGGEST_A_DUPLICATE_NAME = 3
"""Losses in a row, each soon after a login, that suggest a duplicate InitiatorName."""


class RetryState:
    """The memory of one session's attempts."""

    def __init__(self, path: PlannedSession) -> None:
        self._path = path
        self._option = 0
        self._moved_to: Portal | None = None
        self._decision: Retry | None = None
        self._alike = 0
        """Rounds in a row that failed in the way of ``_decision``."""
        self.failures = 0
        """Rounds through all portals since the session was last up."""
        self.losses = 0
        """Losses in a row, each soon after a login, since the session was last stable."""
        self.has_failed = False
        """Whether the last attempt to log in failed, and nobody got through to the portal since. To
        lose a session is no failed attempt: its portal was alive a moment ago, and must not queue
        behind those that are dead."""

    @property
    def option(self) -> PortalOption:
        """The portal in use, or the one to be tried next."""
        return self._path.options[self._option]

    @property
    def portal(self) -> Portal:
        """Where to knock: the portal, or where it said it has moved for good."""
        return self._moved_to or self.option.portal

    @property
    def suspects_duplicate_name(self) -> bool:
        return self.losses == LOSSES_THAT_SUGGEST_A_DUPLICATE_NAME

    def change_path(self, path: PlannedSession) -> None:
        """Take over new ways, and stay with the portal in use where it is still among them."""
        portal = self.option.portal
        self._path = path
        self._option = next(
            (i for i, option in enumerate(path.options) if option.portal == portal), 0
        )

    def moved(self, portal: Portal | None) -> None:
        """Remember a permanent redirection until an attempt there fails."""
        self._moved_to = portal or self._moved_to

    def delay_after_failure(self, failure: Failure, *, disks_waiting: int = 0) -> float | None:
        """Return the seconds before the next attempt, ``None`` where only SIGHUP helps.

        ``disks_waiting``: how many sessions the kernel keeps for the sake of their disks, this one
        among them, 0 where this one is not kept. For one that is kept nothing is final: targets
        that boot say "not found" for a while.
        """
        is_kept = disks_waiting > 0
        self.has_failed = True
        if self._moved_to is not None:
            self._moved_to = None
            return 0.0
        if self.option.settings.portal_failover:
            self._option = (self._option + 1) % len(self._path.options)
            if self._option:
                return 0.0
        self.failures += 1
        retries = self.option.settings.login_retries
        if retries and self.failures >= retries and not is_kept:
            return None
        # A portal that answers at last, if only to refuse, is news: the pauses grow from the first.
        self._alike = self._alike + 1 if failure.retry is self._decision else 1
        self._decision = failure.retry
        if not is_kept:
            return self._pause(failure.retry, self._alike)
        # Who refuses is not to be pestered.
        is_unreachable = failure.retry is Retry.SOON
        longest = longest_pause(disks_waiting) if is_unreachable else inf
        return self._pause(Retry.SOON, self._alike, longest)

    def delay_after_loss(self, seconds_up: float, time2wait: float) -> float:
        """Return the seconds before the first attempt after a session was lost.

        The target's own wish, ``time2wait``, is the least; a session that does not stay up for
        long, again and again, waits as if the logins had failed.
        """
        self.has_failed, self.failures, self._decision = False, 0, None
        self.losses = 0 if seconds_up >= STABLE_AFTER else self.losses + 1
        if self.losses <= 1:
            return time2wait
        return max(time2wait, self._pause(Retry.SOON, self.losses - 1) or 0.0)

    def delay_in_turn(self, delay: float, ahead: int) -> float:
        """Return ``delay``, or more where ``ahead`` others wait for the same portal already.

        The next of several portals is tried at once all the same.
        """
        return max(delay, min(turn(ahead), self._longest)) if delay else delay

    @property
    def _longest(self) -> float:
        return self.option.settings.login_retry_interval or inf

    def _pause(self, retry: Retry, failures: int, longest: float = inf) -> float | None:
        longest = min(longest, self._longest)
        return delay_before_retry(retry, failures, str(self._path.binding), longest)
