"""Fuzz target: the bindings file.

``python -m tests.fuzz.bindings -max_total_time=60``. The oracle: never an exception; no number for
two targets and no two numbers for one path; what is written again is the same; a new target gets no
number that stands anywhere in the file.
"""

from __future__ import annotations

from iscsid.bindings.allocation import Bindings
from iscsid.bindings.file_format import Entry
from iscsid.errors import BindingsFull
from iscsid.protocol.names import IscsiName
from tests.fuzz import engine

NEW = IscsiName("iqn.2001-04.com.example:fuzz-new")


def test_one_input(data: bytes) -> None:
    """Read, write and read again."""
    read = Bindings.parse(data, "fuzz")
    entries: list[Entry] = list(read)
    assert len({entry.binding for entry in entries}) == len(entries) == len(read)
    assert len({(entry.name, entry.path) for entry in entries}) == len(entries)
    assert all(str(each).isprintable() for each in read.diagnostics)
    text = read.format()
    again = Bindings.parse(text.encode("utf-8", "surrogateescape"), "again")
    assert list(again) == entries and again.format() == text
    try:
        number = read.assign(NEW)
    except BindingsFull:
        return
    assert number not in {entry.binding for entry in entries if entry.name != NEW}
    assert again.assign(NEW) == number and read.assign(NEW) == number


if __name__ == "__main__":
    engine.run(__file__)
