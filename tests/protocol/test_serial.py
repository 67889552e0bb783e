"""Serial numbers: later and earlier on a circle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol import serial

SERIALS = st.integers(0, serial.MODULUS - 1)
STEPS = st.integers(1, (1 << 31) - 1)


@pytest.mark.parametrize(
    "start, increment, result",
    [
        (0, 1, 1),
        (0xFFFFFFFF, 1, 0),
        (0xFFFFFFFE, 3, 1),
        (0x80000000, 0x7FFFFFFF, 0xFFFFFFFF),
        (7, 0, 7),
    ],
)
def test_adding_wraps(start: int, increment: int, result: int) -> None:
    assert serial.add(start, increment) == result


@pytest.mark.parametrize("increment", [-1, 1 << 31, 1 << 32])
def test_an_increment_without_a_meaning_is_refused(increment: int) -> None:
    with pytest.raises(ValueError):
        serial.add(0, increment)
    with pytest.raises(ValueError):
        serial.subtract(0, increment)


@given(SERIALS, STEPS)
def test_subtracting_undoes_adding(start: int, step: int) -> None:
    assert serial.subtract(serial.add(start, step), step) == start


@pytest.mark.parametrize(
    "earlier, later, distance",
    [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, -1),
        (0xFFFFFFFF, 0, 1),
        (0, 0xFFFFFFFF, -1),
        (0, 0x7FFFFFFF, 0x7FFFFFFF),
        (0, 0x80000000, -0x80000000),
        (0x80000000, 0, -0x80000000),
    ],
)
def test_distance_goes_the_shorter_way_round(earlier: int, later: int, distance: int) -> None:
    assert serial.distance(earlier, later) == distance


@given(SERIALS, STEPS)
def test_what_was_added_is_later_and_never_earlier(start: int, step: int) -> None:
    end = serial.add(start, step)
    assert 0 <= end < serial.MODULUS
    assert serial.is_later(end, start)
    assert not serial.is_later(start, end)
    assert serial.distance(start, end) == step
    assert serial.distance(end, start) == -step


@given(SERIALS)
def test_nothing_is_later_than_itself_or_its_opposite(number: int) -> None:
    opposite = serial.add(serial.add(number, (1 << 31) - 1))
    assert not serial.is_later(number, number)
    assert not serial.is_later(number, opposite)
    assert not serial.is_later(opposite, number)


@given(SERIALS, STEPS, STEPS)
def test_adding_twice_is_adding_the_sum(start: int, first: int, second: int) -> None:
    if first + second < 1 << 31:
        assert serial.add(serial.add(start, first), second) == serial.add(start, first + second)
