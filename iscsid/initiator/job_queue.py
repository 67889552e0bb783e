"""Which children may run now: at most so many at once, first attempts before retries.

Dead portals occupy their children until a deadline; so whoever never tried yet goes first, unless
somebody else has found its portal dead meanwhile, and a portal that is known to be dead never holds
up a live one (iscsid(8) of FreeBSD, ``-m``). Pure.
"""

from __future__ import annotations

from collections import OrderedDict

from iscsid.jobs import Job, JobId, ScanJob
from iscsid.protocol.names import Portal


class JobQueue:
    """A queue of jobs in front of a limited number of places; a limit of 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._running: set[JobId] = set()
        self._first: OrderedDict[JobId, Job] = OrderedDict()
        self._again: OrderedDict[JobId, Job] = OrderedDict()
        self._first_at: dict[Portal, dict[JobId, None]] = {}
        """The keys of ``_first`` by portal."""

    def __len__(self) -> int:
        """The number of places taken."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._first) + len(self._again)

    def request(self, job: Job, *, first: bool) -> None:
        """Queue ``job``; ``first`` says that nothing like it has failed before."""
        (self._first if first else self._again)[job.id] = job
        if first and not isinstance(job, ScanJob):
            self._first_at.setdefault(job.portal, {})[job.id] = None

    def demote(self, portal: Portal) -> None:
        """Let the jobs that wait to try ``portal`` wait as if they had failed there."""
        for job in self._first_at.pop(portal, ()):
            self._again[job] = self._first.pop(job)

    def withdraw(self, job: JobId) -> bool:
        """Take a waiting job back; ``False`` if it is not waiting (any more)."""
        queue = self._first if job in self._first else self._again
        withdrawn = queue.pop(job, None)
        if withdrawn is None:
            return False
        self._forget_first(withdrawn)
        return True

    def release(self, job: JobId) -> None:
        """Give the place of ``job`` back; harmless if it holds none."""
        self._running.discard(job)

    def admit(self) -> list[Job]:
        """Return the jobs that may start now, and count them as running."""
        admitted: list[Job] = []
        while (self._first or self._again) and not self._is_full():
            queue = self._first or self._again
            _, job = queue.popitem(last=False)
            self._forget_first(job)
            self._running.add(job.id)
            admitted.append(job)
        return admitted

    def _forget_first(self, job: Job) -> None:
        """Keep ``_first_at`` in step: the job waits no more."""
        if isinstance(job, ScanJob) or job.portal not in self._first_at:
            return
        jobs = self._first_at[job.portal]
        jobs.pop(job.id, None)
        if not jobs:
            del self._first_at[job.portal]

    def _is_full(self) -> bool:
        return self.limit > 0 and len(self._running) >= self.limit
