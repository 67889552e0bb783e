"""Remarks for the log on what was skipped or odd, bounded in number. Pure."""

from __future__ import annotations

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
