"""What every part of the initiator writes to: orders, log lines, and jobs for workers.

The initiator sets the time once per fact; whatever the fact leads to is collected here and taken
out at the end of the turn. Pure: it only collects.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from iscsid.errors import Failure
from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.job_queue import JobQueue
from iscsid.initiator.log_dedup import FailureLog
from iscsid.jobs import Job, JobId
from iscsid.orders import CancelTimer, Level, Log, Order, SetTimer, StartWorker, StopWorker
from iscsid.protocol.names import Portal

SUMMARY = Timer(TimerPurpose.SUMMARY)


class JobOwner(Protocol):
    """What submits a job, and learns how it ends."""

    @property
    def log_prefix(self) -> str: ...

    def job_failed(self, failure: Failure) -> None:
        """The job failed, or its worker died before it had a result."""

    def job_ended(self) -> None:
        """The worker is gone, and neither a result nor a failure has ended the job before."""


Owner = TypeVar("Owner", bound=JobOwner)


class Outbox:
    """The orders of the current turn, and the jobs of the workers."""

    def __init__(self, max_processes: int) -> None:
        self.now = 0.0
        """Seconds on the monotonic clock, the same throughout a turn."""
        self.turn = 0
        """How many facts have been handled."""
        self.is_ending = False
        """Whether SIGINT came: from then on sessions end, and nothing begins."""
        self._orders: list[Order] = []
        self._queue = JobQueue(max_processes)
        self._jobs = 0
        self._job_owners: dict[JobId, JobOwner] = {}
        self._failures = FailureLog()

    def begin(self, now: float) -> None:
        """Start the turn of one fact."""
        self.now = now
        self.turn += 1

    def take(self) -> list[Order]:
        """End the turn: start the jobs that there is room for, and return all orders."""
        self._orders += [StartWorker(job) for job in self._queue.admit(self.now)]
        orders, self._orders = self._orders, []
        return orders

    def order(self, *orders: Order) -> None:
        self._orders += orders

    # --- the log --------------------------------------------------------------------------------

    def error(self, log_prefix: str, text: str) -> None:
        self._orders.append(Log(Level.ERROR, log_prefix, text))

    def warn(self, log_prefix: str, text: str) -> None:
        self._orders.append(Log(Level.WARNING, log_prefix, text))

    def info(self, log_prefix: str, text: str) -> None:
        self._orders.append(Log(Level.INFO, log_prefix, text))

    def debug(self, log_prefix: str, text: str) -> None:
        self._orders.append(Log(Level.DEBUG, log_prefix, text))

    def failed(self, log_prefix: str, text: str) -> None:
        """Log a failure that may come again and again: once, and then a count per minute."""
        self._orders += self._failures.failed(Level.WARNING, log_prefix, text, self.now)
        self._arm_summary()

    def recovered(self, log_prefix: str) -> None:
        """End the counting for ``log_prefix``: its next failure is logged at once."""
        self._orders += self._failures.recovered(log_prefix)

    def summarise(self) -> None:
        """Log what was only counted since the last minute."""
        self._orders += self._failures.summarise(self.now)
        self._arm_summary()

    def _arm_summary(self) -> None:
        at = self._failures.deadline()
        if at is not None:
            self._orders.append(SetTimer(SUMMARY, at))

    # --- timers ---------------------------------------------------------------------------------

    def set_timer(self, timer: Timer, delay: float) -> None:
        """Let ``timer`` expire ``delay`` seconds from now."""
        self._orders.append(SetTimer(timer, self.now + delay))

    def cancel_timer(self, timer: Timer) -> None:
        self._orders.append(CancelTimer(timer))

    # --- jobs -----------------------------------------------------------------------------------

    def new_job(self) -> JobId:
        self._jobs += 1
        return JobId(self._jobs)

    def start(self, job: Job, job_owner: JobOwner) -> None:
        """Submit a job; it starts when a worker is free."""
        self._job_owners[job.id] = job_owner
        self._queue.request(job)

    def portal_answered(self, portal: Portal) -> None:
        """A login or a discovery got an answer at ``portal``."""
        self._queue.portal_answered(portal)

    def portal_failed(self, portal: Portal, failure: Failure) -> None:
        """``portal`` gave no answer: jobs that waited to try it have failed, too."""
        for job in self._queue.portal_failed(portal):
            if job_owner := self._job_owners.pop(job, None):
                job_owner.job_failed(failure)

    def stop(self, job: JobId) -> None:
        """Withdraw a job, whether it waits or runs; what it still reports is ignored."""
        self.forget_job(job)
        if not self._queue.withdraw(job):
            self._orders.append(StopWorker(job))

    def withdraw(self, job: JobId) -> bool:
        """Withdraw a job that has not started; ``False`` if it has."""
        if not self._queue.withdraw(job):
            return False
        self.forget_job(job)
        return True

    def job_owner(self, job: JobId) -> JobOwner | None:
        """Return what submitted ``job``; ``None`` once it has ended or been withdrawn."""
        return self._job_owners.get(job)

    def job_owner_of(self, job: JobId, kind: type[Owner]) -> Owner | None:
        """Return what submitted ``job``, if it is of this kind and the job still counts."""
        job_owner = self._job_owners.get(job)
        return job_owner if isinstance(job_owner, kind) else None

    def forget_job(self, job: JobId) -> None:
        """``job`` has ended: what may still come of it is ignored."""
        self._job_owners.pop(job, None)

    def release(self, job: JobId) -> None:
        """The worker of ``job`` is gone, or no longer counts against the limit."""
        self._queue.release(job)
