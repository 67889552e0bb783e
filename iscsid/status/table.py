"""A table of text that fits a terminal's width. Pure.

What is too wide is cut, then left out: each column has its limits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from iscsid.status.humanize import Colour, paint

GAP = "  "
CUT = ".."


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    title: str
    right: bool = False
    least: int = 0
    """The width to which it may be cut; 0: it is shown whole."""
    cut_left: bool = False
    """Names differ at their end: cut their beginning."""
    omit: int = 0
    """Columns with the highest number are left out first; 0: never."""


def format_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    colours: Mapping[int, Colour] | None = None,
    coloured: str = "",
) -> list[str]:
    """Return the lines, the titles first. ``width`` is that of the terminal, ``None`` no limit.

    ``colours`` gives the colour of each row by its index; the cell of the column ``coloured`` is
    painted. Without ``colours`` nothing is.
    """
    shown = list(range(len(columns)))
    full = [max(len(columns[i].title), *(len(row[i]) for row in rows), 0) for i in shown]
    widths = _fit(columns, shown, full, width)
    while width is not None and _total(widths.values()) > width:
        droppable = max(shown, key=lambda i: columns[i].omit)
        if not columns[droppable].omit:
            break
        shown.remove(droppable)
        widths = _fit(columns, shown, full, width)
    lines = []
    for number, row in enumerate([[column.title for column in columns], *rows], -1):
        cells = []
        for i in shown:
            cell = _cut(row[i], widths[i], columns[i].cut_left)
            cell = f"{cell:{'>' if columns[i].right else '<'}{widths[i]}}"
            if colours is not None and number >= 0 and columns[i].title == coloured:
                cell = paint(cell, colours.get(number), True)
            cells.append(cell)
        line = GAP.join(cells).rstrip()
        lines.append(paint(line, Colour.BOLD, colours is not None) if number < 0 else line)
    return lines


def _fit(
    columns: Sequence[Column], shown: Sequence[int], full: Sequence[int], width: int | None
) -> dict[int, int]:
    """Return the width of each column shown: the widest are cut until all fit."""
    widths = {i: full[i] for i in shown}
    while width is not None and _total(widths.values()) > width:
        too_wide = [i for i in shown if columns[i].least and widths[i] > columns[i].least]
        if not too_wide:
            break
        widths[max(too_wide, key=lambda i: widths[i] - columns[i].least)] -= 1
    return widths


def _total(widths: Collection[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _cut(text: str, width: int, left: bool) -> str:
    if len(text) <= width:
        return text
    keep = max(width - len(CUT), 0)
    return CUT + text[len(text) - keep :] if left else text[:keep] + CUT
