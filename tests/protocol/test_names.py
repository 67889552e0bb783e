"""iSCSI names, portals and target addresses: what they may look like, and their one form."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import InvalidName
from iscsid.protocol.names import (
    DiscoveryRecord,
    IscsiName,
    Portal,
    TargetAddress,
    lacks_scope,
    parse_iscsi_name,
    parse_new_name,
    parse_portal,
    parse_target_address,
    why_irregular,
    why_unusable,
)

LONGEST = "iqn.2024-01.org:" + "x" * 207


@pytest.mark.parametrize(
    "text, name",
    [
        ("iqn.2024-01.org.example", "iqn.2024-01.org.example"),
        ("iqn.2024-01.org.example:disk:1", "iqn.2024-01.org.example:disk:1"),
        ("iqn.2001-04.com.example:", "iqn.2001-04.com.example:"),
        ("iqn.1992-08.com.netapp:sn.135053389", "iqn.1992-08.com.netapp:sn.135053389"),
        (
            "iqn.2000-01.com.synology:DiskStation.Target-1.e0f1",
            "iqn.2000-01.com.synology:diskstation.target-1.e0f1",
        ),
        ("IQN.2024-12.ORG:A_B", "iqn.2024-12.org:a_b"),
        ("eui.02004567A425678D", "eui.02004567a425678d"),
        ("naa.52004567BA64678D", "naa.52004567ba64678d"),
        ("naa.62004567BA64678D0123456789ABCDEF", "naa.62004567ba64678d0123456789abcdef"),
        ("iqn.2024-01.org:größe", "iqn.2024-01.org:grösse"),
        (LONGEST, LONGEST),
    ],
)
def test_a_name_has_one_form(text: str, name: str) -> None:
    assert parse_iscsi_name(text) == parse_new_name(text) == name
    assert why_irregular(IscsiName(name)) == ""
    assert parse_iscsi_name(name) == name


IRREGULAR = [
    ("disk", "begins with none of"),
    ("iqn", "begins with none of"),
    ("iqn2024-01.org", "begins with none of"),
    ("wwn.52004567ba64678d", "begins with none of"),
    ("iqn.", "year-month"),
    ("iqn.2017.11.com.example:disk", "year-month"),
    ("iqn.com.example:disk", "year-month"),
    ("iqn.2024-01", "year-month"),
    ("iqn.2024-01.", "year-month"),
    ("iqn.2024-1.org", "year-month"),
    ("iqn.2024-13.org", "year-month"),
    ("iqn.2024-00.org", "year-month"),
    ("iqn.24-01.org", "year-month"),
    ("iqn.2024-01:disk", "year-month"),
    ("iqn.2024-01..org", "year-month"),
    ("iqn.2024-01.org.:disk", "year-month"),
    ("eui.0123", "16 hexadecimal digits"),
    ("eui.02004567a425678g", "16 hexadecimal digits"),
    ("eui.02004567a425678d0", "16 hexadecimal digits"),
    ("naa.52004567ba64678", "16 or 32 hexadecimal digits"),
    ("naa.52004567ba64678d01", "16 or 32 hexadecimal digits"),
    ("iqn.2024-01.org:a+b@c", "the character +"),
]


@pytest.mark.parametrize("text, why", IRREGULAR)
def test_a_name_outside_the_grammar_is_taken_from_others_and_not_made_here(
    text: str, why: str
) -> None:
    name = parse_iscsi_name(text.upper())
    assert name == text and why in why_irregular(name)
    with pytest.raises(InvalidName, match=re.escape(why)):
        parse_new_name(text)


@pytest.mark.parametrize(
    "text, diagnostic",
    [
        ("", "no letter and no digit"),
        ("..", "no letter and no digit"),
        ("iqn.2024-01.org:a b", "U+0020 is forbidden"),
        ("iqn.2024-01.org:../../etc/passwd", "U+002F is forbidden"),
        ("iqn.2024-01.org:a\nnode.startup = automatic", "U+000A is forbidden"),
        ("iqn.2024-01.org:a;reboot", "U+003B is forbidden"),
        ("disk\\xff", "U+005C is forbidden"),
        ("$(reboot)", "U+0024 is forbidden"),
        ("iqn.2024-01.org:\uff0f", "U+002F is forbidden"),
        ("iqn.2024-01.org:\udcff", "U+DCFF is forbidden"),
        (LONGEST + "x", "more than 223 octets"),
        ("iqn.2024-01.org:" + "ö" * 104, "more than 223 octets"),
        ("iqn.2024-01.org:" + "\u3300" * 60, "normalised it has more than 223 octets"),
    ],
)
def test_an_unsafe_name_is_refused_with_a_reason(text: str, diagnostic: str) -> None:
    with pytest.raises(InvalidName) as error:
        parse_iscsi_name(text)
    message = str(error.value)
    assert diagnostic in message
    assert message.isprintable() and len(message) < 350


@given(st.text(max_size=60) | st.text(max_size=60).map("iqn.2024-01.org:".__add__))
def test_any_text_is_a_name_in_its_one_form_or_refused(text: str) -> None:
    try:
        name = parse_iscsi_name(text)
    except InvalidName as error:
        assert str(error).isprintable()
        return
    assert parse_iscsi_name(name) == name
    assert 1 <= len(name.encode()) <= 223
    assert "/" not in name and name.isprintable() and " " not in name


PORTALS = {
    "10.0.0.1": Portal("10.0.0.1", 3260),
    "10.0.0.1:3261": Portal("10.0.0.1", 3261),
    "10.0.0.1:1": Portal("10.0.0.1", 1),
    "10.0.0.1:65535": Portal("10.0.0.1", 65535),
    "[2001:db8::1]": Portal("2001:db8::1", 3260),
    "[2001:DB8:0:0::1]:3261": Portal("2001:db8::1", 3261),
    "[::1]": Portal("::1", 3260),
    "[::1]:13260": Portal("::1", 13260),
    "[fe80::1%eth0]:3260": Portal("fe80::1%eth0", 3260),
    "[fe80::1%eth0.100]": Portal("fe80::1%eth0.100", 3260),
    "[::ffff:192.0.2.1]:3261": Portal("192.0.2.1", 3261),
    "host.example": Portal("host.example", 3260),
    "Host.Example.:3261": Portal("host.example", 3261),
    "storage": Portal("storage", 3260),
    "san_1.example": Portal("san_1.example", 3260),
    "1and1.example": Portal("1and1.example", 3260),
    "xn--bcher-kva.example": Portal("xn--bcher-kva.example", 3260),
    "a" * 63 + ".example": Portal("a" * 63 + ".example", 3260),
}


@pytest.mark.parametrize("text, portal", PORTALS.items())
def test_a_portal_is_read_in_every_form(text: str, portal: Portal) -> None:
    assert parse_portal(text) == portal
    assert parse_portal(str(portal)) == portal


@pytest.mark.parametrize(
    "text",
    ["", ":3260", "host:", "host:0", "host:65536", "host:-1", "host:+1", "host:abc", "host:99999"]
    + ["host:03260", "host:3 260", "host:٣", "host:3260:1", "::1", "::1:13260", "2001:db8::1", "[]"]
    + ["[::1", "::1]", "[::1]3260", "[::1]:", "[::1]:0", "[[::1]]", "[10.0.0.1]", "[host]", "[::g]"]
    + ["[fe80::1%]", "[fe80::1%a b]", "[fe80::1%../x]", "[fe80::1%" + "e" * 16 + "]", "10.0.0"]
    + [
        "10.0.0.256",
        "010.0.0.1",
        "1",
        "0x7f000001",
        "0x7f.1",
        "10.0.0.1.",
        "a..b",
        ".a",
        "-a",
        "a-",
    ]
    + [
        "a b",
        " a",
        "a\n",
        "a\0",
        "größe",
        "a/b",
        "user@host",
        "a" * 64,
        "a." * 127 + "a",
        "host,1",
    ],
)
def test_what_is_no_portal_is_refused(text: str) -> None:
    with pytest.raises(InvalidName) as error:
        parse_portal(text)
    assert "is no portal" in str(error.value)
    assert str(error.value).isprintable()


def test_an_ipv6_address_without_brackets_is_refused_with_that_reason() -> None:
    with pytest.raises(InvalidName, match="an IPv6 address stands in brackets"):
        parse_portal("::1:13260")


def test_the_default_port_may_be_another() -> None:
    assert parse_portal("host", 3300) == Portal("host", 3300)
    assert parse_portal("host:3260", 3300) == Portal("host", 3260)


ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str).filter(lambda text: not text.startswith("::ffff:")),
    st.from_regex(r"([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.){0,3}[a-z]{1,9}", fullmatch=True),
)
PORTS = st.integers(1, 65535)
TAGS = st.none() | st.integers(0, 65535)


@given(ADDRESSES, PORTS, TAGS)
def test_parsing_undoes_formatting(host: str, port: int, tag: int | None) -> None:
    portal = Portal(host, port)
    assert parse_portal(str(portal)) == portal
    assert str(portal).startswith("[") is (":" in host)
    address = TargetAddress(portal, tag)
    assert parse_target_address(str(address)) == address


@given(st.ip_addresses(v=6), PORTS)
def test_every_spelling_of_an_ipv6_address_is_the_same_portal(
    address: ipaddress.IPv6Address, port: int
) -> None:
    spellings = {str(address), address.exploded, address.exploded.upper()}
    assert len({parse_portal(f"[{spelling}]:{port}") for spelling in spellings}) == 1


@given(st.text(max_size=40) | st.text(st.sampled_from("0123456789abf:.[]%,-"), max_size=30))
def test_any_text_is_a_target_address_in_its_one_form_or_refused(text: str) -> None:
    try:
        address = parse_target_address(text)
    except InvalidName as error:
        assert str(error).isprintable()
        return
    assert parse_target_address(str(address)) == address
    assert 1 <= address.portal.port <= 65535
    assert str(address).isprintable() and str(address).isascii()


@pytest.mark.parametrize(
    "text, address",
    [
        ("10.0.0.1:3261,1", TargetAddress(Portal("10.0.0.1", 3261), 1)),
        ("10.0.0.1,0", TargetAddress(Portal("10.0.0.1"), 0)),
        ("[::1]:3260,65535", TargetAddress(Portal("::1"), 65535)),
        ("host.example,0x10", TargetAddress(Portal("host.example"), 16)),
        ("10.0.0.1:3261", TargetAddress(Portal("10.0.0.1", 3261), None)),
    ],
)
def test_a_target_address_may_name_its_portal_group(text: str, address: TargetAddress) -> None:
    assert parse_target_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ",", ",1", "10.0.0.1,", "10.0.0.1,-1", "10.0.0.1,65536", "10.0.0.1,1,2", "10.0.0.1,a"]
    + ["10.0.0.1, 1", "10.0.0.1:3260;1", "::1,1", "10.0.0.1,1\n"],
)
def test_what_is_no_target_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidName) as error:
        parse_target_address(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "host, reason",
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1%eth0", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("fe80::1", "link-local and names no interface"),
    ],
)
def test_an_unusable_portal_is_reported_with_the_reason(host: str, reason: str) -> None:
    assert reason in (why_unusable(Portal(host)) or "")


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "127.0.0.1", "::1", "169.254.1.1", "fe80::1%eth0", "host.example"]
)
def test_a_portal_that_may_be_reached_is_usable(host: str) -> None:
    assert why_unusable(Portal(host)) is None


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_portal_without_a_proper_port_is_unusable(port: int) -> None:
    assert why_unusable(Portal("10.0.0.1", port)) == f"{port} is no port"


def test_only_link_local_ipv6_addresses_lack_a_scope() -> None:
    assert lacks_scope(Portal("fe80::1"))
    assert not lacks_scope(Portal("fe80::1%eth0"))
    assert not lacks_scope(Portal("2001:db8::1"))
    assert not lacks_scope(Portal("169.254.0.1"))
    assert not lacks_scope(Portal("host"))


def test_a_login_sends_the_name_as_the_target_spells_it() -> None:
    name = IscsiName("iqn.2000-01.com.synology:a")
    assert DiscoveryRecord(name, ()).name_to_send == name
    spelt = DiscoveryRecord(name, (), "iqn.2000-01.com.synology:A")
    assert spelt.name_to_send == "iqn.2000-01.com.synology:A"
