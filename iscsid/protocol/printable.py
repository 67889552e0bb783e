"""Received text for the log: one line, bounded, no control characters; and bounded remarks.
Pure.
"""

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


def unprintable_escaped(text: str) -> str:
    """Return all of ``text`` with everything unprintable escaped."""
    return text if text.isprintable() else "".join(map(_show, text))


MAX_NOTES = 50


class Notes:
    """Collects remarks: repetitions once, and no more than ``limit`` until they are taken."""

    def __init__(self, limit: int = MAX_NOTES) -> None:
        self._limit = limit
        self._notes: dict[str, None] = {}
        self._left_out = 0

    def add(self, note: str) -> None:
        if note in self._notes:
            return
        if len(self._notes) < self._limit:
            self._notes[note] = None
        else:
            self._left_out += 1

    def take(self) -> tuple[str, ...]:
        """Return the remarks and forget them; the last one counts those left out, if any."""
        notes = tuple(self._notes)
        if self._left_out:
            notes += (f"{self._left_out} further remarks are left out",)
        self._notes.clear()
        self._left_out = 0
        return notes
