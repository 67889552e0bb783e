"""Sizes, spans of time and colours for people to read. Pure."""

from __future__ import annotations

import math
from enum import Enum

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"))


class Colour(Enum):
    """The parameter of an escape sequence (ECMA-48, SGR)."""

    GREEN = "32"
    YELLOW = "33"
    RED = "31"
    BOLD = "1"


def size(octets: int | None) -> str:
    """Write a number of bytes, with one digit after the point: ``64.0 MiB``."""
    if octets is None:
        return ""
    value, unit = float(octets), "B"
    for larger in _UNITS:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{octets} B" if unit == "B" else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """Write how long something takes or took, in its largest unit: ``3 min``."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, math.ceil(seconds))} s"


def paint(text: str, colour: Colour | None, wanted: bool) -> str:
    """Colour a text, if it is ``wanted``."""
    if not wanted or colour is None or not text:
        return text
    return f"\x1b[{colour.value}m{text}\x1b[0m"
