"""Scans of one session for LUNs: one at a time, and one more if asked for meanwhile.

One that fails is tried again after a pause, like any job. A scan ends with its session in the
kernel, whose host number may soon be that of another session. It also finds out which LUNs the
target has no more. Their disks are removed with the next scan, if they are unused; their links go
before that, since a device name that is free may be another disk's a moment later. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.facts import Timer, TimerPurpose, UnitChange
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import PlannedSession
from iscsid.initiator.retry import delay_before_retry
from iscsid.jobs import JobId, ScanJob
from iscsid.orders import CheckLunUsers
from iscsid.protocol.parameters import Isid

SCAN_AFTER_RECOVERY = 5.0
"""Seconds between a recovery and the scan after it. The disks are known already, and the other
sessions of a target that was away need the workers first."""
SCAN_LIMIT = 120.0
"""Seconds: a scan blocks in the kernel for as long as commands to a bad path take to fail."""


class ScannedSession(Protocol):
    """What a scan needs of its session."""

    @property
    def plan(self) -> PlannedSession: ...

    @property
    def log_prefix(self) -> str: ...

    @property
    def isid(self) -> Isid: ...

    @property
    def is_up(self) -> bool: ...

    def scan(self, drop: frozenset[int]) -> None:
        """Ask for a scan with what the session knows of itself now, if it is up."""


class LunScanner:
    """Submits a job per scan, and remembers whether the LUNs have been looked for.

    The job's owner is this object and not the session, whose own jobs are logins.
    """

    def __init__(self, session: ScannedSession, outbox: Outbox, device_links: DeviceLinks) -> None:
        self._session = session
        self._outbox = outbox
        self._device_links = device_links
        self.job: JobId | None = None
        self._sid = 0
        self._again = False
        self._failures = 0
        self._dropping: frozenset[int] = frozenset()
        """LUNs that the scan under way drops."""
        self._absent = ""
        """The LUNs that were not there, as they were logged last."""
        self.kept: set[int] = set()
        """LUNs that the target has no more and that stay because they are in use; logged once."""
        self.has_finished = False
        """Whether one scan has come to its end, by this daemon or an earlier one."""

    @property
    def log_prefix(self) -> str:
        return self._session.log_prefix

    @property
    def timer(self) -> Timer:
        return Timer(TimerPurpose.SCAN, self._session.plan.binding)

    def later(self, delay: float) -> None:
        """Scan in ``delay`` seconds, unless another scan begins before."""
        self._outbox.set_timer(self.timer, delay)

    def note_earlier_scan(self) -> None:
        """An earlier daemon has looked for the LUNs of this session."""
        self.has_finished = True

    def stop(self) -> None:
        """Scan no more: the kernel gives up the LUNs, and a later session is scanned anew."""
        self._outbox.cancel_timer(self.timer)
        if self.job is not None:
            self._outbox.stop(self.job)
        self._again, self._failures = False, 0
        self.has_finished, self._absent = False, ""
        self.kept.clear()
        # No links come back: the worker that is stopped may be removing their disks at this moment.
        self.job, self._dropping = None, frozenset()

    def ask(self, sid: int, host_no: int, settings: SessionSettings, drop: frozenset[int]) -> None:
        """Scan now, or once more after the scan under way; ``drop`` LUNs that are unused."""
        if self.job is not None:
            self._again = True
            return
        outbox = self._outbox
        outbox.cancel_timer(self.timer)
        self.job, self._sid = outbox.new_job(), sid
        self._dropping = drop
        for lun in sorted(drop):
            outbox.order(*self._device_links.unit_leaves(sid, lun))
        job = ScanJob(
            id=self.job,
            sid=sid,
            host_no=host_no,
            target_name=self._session.plan.target_name,
            luns=settings.luns,
            disk_command_timeout=settings.disk_command_timeout,
            drop=drop,
            deadline=SCAN_LIMIT,
        )
        outbox.start(job, self)

    def connection_lost(self) -> None:
        """The session is not up any more. It scans anew when it is up again.

        A scan that waits is withdrawn. One that runs may sleep in the kernel until the session is
        logged in again, so that it must not keep its place from others.
        """
        self._outbox.cancel_timer(self.timer)
        if self.job is None:
            return
        if self._outbox.withdraw(self.job):
            self._again = False
            self._give_up_job()
        else:
            self._outbox.release(self.job)

    def finished(self, missing: Iterable[int], absent: str = "") -> None:
        """Note the end of a scan, and ask which of the LUNs that are gone are in use.

        ``absent`` are those that the file asks for and the target does not have.
        """
        self._failures = 0
        if absent and absent != self._absent:
            self._outbox.warn(
                self.log_prefix, f"the target has no LUN {absent}, which the keyword LUNs asks for"
            )
        self._absent = absent
        # What this scan could not drop would not go with the next one, either.
        gone = set(missing) - self._dropping
        self.kept &= gone
        if gone:
            self._outbox.order(CheckLunUsers(self._sid, tuple(sorted(gone))))
        self._end()

    def job_failed(self, failure: Failure) -> None:
        """Note the end of a scan that found out nothing, and try again later."""
        outbox = self._outbox
        if not self._session.is_up:
            # The session scans anew when it is up again.
            outbox.debug(self.log_prefix, f"scanning for LUNs was in vain: {failure}")
            self._end()
            return
        self._failures += 1
        outbox.failed(self.log_prefix, f"scanning for LUNs failed: {failure}")
        self._end()
        delay = delay_before_retry(failure.retry, self._failures, self._session.isid)
        if self.job is None and delay is not None:
            self.later(delay)

    def job_ended(self) -> None:
        self.job_failed(Failure(Retry.SOON, "the scan process ended without a result"))

    def unit_attention(self, lun: int, change: UnitChange) -> None:
        """A logical unit reported that something changed: scan to find out what."""
        if self.job is None:
            self._outbox.info(self.log_prefix, f"LUN {lun}: {change.value}; scanning")
        self._session.scan(frozenset())

    def units_checked(self, uses: Sequence[tuple[int, tuple[str, ...]]]) -> None:
        """Remove the LUNs that are unused; log why the others stay."""
        if self.job is not None:
            return  # the scan that has begun meanwhile will ask again
        unused = frozenset(lun for lun, words in uses if not words)
        for lun, words in uses:
            if words and lun not in self.kept:
                self.kept.add(lun)
                self._outbox.error(
                    self.log_prefix,
                    f"LUN {lun} is gone at the target, but in use and therefore kept: "
                    f"{', '.join(words)}; end that, then send SIGHUP",
                )
        for lun in sorted(unused):
            self._outbox.info(self.log_prefix, f"LUN {lun} is gone at the target: removing it")
        if unused:
            self._session.scan(drop=unused)

    def _end(self) -> None:
        """Begin the scan that was asked for meanwhile, if any."""
        self._give_up_job()
        self.has_finished = True
        if self._again:
            self._again = False
            self._session.scan(frozenset())

    def _give_up_job(self) -> None:
        self.job = None
        dropped, self._dropping = self._dropping, frozenset()
        for lun in sorted(dropped):
            self._outbox.order(*self._device_links.unit_left(self._sid, lun))
