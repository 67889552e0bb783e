"""The language of the bindings file: what one line says, and how a line is written.

A binding is ``bus target TargetName [path]``: numbers from 0 to 255 in plain decimal, separated by
blanks or tabs. ``path`` is there for a target with several sessions (Multipath): it names the
portal, or the portal group, that has this number. ``#`` opens a comment. A line that could not be
understood is *set aside* when the file is rewritten: it becomes a comment that begins with ``#?``
and goes on to keep its number from being given away, until a person mends or removes it. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iscsid.bindings.binding import BUSES, TARGETS_PER_BUS, Binding
from iscsid.errors import InvalidName
from iscsid.protocol.names import IscsiName, parse_iscsi_name
from iscsid.protocol.printable import printable

HEADER = (
    "# iSCSI bindings, kept by iscsid. Its last line tells that the file is whole.",
    "# A target has its numbers for ever. Lines of targets that are gone for good may be removed;",
    "# their numbers are free again after SIGHUP or a restart. Comments are kept.",
    "#",
    "# bus\ttarget\tTargetName\tpath (only with Multipath)",
)
"""What a new file begins with; the first line is how a file of ours is recognised."""

END = "# end of bindings"
"""The last line of a whole file of ours: a file that was cut short has lost it."""

SET_ASIDE = "#?"
LINES_LOST = (
    f"{SET_ASIDE} Lines may be lost here. While this line stays, new targets get numbers from "
    "bus 255 down, because the low numbers may belong to the lost lines."
)

LONGEST_LINE = 1024
"""Characters; a TargetName has 223 bytes at most, and a path fewer than 300."""
_LONGEST_QUOTE = 300

_NUMBER = r"(0|[1-9][0-9]{0,2})"
_LINE = re.compile(rf"[ \t]*{_NUMBER}[ \t]+{_NUMBER}[ \t]+([^ \t]+)(?:[ \t]+([^ \t]+))?[ \t]*")
_RESERVING = re.compile(rf"(?:#\?)?[ \t]*{_NUMBER}[ \t]+{_NUMBER}(?=[ \t])")
_PATH = re.compile(r"[!\"$-~][!-~]{0,299}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One number and whose it is; ``path`` is empty where the target has one session only."""

    binding: Binding
    name: IscsiName
    path: str = ""

    def __post_init__(self) -> None:
        if self.path and not _PATH.fullmatch(self.path):
            raise ValueError(f"no such path: {quoted(self.path)}")

    def __str__(self) -> str:
        """Write the line of the file."""
        fields = [str(self.binding.bus), str(self.binding.target), self.name]
        return "\t".join([*fields, self.path] if self.path else fields)


def read_line(line: str) -> Entry | str:
    """Return what a line binds, or in words why it binds nothing."""
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
        return Entry(Binding(int(bus), int(target)), parse_iscsi_name(name), path)
    except InvalidName as error:
        return str(error)


def reserved_number(line: str) -> Binding | None:
    """Return the number that a line which binds nothing still keeps from being given away."""
    match = _RESERVING.match(line)
    if not match:
        return None
    bus, target = map(int, match.groups())
    return Binding(bus, target) if bus < BUSES and target < TARGETS_PER_BUS else None


def set_aside(line: str) -> str:
    """Return the comment that a line becomes which could not be understood."""
    return f"{SET_ASIDE} {_shown(line)}"


def quoted(text: str) -> str:
    """Return text for a message: in quotes, on one line, bounded."""
    return f"'{_shown(text)}'"


def _shown(text: str) -> str:
    """Make text safe to show. Tabs become blanks, so that a line keeps its fields."""
    return printable(text.replace("\t", " "), _LONGEST_QUOTE)
