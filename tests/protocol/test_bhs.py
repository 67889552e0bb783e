"""The places of values in a header: each reads what it wrote, and writes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.pdu import (
    BHS_LENGTH,
    Bits,
    Number,
    Octets,
    Place,
    Value,
    ahs_length,
    data_segment_length,
    padding,
)

PLACES: list[tuple[Place, Value, str]] = [
    (Number(4, 2), 0x1234, "000000001234" + "00" * 42),
    (Number(0, 4), 0xFFFFFFFF, "ffffffff" + "00" * 44),
    (Octets(44, 4), b"abcd", "00" * 44 + "61626364"),
    (Bits(1, 7), True, "0080" + "00" * 46),
    (Bits(1, 2, 2, int), 3, "000c" + "00" * 46),
    (Bits(1, 0, 7, int), 0x55, "0055" + "00" * 46),
]


@pytest.mark.parametrize("place, value, header", PLACES)
def test_a_place_reads_and_writes_its_octets(place: Place, value: Value, header: str) -> None:
    assert place.take(bytes.fromhex(header)) == value
    written = bytearray(BHS_LENGTH)
    place.put(written, value)
    assert written.hex() == header


@pytest.mark.parametrize("place, value, header", PLACES)
def test_a_place_leaves_the_bits_around_it_alone(place: Place, value: Value, header: str) -> None:
    del header
    written = bytearray(b"\xff" * BHS_LENGTH)
    nothing: Value = bytes(4) if isinstance(place, Octets) else 0
    place.put(written, nothing)
    beyond = [octet for octet in written if octet == 0xFF]
    size = 0 if isinstance(place, Bits) else place.size
    assert len(beyond) == BHS_LENGTH - size


@pytest.mark.parametrize(
    "place, value",
    [
        (Number(4, 2), 0x10000),
        (Number(4, 2), -1),
        (Octets(8, 6), b"12345"),
        (Octets(8, 6), b"1234567"),
        (Octets(8, 6), 6),
        (Bits(1, 0, 2, int), 4),
        (Bits(1, 0, 2, int), -1),
    ],
)
def test_a_value_that_does_not_fit_is_refused(place: Place, value: Value) -> None:
    with pytest.raises((ValueError, OverflowError)):
        place.put(bytearray(BHS_LENGTH), value)


def test_lengths_are_read_where_the_standard_has_them() -> None:
    header = bytes.fromhex("23870000ff010203") + bytes(40)
    assert ahs_length(header) == 1020
    assert data_segment_length(header) == 0x010203


@given(st.integers(0, 1 << 24))
def test_padding_fills_up_to_four(length: int) -> None:
    assert 0 <= padding(length) <= 3
    assert (length + padding(length)) % 4 == 0
