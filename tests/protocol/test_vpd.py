"""The identity of a logical unit: which designators count, and how they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.vpd import (
    best,
    changed_identity,
    comparable,
    designators,
    is_identification_page,
    page_length,
)
from tests.support.lun_fixtures import (
    EUI,
    ISTGT_NO_SUCH_LUN,
    ISTGT_PAGE,
    NAA,
    NAME,
    T10,
    TGTD_NO_SUCH_LUN,
    TGTD_PAGE,
    designator,
    naa,
    page,
)


def names(octets: bytes) -> set[str]:
    return {str(each) for each in designators(octets)}


def test_the_names_of_a_disk_of_tgtd() -> None:
    assert names(TGTD_PAGE) == {
        "t10.IET     00010001",
        "naa.3000000100000001",
        "naa.60000000000000000e00000000010001",
    }
    assert best(designators(TGTD_PAGE)) == "naa.60000000000000000e00000000010001"


def test_the_names_of_a_disk_of_istgt_are_those_of_no_port() -> None:
    assert names(ISTGT_PAGE) == {
        "naa.30000000d5c3880c",
        "t10.FreeBSD iSCSI DISK      10000001",
    }


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (page(designator(T10, b"VENDOR  disk"), designator(NAA, b"\x50" + bytes(7))), "naa.50"),
        (page(designator(NAA, b"\x50" + bytes(7)), designator(NAME, b"eui.1")), "eui.1"),
        (page(designator(EUI, b"\x01" * 8), designator(T10, b"VENDOR  disk")), "eui.01"),
        (page(designator(10, b"\x10\x00" + b"\x01" * 16)), "uuid.1000"),
        (page(designator(T10, b"VENDOR  \x1b[1mdisk\0\0")), "t10.VENDOR  \\x1b[1mdisk"),
        (page(), ""),
    ],
)
def test_the_best_name_is_shown_as_the_kernel_would(octets: bytes, shown: str) -> None:
    assert best(designators(octets)).startswith(shown)
    assert bool(best(designators(octets))) is bool(shown)


@pytest.mark.parametrize(
    "octets",
    [
        page(),
        page(designator(NAA, b"\x50" + bytes(7), association=1)),
        page(designator(NAA, b"\x50" + bytes(7), association=2)),
        page(designator(0, b"a name of the volume")),
        page(designator(4, b"\0\0\0\1"), designator(5, b"\0\0\0\1"), designator(6, b"\0\0\0\1")),
        page(designator(NAA, b"")),
        naa(1)[:-1],
        b"",
    ],
    ids=["empty", "of a port", "of a target", "vendor's", "groups", "no octets", "cut", "nothing"],
)
def test_what_names_no_logical_unit_is_not_compared(octets: bytes) -> None:
    assert comparable([(1, octets), (2, naa(2))]) == ((2, naa(2)),)


@pytest.mark.parametrize("octets", [TGTD_NO_SUCH_LUN, ISTGT_NO_SUCH_LUN, b"\0\x83\0", b""])
def test_the_answer_for_a_lun_that_is_not_there_is_no_identity(octets: bytes) -> None:
    assert not is_identification_page(octets)
    assert is_identification_page(TGTD_PAGE) and is_identification_page(ISTGT_PAGE)


def test_what_follows_the_page_is_not_part_of_it() -> None:
    assert page_length(TGTD_PAGE) == len(TGTD_PAGE)
    assert designators(naa(1) + designator(NAA, b"\x50" + bytes(7))) == designators(naa(1))


def test_a_changed_unit_is_reported_with_both_names() -> None:
    words = changed_identity("naa.1", "naa.2")
    assert words == ("another logical unit than before answers here: it was 'naa.1' and is 'naa.2'")
    assert changed_identity("naa.1", "").endswith("and has no name now")


@given(st.binary(max_size=600))
def test_no_page_breaks_the_reader(octets: bytes) -> None:
    found = designators(octets)
    assert bool(best(found)) is bool(found)
    assert best(found).isprintable()
