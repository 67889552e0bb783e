"""Where the knowledge of a target comes from: the file itself, and the DiscoveryAddresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from iscsid.config.configuration import Configuration
from iscsid.config.settings import StaticTarget
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.paths import Known, Source
from iscsid.initiator.session import Identity
from iscsid.protocol.names import IscsiName, Portal


@dataclass
class Targets:
    """What the configuration and discovery say exists."""

    configuration: Configuration = field(default_factory=Configuration)
    discoveries: dict[Portal, Discovery] = field(default_factory=dict)
    static: dict[IscsiName, StaticTarget] = field(default_factory=dict)

    def configure(
        self, configuration: Configuration, identity: Identity, outbox: Outbox
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
            discovery = known.get(portal) or Discovery(settings, identity, outbox)
            discovery.change(settings, identity)
            self.discoveries[portal] = discovery
            affected |= discovery.targets.keys()
        return affected | self.static.keys()

    def source(self, target_name: IscsiName) -> Source | None:
        """Return where ``target_name`` is known from, addresses merged; ``None`` if nowhere."""
        known: list[tuple[Portal | None, Known | None]] = [
            (None, self.static.get(target_name)),
            *((portal, d.targets.get(target_name)) for portal, d in self.discoveries.items()),
        ]
        return Source.merge(known)

    def is_undecided(self, found_at: Portal | None) -> bool:
        """Whether a DiscoveryAddress has yet to say if a target it once reported still exists.

        Where the file no longer has that address, any other may be its new spelling: each is given
        one attempt to report the target.
        """
        discovery = self.discoveries.get(found_at) if found_at else None
        if discovery is not None:
            return not discovery.has_confirmed
        return not all(other.has_been_tried for other in self.discoveries.values())
