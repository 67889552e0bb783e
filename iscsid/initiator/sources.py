"""Which source is authoritative for a target: the file, or one of the DiscoveryAddresses.

An answer counts for the portals of its own network entity. It neither changes nor extends a target
that another source has: else an array could lead the name of a disk to a disk of its own, and would
be shown the credentials for another one. DiscoveryAddresses with the same NetworkEntity in the file
answer for one another; those with different ones have different targets, even if the names are the
same. Without it, two answers agree if the later one adds no portal, as two controllers of an array
do that both list the portals of both. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from iscsid.config.settings import StaticTarget
from iscsid.protocol.names import Portal, TargetAddress


@dataclass(frozen=True, slots=True)
class KnownTarget:
    """What is known of one target."""

    found_at: Portal | None
    """The DiscoveryAddress that reported it first; ``None``: the file names it."""
    addresses: tuple[TargetAddress, ...]
    spelling: str = ""
    """The name as the target writes it, if that is not the normalised one."""
    entity: str = ""
    """The NetworkEntity, if it distinguishes this target from others of its name."""
    reported_by: dict[Portal, Portal] = field(default_factory=dict)
    """The DiscoveryAddress that reported a portal, if it is not ``found_at``."""
    answered_at: frozenset[Portal] = frozenset()
    """The addresses where the discoveries have just been answered."""
    has_namesakes: bool = False
    """Whether other network entities may have a target of this name."""

    def source_of(self, portal: Portal) -> Portal | None:
        """Return the DiscoveryAddress whose credentials are for ``portal``."""
        return self.reported_by.get(portal, self.found_at)


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What one DiscoveryAddress has reported of one target."""

    found_at: Portal
    addresses: tuple[TargetAddress, ...]
    spelling: str = ""
    entity: str = ""
    answered_at: Portal | None = None
    """The address where the discovery was answered, if the file has a host name."""
    is_remembered: bool = False
    """It has not answered yet: this is what a session in the kernel shows of an earlier answer."""

    @property
    def portals(self) -> set[Portal]:
        return {address.portal for address in self.addresses}


def from_file(static: StaticTarget) -> KnownTarget:
    """Return a target that the file names with its addresses: no answer adds to it."""
    return KnownTarget(None, static.addresses, static.spelling)


def from_reports(
    reports: Sequence[SourceReport], *, has_several_entities: bool
) -> tuple[list[KnownTarget], list[str]]:
    """Return the targets of one name that were reported, and what to log of their reports.

    The first report counts if others contradict it.
    """
    entities: dict[str, list[SourceReport]] = {}
    for report in reports:
        entities.setdefault(report.entity, []).append(report)
    targets: list[KnownTarget] = []
    notes: list[str] = []
    for entity, theirs in entities.items():
        used = theirs if entity else _consistent(theirs, notes)
        targets.append(_joined(used, entity, has_several_entities))
    return targets, notes


def _consistent(reports: Sequence[SourceReport], notes: list[str]) -> list[SourceReport]:
    """Return the reports that agree with the first one; describe the others in ``notes``."""
    first = reports[0]
    used = [first]
    for other in reports[1:]:
        more = other.portals - first.portals
        overlap = bool(other.portals & first.portals)
        if not more or (overlap and first.is_remembered):
            used.append(other)
            continue
        portals = ", ".join(map(str, sorted(more)))
        if overlap:
            what = f"which discovery at {first.found_at} does not report"
        else:
            what = f"and discovery at {first.found_at} only others"
        notes.append(
            f"discovery at {other.found_at} reports the portals {portals}, {what}: these are not "
            "used, as they may belong to another target of the same name; set NetworkEntity below "
            "both addresses: the same word if they belong together, else two different ones"
        )
    return used


def _joined(reports: Sequence[SourceReport], entity: str, has_namesakes: bool) -> KnownTarget:
    first = reports[0]
    addresses: dict[Portal, TargetAddress] = {}
    reported_by: dict[Portal, Portal] = {}
    for report in reports:
        for address in report.addresses:
            known = addresses.get(address.portal)
            if known is None:
                reported_by[address.portal] = report.found_at
            if known is None or known.portal_group_tag is None:
                addresses[address.portal] = address
    answered_at = frozenset(report.answered_at or report.found_at for report in reports)
    return KnownTarget(
        first.found_at,
        tuple(addresses.values()),
        first.spelling,
        entity if has_namesakes else "",
        reported_by,
        answered_at,
        has_namesakes,
    )
