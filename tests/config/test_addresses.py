"""Names, portals and networks as values of a setting."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.config import addresses
from iscsid.config.addresses import parse_network
from iscsid.config.values import InvalidValue, Syntax
from iscsid.protocol.names import Portal, TargetAddress

NETWORKS = [
    ("192.168.250.0/24", "192.168.250.0/24"),
    ("192.168.250.7/24", "192.168.250.0/24"),
    ("192.168.250.7", "192.168.250.7/32"),
    ("192.168.250.7/32", "192.168.250.7/32"),
    ("255.255.255.255/1", "128.0.0.0/1"),
    ("10.0.0.0/0", "0.0.0.0/0"),
    ("192.168.250.0&ffffff00", "192.168.250.0/24"),
    ("192.168.250.9&FFFFFFFF", "192.168.250.9/32"),
    ("10.1.2.3&00000000", "0.0.0.0/0"),
    ("2001:db8::/32", "2001:db8::/32"),
    ("2001:DB8:0::1/32", "2001:db8::/32"),
    ("[2001:db8::]/32", "2001:db8::/32"),
    ("2001:db8::5", "2001:db8::5/128"),
    ("[2001:db8::5]", "2001:db8::5/128"),
    ("::1/128", "::1/128"),
    ("::1/24", "::/24"),
    ("::", "::/128"),
    ("fe80::/10", "fe80::/10"),
]

NO_NETWORKS = [
    ("", "'' is no IP address"),
    ("host", "'host' is no IP address"),
    ("10.0.0", "'10.0.0' is no IP address"),
    ("10.0.0.256", "'10.0.0.256' is no IP address"),
    ("010.0.0.1", "'010.0.0.1' is no IP address"),
    ("10.0.0.0/33", "'33' is too large"),
    ("10.0.0.0/", "'' is no number"),
    ("10.0.0.0/-1", "'-1' is no number"),
    ("10.0.0.0/24/8", "'24/8' is no number"),
    ("10.0.0.0/255.0.0.0", "'255.0.0.0' is no number"),
    ("2001:db8::/129", "'129' is too large"),
    ("10.0.0.0&ff", "'ff' is no mask of eight hexadecimal digits for an IPv4 address"),
    ("::&ffffff00", "'ffffff00' is no mask of eight hexadecimal digits for an IPv4 address"),
    ("10.0.0.0&ff00ff00", "the mask 'ff00ff00' has a gap"),
    ("10.0.0.0&00ffffff", "the mask '00ffffff' has a gap"),
    ("fe80::1%eth0", "'fe80::1%eth0' names an interface, which a network cannot have"),
]


@pytest.mark.parametrize("text, network", NETWORKS)
def test_a_network_means(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize("text, why", NO_NETWORKS)
def test_an_invalid_network_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_network(text)
    assert caught.value.why == why


@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
    )
)
def test_a_network_contains_every_address_it_was_made_from(pair: tuple[Any, int]) -> None:
    address, bits = pair
    network = parse_network(f"{str(address).partition('%')[0]}/{bits}")
    assert network.version == address.version and network.prefixlen == bits
    assert int(address) & int(network.netmask) == int(network.network_address)
    assert parse_network(addresses.NETWORK.format(network)) == network


@given(st.text(alphabet="0123456789abcdef.:/&%[]g"))
def test_any_text_is_a_network_or_a_misfit(text: str) -> None:
    try:
        parse_network(text)
    except InvalidValue as misfit:
        assert misfit.why


@pytest.mark.parametrize(
    "syntax, text, value",
    [
        (addresses.PORTAL, "192.168.1.1", Portal("192.168.1.1")),
        (addresses.PORTAL, "192.168.1.1:860", Portal("192.168.1.1", 860)),
        (addresses.PORTAL, "[2001:DB8::1]", Portal("2001:db8::1")),
        (addresses.PORTAL, "[2001:db8::1]:3261", Portal("2001:db8::1", 3261)),
        (addresses.PORTAL, "Storage.Example:3260", Portal("storage.example")),
        (addresses.TARGET_ADDRESS, "10.0.0.1,2", TargetAddress(Portal("10.0.0.1"), 2)),
        (addresses.TARGET_ADDRESS, "10.0.0.1:9", TargetAddress(Portal("10.0.0.1", 9))),
        (addresses.TARGET_ADDRESS, "[::1]:9,0", TargetAddress(Portal("::1", 9), 0)),
        (addresses.TARGET_NAME, "iqn.2001-04.com.Example:Disk", "iqn.2001-04.com.example:disk"),
        (addresses.TARGET_NAME, "eui.02004567A425678D", "eui.02004567a425678d"),
        (addresses.HOST, "10.0.0.1", ip_network("10.0.0.1/32")),
        (addresses.HOST, "2001:db8::1", ip_network("2001:db8::1/128")),
        (addresses.PREFERRED_PORTAL, "10.0.0.1", "10.0.0.1"),
        (addresses.PREFERRED_PORTAL, "[2001:DB8::1]", "2001:db8::1"),
        (addresses.PREFERRED_PORTAL, "2001:DB8::1", "2001:db8::1"),
        (addresses.PREFERRED_PORTAL, "None", None),
        (addresses.PREFERRED_SUBNET, "10.0.0.0/8", ip_network("10.0.0.0/8")),
        (addresses.PREFERRED_SUBNET, "none", None),
    ],
)
def test_a_place_means(syntax: Syntax[Any], text: str, value: object) -> None:
    assert syntax.parse(text) == value
    if value is not None:
        assert syntax.parse(syntax.format(value)) == value


@pytest.mark.parametrize(
    "syntax, text, why",
    [
        (
            addresses.PORTAL,
            "10.0.0.1:0",
            "'10.0.0.1:0' is no portal: a port is a number from 1 to 65535",
        ),
        (
            addresses.PORTAL,
            "10.0.0.1:99999",
            "'10.0.0.1:99999' is no portal: a port is a number from 1 to 65535",
        ),
        (
            addresses.PORTAL,
            "2001:db8::1",
            "'2001:db8::1' is no portal: an IPv6 address stands in brackets",
        ),
        (
            addresses.PORTAL,
            "0.0.0.0",
            "nothing can be reached at '0.0.0.0': the address is unspecified",
        ),
        (
            addresses.TARGET_ADDRESS,
            "224.0.0.1",
            "nothing can be reached at '224.0.0.1': the address is a multicast group",
        ),
        (
            addresses.TARGET_ADDRESS,
            "10.0.0.1,x",
            "'10.0.0.1,x' has no portal group tag after the comma",
        ),
        (
            addresses.HOST,
            "10.0.0.1/24",
            "'10.0.0.1/24' has a mask, which belongs into Subnet",
        ),
        (addresses.PREFERRED_PORTAL, "10.0.0.1:3261", "'10.0.0.1:3261' has a port"),
    ],
)
def test_an_invalid_address_is_refused_with_a_reason(
    syntax: Syntax[Any], text: str, why: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        syntax.parse(text)
    assert caught.value.why == why


def test_an_invalid_name_is_reported_as_the_names_module_reports_it() -> None:
    with pytest.raises(InvalidValue) as caught:
        addresses.TARGET_NAME.parse("a/disk")
    assert caught.value.why == (
        "'a/disk' is no iSCSI name: the character U+002F is forbidden in names"
    )
