"""What came of each job of a trial. Pure: facts and lines in, one value out."""

from __future__ import annotations

from dataclasses import dataclass, field

from iscsid.errors import Failure
from iscsid.facts import (
    DiscoveryCompleted,
    DiscoveryFailed,
    Fact,
    LoginFailed,
    LoginSucceeded,
    TargetDiscovered,
    WorkerEnded,
)
from iscsid.protocol.names import DiscoveryRecord


@dataclass(slots=True)
class Result:
    """One job's: it went well once it ``is_over`` without a ``failure``."""

    is_over: bool = False
    failure: Failure | None = None
    records: list[DiscoveryRecord] = field(default_factory=list)
    success: LoginSucceeded | None = None
    notes: list[str] = field(default_factory=list)
    """What was odd on the way, redirections for instance."""

    def take(self, fact: Fact) -> None:
        """Take note of what a child, or its keeper, has said."""
        match fact:
            case TargetDiscovered():
                self.records.append(fact.record)
            case DiscoveryCompleted():
                self.notes += fact.notes
            case LoginSucceeded():
                self.success = fact
            case LoginFailed() | DiscoveryFailed():
                self.failure = fact.failure
            case WorkerEnded():
                self.is_over = True
                self.failure = self.failure or fact.how
