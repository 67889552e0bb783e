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


def test_a_preferred_subnet_of_the_other_family_prefers_none() -> None:
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


def test_several_sessions_with_one_portal_each_have_a_bus_and_a_name_of_their_own() -> None:
    settings = SessionSettings(sessions=2, multipath=MultipathPolicy.PORTAL)
    bindings = Bindings()
    paths = plan(settings, bindings)
    assert [portals(path) for path in paths] == [[A], [A], [B], [B], [C], [C], [NAMED], [NAMED]]
    assert [path.binding for path in paths] == [Binding(bus, 0) for bus in range(8)]
    assert [path.path_name for path in paths[:3]] == [str(A), f"{A};2", str(B)]
    assert [path.session_number for path in paths[:3]] == [1, 2, 1]
    (single, further) = plan(SessionSettings(sessions=2), bindings)
    assert portals(single) == portals(further) == [B, A, C, NAMED]
    assert (single.binding, further.binding) == (Binding(0, 0), Binding(1, 0))
    assert (single.path_name, further.path_name) == ("", ";2")


def test_a_further_session_uses_the_portals_alone_that_shall_have_it() -> None:
    """As of a Subnet with Sessions below it."""

    def resolve(_name: IscsiName, portal: Portal, _at: Portal | None) -> SessionSettings:
        return SessionSettings(sessions=2 if portal == C else 1)

    source, configuration = KnownTarget(B, ADDRESSES), Configuration(resolver=resolve)
    (first, second), _ = plan_sessions(DISK, source, configuration, Bindings())
    assert portals(first) == [B, A, C, NAMED] and portals(second) == [C]


def test_further_sessions_of_targets_of_one_name_are_kept_apart() -> None:
    configuration = Configuration(resolver=lambda *_: SessionSettings(sessions=2))
    bindings = Bindings()
    found = []
    for entity in ("", "a", "b"):
        source = KnownTarget(B, ADDRESSES[:1], entity=entity, has_namesakes=True)
        plans, _ = plan_sessions(DISK, source, configuration, bindings, inherits=entity == "a")
        found += [(path.path_name, path.binding.bus) for path in plans]
    assert found == [("", 0), (";2", 1), ("=a", 0), ("=a;2", 1), ("=b", 2), ("=b;2", 3)]


def test_a_target_that_is_not_enabled_gets_no_session_and_no_number() -> None:
    bindings = Bindings()
    assert plan(replace(SessionSettings(), enabled=False), bindings) == []
    assert bindings.lookup(DISK) is None


@pytest.mark.parametrize("policy", MultipathPolicy)
def test_planning_twice_gives_the_same_numbers(policy: MultipathPolicy) -> None:
    bindings = Bindings()
    settings = replace(SessionSettings(), multipath=policy)
    assert plan(settings, bindings) == plan(settings, bindings)
