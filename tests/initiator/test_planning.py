"""Which sessions a target gets: one, or with Multipath one per portal or portal group."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.binding import Binding
from iscsid.config.configuration import Configuration
from iscsid.config.settings import MultipathPolicy, SessionSettings
from iscsid.initiator.planning import PlannedSession, plan_sessions
from iscsid.initiator.sources import KnownTarget
from iscsid.protocol.names import IscsiName, Portal, TargetAddress
from tests.support.harness import DISK

A, B, C, D = (Portal(f"192.0.2.{n}") for n in (1, 2, 3, 4))
NAMED = Portal("san.example.org")
ADDRESSES = (
    TargetAddress(A, 1),
    TargetAddress(B, 1),
    TargetAddress(C, 2),
    TargetAddress(NAMED, None),
)


def plan(settings: SessionSettings, bindings: Bindings | None = None) -> list[PlannedSession]:
    def resolve(_name: IscsiName, _portal: Portal, _at: Portal | None) -> SessionSettings:
        return settings

    configuration = Configuration(resolver=resolve)
    plans, errors = plan_sessions(
        DISK, KnownTarget(B, ADDRESSES), configuration, bindings or Bindings()
    )
    assert errors == []
    return plans


def portals(path: PlannedSession) -> list[Portal]:
    return [option.portal for option in path.options]


def test_one_session_uses_all_portals_and_begins_where_discovery_just_worked() -> None:
    (path,) = plan(SessionSettings())
    assert portals(path) == [B, A, C, NAMED]
    assert path.binding == Binding(0, 0)


def test_the_preferred_portal_comes_first_and_the_preferred_subnet_next() -> None:
    settings = replace(
        SessionSettings(),
        preferred_portal=A.host,
        preferred_subnet=ip_network("192.0.2.3/32"),
    )
    (path,) = plan(settings)
    assert portals(path) == [A, C, B, NAMED]


def test_a_preferred_subnet_of_the_other_family_prefers_nobody() -> None:
    (path,) = plan(replace(SessionSettings(), preferred_subnet=ip_network("2001:db8::/32")))
    assert portals(path) == [B, A, C, NAMED]


def test_multipath_portal_gives_every_portal_a_bus_of_its_own_with_one_target_id() -> None:
    paths = plan(replace(SessionSettings(), multipath=MultipathPolicy.PORTAL))
    assert [portals(path) for path in paths] == [[A], [B], [C], [NAMED]]
    assert [path.binding for path in paths] == [Binding(bus, 0) for bus in range(4)]
    assert [path.path_name for path in paths] == [str(portal) for portal in (A, B, C, NAMED)]


def test_multipath_portalgroup_shares_a_session_within_a_group() -> None:
    paths = plan(replace(SessionSettings(), multipath=MultipathPolicy.PORTAL_GROUP))
    assert [portals(path) for path in paths] == [[B, A], [C], [NAMED]]
    assert [path.path_name for path in paths] == ["1", "2", "?"]


def test_a_target_that_is_not_enabled_gets_no_session_and_no_number() -> None:
    bindings = Bindings()
    assert plan(replace(SessionSettings(), enabled=False), bindings) == []
    assert bindings.lookup(DISK) is None


@pytest.mark.parametrize("policy", MultipathPolicy)
def test_planning_twice_gives_the_same_numbers(policy: MultipathPolicy) -> None:
    bindings = Bindings()
    settings = replace(SessionSettings(), multipath=policy)
    assert plan(settings, bindings) == plan(settings, bindings)
