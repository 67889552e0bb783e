"""The parser: lines become entries and globals, by indentation.

The rules are Linux-iSCSI's. An entry lasts as long as lines are indented farther than the line
that opened it; any other setting is a global and applies to the entries below it. Every line is
checked, whatever is wrong with earlier ones. ``consistency`` checks the file as a whole. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from iscsid.config import foreign_keywords
from iscsid.config.addresses import TARGET_ADDRESS
from iscsid.config.diagnostics import Diagnostic, nearest, quoted_keyword
from iscsid.config.grammar import (
    INVALID,
    PLACES,
    SCOPE_OF,
    ConfigEntry,
    EntryKind,
    Keyword,
    ParsedFile,
    Scope,
    Setting,
)
from iscsid.config.keywords import ALL_NAMES, BY_FIELD, BY_NAME, DEFAULTS, SECRET_NAMES
from iscsid.config.lexer import Line, first_word
from iscsid.config.values import InvalidValue, Syntax
from iscsid.protocol.names import TargetAddress


@dataclass(slots=True)
class _OpenEntry:
    """The entry that lines are being added to."""

    opened_by: Line
    kind: EntryKind | None = None
    """``None``: an unknown entry, or one without effect. Its lines are read and dropped."""
    inherited: dict[str, Setting] = field(default_factory=dict)
    subject: Any = INVALID
    own: dict[str, Setting] = field(default_factory=dict)
    addresses: dict[TargetAddress, int] = field(default_factory=dict)
    """With the lines they stand on."""
    judges_values: bool = True

    def close(self) -> ConfigEntry | None:
        if self.kind is None or self.subject is INVALID:
            return None
        line = self.opened_by
        is_spelt_otherwise = self.kind is EntryKind.TARGET and line.value != self.subject
        return ConfigEntry(
            kind=self.kind,
            subject=self.subject,
            own=self.own,
            inherited=self.inherited,
            addresses=tuple(self.addresses),
            spelling=line.value if is_spelt_otherwise else "",
            line=line.number,
            column=line.value_column,
        )


class Parser:
    """Parses the lines of one file in order."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._globals: dict[str, Setting] = dict(DEFAULTS)
        self._inherited: dict[EntryKind, dict[str, Setting]] = {}
        """What entries of each kind take over from the globals as they are now."""
        self._unused: set[str] = set()
        """Fields of globals that no entry follows yet."""
        self._entries: list[ConfigEntry] = []
        self._entry: _OpenEntry | None = None
        self.diagnostics: list[Diagnostic] = []
        self.notes: list[Diagnostic] = []

    def read(self, lines: Iterable[Line]) -> ParsedFile:
        """Return the parsed file; errors are in ``diagnostics`` afterwards."""
        for line in self._hide_secrets(list(lines)):
            self._read_line(line)
        self._close_entry()
        entries = tuple(self._entries)
        return ParsedFile(filename=self._filename, entries=entries, globals=self._globals)

    def _hide_secrets(self, lines: list[Line]) -> Iterator[Line]:
        """Yield the lines, those marked that may contain a secret or a part of one.

        A secret may be misplaced: behind a keyword without "=", in the line below, or above.
        """
        is_near = False
        for line, following in zip_longest(lines, lines[1:]):
            is_known = line.keyword.lower() in BY_NAME and not line.flaw
            is_secret = line.mentions_secret or (not is_known and self._may_mean_secret(line))
            is_before = following is not None and following.mentions_secret
            if is_secret or (not is_known and (is_near or is_before)):
                line = replace(line, mentions_secret=True)
            is_near = is_secret or (is_near and not is_known)
            yield line

    @staticmethod
    def _may_mean_secret(line: Line) -> bool:
        words = first_word(line.keyword), first_word(line.value)
        return any(nearest(word, SECRET_NAMES) for word in words)

    def _read_line(self, line: Line) -> None:
        if self._entry and line.indentation <= self._entry.opened_by.indentation:
            self._close_entry()
        row = BY_NAME.get(line.keyword.lower())
        if row is None and line.keyword.lower() in foreign_keywords.BY_NAME:
            self._read_obsolete(line, foreign_keywords.BY_NAME[line.keyword.lower()])
            return
        if row is None:
            line, row = self._guess(line)
        if line.flaw:
            self.diagnostics.append(line.flaw)
        if row is None:
            self._read_unknown(line)
        elif row.opens and not self._is_own_address(row):
            self._open(line, row, row.opens)
        elif self._entry is None:
            self._read_global(line, row)
        else:
            self._read_below(self._entry, line, row)

    def _guess(self, line: Line) -> tuple[Line, Keyword | None]:
        """Mark a line with an unknown keyword as broken, and return the row it may mean.

        The guess keeps one mistake from causing errors in the lines around it.
        """
        place = (self._filename, line.number, line.column)
        known = foreign_keywords.whose(line.keyword)
        if known:
            program, instead = known
            diagnostic = Diagnostic(*place, f"a setting of {program}", expected=instead)
            return replace(line, flaw=diagnostic), None
        guess = nearest(first_word(line.keyword), ALL_NAMES)
        if not line.flaw:
            shown = "" if line.mentions_secret else quoted_keyword(line.keyword)
            what = f"unknown keyword{shown}"
            expected = "" if guess else "a keyword of iscsi.conf(5)"
            diagnostic = Diagnostic(*place, what, expected, guess)
            line = replace(line, flaw=diagnostic)
        return line, BY_NAME.get(guess.lower())

    def _is_own_address(self, row: Keyword) -> bool:
        """Return whether this is ``Address`` below a TargetName: the address of that target."""
        entry = self._entry
        return entry is not None and entry.kind is EntryKind.TARGET and Scope.TARGET in row.scope

    # --- entries --------------------------------------------------------------------------------

    def _open(self, line: Line, row: Keyword, kind: EntryKind) -> None:
        self._close_entry()
        self._unused.clear()
        subject = self._value(line, row.syntax)
        self._entry = _OpenEntry(line, kind, self._inherited_by(kind), subject)

    def _inherited_by(self, kind: EntryKind) -> dict[str, Setting]:
        # Ten thousand entries below the same globals share one copy of them.
        if kind not in self._inherited:
            scope = SCOPE_OF[kind]
            self._inherited[kind] = {
                name: (DEFAULTS if scope in row.not_inherited else self._globals)[name]
                for name, row in BY_FIELD.items()
                if scope in row.scope
            }
        return self._inherited[kind]

    def _close_entry(self) -> None:
        entry = self._entry.close() if self._entry else None
        if entry:
            self._entries.append(entry)
        self._entry = None

    def _read_below(self, entry: _OpenEntry, line: Line, row: Keyword) -> None:
        if entry.kind is None:
            if entry.judges_values:
                self._value(line, row.syntax)
        elif SCOPE_OF[entry.kind] not in row.scope:
            here = f"{PLACES[SCOPE_OF[entry.kind]]} (line {entry.opened_by.number})"
            allowed = [place for scope, place in PLACES.items() if scope in row.scope]
            self._report(line, f"{row.name} cannot stand {here}", " or ".join(allowed))
        elif row.opens:
            self._add_address(entry, line)
        elif row.field in entry.own:
            what = f"{row.name} stands twice in this entry, first on line"
            self._report(line, f"{what} {entry.own[row.field].line}", "one of the two lines")
        else:
            entry.own[row.field] = self._setting(line, row)

    def _add_address(self, entry: _OpenEntry, line: Line) -> None:
        address = self._value(line, TARGET_ADDRESS)
        if address in entry.addresses:
            what = f"this target has the address {address} already, on line"
            self._report(line, f"{what} {entry.addresses[address]}", "one of the two lines")
        elif address is not INVALID:
            entry.addresses[address] = line.number

    # --- globals, and what is no setting --------------------------------------------------------

    def _read_global(self, line: Line, row: Keyword) -> None:
        if Scope.GLOBAL not in row.scope:
            self._report_no_global(line, row)
            return
        above = self._entries[-1] if self._entries else None
        if line.indentation:
            self._note(line, f"{row.name} is indented but belongs to no entry: it is a global")
        elif above and above.line == line.number - 1 and SCOPE_OF[above.kind] in row.scope:
            name = above.kind.value
            self._note(line, f"{row.name} is not indented: it does not belong to this {name}")
        if row.field in self._unused:
            before = self._globals[row.field].line
            self._note(line, f"{row.name} of line {before} has no effect: this line replaces it")
        self._globals[row.field] = self._setting(line, row)
        self._inherited.clear()
        self._unused.add(row.field)

    def _report_no_global(self, line: Line, row: Keyword) -> None:
        allowed = [place for scope, place in PLACES.items() if scope in row.scope]
        what = f"{row.name} cannot stand {PLACES[Scope.GLOBAL]}"
        self._report(line, what, "; ".join(filter(None, (" or ".join(allowed), row.for_all))))

    def _read_unknown(self, line: Line) -> None:
        # It may be meant to open an entry; lines indented below it are no globals then.
        if self._entry is None:
            self._entry = _OpenEntry(line)

    def _read_obsolete(self, line: Line, name: str) -> None:
        self._note(line, f"{name} has no effect: {foreign_keywords.WITHOUT_EFFECT[name]}")
        if name in foreign_keywords.OPENED_ENTRIES:
            self._close_entry()
            self._entry = _OpenEntry(line, judges_values=False)

    # --- values and diagnostics -----------------------------------------------------------------

    def _setting(self, line: Line, row: Keyword) -> Setting:
        return Setting(self._value(line, row.syntax), line.number, line.value_column)

    def _value(self, line: Line, syntax: Syntax[Any]) -> Any:
        """Return the value of a line, or ``INVALID`` after reporting it."""
        if line.flaw:
            return INVALID
        first = line.value if line.is_quoted else line.value.split(maxsplit=1)[0]
        if len(first) < len(line.value) and not syntax.takes_blanks:
            # The text around the blank may be a secret: only the position is reported.
            what = f"{line.keyword}: a blank in the value"
            expected = "one setting per line, and quotes around a value with blanks"
            place = (self._filename, line.number, line.value_column + len(first))
            self.diagnostics.append(Diagnostic(*place, what, expected))
            return INVALID
        try:
            return syntax.parse(line.value)
        except InvalidValue as invalid:
            # Another setting may stand behind this one, a password for instance.
            is_hidden = not syntax.is_secret and (line.mentions_secret or "=" in line.value)
            what = f"{line.keyword}: {'the value is invalid' if is_hidden else invalid.why}"
            place = (self._filename, line.number, line.value_column)
            diagnostic = Diagnostic(*place, what, syntax.expected, invalid.suggestion)
            self.diagnostics.append(diagnostic)
            return INVALID

    def _report(self, line: Line, what: str, expected: str) -> None:
        if not line.flaw:
            place = (self._filename, line.number, line.column)
            self.diagnostics.append(Diagnostic(*place, what, expected))

    def _note(self, line: Line, what: str) -> None:
        if not line.flaw:
            place = (self._filename, line.number, line.column)
            self.notes.append(Diagnostic(*place, what))
