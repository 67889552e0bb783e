"""Received text on its way to a log line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.printable import DEFAULT_LIMIT, printable


@pytest.mark.parametrize(
    "text, shown",
    [
        ("", ""),
        ("iqn.2024-01.org.example:disk", "iqn.2024-01.org.example:disk"),
        ("größe", "größe"),
        ("one\ntwo\r\x1b[31mred", r"one\ntwo\r\x1b[31mred"),
        ("\0\x7f\x85", r"\x00\x7f\x85"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ("\udc80", r"\udc80"),
        ("100%s {}", "100%s {}"),
        (b"plain", "plain"),
        (b"\xff\x00", r"\xff\x00"),
    ],
)
def test_control_characters_are_escaped(text: str | bytes, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut_and_marked() -> None:
    assert printable("x" * 1000, 10) == "xxxxxxx..."
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("\n" * 6, 10) == "\\n\\n\\n\\" + "..."


@given(st.text() | st.binary(), st.integers(10, 200))
def test_the_result_is_one_bounded_line(text: str | bytes, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()


@given(st.text(max_size=DEFAULT_LIMIT).filter(str.isprintable))
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_huge_text_costs_no_more_than_its_beginning() -> None:
    assert len(printable(b"\x00" * (1 << 24))) == DEFAULT_LIMIT
