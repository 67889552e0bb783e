"""A line without effect is reported: as an error if it is certainly a mistake, else as a note."""

from __future__ import annotations

import pytest

from iscsid.config.configuration import parse_configuration
from iscsid.config.diagnostics import ConfigurationErrors

NAME = "iqn.2001-04.com.example:disk"
CREDENTIALS = "Username=alice\nPassword=open-tiger-gate\n"
UNUSED = "has no effect: it is a global, and no entry below uses it"


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        parse_configuration(text, "f")
    return list(caught.value.lines)


def notes(text: str) -> list[str]:
    return list(map(str, parse_configuration(text, "f").notes))


def test_credentials_not_indented_below_their_discovery_address_are_an_error() -> None:
    assert errors(f"DiscoveryAddress=192.0.2.1\n{CREDENTIALS}") == [
        f"f:2:10: OutgoingUsername {UNUSED}; expected it indented below DiscoveryAddress (line 1)",
        f"f:3:10: OutgoingPassword {UNUSED}; expected it indented below DiscoveryAddress (line 1)",
    ]


def test_credentials_of_one_address_that_the_next_one_overrides_are_an_error() -> None:
    own = " Username=bob\n Password=another-tiger-gate\n"
    found = errors(f"DiscoveryAddress=192.0.2.1\n{CREDENTIALS}DiscoveryAddress=192.0.2.2\n{own}")
    assert [line.split(":")[1] for line in found] == ["2", "3"]


def test_credentials_that_an_entry_below_uses_are_none() -> None:
    text = f"DiscoveryAddress=192.0.2.1\n\n{CREDENTIALS}DiscoveryAddress=192.0.2.2\n"
    assert notes(text) == []
    static = f"DiscoveryAddress=192.0.2.1\n\n{CREDENTIALS}TargetName={NAME}\n Address=192.0.2.2\n"
    assert notes(static) == []


def test_credentials_right_below_an_address_that_another_one_uses_are_noted() -> None:
    text = f"DiscoveryAddress=192.0.2.1\n{CREDENTIALS}DiscoveryAddress=192.0.2.2\n"
    assert notes(text) == [
        "f:2:1: note: OutgoingUsername is not indented: it does not belong to this DiscoveryAddress"
    ]


def test_default_credentials_that_every_entry_overrides_are_noted() -> None:
    own = " Username=bob\n Password=another-tiger-gate\n"
    found = notes(f"{CREDENTIALS}DiscoveryAddress=192.0.2.1\n{own}")
    assert found == [f"f:{line}:10: note: {name} {UNUSED}" for line, name in USED_BY_NONE]


USED_BY_NONE = [(1, "OutgoingUsername"), (2, "OutgoingPassword")]


def test_an_address_not_indented_below_its_target_name_is_an_error() -> None:
    assert errors(f"TargetName={NAME}\nAddress=192.0.2.1\n") == [
        "f:2:9: an entry for 192.0.2.1/32 without settings has no effect; "
        "expected Address indented below TargetName (line 1)"
    ]
    (line,) = errors(f"TargetName={NAME}\nAddress=192.0.2.1:3260\n")
    assert "which it has only if it is indented below a TargetName" in line


def test_an_empty_subnet_is_noted() -> None:
    assert notes("DiscoveryAddress=192.0.2.1\nSubnet=10.0.0.0/8\n") == [
        "f:2:8: note: an entry for 10.0.0.0/8 without settings has no effect; "
        "expected settings indented below it"
    ]


@pytest.mark.parametrize("setting", ["Continuous=no", "PollInterval=5m", "SendAsyncText=no"])
def test_a_setting_for_discovery_below_all_addresses_is_noted(setting: str) -> None:
    (note,) = notes(f"DiscoveryAddress=192.0.2.1\n\n{setting}\n")
    assert note.endswith(UNUSED)


def test_a_setting_for_sessions_at_the_end_holds_for_targets_without_an_entry() -> None:
    assert notes("DiscoveryAddress=192.0.2.1\n\nLUNs=0\n") == []
    (note,) = notes(f"TargetName={NAME}\n Address=192.0.2.1\n\nLUNs=0\n")
    assert note.endswith(UNUSED)


def test_a_file_without_entries_is_noted() -> None:
    for text in ("", CREDENTIALS, "LoginTimeout=5\n"):
        assert notes(text) == [
            "f: note: the file has no DiscoveryAddress and no TargetName: there is nothing to do"
        ]


def test_a_subnet_that_holds_no_address_of_the_file_is_noted() -> None:
    target = f"TargetName={NAME}\n Address=10.0.0.1\n Address=[2001:db8::1]\n Address=san\n"
    subnets = "Subnet=10.0.0.0/8\n DSCP=1\nSubnet=2001:db8::/32\n DSCP=1\n"
    assert notes(target + subnets) == []
    unused = "Subnet=192.0.2.0/24\n DSCP=1\nSubnet=2001:db9::/32\n DSCP=1\n"
    assert notes(target + unused) == [
        f"f:{line}:8: note: no Address of this file is in {network}: the settings have no effect"
        for line, network in ((5, "192.0.2.0/24"), (7, "2001:db9::/32"))
    ]
    assert notes(f"{target}{unused}DiscoveryAddress=10.0.0.1\n") == [], "it may find others"


def test_credentials_for_a_discovery_that_uses_none_are_noted() -> None:
    own = " DiscoveryUsername=bob\n DiscoveryPassword=open-tiger-gate\n"
    assert notes(f"DiscoveryAddress=192.0.2.1\n{own}") == []
    why = "has no effect: DiscoveryCHAP is no"
    assert notes(f"DiscoveryCHAP=no\nDiscoveryAddress=192.0.2.1\n{own}") == [
        f"f:3:20: note: DiscoveryUsername {why}",
        f"f:4:20: note: DiscoveryPassword {why}",
    ]
