"""Where the knowledge of a target comes from: the file itself, and the DiscoveryAddresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from iscsid.config.configuration import Configuration
from iscsid.initiator.discovery import Discovery
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.session import Identity
from iscsid.protocol.names import IscsiName, Portal, TargetAddress


@dataclass(frozen=True, slots=True)
class Source:
    """All addresses of one target, and which DiscoveryAddress named it first."""

    found_at: Portal | None
    addresses: tuple[TargetAddress, ...]


@dataclass
class Targets:
    """What the configuration and discovery say exists."""

    configuration: Configuration = field(default_factory=Configuration)
    discoveries: dict[Portal, Discovery] = field(default_factory=dict)
    static: dict[IscsiName, tuple[TargetAddress, ...]] = field(default_factory=dict)

    def configure(
        self, configuration: Configuration, identity: Identity, outbox: Outbox
    ) -> set[IscsiName]:
        """Take over a new configuration; return the names whose fate may have changed."""
        affected = set(self.static)
        self.configuration = configuration
        self.static = {t.target_name: t.addresses for t in configuration.static_targets}
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
        found_at: Portal | None = None
        addresses: dict[Portal, TargetAddress] = {}
        for address in self.static.get(target_name, ()):
            addresses.setdefault(address.portal, address)
        for portal, discovery in self.discoveries.items():
            record = discovery.targets.get(target_name)
            if record is None:
                continue
            if not addresses:
                found_at = portal
            for address in record.addresses:
                addresses.setdefault(address.portal, address)
        return Source(found_at, tuple(addresses.values())) if addresses else None

    def is_undecided(self, found_at: Portal | None) -> bool:
        """Whether a DiscoveryAddress has yet to say if a target it once reported still exists."""
        discovery = self.discoveries.get(found_at) if found_at else None
        return discovery is not None and not discovery.has_confirmed
