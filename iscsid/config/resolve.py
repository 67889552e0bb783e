"""Which settings apply to a session with a target through a portal.

Settings of a matching Subnet take precedence over those of the TargetName, as in Linux-iSCSI's
manual; its program let the last entry of the file win. What neither sets comes from the globals in
force at the last matching entry; without a matching entry, from those at the end of the file.
Credentials and the InitiatorName are chosen separately: those of the target, else those of the
DiscoveryAddress that reported it. The result are the typed values of ``settings``. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from operator import itemgetter
from typing import Any

from iscsid.config.grammar import ConfigEntry, ParsedFile, Scope, Setting, Settings
from iscsid.config.keywords import BY_FIELD, DEFAULTS
from iscsid.config.settings import (
    DiscoverySettings,
    SessionSettings,
    SocketOptions,
    StaticTarget,
    Timeouts,
)
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Authentication, Credentials

AUTHENTICATION_FIELDS = (
    "outgoing_username",
    "outgoing_password",
    "incoming_username",
    "incoming_password",
    "chap_algorithms",
)
FROM_DISCOVERY_FIELDS = ("initiator_name", *AUTHENTICATION_FIELDS)
"""What the targets of a DiscoveryAddress have from there."""
DISCOVERY_FIELDS = (
    "discovery_username",
    "discovery_password",
    "discovery_incoming_username",
    "discovery_incoming_password",
)
_CREDENTIALS = frozenset({*AUTHENTICATION_FIELDS, *DISCOVERY_FIELDS, "discovery_chap"})
_GROUPS: dict[str, Callable[..., Any]] = {"timeouts": Timeouts, "socket_options": SocketOptions}
"""Settings that are attributes of an object of their own."""
_SESSION_FIELDS = tuple(field for field, row in BY_FIELD.items() if Scope.TARGET in row.scope)
_DISCOVERY_FIELDS = tuple(field for field, row in BY_FIELD.items() if Scope.DISCOVERY in row.scope)


def session_settings(settings: Settings) -> SessionSettings:
    """Return the settings of a session; ``settings`` contains every field."""
    attributes = _attributes(settings, _SESSION_FIELDS)
    return SessionSettings(authentication=authentication(settings), **attributes)


def discovery_settings(entry: ConfigEntry) -> DiscoverySettings:
    """Return the settings of the discovery session of a DiscoveryAddress."""
    settings = {**entry.inherited, **entry.own}
    portal: Portal = entry.subject  # type: ignore[assignment]  # by the kind of entry
    attributes = _attributes(settings, _DISCOVERY_FIELDS)
    return DiscoverySettings(
        portal=portal, authentication=_discovery_authentication(settings), **attributes
    )


def static_target(entry: ConfigEntry) -> StaticTarget:
    """Return a TargetName that has addresses of its own."""
    target_name: IscsiName = entry.subject  # type: ignore[assignment]  # by the kind
    return StaticTarget(target_name, entry.addresses, entry.spelling)


def _attributes(settings: Settings, fields: Iterable[str]) -> dict[str, Any]:
    """Return keyword arguments for a settings class; a test checks their types."""
    plain: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
    for field in fields:
        group, dot, name = field.partition(".")
        if dot:
            groups[group][name] = settings[field].value
        elif field not in _CREDENTIALS:
            plain[field] = settings[field].value
    plain |= {group: _GROUPS[group](**values) for group, values in groups.items()}
    return plain


def _discovery_authentication(settings: Settings) -> Authentication:
    """Return how a discovery session authenticates: not at all, with credentials of its own, or
    with those of the sessions.
    """
    if not settings["discovery_chap"].value:
        return Authentication()
    if any(settings[field].value for field in DISCOVERY_FIELDS):
        return authentication(settings, (*DISCOVERY_FIELDS, "chap_algorithms"))
    return authentication(settings)


def authentication(
    settings: Settings, fields: Sequence[str] = AUTHENTICATION_FIELDS
) -> Authentication:
    """Return the credentials in these fields of ``settings``. Half a pair counts as none;
    ``consistency`` reports it."""
    username, password, username_in, password_in, algorithms = (
        settings[field].value for field in fields
    )
    return Authentication(
        outgoing=Credentials(username, password) if username and password else None,
        incoming=Credentials(username_in, password_in) if username_in and password_in else None,
        algorithms=algorithms,
    )


_Placed = tuple[int, ConfigEntry]
"""An entry and its place in the file."""


class Resolver:
    """Resolves by indexes, in constant time however long the file is."""

    def __init__(self, contents: ParsedFile) -> None:
        self._globals: Settings = contents.globals or DEFAULTS
        self._discoveries: dict[Portal, ConfigEntry] = {}
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
        """Return every field with its value and its line.

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
            settings.update({field: found[field] for field in FROM_DISCOVERY_FIELDS})
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
    """Return FirstBurstLength, which follows a smaller MaxBurstLength unless it is set.

    It may not exceed it (RFC 7143, section 13.14).
    """
    first, most = settings["first_burst_length"], settings["max_burst_length"]
    return Setting(most.value) if first.is_default and first.value > most.value else first
