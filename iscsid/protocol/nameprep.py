"""Folds an iSCSI name into its comparable form (RFC 3722, a profile of stringprep).

Case is folded, compatibility characters are replaced, and unsafe characters are refused. The tables
are those of Unicode 3.2, as the profile demands, from the standard library. Pure.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from collections.abc import Callable

_PLAIN = re.compile(r"[a-z0-9.:_-]*")
"""What nearly every name consists of; the whole preparation leaves it as it is."""

IRREGULAR = frozenset("#%+,=@~")
"""Characters outside the profile that targets in the field have in their names, and that are
harmless in a path, a log line, a file and an unquoted word of a shell script."""

_FORBIDDEN = frozenset(
    {*map(chr, (*range(0x2D), 0x2F, *range(0x3B, 0x41), *range(0x5B, 0x61), *range(0x7B, 0x80)))}
    - IRREGULAR
    - {"_"}
    | {"\u3002"}
)
"""The profile's own list, without ``IRREGULAR`` and the underscore: so many targets have the latter
that it is not worth a remark."""

_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_a1,
    stringprep.in_table_c11_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(text: str) -> str:
    """Return the folded form of a name; raises ``ValueError`` with the reason in words."""
    folded = text.lower() if text.isascii() else _normalise(text)
    if _PLAIN.fullmatch(folded):
        return folded
    for character in folded:
        if character in _FORBIDDEN or any(table(character) for table in _PROHIBITED):
            raise ValueError(f"the character U+{ord(character):04X} is forbidden in names")
    _check_direction(folded)
    return folded


def _normalise(text: str) -> str:
    mapped = "".join(
        stringprep.map_table_b2(character)
        for character in text
        if not stringprep.in_table_b1(character)
    )
    return unicodedata.ucd_3_2_0.normalize("NFKC", mapped)


def _check_direction(text: str) -> None:
    """Hold to stringprep's rule on text that runs from right to left (RFC 3454, section 6)."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise ValueError("characters of both writing directions are mixed")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise ValueError("text that runs from right to left does not fill the whole name")
