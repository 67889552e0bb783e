"""What the targets of the discovery tests list, and questions about what came of it."""

from __future__ import annotations

from iscsid.facts import DiscoveryCompleted, TargetDiscovered
from tests.support.jobs import TARGET
from tests.support.scripted_portal import LoopbackPortal
from tests.support.supervisor_harness import WorkersHarness
from tests.target.script import Listed, Script

LISTED = Script(
    listed=(
        Listed(TARGET, ("192.0.2.1:3260,1", "[2001:db8::1]:3260,2")),
        Listed("iqn.2024-01.org.example:bare"),
    )
)


def names_in(harness: WorkersHarness) -> list[str]:
    return [fact.record.target_name for fact in harness.facts if isinstance(fact, TargetDiscovered)]


def completions(harness: WorkersHarness) -> int:
    return sum(isinstance(fact, DiscoveryCompleted) for fact in harness.facts)


def received(there: LoopbackPortal, kind: type) -> int:
    return sum(isinstance(each.pdu, kind) for each in there.targets[-1].received)
