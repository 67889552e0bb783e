"""Scans of one session for LUNs: one at a time, and one more if asked for meanwhile.

One that fails is tried again after a pause, like any work of a child. A scan also finds out which
LUNs the target has no more. Their disks go with the next scan, if nobody uses them; but first their
links go, since a device name that is free may be another disk's a moment later. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.retry import delay_before_retry
from iscsid.initiator.session_fsm import State
from iscsid.jobs import JobId, ScanJob
from iscsid.orders import CheckLunUsers

if TYPE_CHECKING:
    from iscsid.initiator.session import Session

SCAN_PATIENCE = 120.0
"""Seconds: a scan blocks in the kernel for as long as commands to a bad path take to fail."""


class LunScanner:
    """Asks for a child per scan, and remembers whether the LUNs have been looked for.

    A scan's employer is this object, so that its end is told apart from a login's.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.job: JobId | None = None
        self._sid = 0
        self._again = False
        self._failures = 0
        self._dropping: frozenset[int] = frozenset()
        """LUNs that the scan under way drops."""
        self.kept: set[int] = set()
        """LUNs that the target has no more and that stay because they are in use: it was told."""
        self.has_finished = False
        """Whether one scan has come to its end, in this life of the daemon or in an earlier one."""

    @property
    def log_prefix(self) -> str:
        return self._session.log_prefix

    @property
    def timer(self) -> Timer:
        return Timer(TimerPurpose.SCAN, self._session.path.binding)

    def later(self, delay: float) -> None:
        """Scan in ``delay`` seconds, unless something else brings a scan about before."""
        self._session.outbox.set_timer(self.timer, delay)

    def ask(self, sid: int, host_no: int, settings: SessionSettings, drop: frozenset[int]) -> None:
        """Scan now, or once more after the scan under way; ``drop`` LUNs that nobody uses."""
        if self.job is not None:
            self._again = True
            return
        outbox = self._session.outbox
        outbox.cancel_timer(self.timer)
        self.job, self._sid = outbox.new_job(), sid
        self._dropping = drop
        for lun in sorted(drop):
            outbox.order(*self._session.device_links.unit_leaves(sid, lun))
        job = ScanJob(
            id=self.job,
            sid=sid,
            host_no=host_no,
            target_name=self._session.path.target_name,
            luns=settings.luns,
            disk_command_timeout=settings.disk_command_timeout,
            drop=drop,
            deadline=SCAN_PATIENCE,
        )
        outbox.start(job, self, first=True)

    def finished(self, missing: Iterable[int]) -> None:
        """Note the end of a scan, and find out who uses the LUNs that are gone."""
        self._failures = 0
        # What this scan could not drop would not go with the next one, either.
        gone = set(missing) - self._dropping
        self.kept &= gone
        if gone:
            self._session.outbox.order(CheckLunUsers(self._sid, tuple(sorted(gone))))
        self._end()

    def failed(self, failure: Failure) -> None:
        """Note the end of a scan that found out nothing, and try again later."""
        outbox = self._session.outbox
        if self._session.state is not State.UP:
            # It has lost what it looked through; the session scans anew when it comes back.
            outbox.debug(self.log_prefix, f"scanning for LUNs was in vain: {failure}")
            self._end()
            return
        self._failures += 1
        outbox.failed(self.log_prefix, f"scanning for LUNs failed: {failure}")
        self._end()
        delay = delay_before_retry(failure.retry, self._failures, self.log_prefix)
        if self.job is None and delay is not None:
            self.later(delay)

    def units_checked(self, uses: Sequence[tuple[int, tuple[str, ...]]]) -> None:
        """Let go of the LUNs that nobody uses; of the others say why they stay."""
        if self.job is not None:
            return  # the scan that has begun meanwhile will ask again
        unused = frozenset(lun for lun, words in uses if not words)
        for lun, words in uses:
            if words and lun not in self.kept:
                self.kept.add(lun)
                self._session.outbox.error(
                    self.log_prefix,
                    f"LUN {lun} is gone at the target, but in use and therefore kept: "
                    f"{', '.join(words)}; end that, then send SIGHUP",
                )
        for lun in sorted(unused):
            self._session.outbox.info(
                self.log_prefix, f"LUN {lun} is gone at the target: removing it"
            )
        if unused:
            self._session.scan(drop=unused)

    def _end(self) -> None:
        """Begin the scan that was asked for meanwhile, if any."""
        session = self._session
        self.job = None
        self.has_finished = True
        dropped, self._dropping = self._dropping, frozenset()
        for lun in sorted(dropped):
            session.outbox.order(*session.device_links.unit_left(self._sid, lun))
        if self._again:
            self._again = False
            session.scan()
