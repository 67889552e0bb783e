"""Which settings hold for a session: subnet, target, globals, and where credentials come from."""

from __future__ import annotations

import pytest

from iscsid.config.configuration import parse_configuration
from iscsid.config.settings import SessionSettings
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Authentication, ChapAlgorithm, Credentials
from iscsid.secret import Secret

NAME = IscsiName("iqn.2001-04.com.example:disk")
OTHER = IscsiName("iqn.2001-04.com.example:other")
ONE, TWO, THREE = "first-secret-1", "second-secret-2", "third-secret-3"


def resolve(
    text: str, name: IscsiName = NAME, host: str = "192.168.250.7", found_at: str | None = None
) -> SessionSettings:
    portal = Portal(found_at) if found_at else None
    return parse_configuration(text, "f").session_settings(name, Portal(host), portal)


def login(text: str, name: IscsiName = NAME, host: str = "192.168.250.7") -> int:
    return resolve(text, name, host).timeouts.login


SUBNET = "Subnet=192.168.250.0/24\n LoginTimeout=20\n"
TARGET = f"TargetName={NAME}\n LoginTimeout=30\n"


@pytest.mark.parametrize("text", [SUBNET + TARGET, TARGET + SUBNET])
def test_subnet_wins_over_target_name_whatever_their_order(text: str) -> None:
    text = f"LoginTimeout=25\n{text}"
    assert login(text) == 20
    assert login(text, host="10.0.0.1") == 30
    assert login(text, OTHER) == 20
    assert login(text, OTHER, "10.0.0.1") == 25


def test_a_subnet_overrides_only_what_it_sets() -> None:
    """Linux-iSCSI's program let it overwrite all the rest, too."""
    settings = resolve(f"LoginTimeout=25\n{TARGET}Subnet=192.168.250.0/24\n TCPWindowSize=64K\n")
    assert (settings.timeouts.login, settings.tcp_window_size) == (30, 65536)


def test_of_several_matching_subnets_the_last_one_wins() -> None:
    wide, narrow = "Subnet=192.168.0.0/16\n LoginTimeout=1\n", SUBNET
    assert login(wide + narrow) == 20
    assert login(narrow + wide) == 1
    assert login(narrow + wide, host="192.168.9.9") == 1


def test_unset_settings_come_from_the_globals_at_the_last_matching_entry() -> None:
    text = (
        f"IdleTimeout=1\nTargetName={NAME}\nIdleTimeout=2\n"
        "Subnet=192.168.250.0/24\nIdleTimeout=3\nSubnet=10.0.0.0/8\nIdleTimeout=4\n"
    )
    assert resolve(text, NAME, "172.16.0.1").timeouts.idle == 1
    assert resolve(text, NAME, "192.168.250.1").timeouts.idle == 2
    assert resolve(text, NAME, "10.0.0.1").timeouts.idle == 3
    assert resolve(text, OTHER, "10.0.0.1").timeouts.idle == 3
    assert resolve(text, OTHER, "172.16.0.1").timeouts.idle == 4


def test_a_subnet_passes_on_only_globals_that_it_can_hold() -> None:
    text = "HeaderDigest=never\nSubnet=192.168.250.0/24\nHeaderDigest=always\n"
    assert resolve(text).header_digest.value == "always"


