"""What --show-config prints: values, origins, and nothing secret."""

from __future__ import annotations

import json

from iscsid.config.configuration import parse_configuration
from iscsid.config.effective import FROM_DISCOVERY, Section, format_json, format_text, report
from iscsid.protocol.names import IscsiName

NAME = "iqn.2001-04.com.example:disk"
FILE = f"""\
Username=alice
Password="first secret"
LoginTimeout=20
DiscoveryAddress=10.0.0.1
  PollInterval=5m
TargetName={NAME}
  Address=10.0.1.1,1
  Address=10.0.2.1,1
  Address=10.0.3.1,2
  LUNs=0,5-7
  HeaderDigest=always
Subnet=10.0.2.0/24
  TCPWindowSize=64K
TargetName={NAME}2
SLPMulticast=all
"""


def sections(text: str, *target_names: str) -> tuple[Section, ...]:
    return report(parse_configuration(text, "f"), map(IscsiName, target_names))


def settings_of(section: Section) -> dict[str, tuple[object, str, str]]:
    return {each.keyword: (each.value, each.text, each.origin) for each in section.settings}


def test_sections_come_in_the_order_of_the_file_and_then_the_others() -> None:
    found = sections(FILE, f"{NAME}3", NAME)
    assert [(each.kind, each.subject, each.origin) for each in found] == [
        ("DiscoveryAddress", "10.0.0.1:3260", "f:4"),
        ("TargetName", NAME, "f:6"),
        ("TargetName", NAME, "f:6"),
        ("Subnet", "10.0.2.0/24", "f:12"),
        ("TargetName", f"{NAME}2", "f:14"),
        ("TargetName", f"{NAME}3", "default"),
        ("TargetName", "", "default"),
    ]


def test_each_value_is_reported_with_its_line() -> None:
    discovery, target, *_ = sections(FILE)
    assert settings_of(discovery)["PollInterval"] == (300, "300s", "f:5")
    assert settings_of(discovery)["LoginTimeout"] == (20, "20s", "f:3")
    assert settings_of(discovery)["Continuous"] == (True, "yes", "default")
    assert settings_of(target)["LUNs"] == ([0, 5, 6, 7], "0,5-7", "f:10")
    assert settings_of(target)["HeaderDigest"] == ("always", "always", "f:11")
    assert settings_of(target)["MaxBurstLength"] == (16776192, "16776192", "default")
    assert settings_of(target)["CHAPAlgorithms"] == (["MD5"], "MD5", "default")
    assert settings_of(target)["PreferredSubnet"] == (None, "none", "default")
    assert settings_of(target)["IncomingUsername"] == (None, "none", "default")


def test_a_network_is_reported_as_text() -> None:
    (others,) = sections("PreferredSubnet=10.0.0.9/8\n")
    assert settings_of(others)["PreferredSubnet"] == ("10.0.0.0/8", "10.0.0.0/8", "f:1")


def test_a_derived_default_is_reported_as_it_applies() -> None:
    (target, _) = sections(f"TargetName={NAME}\n MaxBurstLength=4096\n")
    assert settings_of(target)["FirstBurstLength"] == (4096, "4096", "default")


def test_addresses_at_which_a_subnet_changes_something_get_sections_of_their_own() -> None:
    _, first, second, *_ = sections(FILE)
    assert first.addresses == ("10.0.1.1:3260,1", "10.0.3.1:3260,2")
    assert second.addresses == ("10.0.2.1:3260,1",)
    assert settings_of(first)["TCPWindowSize"] == (262144, "262144", "default")
    assert settings_of(second)["TCPWindowSize"] == (65536, "65536", "f:13")


def test_credentials_of_found_targets_are_known_where_one_address_alone_is_asked() -> None:
    found = sections(FILE)[-2]
    assert settings_of(found)["OutgoingUsername"] == ("alice", "alice", "f:1")
    text = (
        FILE + f"DiscoveryAddress=10.0.0.2\nTargetName={NAME}4\n Username=me\n Password={'x' * 12}"
    )
    *_, own, others = sections(text)
    assert settings_of(own)["OutgoingUsername"] == ("me", "me", "f:18")
    assert settings_of(own)["IncomingUsername"] == (None, "-", FROM_DISCOVERY)
    assert settings_of(others)["OutgoingUsername"] == (None, "-", FROM_DISCOVERY)


def test_secrets_are_masked_in_text_and_json() -> None:
    configuration = parse_configuration(FILE, "f")
    found = report(configuration)
    assert settings_of(found[0])["OutgoingPassword"] == ("********", "********", "f:2")
    for written in (
        "\n".join(format_text(configuration, found)),
        "\n".join(format_json(configuration, found)),
        repr(found),
    ):
        assert "********" in written and "first secret" not in written


def test_the_text_names_subjects_values_origins_and_notes() -> None:
    configuration = parse_configuration(FILE, "f")
    lines = list(format_text(configuration, report(configuration)))
    assert "DiscoveryAddress 10.0.0.1:3260  [f:4]" in lines
    assert f"TargetName {NAME} at 10.0.2.1:3260,1  [f:6]" in lines
    assert "TargetName (every other target)  [default]" in lines
    assert "    LoginTimeout              20s                       f:3" in lines
    assert lines[-1].startswith("f:15:1: note: SLPMulticast has no effect")
    assert all(line.isprintable() for line in lines)


def test_the_json_holds_the_same() -> None:
    configuration = parse_configuration(FILE, "f")
    found = report(configuration)
    read = json.loads("\n".join(format_json(configuration, found)))
    assert read["file"] == "f" and len(read["notes"]) == 1
    assert [section["subject"] for section in read["sections"]] == [
        section.subject for section in found
    ]
    login = next(
        each for each in read["sections"][0]["settings"] if each["keyword"] == "LoginTimeout"
    )
    assert login == {"keyword": "LoginTimeout", "value": 20, "text": "20s", "origin": "f:3"}


def test_an_initiator_name_that_is_not_set_is_that_of_the_machine() -> None:
    (discovery, others) = sections("DiscoveryAddress=10.0.0.1")
    shown = (None, "this machine's", "default")
    assert settings_of(discovery)["InitiatorName"] == shown
    assert settings_of(others)["InitiatorName"] == shown
    name = "iqn.2001-04.com.example:Me"
    (discovery, others) = sections(f"DiscoveryAddress=10.0.0.1\n InitiatorName={name}")
    assert settings_of(others)["InitiatorName"] == (name, name, "f:2")
