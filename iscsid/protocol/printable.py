"""Makes received text safe to show: one line, bounded, no control characters. Pure."""

from __future__ import annotations

DEFAULT_LIMIT = 120
_CUT = "..."


def printable(text: str | bytes, limit: int = DEFAULT_LIMIT) -> str:
    """Return ``text`` with everything unprintable escaped, cut to ``limit`` characters.

    Octets are read as UTF-8. What is cut ends in three dots, which count.
    """
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "backslashreplace")
    # One character makes at least one, so no more of a long text need be looked at than this.
    shown = "".join(map(_show, text[: limit + 1]))
    if len(shown) <= limit:
        return shown
    return shown[: limit - len(_CUT)] + _CUT


def _show(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
