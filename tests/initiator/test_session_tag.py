"""The marker that sessions carry in the kernel, and the ISIDs."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.bindings.binding import Binding
from iscsid.initiator import session_tag
from iscsid.initiator.session_tag import (
    SessionTag,
    check_isid,
    discovery_isid,
    parse_session_tag,
    session_isid,
)
from iscsid.kernel.kernel_parameters import MAX_SESSION_TAG
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Isid

NAME = IscsiName("iqn.2024-01.org.example:host")
ISID = Isid(bytes.fromhex("80aabbcc0003"))

BOTH_WAYS = [
    (SessionTag(Binding(0, 3), ISID, None), "iscsid:0:3:80aabbcc0003"),
    (
        SessionTag(Binding(255, 255), ISID, Portal("192.0.2.1")),
        "iscsid:255:255:80aabbcc0003@192.0.2.1:3260",
    ),
    (
        SessionTag(Binding(1, 0), ISID, Portal("2001:db8::1", 3261)),
        "iscsid:1:0:80aabbcc0003@[2001:db8::1]:3261",
    ),
    (
        SessionTag(Binding(1, 0), ISID, Portal("san.example.org")),
        "iscsid:1:0:80aabbcc0003@san.example.org:3260",
    ),
    (
        SessionTag(Binding(1, 3), ISID, Portal("192.0.2.1"), "[2001:db8::1]:3261"),
        "iscsid:1:3:80aabbcc0003/[2001:db8::1]:3261@192.0.2.1:3260",
    ),
    (SessionTag(Binding(1, 3), ISID, None, "2"), "iscsid:1:3:80aabbcc0003/2"),
    (SessionTag(Binding(0, 3), ISID, None, is_logging_out=True), "iscsid-leaving:0:3:80aabbcc0003"),
    (SessionTag(Binding(1, 3), ISID, None, "?"), "iscsid:1:3:80aabbcc0003/?"),
]


@pytest.mark.parametrize(("session_tag", "text"), BOTH_WAYS)
def test_markers_are_written_and_read(session_tag: SessionTag, text: str) -> None:
    assert str(session_tag) == text
    assert parse_session_tag(text) == session_tag


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
        "iscsid:0:0:80aabbcc0003/",
        "iscsid:0:0:80aabbcc0003/#1",
        "iscsid:0:0:80aabbcc0003/a b",
        "iscsid:0:0:80aabbcc0003\n",
        "iscsid:٣:0:80aabbcc0003",
    ],
)
def test_what_is_no_marker_belongs_to_somebody_else(text: str) -> None:
    assert parse_session_tag(text) is None


def test_the_longest_marker_is_not_too_long_for_the_kernel() -> None:
    name = Portal(".".join(["x" * 62] * 4), 65535)
    session_tag = SessionTag(Binding(255, 255), ISID, name, str(name))
    assert len(str(session_tag)) <= MAX_SESSION_TAG
    assert parse_session_tag(str(session_tag)) == session_tag


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


@given(st.integers(0, 255), st.integers(0, 255), st.integers(1, 1 << 20), st.text(max_size=20))
def test_a_trial_never_bears_the_isid_of_a_session_or_a_discovery(
    bus: int, target: int, number: int, name: str
) -> None:
    initiator = IscsiName(f"iqn.2003-02.org.example:{name}")
    isid = check_isid(initiator, number)
    assert len(isid) == 6 and isid[0] == 0x80
    others = (
        session_isid(initiator, Binding(bus, target)),
        discovery_isid(initiator, Portal("192.0.2.1", number % 65535 + 1)),
    )
    # The random field alone keeps them apart, whatever the qualifiers are.
    assert isid[:4] not in {other[:4] for other in others}


def test_a_trial_keeps_apart_even_where_the_checksums_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One name in sixteen million has this bad luck, and has it at every start."""

    def unlucky(octets: bytes) -> int:
        twice = octets.startswith(b"trial trial ")
        return crc32(octets if twice else octets.removeprefix(b"trial "))

    name = IscsiName("iqn.2003-02.org.example:unlucky")
    monkeypatch.setattr(session_tag, "crc32", unlucky)
    assert check_isid(name, 1)[:4] != session_isid(name, Binding(0, 0))[:4]


def test_each_trial_login_has_an_isid_of_its_own() -> None:
    name = IscsiName("iqn.2003-02.org.example:me")
    assert len({check_isid(name, number) for number in range(1, 1000)}) == 999
