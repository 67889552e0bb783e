"""What every part of the owner writes to: orders, log lines, and requests for a child.

The owner sets the time once per fact; whatever the fact leads to is collected here and taken out
at the end of the turn. Pure: it only collects.
"""

from __future__ import annotations

from typing import Protocol

from iscsid.facts import Timer, TimerPurpose
from iscsid.initiator.job_queue import JobQueue
from iscsid.initiator.log_dedup import FailureLog
from iscsid.jobs import Job, JobId
from iscsid.orders import CancelTimer, Level, Log, Order, SetTimer, StartWorker, StopWorker
from iscsid.protocol.names import Portal

SUMMARY = Timer(TimerPurpose.SUMMARY)


class JobOwner(Protocol):
    """Whoever asked for a child, and is told what comes of it."""

    @property
    def log_prefix(self) -> str: ...


class Outbox:
    """The orders of the current turn of the ring, and the children's places."""

    def __init__(self, max_processes: int) -> None:
        self.now = 0.0
        """Seconds on the monotonic clock, the same throughout a turn."""
        self.turn = 0
        """How many facts have been handled."""
        self._orders: list[Order] = []
        self._slots = JobQueue(max_processes)
        self._jobs = 0
        self._employers: dict[JobId, JobOwner] = {}
        self._repeats = FailureLog()

    def begin(self, now: float) -> None:
        """Start the turn of one fact."""
        self.now = now
        self.turn += 1

    def take(self) -> list[Order]:
        """End the turn: admit waiting jobs, and hand out all orders."""
        self._orders += [StartWorker(job) for job in self._slots.admit()]
        orders, self._orders = self._orders, []
        return orders

    def order(self, *orders: Order) -> None:
        self._orders += orders

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
        self._orders += self._repeats.failed(Level.WARNING, log_prefix, text, self.now)
        self._arm_summary()

    def recovered(self, log_prefix: str) -> None:
        """``log_prefix`` is well again: its next failure is news."""
        self._orders += self._repeats.recovered(log_prefix)

    def summarise(self) -> None:
        """Log what was only counted since the last minute."""
        self._orders += self._repeats.summarise(self.now)
        self._arm_summary()

    def _arm_summary(self) -> None:
        at = self._repeats.deadline()
        if at is not None:
            self._orders.append(SetTimer(SUMMARY, at))

    def set_timer(self, timer: Timer, delay: float) -> None:
        """Let ``timer`` expire ``delay`` seconds from now."""
        self._orders.append(SetTimer(timer, self.now + delay))

    def cancel_timer(self, timer: Timer) -> None:
        self._orders.append(CancelTimer(timer))

    # --- children -------------------------------------------------------------------------------

    def new_job(self) -> JobId:
        self._jobs += 1
        return JobId(self._jobs)

    def start(self, job: Job, employer: JobOwner, *, first: bool) -> None:
        """Ask for a child; it starts when a place is free. ``first``: nothing failed before."""
        self._employers[job.id] = employer
        self._slots.request(job, first=first)

    def portal_failed(self, portal: Portal) -> None:
        """Nobody was reached at ``portal``: who wants to try it for the first time waits, too."""
        self._slots.demote(portal)

    def stop(self, job: JobId) -> None:
        """Take a job back, whether it waits or runs; nothing it still says counts."""
        self.forget_job(job)
        if not self._slots.withdraw(job):
            self._orders.append(StopWorker(job))

    def employer(self, job: JobId) -> JobOwner | None:
        """Return who waits for the outcome of ``job``; ``None``: nobody (any more)."""
        return self._employers.get(job)

    def forget_job(self, job: JobId) -> None:
        """The last word of ``job`` has been heard, or nobody wants to hear it."""
        self._employers.pop(job, None)

    def release(self, job: JobId) -> None:
        """The child of ``job`` is gone, or no longer needs its place."""
        self._slots.release(job)
