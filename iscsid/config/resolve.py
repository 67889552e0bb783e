"""Which settings hold for a session with a target through a portal.

What the lines of a matching Subnet say goes before what those of the TargetName say: so the manual
of Linux-iSCSI has it, whose program let the last entry of the file win. What neither says comes
from the globals in force where the last matching entry stands; without a matching entry, from
those at the end of the file. Credentials go their own way: the target's own, else those of the
DiscoveryAddress that reported it. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from operator import itemgetter

from iscsid.config.build_settings import AUTHENTICATION_FIELDS, session_settings
from iscsid.config.entries import Entry, ParsedFile, Setting, Settings
from iscsid.config.keywords import DEFAULTS
from iscsid.config.settings import SessionSettings
from iscsid.protocol.names import IscsiName, Portal

_Placed = tuple[int, Entry]
"""An entry and its place in the file."""


class Resolver:
    """Answers for one file, from indexes: a question costs the same however long the file is."""

    def __init__(self, contents: ParsedFile) -> None:
        self._globals: Settings = contents.globals or DEFAULTS
        self._discoveries: dict[Portal, Entry] = {}
        self._targets: dict[str, _Placed] = {}
        self._subnets: dict[tuple[int, int], dict[int, _Placed]] = {}
        """By IP version and number of host bits, then by the network's bits."""
        for place, entry in enumerate(contents.entries):
            match entry.subject:
                case Portal() as portal:
                    self._discoveries[portal] = entry
                case IPv4Network() | IPv6Network() as network:
                    host_bits = network.max_prefixlen - network.prefixlen
                    networks = self._subnets.setdefault((network.version, host_bits), {})
                    networks[int(network.network_address) >> host_bits] = (place, entry)
                case target_name:
                    self._targets[target_name] = (place, entry)

    def __call__(
        self, target_name: IscsiName, portal: Portal, discovered_at: Portal | None
    ) -> SessionSettings:
        return session_settings(self.settings(target_name, portal, discovered_at))

    def settings(
        self, target_name: str, portal: Portal | None, discovered_at: Portal | None
    ) -> Settings:
        """Return every field with its value and where it was said.

        ``portal`` ``None``: as far as the portal does not matter. A ``discovered_at`` that is not
        in the file counts as none.
        """
        target = self._targets.get(target_name)
        subnets = self._subnets_of(portal) if portal else []
        settings = dict(self._globals)
        for _, entry in sorted([target, *subnets] if target else subnets, key=itemgetter(0)):
            settings.update(entry.inherited)
        discovery = self._discoveries.get(discovered_at) if discovered_at else None
        if discovery:
            found = {**discovery.inherited, **discovery.own}
            settings.update({field: found[field] for field in AUTHENTICATION_FIELDS})
        for _, entry in [target, *subnets] if target else subnets:
            settings.update(entry.own)
        settings["first_burst_length"] = _first_burst_length(settings)
        return settings

    def _subnets_of(self, portal: Portal) -> list[_Placed]:
        """Return the Subnet entries that hold ``portal``, in the order of the file."""
        try:
            address = ip_address(portal.host)
        except ValueError:  # A portal known by name only is in no subnet.
            return []
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        number = int(address)
        found = (
            networks.get(number >> host_bits)
            for (version, host_bits), networks in self._subnets.items()
            if version == address.version
        )
        return sorted(filter(None, found), key=itemgetter(0))


def _first_burst_length(settings: Settings) -> Setting:
    """Return FirstBurstLength, which follows a smaller MaxBurstLength where nobody set it.

    It may not exceed it (RFC 7143, section 13.14).
    """
    first, most = settings["first_burst_length"], settings["max_burst_length"]
    return Setting(most.value) if first.is_default and first.value > most.value else first
