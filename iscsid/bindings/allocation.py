"""The persistent numbers of targets: who has which, and the smallest free one for a newcomer.

The owner holds one ``Bindings``, made from the text of the bindings file. A number that a target
has is never changed here, whatever the file looks like. Pure: reading and writing the file is the
hand's work (``system.bindings_file``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iscsid.bindings import reader
from iscsid.bindings.binding import Binding
from iscsid.bindings.file_format import END, HEADER, Entry
from iscsid.bindings.numbers import NumberPool
from iscsid.errors import BindingsFull
from iscsid.protocol.names import IscsiName


@dataclass(frozen=True, slots=True)
class BindingsDiagnostic:
    """What is wrong with one line of the bindings file."""

    filename: str
    line: int
    what: str
    damage: bool
    """The line binds nothing; otherwise it is a remark."""

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}: {self.what}"


class Bindings:
    """Every number given so far, and the text of the file that says so."""

    def __init__(self) -> None:
        self.diagnostics: tuple[BindingsDiagnostic, ...] = ()
        """What to tell of the file as it was read, in the order of its lines."""
        self.damaged = False
        """The file holds what ``format`` would not write back: keep a copy before replacing it."""
        self._lost = False
        self._lines: list[str | Entry] = list(HEADER)
        self._place: dict[Binding, int] = {}
        self._numbers: dict[IscsiName, dict[str, Binding]] = {}
        self._pool = NumberPool()
        self._revision = self._formatted = self._saved = 0

    @classmethod
    def parse(cls, text: str | bytes, filename: str) -> Bindings:
        """Return what a bindings file says, all its good lines and a complaint for each other.

        Of two lines that claim one number, or two numbers for one target, the first holds.
        Never raises. ``bytes`` are read as UTF-8; octets that are not survive in comments.
        """
        text = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
        found = reader.read(text)
        self = cls()
        self._lost = found.lost
        self._lines = list(found.lines)
        for place, line in enumerate(self._lines):
            if isinstance(line, Entry):
                self._place[line.binding] = place
                self._numbers.setdefault(line.name, {})[line.path] = line.binding
                self._pool.take(line.binding)
        for number in found.reserved:
            self._pool.take(number)
        self.damaged = any(remark.damage for remark in found.remarks)
        self.diagnostics = tuple(
            BindingsDiagnostic(filename, remark.line, remark.what, remark.damage)
            for remark in found.remarks
        )
        return self

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[Entry]:
        """Go through all bindings in the order of the file."""
        return (line for line in self._lines if isinstance(line, Entry))

    def lookup(self, name: IscsiName) -> Binding | None:
        """Return the number of a target that has one session.

        A target that so far had a session per path goes on with the smallest of its numbers.
        """
        numbers = self._numbers.get(name)
        if not numbers:
            return None
        return numbers[""] if "" in numbers else min(numbers.values())

    def lookup_path(self, name: IscsiName, path: str) -> Binding | None:
        """Return the number of one path of a target with several sessions."""
        return self._numbers.get(name, {}).get(path)

    def name_of(self, binding: Binding) -> IscsiName | None:
        """Return the target that has this number."""
        entry = self._entry_at(binding)
        return entry.name if entry else None

    def assign(self, name: IscsiName) -> Binding:
        """Return the number of a target; a newcomer gets the smallest free one.

        Raises ``BindingsFull`` where none is left.
        """
        return self.lookup(name) or self._give(name, "", self._pool.free(from_the_top=self._lost))

    def assign_path(self, name: IscsiName, path: str) -> Binding:
        """Return the number of one path of a target: the target's id on a bus of its own.

        The number that the target had while it had one session goes to the first path asked for,
        so that switching Multipath on and off leaves its names alone. Raises ``BindingsFull``.
        """
        numbers = self._numbers.get(name, {})
        if path in numbers:
            return numbers[path]
        if "" in numbers:
            return self._name_path(numbers[""], path)
        if not numbers:
            return self._give(name, path, self._pool.free(from_the_top=self._lost))
        target = min(numbers.values()).target
        return self._give(name, path, self._pool.free_bus(target, from_the_top=self._lost))

    def adopt(self, name: IscsiName, binding: Binding, path: str = "") -> bool:
        """Enter a number that is in use already: by a session the kernel runs, for instance.

        Returns whether the number is the target's now. It is not where the file gives the number
        to another target, or another number to this one.
        """
        numbers = self._numbers.get(name, {})
        if path in numbers:
            return numbers[path] == binding
        entry = self._entry_at(binding)
        if entry is None:
            self._give(name, path, binding)
            return True
        if entry.name == name and not entry.path:
            self._name_path(binding, path)
            return True
        return entry.name == name and not path

    @property
    def changed(self) -> bool:
        """Whether the file has yet to be told of something."""
        return self._revision != self._saved

    def format(self) -> str:
        """Return the text of the file, to be encoded as UTF-8 with ``surrogateescape``."""
        self._formatted = self._revision
        return "".join(f"{line}\n" for line in (*self._lines, END))

    def saved(self) -> None:
        """Take note that the file holds what ``format`` returned last."""
        self._saved = self._formatted
        self.damaged = False

    def _entry_at(self, binding: Binding) -> Entry | None:
        place = self._place.get(binding)
        entry = None if place is None else self._lines[place]
        return entry if isinstance(entry, Entry) else None

    def _give(self, name: IscsiName, path: str, number: Binding | None) -> Binding:
        if number is None:
            raise BindingsFull(name)
        entry = Entry(number, name, path)
        self._place[number] = len(self._lines)
        self._lines.append(entry)
        self._numbers.setdefault(name, {})[path] = number
        self._pool.take(number)
        self._revision += 1
        return number

    def _name_path(self, number: Binding, path: str) -> Binding:
        """Let the number of a target be that of one of its paths."""
        place = self._place[number]
        entry = self._lines[place]
        assert isinstance(entry, Entry)
        numbers = self._numbers[entry.name]
        self._lines[place] = Entry(number, entry.name, path)
        numbers[path] = numbers.pop("")
        self._revision += 1
        return number
