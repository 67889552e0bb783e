"""A table fits a width: columns are cut as far as they allow, then left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iscsid.status.table import Column, format_table

COLUMNS = (
    Column(title="NAME"),
    Column(title="LONG", least=6, omit=1),
    Column(title="END", least=6, cut_left=True, omit=2),
)
ROW = ("disk", "0123456789", "abcdefghij")


def lines(width: int | None) -> list[str]:
    return format_table(COLUMNS, [ROW], width)


def test_without_a_limit_nothing_is_cut() -> None:
    assert lines(None) == ["NAME  LONG        END", "disk  0123456789  abcdefghij"]


def test_too_wide_cells_are_cut_at_the_side_that_matters_less() -> None:
    assert lines(20) == ["NAME  LONG    END", "disk  0123..  ..ghij"]


def test_what_still_does_not_fit_is_left_out_whole() -> None:
    assert lines(19) == ["NAME  LONG", "disk  0123456789"]
    assert lines(10) == ["NAME", "disk"]
    assert lines(1) == ["NAME", "disk"]


@given(st.lists(st.tuples(*[st.text("abc", max_size=30)] * 3), max_size=5), st.integers(30, 100))
def test_no_line_is_wider_than_asked_for(rows: list[tuple[str, str, str]], width: int) -> None:
    assert max(map(len, format_table(COLUMNS, rows, width))) <= max(width, 30)
