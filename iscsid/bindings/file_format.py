"""The text of the bindings file: how a line is written, and how a whole file is read.

A binding is ``bus target TargetName [path]``: numbers from 0 to 255 in plain decimal, separated by
blanks or tabs. ``path`` is present for a target with several sessions (Multipath, Sessions): it
names the portal, or the portal group, that has this number, and which session there. ``#`` begins a
comment. A line that cannot be understood is *quarantined* when the file is rewritten: it becomes a
comment that begins with ``#?``. Its number is not assigned to another target until a person
corrects or removes the line.

``read`` separates the good lines from the others, notices a file that was cut short, and limits
what a damaged file can cost in time, memory and log lines. Pure: opening and writing the file is
the work of ``process.bindings_file``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from iscsid.bindings.binding import BUSES, TARGETS_PER_BUS, Binding
from iscsid.errors import InvalidName
from iscsid.protocol.names import IscsiName, parse_iscsi_name
from iscsid.protocol.printable import printable

SPELLINGS = "# The names below this line are spelt as the targets spell them."
"""Earlier versions wrote all names in small letters."""
HEADER = (
    "# iSCSI bindings, kept by iscsid. Its last line tells that the file is whole.",
    "# A target has its numbers for ever. Lines of targets that are gone for good may be removed;",
    "# their numbers are free again after SIGHUP or a restart. Comments are kept.",
    "#",
    "# bus\ttarget\tTargetName\tpath (only with Multipath, Sessions)",
    SPELLINGS,
)
"""The first lines of a new file. The first of them marks a file that iscsid has written."""

END = "# end of bindings"
"""The last line of a complete file: a file that was cut short lacks it."""

QUARANTINED = "#?"
"""How a quarantined line begins."""
LINES_LOST = (
    f"{QUARANTINED} Lines may be lost here. While this line stays, new targets get numbers from "
    "bus 255 down, because the low numbers may belong to the lost lines."
)

LONGEST_LINE = 1024
"""Characters; a TargetName has at most 223 octets, and a path ``LONGEST_PATH``."""
MOST_LINES = 4 * BUSES * TARGETS_PER_BUS
MOST_REMARKS = 20
"""Remarks about single lines; all further ones are counted."""
MOST_KEPT = 100
"""Quarantined lines that reserve no number."""
_LONGEST_QUOTE = 300

_NUMBER = r"(0|[1-9][0-9]{0,2})"
_LINE = re.compile(rf"[ \t]*{_NUMBER}[ \t]+{_NUMBER}[ \t]+([^ \t]+)(?:[ \t]+([^ \t]+))?[ \t]*")
_RESERVING = re.compile(rf"(?:#\?)?[ \t]*{_NUMBER}[ \t]+{_NUMBER}(?=[ \t])")
LONGEST_PATH = 400
"""Characters: a NetworkEntity of 64 and a host name of 253 fit."""
_PATH = re.compile(rf"[!\"$-~][!-~]{{0,{LONGEST_PATH - 1}}}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One number and its target; ``path`` is empty if the target has a single session."""

    binding: Binding
    name: IscsiName
    path: str = ""
    spelling: str = ""
    """The name as the target writes it; empty if that is not known."""

    def __post_init__(self) -> None:
        if self.path and not _PATH.fullmatch(self.path):
            raise ValueError(f"no such path: {quoted(self.path)}")

    def __str__(self) -> str:
        """Return the line of the file."""
        fields = [str(self.binding.bus), str(self.binding.target), self.spelling or self.name]
        return "\t".join([*fields, self.path] if self.path else fields)


def read_line(line: str, *, has_spelling: bool = False) -> Entry | str:
    """Return the binding in a line, or the reason why the line has none.

    ``has_spelling`` is whether a name in small letters is known to be spelt so.
    """
    if len(line) > LONGEST_LINE:
        return f"longer than {LONGEST_LINE} characters"
    match = _LINE.fullmatch(line)
    if not match:
        return f"not of the form 'bus target TargetName [path]': {quoted(line)}"
    bus, target, name, path = match.groups(default="")
    if int(bus) >= BUSES or int(target) >= TARGETS_PER_BUS:
        return f"numbers go from 0 to 255: {quoted(line)}"
    if path and not _PATH.fullmatch(path):
        return f"no portal or portal group: {quoted(path)}"
    try:
        normalised = parse_iscsi_name(name)
        # All small letters were written by earlier versions for names in any spelling.
        spelling = name if has_spelling or name != normalised else ""
        return Entry(Binding(int(bus), int(target)), normalised, path, spelling)
    except InvalidName as error:
        return str(error)


def reserved_number(line: str) -> Binding | None:
    """Return the number that an invalid line keeps reserved, ``None`` if it has none."""
    match = _RESERVING.match(line)
    if not match:
        return None
    bus, target = map(int, match.groups())
    return Binding(bus, target) if bus < BUSES and target < TARGETS_PER_BUS else None


def quarantined(line: str) -> str:
    """Return the comment that replaces a line which cannot be understood."""
    return f"{QUARANTINED} {_shown(line)}"


def dropped_lines(number: int) -> str:
    """Return the comment that replaces so many lines, which no other one keeps."""
    return f"{QUARANTINED} ... and {number} more lines; the copy has them"


_DROPPED = re.compile(re.escape(dropped_lines(0)).replace("0", "([0-9]{1,9})"))


def quoted(text: str) -> str:
    """Return text for a message: in quotes, on one line, of limited length."""
    return f"'{_shown(text)}'"


