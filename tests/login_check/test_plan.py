"""What a trial tries: what a daemon would try, with ISIDs that no session has."""

from __future__ import annotations

from itertools import count

from iscsid.bindings.allocation import Bindings
from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.initiator.isid import discovery_isid, session_isid
from iscsid.initiator.offers import LoginIdentity
from iscsid.login_check.plan import MOST_TARGETS, Found, PlannedTarget, Planner
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress

ME = LoginIdentity(IscsiName("iqn.2003-02.org.example:me"), "my alias", 7.0)
RED, GREEN = (IscsiName(f"iqn.2003-02.org.example:{name}") for name in ("red", "green"))
A, B, C = (Portal(f"192.0.2.{number}") for number in (1, 2, 3))


def planner(*lines: str) -> tuple[Planner, Configuration]:
    configuration = parse_configuration("".join(f"{line}\n" for line in lines), "f")
    return Planner(configuration, ME), configuration


def targets(*lines: str, found: Found | None = None) -> tuple[PlannedTarget, ...]:
    return planner(*lines)[0].targets(found or {A: (record(RED, A, B, C),)})


def record(name: IscsiName, *portals: Portal, spelling: str = "") -> DiscoveryRecord:
    addresses = tuple(TargetAddress(p, tag) for p, tag in zip(portals, count(1), strict=False))
    return DiscoveryRecord(name, addresses, spelling)


FOUND = record(RED, A, B, C)


def portals(target: PlannedTarget) -> list[Portal]:
    return [login.address.portal for login in target.logins]


def test_every_discovery_address_is_asked_as_it_is_configured_and_none_is_kept() -> None:
    made, configuration = planner(
        "DiscoveryAddress=192.0.2.1",
        " Username=alice",
        " Password=open-sesame-1",
        " LoginTimeout=3",
        "DiscoveryAddress=192.0.2.2",
        " Enabled=no",
    )
    first, second = made.discoveries()
    assert first.job is not None and second == type(second)(B, None)
    assert first.job.login.authentication == configuration.discoveries[0].authentication
    assert (first.job.timeouts.login, first.job.deadline, first.job.keep) == (3, 7.0, False)
    assert first.job.login.initiator_alias == "my alias"


def test_the_portals_of_a_target_are_tried_in_the_order_of_a_session() -> None:
    (red,) = targets("TargetName=" + RED, " PreferredPortal=192.0.2.3", found={B: (FOUND,)})
    assert portals(red) == [C, B, A]
    assert [login.address.portal_group_tag for login in red.logins] == [3, 2, 1]
    assert all(login.job.only_try for login in red.logins)


def test_without_failover_only_the_portals_that_sessions_stay_with_are_tried() -> None:
    assert [portals(each) for each in targets("PortalFailover=no")] == [[A]]
    (red,) = targets("PortalFailover=no", "Multipath=portal", "Sessions=3")
    assert portals(red) == [A, B, C]


def test_a_target_that_is_not_enabled_is_named_and_not_tried() -> None:
    red, green = targets(f"TargetName={GREEN}", " Enabled=no", found={A: (FOUND, record(GREEN, A))})
    assert (red.target_name, len(red.logins)) == (RED, 3)
    assert (green.target_name, green.logins) == (GREEN, ())


def test_no_answer_adds_a_portal_to_what_the_file_names() -> None:
    lines = (f"TargetName={RED}", " Address=192.0.2.3", f"TargetName={GREEN}", " Address=192.0.2.2")
    found = {A: (record(RED, A),), B: (record(RED, A, B), record(GREEN))}
    red, green = targets(*lines, found=found)
    assert (red.found_at, portals(red)) == (None, [C])
    assert (green.found_at, portals(green)) == (None, [B])


def test_what_another_array_reports_of_a_target_is_not_tried_but_reported() -> None:
    lines = ("DiscoveryAddress=192.0.2.1", "DiscoveryAddress=192.0.2.2")
    made, _ = planner(*lines)
    (red,) = made.targets({A: (record(RED, A),), B: (record(RED, B),)})
    assert portals(red) == [A]
    (line,) = made.contradictions
    assert RED in line and str(B) in line and "NetworkEntity" in line
    joined, _ = planner(*(f"{line}\n    NetworkEntity=one" for line in lines))
    (red,) = joined.targets({A: (record(RED, A),), B: (record(RED, B),)})
    assert portals(red) == [A, B] and not joined.contradictions


