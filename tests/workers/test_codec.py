"""Shapes: what is written is read back, and nothing else is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import IscsidError
from iscsid.workers.codec import (
    Codec,
    Malformed,
    checked,
    choice,
    flag,
    from_octets,
    number,
    octets,
    optional,
    record,
    several,
    text,
    to_octets,
)


class Colour(Enum):
    RED = "#f00"
    BLUE = "#00f"


@dataclass(frozen=True)
class Point:
    x: int
    name: str | None = None

    def __post_init__(self) -> None:
        if self.x == 13:
            raise IscsidError("no user has number 13")


POINT = record(Point, x=number(-9, 99), name=optional(text(3)))
WHOLE = checked(5, int, str)

SOUND: list[tuple[Codec[Any], Any]] = [
    (number(0, 5), 0),
    (number(0, 5), 5),
    (flag(), True),
    (text(3), "abc"),
    (text(3), ""),
    (octets(2, 2), b"\x00\xff"),
    (optional(flag()), None),
    (optional(flag()), False),
    (several(number(0, 5), 2), (1, 2)),
    (several(number(0, 5), 2), ()),
    (choice(Colour), Colour.BLUE),
    (WHOLE, 42),
    (POINT, Point(1)),
    (POINT, Point(-9, "abc")),
]


@pytest.mark.parametrize(("shape", "value"), SOUND)
def test_what_is_written_is_read_back(shape: Codec[Any], value: object) -> None:
    assert shape.read(from_octets(to_octets(shape.write(value)))) == value


REFUSED: list[tuple[Codec[Any], object]] = [
    (number(0, 5), -1),
    (number(0, 5), 6),
    (number(0, 5), True),
    (number(0, 5), 1.0),
    (number(0, 5), "1"),
    (number(0, 5), None),
    (flag(), 1),
    (flag(), None),
    (text(3), "abcd"),
    (text(3), b"abc"),
    (text(3), "\ud800"),
    (octets(2, 2), "00f"),
    (octets(2, 2), "00FF"),
    (octets(2, 2), "0 0f"),
    (octets(2, 2), "zzzz"),
    (optional(flag()), 0),
    (several(number(0, 5), 2), [1, 2, 3]),
    (several(number(0, 5), 2), [9]),
    (several(number(0, 5), 2), {"0": 1}),
    (choice(Colour), "#f00"),
    (choice(Colour), "GREEN"),
    (choice(Colour), 0),
    (choice(Colour), ["RED"]),
    (WHOLE, "x"),
    (WHOLE, 42),
    (POINT, {"x": 1}),
    (POINT, {"x": 1, "name": None, "y": 2}),
    (POINT, {"x": 13, "name": None}),
    (POINT, [1, None]),
    (POINT, None),
]


@pytest.mark.parametrize(("shape", "found"), REFUSED)
def test_what_is_not_of_the_shape_is_refused(shape: Codec[Any], found: object) -> None:
    with pytest.raises(Malformed):
        shape.read(found)


@given(st.text(max_size=50))
def test_any_text_is_cut_and_then_read_back(value: str) -> None:
    shape = text(10)
    read = shape.read(from_octets(to_octets(shape.write(value))))
    assert len(read) <= 10
    if value.isprintable() and len(value) <= 10:
        assert read == value


def test_too_many_are_cut_off_where_they_are_written() -> None:
    assert several(number(0, 9), 2).write((1, 2, 3)) == [1, 2]


@pytest.mark.parametrize(
    "found",
    [b"", b"\xff", b"nul", b"1 2", b'{"a":1,"a":2}', b"NaN", b"-Infinity", b"1.5", b"1e3"],
)
def test_what_is_not_quite_json_is_refused(found: bytes) -> None:
    with pytest.raises(Malformed):
        from_octets(found)


def test_nesting_beyond_all_measure_is_refused() -> None:
    with pytest.raises(Malformed):
        from_octets(b"[" * 100_000)
