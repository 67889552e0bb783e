"""Where the knowledge of a target comes from: the file itself, and the DiscoveryAddresses. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from iscsid.config.configuration import Configuration
from iscsid.config.settings import MultipathPolicy, StaticTarget
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.offers import LoginIdentity
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import Known, KnownTarget, PlannedSession
from iscsid.protocol.names import IscsiName, Portal


@dataclass
class Targets:
    """What the configuration and discovery say exists."""

    when_discovery_failed: Callable[[], None]
    configuration: Configuration = field(default_factory=Configuration)
    discoveries: dict[Portal, Discovery] = field(default_factory=dict)
    static: dict[IscsiName, StaticTarget] = field(default_factory=dict)

    def configure(
        self, configuration: Configuration, identity: LoginIdentity, outbox: Outbox
    ) -> set[IscsiName]:
        """Take over a new configuration; return the names whose fate may have changed."""
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

    def source(self, target_name: IscsiName) -> KnownTarget | None:
        """Return where ``target_name`` is known from, addresses merged; ``None`` if nowhere."""
        known: list[tuple[Portal | None, Known | None]] = [
            (None, self.static.get(target_name)),
            *((portal, d.targets.get(target_name)) for portal, d in self.discoveries.items()),
        ]
        return KnownTarget.merge(known)

    def is_undecided(self, path: PlannedSession) -> bool:
        """Whether a DiscoveryAddress has yet to say if a path that is not known of still exists.

        Where the file no longer has the address that once reported the target, any other may be its
        new spelling: each is given one attempt to report it. One path more to a target that is
        known may have been reported by any of them.
        """
        source = self.source(path.target_name)
        if source is None:
            return self._is_target_undecided(path.found_at)
        known = {address.portal for address in source.addresses}
        is_known = any(option.portal in known for option in path.options)
        if is_known or not self._may_be_several(path):
            return False
        return not all(discovery.has_confirmed for discovery in self.discoveries.values())

    def _may_be_several(self, path: PlannedSession) -> bool:
        """Whether the configuration still allows a target to have this as one of its paths."""
        resolve = self.configuration.session_settings
        settings = resolve(path.target_name, path.options[0].portal, path.found_at)
        return (
            bool(path.path_name)
            and settings.enabled
            and settings.multipath is not MultipathPolicy.NO
        )

    def _is_target_undecided(self, found_at: Portal | None) -> bool:
        discovery = self.discoveries.get(found_at) if found_at else None
        if discovery is not None:
            return not discovery.has_confirmed
        return not all(other.has_been_tried for other in self.discoveries.values())
