"""Sizes and spans of time are written for people."""

from __future__ import annotations

import pytest

from iscsid.status.humanize import Colour, paint, size, span


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (64 << 20, "64.0 MiB"),
        (3 << 39, "1.5 TiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_size(octets: int | None, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7199, "1 h"),
        (86400, "1 d"),
        (1e6, "11 d"),
    ],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_colour_is_there_only_where_it_is_wanted() -> None:
    assert paint("up", Colour.GREEN, True) == "\x1b[32mup\x1b[0m"
    assert paint("up", Colour.GREEN, False) == "up"
    assert paint("up", None, True) == "up"
    assert paint("", Colour.RED, True) == ""
