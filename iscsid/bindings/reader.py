"""Reading a whole bindings file, whatever is in it.

Separates the good lines from the others, sees where a file was cut short, and bounds what a file of
junk can cost. Pure; only ``bindings`` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from iscsid.bindings.binding import BUSES, TARGETS_PER_BUS, Binding
from iscsid.bindings.file_format import (
    END,
    HEADER,
    LINES_LOST,
    LONGEST_LINE,
    SET_ASIDE,
    Entry,
    quoted,
    read_line,
    reserved_number,
    set_aside,
)
from iscsid.protocol.names import IscsiName

MOST_LINES = 4 * BUSES * TARGETS_PER_BUS
MOST_REMARKS = 20
MOST_KEPT = 100
"""Comments for lines set aside, apart from those that reserve a number."""


@dataclass(frozen=True, slots=True)
class Remark:
    line: int
    what: str
    damage: bool


@dataclass(slots=True)
class Found:
    """What a file holds."""

    lines: list[str | Entry] = field(default_factory=list)
    """All lines to be written back, without the last one that says it is the last."""
    reserved: set[Binding] = field(default_factory=set)
    """Numbers that bind nobody, and must not be given away."""
    remarks: list[Remark] = field(default_factory=list)
    lost: bool = False
    """Lines may be missing, and nobody knows which numbers they had."""


def read(text: str) -> Found:
    """Read the text of a bindings file."""
    reader = _Reader()
    if text.startswith("\ufeff"):
        text = text[1:]
        reader.note("begins with a byte order mark, which is not needed")
    for line, is_whole in islice(_lines_of(text), MOST_LINES + 1):
        reader.take(line, is_whole)
    return reader.finish()


def _lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line and whether its end was there.

    Only the newline ends a line: ``str.splitlines`` would also cut at eight other characters.
    """
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        if end < 0:
            yield text[start:], False
            return
        yield text[start:end], True
        start = end + 1


class _Reader:
    """The state of reading one file."""

    def __init__(self) -> None:
        self._found = Found()
        self._line = 0
        self._entries: dict[Binding, tuple[int, Entry]] = {}
        self._names: dict[tuple[IscsiName, str], int] = {}
        self._kept = self._dropped = self._untold = 0
        self._untold_damage = False
        self._is_ours = self._has_end = self._is_cut = self._has_carriage_return = False

    def take(self, line: str, is_whole: bool) -> None:
        """Read the next line."""
        self._line += 1
        if self._line > MOST_LINES:
            self._is_cut = True
            self._complain(f"more than {MOST_LINES} lines; the rest is not read")
            return
        if line.endswith("\r"):
            line = line[:-1]
            if not self._has_carriage_return:
                self.note("ends with carriage return and newline; newline is enough")
            self._has_carriage_return = True
        bare = line.strip(" \t")
        self._is_cut = self._is_cut or not (is_whole or bare in ("", END))
        if bare == END:
            self._has_end = True
        elif bare.startswith(SET_ASIDE):
            self._remember(line)
        elif not bare or bare.startswith("#"):
            self._comment(line)
        elif not is_whole:
            self._refuse(line, f"has no newline, so its end may be missing: {quoted(line)}")
        else:
            self._bind(line)

    def note(self, what: str) -> None:
        """Remark on a line without harm."""
        self._remark(what, damage=False)

    def finish(self) -> Found:
        """Draw the conclusions from what was there and what was not."""
        found = self._found
        if not self._has_end and (self._is_ours or self._is_cut) and not found.lost:
            self._complain(f"ends without the line '{END}': what stood behind is lost")
            found.lost = True
            found.lines.append(LINES_LOST)
        if self._dropped:
            found.lines.append(f"{SET_ASIDE} ... and {self._dropped} more lines; the copy has them")
        if not self._is_ours:
            found.lines[:0] = HEADER[:1] if any(found.lines) else HEADER
        if self._untold:
            found.remarks.append(
                Remark(self._line, f"{self._untold} more complaints", self._untold_damage)
            )
        return found

    def _bind(self, line: str) -> None:
        entry = read_line(line)
        if isinstance(entry, str):
            self._refuse(line, entry)
            return
        first, taken = self._entries.get(entry.binding, (0, None))
        before = self._names.get((entry.name, entry.path), 0)
        if taken == entry:
            self.note(f"says what line {first} says")
        elif taken:
            self._refuse(line, f"line {first} gives this number to {taken.name}: {quoted(line)}")
        elif before:
            self._refuse(line, f"line {before} gives this target another number: {quoted(line)}")
        else:
            self._entries[entry.binding] = (self._line, entry)
            self._names[entry.name, entry.path] = self._line
            self._found.lines.append(entry)

    def _comment(self, line: str) -> None:
        if len(line) > LONGEST_LINE:
            self._refuse(line, f"a comment longer than {LONGEST_LINE} characters")
            return
        self._is_ours = self._is_ours or line == HEADER[0]
        self._found.lines.append(line)

    def _remember(self, line: str) -> None:
        """Go on keeping a line that was set aside when the file was rewritten."""
        if line == LINES_LOST:
            self._found.lost = True
            self.note("lines were lost here; remove this line when all is mended")
        else:
            self.note(f"was set aside; mend or remove it: {quoted(line)}")
        self._keep(line[:LONGEST_LINE])

    def _refuse(self, line: str, why: str) -> None:
        self._complain(why)
        self._keep(set_aside(line))

    def _keep(self, comment: str) -> None:
        """Keep a comment if it reserves a number, and a bounded number of others."""
        number = reserved_number(comment)
        is_needed = number is not None and number not in self._found.reserved
        if number is not None:
            self._found.reserved.add(number)
        self._kept += not is_needed
        if is_needed or self._kept <= MOST_KEPT:
            self._found.lines.append(comment)
        else:
            self._dropped += 1

    def _complain(self, what: str) -> None:
        self._remark(what, damage=True)

    def _remark(self, what: str, damage: bool) -> None:
        if len(self._found.remarks) < MOST_REMARKS:
            self._found.remarks.append(Remark(max(self._line, 1), what, damage))
        else:
            self._untold += 1
            self._untold_damage = self._untold_damage or damage