@pytest.mark.parametrize(
    "subnet, inside, outside",
    [
        ("192.168.250.0/24", ["192.168.250.0", "192.168.250.255"], ["192.168.251.0", "::1"]),
        ("192.168.250.0&ffffff00", ["192.168.250.128"], ["192.168.249.128"]),
        ("200.1.2.3", ["200.1.2.3", "::ffff:200.1.2.3"], ["200.1.2.4", "::ffff:200.1.2.4"]),
        ("128.0.0.0/1", ["255.0.0.1", "128.0.0.1"], ["127.255.255.255"]),
        ("0.0.0.0/0", ["1.2.3.4", "255.255.255.254"], ["2001:db8::1", "storage.example"]),
        ("2001:db8::/32", ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::1", "32.1.13.184"]),
        ("fe80::/10", ["fe80::1%eth0", "fe80::2"], ["fec0::1"]),
        ("::/0", ["::1"], ["10.0.0.1"]),
    ],
)
def test_a_subnet_holds_its_portals_and_no_others(
    subnet: str, inside: list[str], outside: list[str]
) -> None:
    text = f"Subnet={subnet}\n LoginTimeout=1\n"
    assert [login(text, host=host) for host in inside] == [1] * len(inside)
    assert [login(text, host=host) for host in outside] == [15] * len(outside)


def test_target_names_compare_without_regard_to_case() -> None:
    assert login(f"TargetName={NAME.upper()}\n LoginTimeout=1\n") == 1


def test_globals_at_the_end_hold_for_targets_without_entry() -> None:
    assert login("LoginTimeout=1\nDiscoveryAddress=10.0.0.1\nLoginTimeout=2\n") == 2


def test_timeouts_below_a_discovery_address_are_those_of_discovery_alone() -> None:
    text = "DiscoveryAddress=10.0.0.1\n LoginTimeout=9\n"
    assert resolve(text, found_at="10.0.0.1").timeouts.login == 15
    assert parse_configuration(text, "f").discoveries[0].timeouts.login == 9


def test_enabled_no_as_a_global_picks_targets_out_of_what_is_found() -> None:
    text = f"Enabled=no\nDiscoveryAddress=10.0.0.1\nTargetName={NAME}\n Enabled=yes\n"
    assert parse_configuration(text, "f").discoveries[0].enabled
    assert resolve(text).enabled and not resolve(text, OTHER).enabled


def test_enabled_no_below_a_discovery_address_switches_that_one_off() -> None:
    discoveries = parse_configuration(
        "DiscoveryAddress=10.0.0.1\n Enabled=no\nDiscoveryAddress=10.0.0.2\n", "f"
    ).discoveries
    assert [discovery.enabled for discovery in discoveries] == [False, True]


def test_enabled_no_below_a_subnet_keeps_its_portals_out() -> None:
    text = f"Subnet=192.168.250.0/24\n Enabled=no\nTargetName={NAME}\n Enabled=yes\n"
    assert not resolve(text).enabled
    assert resolve(text, host="10.0.0.1").enabled


def test_the_first_burst_follows_a_smaller_longest_burst() -> None:
    settings = resolve(f"TargetName={NAME}\n MaxBurstLength=4096\n")
    assert (settings.first_burst_length, settings.max_burst_length) == (4096, 4096)


# --- credentials --------------------------------------------------------------------------------

GLOBAL = f"Username=globe\nPassword={ONE}\nIncomingUsername=target\nIncomingPassword={TWO}\n"
OWN = f" Username=own\n Password={THREE}\n"


def user(text: str, found_at: str | None, name: IscsiName = NAME) -> tuple[str, str]:
    """Return the names used in either direction."""
    authentication = resolve(text, name, found_at=found_at).authentication
    outgoing, incoming = authentication.outgoing, authentication.incoming
    return outgoing.username if outgoing else "", incoming.username if incoming else ""


def test_a_found_target_gets_the_credentials_of_its_discovery_even_if_there_are_none() -> None:
    text = f"DiscoveryAddress=10.0.0.1\n{GLOBAL}DiscoveryAddress=10.0.0.2\n{OWN}"
    text += "DiscoveryAddress=10.0.0.3\n"
    assert user(text, "10.0.0.1") == ("", "")
    assert user(text, "10.0.0.2") == ("own", "target")
    with_entry = f"{text}TargetName={NAME}\n"
    assert user(with_entry, "10.0.0.1") == ("", "")


def test_credentials_below_a_target_win_and_incoming_ones_are_still_demanded() -> None:
    text = f"{GLOBAL}DiscoveryAddress=10.0.0.1\nTargetName={NAME}\n{OWN}"
    assert user(text, "10.0.0.1") == ("own", "target")
    assert user(text, "10.0.0.1", OTHER) == ("globe", "target")


def test_a_target_with_an_address_takes_its_credentials_from_the_globals() -> None:
    address = " Address=10.0.0.9\n"
    assert user(f"{GLOBAL}TargetName={NAME}\n{address}", None) == ("globe", "target")
    late = f"TargetName={NAME}\n{address}{GLOBAL}DiscoveryAddress=10.0.0.1\n"
    assert user(late, None) == ("", "")
    assert user(f"{GLOBAL}TargetName={NAME}\n{address}{OWN}", None) == ("own", "target")


def test_a_discovery_that_is_not_in_the_file_any_more_counts_as_none() -> None:
    assert user(f"{GLOBAL}", "10.0.0.1") == ("globe", "target")


def test_secrets_and_algorithms_arrive_whole() -> None:
    text = f'TargetName={NAME}\n Username=u\n Password="{ONE}"\n CHAPAlgorithms=SHA256,MD5\n'
    assert resolve(text).authentication == Authentication(
        Credentials("u", Secret(ONE)), None, (ChapAlgorithm.SHA256, ChapAlgorithm.MD5)
    )


def test_algorithms_alone_below_a_target_leave_its_credentials_as_they_were() -> None:
    text = f"{GLOBAL}DiscoveryAddress=10.0.0.1\nTargetName={NAME}\n CHAPAlgorithms=SHA256\n"
    assert user(text, "10.0.0.1") == ("globe", "target")
    found = resolve(text, found_at="10.0.0.1").authentication
    assert found.algorithms == (ChapAlgorithm.SHA256,)


def test_the_initiator_name_is_that_of_the_target_or_of_where_it_was_found() -> None:
    there, own = "iqn.2001-04.com.example:There", "iqn.2001-04.com.example:own"
    text = (
        f"DiscoveryAddress=10.0.0.1\n InitiatorName={there}\nDiscoveryAddress=10.0.0.2\n"
        f"TargetName={NAME}\n InitiatorName={own}\n"
    )
    names = [resolve(text, OTHER, found_at=at).initiator_name for at in ("10.0.0.1", "10.0.0.2")]
    assert names == [there, None], "as it is written"
    assert resolve(text, NAME, found_at="10.0.0.1").initiator_name == own
    assert resolve(text, OTHER).initiator_name is None
