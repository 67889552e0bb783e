"""Remarks: each once, and never too many."""

from __future__ import annotations

from iscsid.protocol.printable import MAX_NOTES, Notes


def test_remarks_come_in_order_and_are_then_forgotten() -> None:
    notes = Notes()
    notes.add("first")
    notes.add("second")
    assert notes.take() == ("first", "second")
    assert notes.take() == ()


def test_a_repeated_remark_counts_once() -> None:
    notes = Notes()
    notes.add("again")
    notes.add("again")
    assert notes.take() == ("again",)


def test_what_exceeds_the_limit_is_counted() -> None:
    notes = Notes()
    for number in range(MAX_NOTES + 7):
        notes.add(f"remark {number}")
    *kept, last = notes.take()
    assert len(kept) == MAX_NOTES
    assert last == "7 further remarks are left out"
    notes.add("afresh")
    assert notes.take() == ("afresh",)
