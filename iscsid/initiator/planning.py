"""Which sessions are wanted: targets and their addresses in, paths out.

A *path* is what gets a session of its own: a whole target with all its portals, or with Multipath
one portal or one portal group of it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.config.configuration import Configuration
from iscsid.config.settings import MultipathPolicy, SessionSettings, StaticTarget
from iscsid.errors import BindingsFull
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress

Known = StaticTarget | DiscoveryRecord


@dataclass(frozen=True, slots=True)
class PortalOption:
    """One portal of a path, and what holds for a session through it."""

    portal: Portal
    portal_group_tag: int | None
    settings: SessionSettings


@dataclass(frozen=True, slots=True)
class PlannedSession:
    """What one session needs to know of its target."""

    binding: Binding
    target_name: IscsiName
    found_at: Portal | None
    """The DiscoveryAddress that reported the target; ``None``: the file names it."""
    options: tuple[PortalOption, ...]
    """In the order in which they are tried; at least one."""
    path_name: str = ""
    """With Multipath, which of the paths this is: a portal, or the tag of a portal group."""
    spelling: str = ""
    """The name as the target itself writes it, where that is not the normalised one."""

    @property
    def name_to_send(self) -> IscsiName:
        """The TargetName of a Login Request: some targets know only their own spelling."""
        return IscsiName(self.spelling) if self.spelling else self.target_name


@dataclass(frozen=True, slots=True)
class KnownTarget:
    """What is known of one target: its addresses, and which DiscoveryAddress named it first."""

    found_at: Portal | None
    addresses: tuple[TargetAddress, ...]
    spelling: str = ""

    @classmethod
    def merge(cls, known: Iterable[tuple[Portal | None, Known | None]]) -> KnownTarget | None:
        """Make one source of all that is known of a target; ``None`` where that is no address.

        Each with the DiscoveryAddress that reported it, ``None`` for the file. Who comes first
        gives the target's spelling, and its credentials.
        """
        found_at: Portal | None = None
        spelling = ""
        addresses: dict[Portal, TargetAddress] = {}
        for portal, target in known:
            if target is None:
                continue
            if not addresses:
                found_at, spelling = portal, target.spelling
            for address in target.addresses:
                addresses.setdefault(address.portal, address)
        return cls(found_at, tuple(addresses.values()), spelling) if addresses else None


def plan_sessions(
    target_name: IscsiName, source: KnownTarget, configuration: Configuration, bindings: Bindings
) -> tuple[list[PlannedSession], list[BindingsFull]]:
    """Return the sessions with one target, none if it is not enabled. Assigns missing bindings.

    Also return an error for each path that gets no number; the other paths keep theirs.
    """
    found_at = source.found_at
    options = [
        PortalOption(
            address.portal,
            address.portal_group_tag,
            configuration.session_settings(target_name, address.portal, found_at),
        )
        for address in source.addresses
    ]
    options = [option for option in options if option.settings.enabled]
    plans: list[PlannedSession] = []
    errors: list[BindingsFull] = []
    for path, group in _groups(options).items():
        try:
            binding = (
                bindings.assign_path(target_name, path) if path else bindings.assign(target_name)
            )
        except BindingsFull as error:
            errors.append(error)
            continue
        in_order = tuple(sorted(group, key=lambda option: _preference(option, found_at)))
        plans.append(
            PlannedSession(binding, target_name, found_at, in_order, path, source.spelling)
        )
    return plans, errors


def _groups(options: list[PortalOption]) -> dict[str, list[PortalOption]]:
    """Return the ways of each path by the path's name, in the order in which they were reported."""
    groups: dict[str, list[PortalOption]] = {}
    for option in options:
        groups.setdefault(_path_name(option), []).append(option)
    return groups


def _path_name(option: PortalOption) -> str:
    match option.settings.multipath:
        case MultipathPolicy.NO:
            return ""
        case MultipathPolicy.PORTAL:
            return str(option.portal)
        case MultipathPolicy.PORTAL_GROUP:
            return "?" if option.portal_group_tag is None else str(option.portal_group_tag)


def _preference(option: PortalOption, found_at: Portal | None) -> int:
    """Rank a way: PreferredPortal, PreferredSubnet, where discovery just worked, the others."""
    if option.settings.preferred_portal == option.portal.host:
        return 0
    if _is_in_preferred_subnet(option):
        return 1
    return 2 if option.portal == found_at else 3


def _is_in_preferred_subnet(option: PortalOption) -> bool:
    subnet = option.settings.preferred_subnet
    if subnet is None:
        return False
    try:
        address = ip_address(option.portal.host)
    except ValueError:  # a host name
        return False
    return address.version == subnet.version and address in ip_network(subnet)
