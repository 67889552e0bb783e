"""What the children have said, or their keeper of them. Past tense, frozen, pure."""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.errors import Failure
from iscsid.jobs import JobId
from iscsid.protocol.names import DiscoveryRecord, Portal
from iscsid.protocol.parameters import LoginResult


@dataclass(frozen=True, slots=True)
class TargetDiscovered:
    """One target of the SendTargets answer that is coming in."""

    job: JobId
    record: DiscoveryRecord


@dataclass(frozen=True, slots=True)
class DiscoveryCompleted:
    """The answer is complete: targets not reported since the last completion are gone.

    ``kept``: the child stays logged in and may report again.
    """

    job: JobId
    kept: bool = False
    notes: tuple[str, ...] = ()
    """Records and portals that were skipped, and why; lines for the log."""


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    job: JobId
    failure: Failure


@dataclass(frozen=True, slots=True)
class LoginSucceeded:
    """The connection is in full feature phase; its socket waits with the workers' keeper."""

    job: JobId
    result: LoginResult
    portal: Portal
    """Where the login succeeded, redirects followed."""
    moved_to: Portal | None = None
    """Where the target said it has moved for good (status 0102)."""


@dataclass(frozen=True, slots=True)
class LoginFailed:
    job: JobId
    failure: Failure


@dataclass(frozen=True, slots=True)
class ScanFinished:
    job: JobId
    missing: tuple[int, ...] = ()
    """LUNs that the kernel has, and of which the target says that it has them no more."""


@dataclass(frozen=True, slots=True)
class ScanFailed:
    job: JobId
    failure: Failure


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The child of a job is gone; ``how`` is set where it said no last word before.

    No failure either, so that ``how`` is not set: it was stopped by order, or it is a kept
    discovery that had answered and whose target then closed the session in good order.
    """

    job: JobId
    how: Failure | None = None
