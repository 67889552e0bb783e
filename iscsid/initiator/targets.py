"""The targets that the file names and that the DiscoveryAddresses have reported. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from iscsid.bindings.binding import ENTITY_MARK
from iscsid.config.configuration import Configuration
from iscsid.config.settings import MultipathPolicy, StaticTarget
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.offers import LoginIdentity
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import PlannedSession
from iscsid.initiator.sources import KnownTarget, SourceReport, from_file, from_reports
from iscsid.protocol.names import IscsiName, Portal, TargetAddress


@dataclass
class Targets:
    """The configuration, and the discoveries that it asks for."""

    when_discovery_failed: Callable[[], None]
    configuration: Configuration = field(default_factory=Configuration)
    discoveries: dict[Portal, Discovery] = field(default_factory=dict)
    static: dict[IscsiName, StaticTarget] = field(default_factory=dict)

    def configure(
        self, configuration: Configuration, identity: LoginIdentity, outbox: Outbox
    ) -> set[IscsiName]:
        """Take over a new configuration; return the names of the targets that may have changed."""
        affected = set(self.static)
        self.configuration = configuration
        self.static = {target.target_name: target for target in configuration.static_targets}
        wanted = {d.portal: d for d in configuration.discoveries if d.enabled}
        for portal in self.discoveries.keys() - wanted.keys():
            discovery = self.discoveries.pop(portal)
            discovery.stop()
            affected |= discovery.targets.keys()
        # In the order of the file, whatever was there before.
        known, self.discoveries = self.discoveries, {}
        for portal, settings in wanted.items():
            discovery = known.get(portal) or Discovery(
                settings, identity, outbox, self.when_discovery_failed
            )
            discovery.change(settings, identity)
            self.discoveries[portal] = discovery
            affected |= discovery.targets.keys()
        return affected | self.static.keys()

    def known(
        self, target_name: IscsiName, plans: Iterable[PlannedSession] = (), spelling: str = ""
    ) -> tuple[list[KnownTarget], list[str]]:
        """Return the targets of one name, and what to log about contradictory reports.

        ``plans`` are those of the sessions that the kernel has: what they are connected to goes
        before what another source reports of the same name. ``spelling`` is that of the target
        that has been used so far, if the same name has been reported in several spellings.
        """
        static = self.static.get(target_name)
        if static and static.addresses:
            return [from_file(static)], []
        reports = [
            SourceReport(
                portal,
                record.addresses,
                record.spelling,
                discovery.settings.network_entity,
                discovery.answered_at,
            )
            for portal, discovery in self.discoveries.items()
            if (record := discovery.record(target_name, spelling))
        ]
        if not reports:
            return [], []
        holders: dict[Portal | None, None] = {}
        for plan in plans:
            holders[plan.found_at] = None
            if report := self._remembered(plan):
                reports.insert(0, report)
        reports.sort(key=lambda report: report.found_at not in holders)
        return from_reports(reports, has_several_entities=len(self._entities) > 1)

    def _remembered(self, plan: PlannedSession) -> SourceReport | None:
        """Return what a DiscoveryAddress reported to an earlier daemon, as a session shows it."""
        discovery = self.discoveries.get(plan.found_at) if plan.found_at else None
        if discovery is None or discovery.has_answered:
            return None
        return SourceReport(
            discovery.settings.portal,
            tuple(TargetAddress(each.portal, each.portal_group_tag) for each in plan.options),
            plan.spelling,
            discovery.settings.network_entity,
            is_remembered=True,
        )

    @property
    def _entities(self) -> set[str]:
        return {discovery.settings.network_entity for discovery in self.discoveries.values()}

    def inherits(
        self, target_name: IscsiName, entity: str, plans: Iterable[PlannedSession]
    ) -> bool | None:
        """Whether a target has the number that its name had before the file named its entity.

        ``None``: the addresses of other entities have not reported yet if they have such a target.
        """
        others = [d for d in self.discoveries.values() if d.settings.network_entity != entity]
        for plan in plans:
            if not plan.path_name.startswith(ENTITY_MARK):
                return all(plan.found_at != other.settings.portal for other in others)
        if any(target_name in other.targets for other in others):
            return False
        return True if all(other.has_been_tried for other in others) else None

    def is_elsewhere(self, plan: PlannedSession, other: PlannedSession) -> bool:
        """Whether a target that its DiscoveryAddress reports no more is now reported by another one
        at other portals only: it may be the target of another array."""
        portals = {option.portal for option in plan.options}
        return self._is_other(plan.found_at, other.found_at) and portals.isdisjoint(
            option.portal for option in other.options
        )

    def _is_other(self, found_at: Portal | None, other_at: Portal | None) -> bool:
        """Whether two addresses of the file may be of two arrays."""
        if found_at == other_at or found_at is None or other_at is None:
            return False
        one, other = self.discoveries.get(found_at), self.discoveries.get(other_at)
        if one is None or other is None:
            return False
        entity = one.settings.network_entity
        return not entity or entity != other.settings.network_entity

    def is_undecided(self, plan: PlannedSession) -> bool:
        """Whether a DiscoveryAddress has not reported yet if the target of a session still exists.

        If the file no longer has the address that once reported it, any other may be its new
        spelling: each is given one attempt to report it. One more path to a target that is known
        may have been reported by any of them.
        """
        targets, _ = self.known(plan.target_name)
        if not targets:
            return self._is_target_undecided(plan.found_at)
        known = {address.portal for target in targets for address in target.addresses}
        is_known = any(option.portal in known for option in plan.options)
        if not is_known and any(self._is_other(plan.found_at, each.found_at) for each in targets):
            return self._is_target_undecided(plan.found_at)
        if is_known or not self._may_be_several(plan):
            return False
        return not all(discovery.has_confirmed for discovery in self.discoveries.values())

    def _may_be_several(self, plan: PlannedSession) -> bool:
        """Whether the configuration still allows a target to have this as one of its paths."""
        resolve = self.configuration.session_settings
        settings = resolve(plan.target_name, plan.options[0].portal, plan.found_at)
        return (
            bool(plan.path_name)
            and settings.enabled
            and (settings.multipath is not MultipathPolicy.NO or settings.sessions > 1)
        )

    def _is_target_undecided(self, found_at: Portal | None) -> bool:
        discovery = self.discoveries.get(found_at) if found_at else None
        if discovery is not None:
            return not discovery.has_confirmed
        return not all(other.has_been_tried for other in self.discoveries.values())
