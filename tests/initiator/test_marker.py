"""The marker that sessions carry in the kernel, and the ISIDs."""

from __future__ import annotations

import pytest

from iscsid.binding import Binding
from iscsid.initiator.marker import Marker, discovery_isid, parse_marker, session_isid
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Isid

NAME = IscsiName("iqn.2024-01.org.example:host")
ISID = Isid(bytes.fromhex("80aabbcc0003"))

BOTH_WAYS = [
    (Marker(Binding(0, 3), ISID, None), "iscsid:0:3:80aabbcc0003"),
    (
        Marker(Binding(255, 255), ISID, Portal("192.0.2.1")),
        "iscsid:255:255:80aabbcc0003@192.0.2.1:3260",
    ),
    (
        Marker(Binding(1, 0), ISID, Portal("2001:db8::1", 3261)),
        "iscsid:1:0:80aabbcc0003@[2001:db8::1]:3261",
    ),
    (
        Marker(Binding(1, 0), ISID, Portal("san.example.org")),
        "iscsid:1:0:80aabbcc0003@san.example.org:3260",
    ),
]


@pytest.mark.parametrize(("marker", "text"), BOTH_WAYS)
def test_markers_are_written_and_read(marker: Marker, text: str) -> None:
    assert str(marker) == text
    assert parse_marker(text) == marker


@pytest.mark.parametrize(
    "text",
    [
        "",
        "default",
        "(null)",
        "iscsid:256:0:80aabbcc0003",
        "iscsid:0:0:80aabbcc00",
        "iscsid:0:0:80AABBCC0003",
        "iscsid:-1:0:80aabbcc0003",
        "iscsid:0:0:80aabbcc0003@",
        "iscsid:0:0:80aabbcc0003@a b",
        "iscsid:0:0:80aabbcc0003\n",
        "iscsid:٣:0:80aabbcc0003",
    ],
)
def test_what_is_no_marker_belongs_to_somebody_else(text: str) -> None:
    assert parse_marker(text) is None


def test_no_two_bindings_share_an_isid_and_none_is_that_of_a_discovery() -> None:
    isids = {session_isid(NAME, Binding(bus, id_)) for bus in range(256) for id_ in range(256)}
    assert len(isids) == 65536
    assert discovery_isid(NAME, Portal("192.0.2.1")) not in isids


def test_an_isid_is_of_the_random_format_with_its_reserved_bits_zero() -> None:
    assert session_isid(NAME, Binding(0, 0))[0] == 0x80
    assert len(session_isid(NAME, Binding(0, 0))) == 6


def test_two_hosts_have_different_isids_for_one_target() -> None:
    other = IscsiName("iqn.2024-01.org.example:other")
    assert session_isid(NAME, Binding(0, 0)) != session_isid(other, Binding(0, 0))