def test_a_target_without_any_address_is_no_target() -> None:
    assert targets(found={A: (record(RED),)}) == ()


def test_a_target_is_spoken_to_in_its_own_spelling() -> None:
    (red,) = targets(found={A: (record(RED, A, spelling="iqn.2003-02.org.example:Red"),)})
    assert red.logins[0].job.login.target_name == "iqn.2003-02.org.example:Red"


def test_settings_reach_the_login() -> None:
    (red,) = targets(
        f"TargetName={RED}",
        " HeaderDigest=always",
        " MaxBurstLength=65536",
        " TCPWindowSize=8192",
        " LoginTimeout=3",
        " Username=alice",
        " Password=open-sesame-1",
    )
    job = red.logins[0].job
    assert [digest.value for digest in job.login.offer.header_digest] == ["CRC32C"]
    assert job.login.offer.max_burst_length == 65536
    assert (job.tcp_window_size, job.timeouts.login, job.deadline) == (8192, 3, 7.0)
    assert job.login.authentication.outgoing and job.login.authentication.incoming is None


def test_no_login_bears_the_isid_of_another_or_of_the_daemon() -> None:
    """Not even where the bindings are those of the daemon: it would reinstate a live session."""
    made, _ = planner(
        "DiscoveryAddress=192.0.2.1", "DiscoveryAddress=192.0.2.2", "Multipath=portal"
    )
    jobs = [each.job for each in made.discoveries() if each.job]
    isids = [job.login.isid for job in jobs]
    for target in made.targets({A: (FOUND, record(GREEN, A, B)), B: (FOUND,)}):
        isids += [login.job.login.isid for login in target.logins]
    assert len(set(isids)) == len(isids) == 2 + 3 + 2
    bindings = Bindings()
    theirs = {session_isid(ME.initiator_name, bindings.assign(name)) for name in (RED, GREEN)}
    theirs |= {discovery_isid(ME.initiator_name, portal) for portal in (A, B)}
    assert not theirs & set(isids)


def test_each_login_has_the_name_of_this_machine_that_is_for_it() -> None:
    there, own = "iqn.2003-02.org.example:There", "iqn.2003-02.org.example:own"
    lines = ("DiscoveryAddress=192.0.2.1", f" InitiatorName={there}")
    made, _ = planner(*lines, f"TargetName={GREEN}", f" InitiatorName={own}")
    (discovery,) = made.discoveries()
    assert discovery.job and discovery.job.login.initiator_name == there
    red, green = made.targets({A: (record(RED, A), record(GREEN, A))})
    names = [each.logins[0].job.login.initiator_name for each in (red, green)]
    assert names == [there, own]


def test_only_one_target_or_one_address_is_tried_if_it_is_named() -> None:
    configuration = parse_configuration(
        f"DiscoveryAddress=192.0.2.1\nDiscoveryAddress=192.0.2.2\nTargetName={GREEN}\n"
        " Address=192.0.2.3\n",
        "f",
    )
    found = {A: (FOUND, record(GREEN, A))}
    static = Planner(configuration, ME, target=GREEN)
    assert static.discoveries() == ()
    assert [each.target_name for each in static.targets({})] == [GREEN]
    discovered = Planner(configuration, ME, target=RED)
    assert len(discovered.discoveries()) == 2
    assert [each.target_name for each in discovered.targets(found)] == [RED]
    address = Planner(configuration, ME, address=A)
    assert [each.portal for each in address.discoveries()] == [A]
    red, green = address.targets(found)
    assert portals(green) == [A], "the addresses of the file are not asked for"
    assert Planner(configuration, ME, A, RED).targets({}) == ()


def test_the_number_of_targets_that_are_tried_is_bounded() -> None:
    names = [IscsiName(f"iqn.2003-02.org.example:{number}") for number in range(MOST_TARGETS + 7)]
    made, _ = planner("DiscoveryAddress=192.0.2.1")
    assert len(made.targets({A: tuple(record(name, A) for name in names)})) == MOST_TARGETS
    assert made.untried == 7
