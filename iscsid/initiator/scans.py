"""Scans of one session for LUNs: one at a time, and one more if asked for meanwhile.

One that fails is tried again after a pause, like any work of a child. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.retry import delay_before_retry
from iscsid.jobs import JobId, ScanJob

if TYPE_CHECKING:
    from iscsid.initiator.session import Session

SCAN_PATIENCE = 120.0
"""Seconds: a scan blocks in the kernel for as long as commands to a bad path take to fail."""


class Scans:
    """Asks for a child per scan, and remembers whether the LUNs have been looked for.

    A scan's employer is this object, so that its end is told apart from a login's.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.job: JobId | None = None
        self._again = False
        self._failures = 0
        self.has_finished = False
        """Whether one scan has come to its end, in this life of the daemon or in an earlier one."""

    @property
    def who(self) -> str:
        return self._session.who

    @property
    def retry_timer(self) -> Timer:
        return Timer(TimerPurpose.RETRY_SCAN, self._session.path.binding)

    def ask(self, sid: int, host_no: int, settings: SessionSettings) -> None:
        """Scan now, or once more after the scan under way."""
        if self.job is not None:
            self._again = True
            return
        outbox = self._session.outbox
        self.job = outbox.new_job()
        job = ScanJob(
            job=self.job,
            sid=sid,
            host_no=host_no,
            target_name=self._session.path.target_name,
            luns=settings.luns,
            disk_command_timeout=settings.disk_command_timeout,
            deadline=SCAN_PATIENCE,
        )
        outbox.start(job, self, first=True)

    def ended(self, failure: Failure | None) -> None:
        """Note the end of a scan, and begin the one that was asked for meanwhile."""
        self.job = None
        self.has_finished = True
        self._failures = 0 if failure is None else self._failures + 1
        if failure is not None:
            self._session.outbox.failed(self.who, f"scanning for LUNs failed: {failure}")
        if self._again:
            self._again = False
            self._session.scan()
        elif failure is not None:
            delay = delay_before_retry(failure.decision, self._failures, self.who)
            if delay is not None:
                self._session.outbox.set_timer(self.retry_timer, delay)
