"""The jobs of a login check: the logins a daemon would make with this configuration. Pure.

Unlike a daemon's, each login has an ISID of its own: with the ISID of a running session the target
would take the login for a reinstatement of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from iscsid.bindings.allocation import Bindings
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings, SessionSettings
from iscsid.initiator.isid import check_isid
from iscsid.initiator.offers import LoginIdentity, discovery_offer, session_offer
from iscsid.initiator.planning import PlannedSession, PortalOption, plan_sessions
from iscsid.initiator.sources import KnownTarget, SourceReport, from_file, from_reports
from iscsid.jobs import DiscoveryJob, JobId, LoginJob
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import LoginPlan

Found = Mapping[Portal, tuple[DiscoveryRecord, ...]]
"""What each DiscoveryAddress has reported."""


@dataclass(frozen=True, slots=True)
class PlannedDiscovery:
    """One DiscoveryAddress; ``job`` is ``None`` if it is not enabled."""

    portal: Portal
    job: DiscoveryJob | None


@dataclass(frozen=True, slots=True)
class PlannedLogin:
    """One portal of a target."""

    address: TargetAddress
    settings: SessionSettings
    job: LoginJob


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """One target; no ``logins`` if it is not enabled."""

    target_name: IscsiName
    found_at: Portal | None
    """The DiscoveryAddress that reported it; ``None``: the file names it."""
    logins: tuple[PlannedLogin, ...]
    """In the order in which sessions try the portals."""


MOST_TARGETS = 1000
"""More are not tried: a target list may have 65,536 entries, or be made up."""


class Planner:
    """Makes the jobs of one check, each with a number and an ISID of its own.

    With ``address``, only this DiscoveryAddress is asked, and targets of the file with addresses of
    their own are left out. With ``target``, only this target is tried.
    """

    def __init__(
        self,
        configuration: Configuration,
        identity: LoginIdentity,
        address: Portal | None = None,
        target: IscsiName | None = None,
    ) -> None:
        self._configuration = configuration
        self._address = address
        self._target = target
        self.untried = 0
        """The number of targets beyond ``MOST_TARGETS``."""
        self.contradictions: list[str] = []
        """What different DiscoveryAddresses have reported of one target, and is not used."""
        self._identity = identity
        self._bindings = Bindings()
        """Required by ``plan_sessions``; never saved."""
        self._numbers = count(1)

    def discoveries(self) -> tuple[PlannedDiscovery, ...]:
        """Return every DiscoveryAddress, in the order of the file."""
        return tuple(
            PlannedDiscovery(each.portal, self._discovery(each) if each.enabled else None)
            for each in self._configuration.discoveries
            if self._address in (None, each.portal) and not self._is_static
        )

    @property
    def _is_static(self) -> bool:
        """Whether no discovery is needed: the only target wanted has an address in the file."""
        static = {each.target_name for each in self._configuration.static_targets}
        return self._address is None and self._target in static

    def targets(self, found: Found) -> tuple[PlannedTarget, ...]:
        """Return every target: those the file names with addresses, then those discovered."""
        static = (
            {each.target_name: each for each in self._configuration.static_targets}
            if self._address is None
            else {}
        )
        reported = {
            portal: {record.target_name: record for record in records}
            for portal, records in found.items()
        }
        entities = {d.portal: d.network_entity for d in self._configuration.discoveries}
        has_several = len({entities.get(portal, "") for portal in reported}) > 1
        names = dict.fromkeys((*static, *(name for each in reported.values() for name in each)))
        wanted = [name for name in names if self._target in (None, name)]
        self.untried = max(len(wanted) - MOST_TARGETS, 0)
        targets = []
        for name in wanted[:MOST_TARGETS]:
            reports = [
                SourceReport(portal, r.addresses, r.spelling, entities.get(portal, ""))
                for portal, records in reported.items()
                if (r := records.get(name))
            ]
            if name in static:
                known = [from_file(static[name])]
            else:
                known, notes = from_reports(reports, has_several_entities=has_several)
                self.contradictions += [f"{name}: {note}" for note in notes]
            for source in filter(lambda each: each.addresses, known):
                logins = tuple(self._logins(name, source))
                targets.append(PlannedTarget(name, source.found_at, logins))
        return tuple(targets)

    def _discovery(self, settings: DiscoverySettings) -> DiscoveryJob:
        number = next(self._numbers)
        identity = self._identity.named(settings.initiator_name)
        return DiscoveryJob(
            id=JobId(number),
            portal=settings.portal,
            login=LoginPlan(
                initiator_name=identity.initiator_name,
                initiator_alias=identity.initiator_alias,
                target_name=None,
                isid=check_isid(identity.initiator_name, number),
                authentication=settings.authentication,
                offer=discovery_offer(settings),
            ),
            timeouts=settings.timeouts,
            socket_options=settings.socket_options,
            deadline=self._identity.login_timeout,
        )

    def _logins(self, target_name: IscsiName, source: KnownTarget) -> Iterator[PlannedLogin]:
        # Numbers are never used up here: there are more than a check can have targets.
        plans, _ = plan_sessions(target_name, source, self._configuration, self._bindings)
        for path in plans:
            if path.session_number > 1:
                continue  # The first has shown what a login of these portals comes to.
            # Without failover a session stays with its first portal.
            used = path.options if path.options[0].settings.portal_failover else path.options[:1]
            for option in used:
                address = TargetAddress(option.portal, option.portal_group_tag)
                yield PlannedLogin(address, option.settings, self._login(path, option))

    def _login(self, path: PlannedSession, option: PortalOption) -> LoginJob:
        number = next(self._numbers)
        identity = self._identity.named(path.initiator_name)
        return LoginJob(
            id=JobId(number),
            portal=option.portal,
            login=LoginPlan(
                initiator_name=identity.initiator_name,
                initiator_alias=identity.initiator_alias,
                target_name=path.name_to_send,
                isid=check_isid(identity.initiator_name, number),
                authentication=option.settings.authentication,
                offer=session_offer(option.settings),
            ),
            timeouts=option.settings.timeouts,
            tcp_window_size=option.settings.tcp_window_size,
            socket_options=option.settings.socket_options,
            deadline=self._identity.login_timeout,
            only_try=True,
        )
