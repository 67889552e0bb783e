"""The persistent numbers of targets: which target has which, and the smallest free one.

There is one ``Bindings`` object, made from the text of the bindings file. A number that a target
has is never changed here, whatever the file holds. Pure: reading and writing the file is the work
of ``process.bindings_file``, its syntax is ``bindings.file_format``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iscsid.bindings import file_format
from iscsid.bindings.binding import (
    BUSES,
    ENTITY_MARK,
    TARGETS_PER_BUS,
    Binding,
    session_of_path,
)
from iscsid.bindings.file_format import END, HEADER, SPELLINGS, Entry
from iscsid.errors import BindingsFull
from iscsid.protocol.names import IscsiName


@dataclass(frozen=True, slots=True)
class BindingsDiagnostic:
    """What is wrong with one line of the bindings file."""

    filename: str
    line: int
    what: str
    damage: bool
    """Whether the line binds nothing; otherwise this is a remark."""

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}: {self.what}"


class Bindings:
    """Every number assigned so far, and the text of the file that records them."""

    def __init__(self) -> None:
        self.diagnostics: tuple[BindingsDiagnostic, ...] = ()
        """What to report about the file as it was read, in the order of its lines."""
        self.damaged = False
        """Whether ``format`` omits something that the file holds: keep a copy of the file."""
        self._lines: list[str | Entry | None] = list(HEADER)
        """``None`` in the place of a line that has gone."""
        self._place: dict[Binding, int] = {}
        self._numbers: dict[IscsiName, dict[str, Binding]] = {}
        self._spellings: dict[IscsiName, str] = {}
        self._has_spellings = True
        """Whether the file has the line below which names are spelt as the targets spell them."""
        self._taken: set[Binding] = set()
        """Numbers never to be assigned: those of targets and those of invalid lines."""
        self._buses: Iterable[int] = range(BUSES)
        """In the order in which numbers are assigned."""
        self._untried = self._all_numbers()
        self._revision = self._formatted = self._saved = 0

    @classmethod
    def parse(cls, text: str | bytes, filename: str) -> Bindings:
        """Return the bindings in the text of a file: its good lines, and what is wrong with others.

        If two lines give one number to two targets, or two numbers to one target, the first is
        valid. Never raises. ``bytes`` are decoded as UTF-8; invalid octets in comments survive.
        """
        text = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
        found = file_format.read(text)
        self = cls()
        self._lines = list(found.lines)
        self._has_spellings = SPELLINGS in found.lines
        for place, line in enumerate(self._lines):
            if isinstance(line, Entry):
                self._place[line.binding] = place
                self._numbers.setdefault(line.name, {})[line.path] = line.binding
                if line.spelling:
                    self._spellings.setdefault(line.name, line.spelling)
        self._taken = self._place.keys() | found.reserved
        if found.lost:
            # The lines that are missing most likely had low numbers.
            self._buses = range(BUSES - 1, -1, -1)
            self._untried = self._all_numbers()
        self.damaged = any(remark.damage for remark in found.remarks)
        self.diagnostics = tuple(
            BindingsDiagnostic(filename, remark.line, remark.what, remark.damage)
            for remark in found.remarks
        )
        return self

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over all bindings in the order of the file."""
        return (line for line in self._lines if isinstance(line, Entry))

    def lookup(
        self, name: IscsiName, session: str = "", *, has_namesakes: bool = False
    ) -> Binding | None:
        """Return the number of a target that has a single path.

        A target that had several keeps the smallest of their numbers. If its name is also that of
        targets of other network entities, their numbers do not count. ``session`` is which of the
        path's sessions is meant: see ``session_of_path``.
        """
        # Chosen among the numbers of this session alone: one that was added decides on no other.
        numbers = self._numbers.get(name, {})
        if session in numbers:
            return numbers[session]
        alike = {path: n for path, n in numbers.items() if session_of_path(path) == session}
        return min(_of_target(alike, has_namesakes).values(), default=None)

    def lookup_path(self, name: IscsiName, path: str) -> Binding | None:
        """Return the number of one path of a target with several sessions."""
        return self._numbers.get(name, {}).get(path)

    def name_of(self, binding: Binding) -> IscsiName | None:
        """Return the target that has this number."""
        entry = self._entry_at(binding)
        return entry.name if entry else None

    def assign(self, name: IscsiName, session: str = "", *, has_namesakes: bool = False) -> Binding:
        """Return the number of a target with a single path.

        A new target gets the smallest free one, and each further session of it the target's id on
        another bus. Raises ``BindingsFull`` if none is left.
        """
        number = self.lookup(name, session, has_namesakes=has_namesakes)
        if number is not None:
            return number
        others = _of_target(self._numbers.get(name, {}), has_namesakes).values()
        free = self._free_on_a_bus(min(others).target) if others else self._first_free()
        return self._give(name, session, free)

    def assign_path(self, name: IscsiName, path: str, inherits: str | None = "") -> Binding:
        """Return the number of one path of a target: the target's id on a bus of its own.

        It takes over the number of the path ``inherits``, or if there is no such path that which
        the target had while it had one path. So the first path asked for gets that one, and
        switching Multipath on and off leaves the names alone. Raises ``BindingsFull``.
        """
        numbers = self._numbers.get(name, {})
        if path in numbers:
            return numbers[path]
        single = session_of_path(path)
        for old in dict.fromkeys((inherits, single)) if inherits is not None else ():
            if old in numbers:
                return self._name_path(name, old, path)
        if not numbers:
            return self._give(name, path, self._first_free())
        return self._give(name, path, self._free_on_a_bus(min(numbers.values()).target))

    def spelling(self, name: IscsiName) -> str:
        """Return how a target spells its name; empty if that is not known."""
        return self._spellings.get(name, "")

    def spell(self, name: IscsiName, spelling: str) -> None:
        """Note how a target spells its name: it is called so from now on."""
        if self._spellings.get(name) == spelling:
            return
        self._spellings[name] = spelling
        for path, number in self._numbers.get(name, {}).items():
            place = self._place[number]
            entry = Entry(number, name, path, spelling)
            self._revision += str(entry) != str(self._lines[place])
            self._lines[place] = entry

    def adopt(self, name: IscsiName, binding: Binding, path: str = "") -> bool:
        """Enter a number that is in use already: by a session the kernel runs, for instance.

        Returns whether the number is the target's now. It is not if the file gives the number
        to another target, or another number to this one.
        """
        if self.disagrees(name, binding, path):
            return False
        entry = self._entry_at(binding)
        if entry is None:
            self._give(name, path, binding)
        elif not _is_single(path) and _is_single(entry.path):
            self._name_path(name, entry.path, path)
        return True

    def disagrees(self, name: IscsiName, binding: Binding, path: str = "") -> bool:
        """Whether the file gives a number to another target, or another one to this target."""
        numbers = self._numbers.get(name, {})
        if path in numbers:
            return numbers[path] != binding
        entry = self._entry_at(binding)
        if entry is None:
            return False
        is_same_session = session_of_path(path) == session_of_path(entry.path)
        may_be_renamed = _is_single(path) or _is_single(entry.path)
        return entry.name != name or not (is_same_session and may_be_renamed)

    def hold(self, name: IscsiName, binding: Binding, path: str = "") -> list[Entry]:
        """Enter the number of a session that runs, even if the file has something else.

        Return the lines that had to go: another number of this target, another target's line.
        """
        if not self.disagrees(name, binding, path):
            self.adopt(name, binding, path)
            return []
        other_number = self._numbers.get(name, {}).get(path)
        entries = (self._entry_at(number) for number in (binding, other_number) if number)
        displaced = [entry for entry in entries if entry is not None]
        for entry in displaced:
            self._remove(entry)
        self._give(name, path, binding)
        return displaced

    @property
    def changed(self) -> bool:
        """Whether the file does not yet hold everything."""
        return self._revision != self._saved

    def format(self) -> str:
        """Return the text of the file, to be encoded as UTF-8 with ``surrogateescape``."""
        self._formatted = self._revision
        return "".join(f"{line}\n" for line in (*self._lines, END) if line is not None)

    def saved(self) -> None:
        """Note that the file holds what ``format`` returned last."""
        self._saved = self._formatted
        self.damaged = False

    def __contains__(self, binding: Binding) -> bool:
        """Whether a number is taken."""
        return binding in self._taken

    def _all_numbers(self) -> Iterator[Binding]:
        return (Binding(bus, target) for bus in self._buses for target in range(TARGETS_PER_BUS))

    def _first_free(self) -> Binding | None:
        """Return the first number that is not taken. No number is ever given back, so that the
        search goes on from where the last one ended."""
        return next((number for number in self._untried if number not in self._taken), None)

    def _free_on_a_bus(self, target: int) -> Binding | None:
        """Return the first number with this target id that is not taken."""
        free = (number for bus in self._buses if (number := Binding(bus, target)) not in self)
        return next(free, None)

    def _entry_at(self, binding: Binding) -> Entry | None:
        place = self._place.get(binding)
        entry = None if place is None else self._lines[place]
        return entry if isinstance(entry, Entry) else None

    def _give(self, name: IscsiName, path: str, number: Binding | None) -> Binding:
        if number is None:
            raise BindingsFull(name, path)
        if not self._has_spellings:
            self._lines.append(SPELLINGS)
            self._has_spellings = True
        entry = Entry(number, name, path, self._spellings.get(name, ""))
        self._place[number] = len(self._lines)
        self._lines.append(entry)
        self._numbers.setdefault(name, {})[path] = number
        self._taken.add(number)
        self._revision += 1
        return number

    def _remove(self, entry: Entry) -> None:
        """Remove a line. Its number stays taken: its links may still be there."""
        self._lines[self._place.pop(entry.binding)] = None
        del self._numbers[entry.name][entry.path]
        self._revision += 1

    def _name_path(self, name: IscsiName, old: str, path: str) -> Binding:
        """Let the number of one path of a target be that of another one."""
        number = self._numbers[name].pop(old)
        self._numbers[name][path] = number
        self._lines[self._place[number]] = Entry(number, name, path, self._spellings.get(name, ""))
        self._revision += 1
        return number


def _is_single(path: str) -> bool:
    """Whether a path names no portal and no portal group: the target has only this one."""
    return path == session_of_path(path)


def _of_target(numbers: dict[str, Binding], has_namesakes: bool) -> dict[str, Binding]:
    """Return the numbers by path, without those of targets of other network entities."""
    own = {path: n for path, n in numbers.items() if not path.startswith(ENTITY_MARK)}
    return own or ({} if has_namesakes else numbers)
