"""What ends ``--once``, and with which exit status."""

from __future__ import annotations

import pytest

from iscsid import facts
from iscsid.bindings.binding import Binding
from iscsid.daemon import outcome_of_once
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact
from iscsid.jobs import JobId

JOB = JobId(1)
WHY = Failure(Retry.SOON, "connection refused")


@pytest.mark.parametrize(
    ("fact", "status"),
    [
        (facts.DiscoveryFailed(JOB, WHY), 1),
        (facts.LoginFailed(JOB, WHY), 1),
        (facts.ScanFailed(JOB, WHY), 1),
        (facts.SessionRefused(Binding(0, 0), WHY), 1),
        (facts.WorkerEnded(JOB, WHY), 1),
        (facts.ScanFinished(JOB), 0),
        (facts.WorkerEnded(JOB), None),
        (facts.DiscoveryCompleted(JOB), None),
        (facts.SessionStarted(Binding(0, 0), 1, 2), None),
    ],
)
def test_one_connection_ends_with_its_own_outcome(fact: Fact, status: int | None) -> None:
    assert outcome_of_once(fact) == status