def _shown(text: str) -> str:
    """Make text printable. Tabs become blanks, so that the fields of a line stay apart."""
    return printable(text.replace("\t", " "), _LONGEST_QUOTE)


@dataclass(frozen=True, slots=True)
class Remark:
    """What is unusual or wrong in one line."""

    line: int
    what: str
    damage: bool
    """Whether the line is lost: it binds nothing."""


@dataclass(slots=True)
class FileContent:
    """The content of a bindings file."""

    lines: list[str | Entry] = field(default_factory=list)
    """All lines to be written back, without the one that marks the end."""
    reserved: set[Binding] = field(default_factory=set)
    """Numbers of invalid lines, which must not be assigned to other targets."""
    remarks: list[Remark] = field(default_factory=list)
    lost: bool = False
    """Lines may be missing, and their numbers are unknown."""


def read(text: str) -> FileContent:
    """Read the text of a bindings file."""
    reader = _LineReader()
    if text.startswith("\ufeff"):
        text = text[1:]
        reader.note("begins with a byte order mark, which is not needed")
    for line, is_whole in islice(_lines_of(text), MOST_LINES + 1):
        reader.take(line, is_whole)
    return reader.finish()


def _lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line and whether it ends with a newline.

    Only the newline ends a line: ``str.splitlines`` would also split at eight other characters.
    """
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        if end < 0:
            yield text[start:], False
            return
        yield text[start:end], True
        start = end + 1


class _LineReader:
    """The state while one file is read."""

    def __init__(self) -> None:
        self._found = FileContent()
        self._line = 0
        self._entries: dict[Binding, tuple[int, Entry]] = {}
        self._names: dict[tuple[IscsiName, str], int] = {}
        self._kept = self._dropped = self._unreported = 0
        self._unreported_damage = False
        self._has_spellings = False
        self._is_ours = self._has_end = self._is_cut = self._has_carriage_return = False

    def take(self, line: str, is_whole: bool) -> None:
        """Read the next line."""
        self._line += 1
        if self._line > MOST_LINES:
            self._is_cut = True
            self._damaged(f"more than {MOST_LINES} lines; the rest is not read")
            return
        if line.endswith("\r"):
            line = line.rstrip("\r")
            if not self._has_carriage_return:
                self.note("ends with carriage return and newline; newline is enough")
            self._has_carriage_return = True
        bare = line.strip(" \t")
        self._is_cut = self._is_cut or not (is_whole or bare in ("", END))
        if bare == END:
            self._has_end = True
        elif bare.startswith(QUARANTINED):
            self._remember(line)
        elif not bare or bare.startswith("#"):
            self._comment(line)
        elif not is_whole:
            self._refuse(line, f"has no newline, so its end may be missing: {quoted(line)}")
        else:
            self._bind(line)

    def note(self, what: str) -> None:
        """Report an oddity that does no harm."""
        self._remark(what, damage=False)

    def finish(self) -> FileContent:
        """Judge whether the file is complete, and return its content."""
        found = self._found
        if not self._has_end and (self._is_ours or self._is_cut) and not found.lost:
            self._damaged(f"ends without the line '{END}': the lines after this one are lost")
            found.lost = True
            found.lines.append(LINES_LOST)
        if self._dropped:
            found.lines.append(dropped_lines(self._dropped))
        if not self._is_ours:
            found.lines[:0] = HEADER[:1] if any(found.lines) else HEADER
        if self._unreported:
            found.remarks.append(
                Remark(
                    self._line, f"{self._unreported} more lines like these", self._unreported_damage
                )
            )
        return found

    def _bind(self, line: str) -> None:
        entry = read_line(line, has_spelling=self._has_spellings)
        if isinstance(entry, str):
            self._refuse(line, entry)
            return
        first, taken = self._entries.get(entry.binding, (0, None))
        before = self._names.get((entry.name, entry.path), 0)
        if taken == entry:
            self.note(f"repeats line {first}")
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
        self._has_spellings = self._has_spellings or line == SPELLINGS
        self._found.lines.append(line)

    def _remember(self, line: str) -> None:
        """Keep a line that an earlier rewrite of the file has quarantined."""
        if line == LINES_LOST:
            self.note("lines were lost here; remove this line once the missing lines are restored")
            # However many lines are kept: without it, numbers of lost lines would be assigned anew.
            if not self._found.lost:
                self._found.lines.append(line)
            self._found.lost = True
            return
        self.note(f"is quarantined; correct or remove it: {quoted(line)}")
        if dropped := _DROPPED.fullmatch(line):
            self._dropped += int(dropped[1])
        else:
            self._keep(line[:LONGEST_LINE])

    def _refuse(self, line: str, why: str) -> None:
        self._damaged(why)
        self._keep(quarantined(line))

    def _keep(self, comment: str) -> None:
        """Keep a comment that reserves a number, and a limited number of others."""
        number = reserved_number(comment)
        is_needed = number is not None and number not in self._found.reserved
        if number is not None:
            self._found.reserved.add(number)
        self._kept += not is_needed
        if is_needed or self._kept <= MOST_KEPT:
            self._found.lines.append(comment)
        else:
            self._dropped += 1

    def _damaged(self, what: str) -> None:
        self._remark(what, damage=True)

    def _remark(self, what: str, damage: bool) -> None:
        if len(self._found.remarks) < MOST_REMARKS:
            self._found.remarks.append(Remark(max(self._line, 1), what, damage))
        else:
            self._unreported += 1
            self._unreported_damage = self._unreported_damage or damage
