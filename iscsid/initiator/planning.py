"""Which sessions a target gets: its addresses in, plans of sessions out.

A *path* is what gets a session of its own, or several: a whole target with all its portals, or with
Multipath one portal or one portal group of it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import ENTITY_MARK, Binding, path_of_session, session_of_path
from iscsid.config.configuration import Configuration
from iscsid.config.settings import MultipathPolicy, SessionSettings
from iscsid.errors import BindingsFull
from iscsid.initiator.sources import KnownTarget
from iscsid.protocol.names import IscsiName, Portal


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
    """Which of several sessions with targets of this name this is; empty for the only one.

    With Multipath a portal, or the tag of a portal group; with several network entities that of
    the target, and a mark, before it; of several sessions of a path its number, after a mark."""
    spelling: str = ""
    """The name as the target itself writes it, if that is not the normalised one."""

    @property
    def name_to_send(self) -> IscsiName:
        """The TargetName of a Login Request: some targets know only their own spelling."""
        return IscsiName(self.spelling) if self.spelling else self.target_name

    @property
    def initiator_name(self) -> IscsiName | None:
        """The name of this machine for the target, if it is not the usual one: of all portals."""
        return self.options[0].settings.initiator_name

    def log_prefix(self, portal: Portal) -> str:
        """The prefix of every log line about the session while it uses ``portal``."""
        number = self.session_number
        return f"{self.target_name} via {portal}{f', session {number}' if number > 1 else ''}"

    @property
    def session_number(self) -> int:
        """Which session of its path this is: from 1."""
        return int(session_of_path(self.path_name)[1:] or "1")


def portals_of(plan: PlannedSession) -> str:
    return ", ".join(str(option.portal) for option in plan.options)


def plan_sessions(
    target_name: IscsiName,
    source: KnownTarget,
    configuration: Configuration,
    bindings: Bindings,
    *,
    inherits: bool = True,
) -> tuple[list[PlannedSession], list[BindingsFull]]:
    """Return the sessions with one target, none if it is not enabled. Assigns missing bindings.

    Also return an error for each path that gets no number; the other paths keep theirs. With
    ``inherits`` a target with a network entity takes over the numbers that a target of its name
    had without one.
    """
    options = [
        PortalOption(
            address.portal,
            address.portal_group_tag,
            configuration.session_settings(
                target_name, address.portal, source.source_of(address.portal)
            ),
        )
        for address in source.addresses
    ]
    options = [option for option in options if option.settings.enabled]
    plans: list[PlannedSession] = []
    errors: list[BindingsFull] = []
    for (path, number), group in _groups(options).items():
        name = path_of_session(_with_entity(source.entity, path), number)
        try:
            if source.entity:
                inherited = path_of_session(path, number) if inherits else None
                binding = bindings.assign_path(target_name, name, inherited)
            elif path:
                binding = bindings.assign_path(target_name, name)
            else:
                binding = bindings.assign(target_name, name, has_namesakes=source.has_namesakes)
        except BindingsFull as error:
            errors.append(error)
            continue
        in_order = tuple(sorted(group, key=_preference(source)))
        plans.append(
            PlannedSession(binding, target_name, source.found_at, in_order, name, source.spelling)
        )
    return plans, errors


def _with_entity(entity: str, path: str) -> str:
    return "/".join(filter(None, (f"{ENTITY_MARK}{entity}" if entity else "", path)))


def _groups(options: list[PortalOption]) -> dict[tuple[str, int], list[PortalOption]]:
    """Return the portals of each session, by the name of its path and its number there.

    In the order of the report. A session beyond the first uses those portals of its path alone
    that shall have so many.
    """
    groups: dict[tuple[str, int], list[PortalOption]] = {}
    for option in options:
        for number in range(1, option.settings.sessions + 1):
            groups.setdefault((_path_name(option), number), []).append(option)
    return groups


def _path_name(option: PortalOption) -> str:
    match option.settings.multipath:
        case MultipathPolicy.NO:
            return ""
        case MultipathPolicy.PORTAL:
            return str(option.portal)
        case MultipathPolicy.PORTAL_GROUP:
            return "?" if option.portal_group_tag is None else str(option.portal_group_tag)


def _preference(source: KnownTarget) -> Callable[[PortalOption], int]:
    """Rank portals: PreferredPortal, PreferredSubnet, where discovery was answered, the others."""

    def rank(option: PortalOption) -> int:
        if option.settings.preferred_portal == option.portal.host:
            return 0
        if _is_in_preferred_subnet(option):
            return 1
        has_answered = option.portal in source.answered_at or option.portal == source.found_at
        return 2 if has_answered else 3

    return rank


def _is_in_preferred_subnet(option: PortalOption) -> bool:
    subnet = option.settings.preferred_subnet
    if subnet is None:
        return False
    try:
        address = ip_address(option.portal.host)
    except ValueError:  # a host name
        return False
    return address.version == subnet.version and address in ip_network(subnet)
