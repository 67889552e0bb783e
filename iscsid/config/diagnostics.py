"""Diagnostics: one error or note about a configuration file.

A diagnostic names the file, the line, the column, what is wrong, what was expected, and the known
word that comes nearest. All diagnostics of a file are collected before they are reported. None
ever contains a secret. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from iscsid.errors import IscsidError, Retry
from iscsid.protocol.printable import printable

LONGEST_GUESS = 40
"""Longer words are not compared with known ones: a mistyped keyword is not that long."""

LONGEST_LINE = 1000

_KEYWORD = re.compile(r"[A-Za-z][A-Za-z._]{0,39}")
"""Without digits, which nearly every secret of some length has."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error, or, as a note, one remark.

    ``line`` and ``column`` count from 1, a tab as one column; a diagnostic about the whole file
    has line 0.
    """

    filename: str
    line: int
    column: int
    what: str
    expected: str = ""
    nearest: str = ""
    is_note: bool = False

    def __str__(self) -> str:
        place = f"{self.filename}:{self.line}:{self.column}" if self.line else self.filename
        text = f"{place}: {'note: ' if self.is_note else ''}{self.what}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest}?"
        return printable(text, LONGEST_LINE)


class ConfigurationErrors(IscsidError):
    """A file cannot be used; ``diagnostics`` are the reasons, in the order of the lines."""

    retry = Retry.NEVER

    def __init__(self, diagnostics: Iterable[Diagnostic], *, has_secrets: bool = False) -> None:
        self.diagnostics = tuple(
            sorted(diagnostics, key=lambda diagnostic: (diagnostic.line, diagnostic.column))
        )
        self.has_secrets = has_secrets
        """Whether the file holds a password, so that its permissions can be judged as well."""
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for the log per diagnostic."""
        return tuple(map(str, self.diagnostics))


def quoted(word: str) -> str:
    """Return ``word`` for use in a diagnostic: escaped, bounded, between quotation marks."""
    return f"'{printable(word, 64)}'"


def quoted_keyword(word: str) -> str:
    """Return a blank and the quoted ``word`` if it can be a keyword, else nothing.

    What cannot may be a secret: a line of base64 ends in "=", too.
    """
    return f" '{word}'" if _KEYWORD.fullmatch(word) else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that looks most like ``word``, or nothing. Ignores case."""
    if len(word) > LONGEST_GUESS:
        return ""
    by_lower_case = {each.lower(): each for each in known}
    matches = get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.7)
    return by_lower_case[matches[0]] if matches else ""
