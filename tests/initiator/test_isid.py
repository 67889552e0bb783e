"""No two logins that may run at one time share an ISID."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.bindings.binding import Binding
from iscsid.initiator import isid
from iscsid.initiator.isid import check_isid, discovery_isid, session_isid
from iscsid.protocol.names import IscsiName, Portal

NAME = IscsiName("iqn.2024-01.org.example:host")
NAMES = st.text("abcXYZ019.:-_", max_size=20)


def test_no_two_bindings_share_an_isid_and_none_is_that_of_a_discovery() -> None:
    isids = {session_isid(NAME, Binding(bus, id_)) for bus in range(256) for id_ in range(256)}
    assert len(isids) == 65536
    assert discovery_isid(NAME, Portal("192.0.2.1")) not in isids


def test_an_isid_is_of_the_random_format_with_its_reserved_bits_zero() -> None:
    assert session_isid(NAME, Binding(0, 0))[0] == 0x80
    assert len(session_isid(NAME, Binding(0, 0))) == 6


def test_the_spelling_of_the_initiator_name_does_not_change_an_isid() -> None:
    spelt = IscsiName("iqn.2024-01.org.Example:HOST")
    portal = Portal("192.0.2.1")
    assert session_isid(spelt, Binding(0, 0)) == session_isid(NAME, Binding(0, 0))
    assert discovery_isid(spelt, portal) == discovery_isid(NAME, portal)
    assert check_isid(spelt, 1) == check_isid(NAME, 1)


def test_two_hosts_have_different_isids_for_one_target() -> None:
    other = IscsiName("iqn.2024-01.org.example:other")
    assert session_isid(NAME, Binding(0, 0)) != session_isid(other, Binding(0, 0))


@given(st.integers(0, 255), st.integers(0, 255), st.integers(1, 1 << 20), NAMES)
def test_a_test_login_never_has_the_isid_of_a_session_or_a_discovery(
    bus: int, target: int, number: int, name: str
) -> None:
    initiator = IscsiName(f"iqn.2003-02.org.example:{name}")
    tested = check_isid(initiator, number)
    assert len(tested) == 6 and tested[0] == 0x80
    others = (
        session_isid(initiator, Binding(bus, target)),
        discovery_isid(initiator, Portal("192.0.2.1", number % 65535 + 1)),
    )
    # The random field alone keeps them apart, whatever the qualifiers are.
    assert tested[:4] not in {other[:4] for other in others}


def test_a_test_login_differs_even_if_the_checksums_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One name in sixteen million has this bad luck, and has it at every start."""

    def unlucky(octets: bytes) -> int:
        twice = octets.startswith(b"trial trial ")
        return crc32(octets if twice else octets.removeprefix(b"trial "))

    name = IscsiName("iqn.2003-02.org.example:unlucky")
    monkeypatch.setattr(isid, "crc32", unlucky)
    assert check_isid(name, 1)[:4] != session_isid(name, Binding(0, 0))[:4]


def test_each_test_login_has_an_isid_of_its_own() -> None:
    name = IscsiName("iqn.2003-02.org.example:me")
    assert len({check_isid(name, number) for number in range(1, 1000)}) == 999
