"""The lexer: octets of a configuration file to lines with indentation, keyword, value, positions.

Unlike Linux-iSCSI it allows blanks around ``=``, CRLF, a missing final newline, long lines, and
octets above 127 in comments and secrets. A file that cannot be text gets one diagnostic instead of
thousands. Knows no keyword. Pure; linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from iscsid.config.diagnostics import Diagnostic, quoted

TAB_WIDTH = 8
"""Columns of indentation that a tab counts for, wherever it stands (Linux-iSCSI's rule)."""

_BLANKS = " \t"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_COMMENT = re.compile(r"[ \t]#")
_SECRET = re.compile("pas+w|pass|pwd|secret", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9.,_\[\]-]*")
_ENTRIES = "TargetName=..., and Address=... and other settings indented below it"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF_8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One setting, taken apart. Columns count characters from 1; ``indentation`` is a width."""

    number: int
    indentation: int
    column: int
    keyword: str
    value_column: int
    value: str
    """Without quotes and comment. Octets that are not UTF-8 are lone surrogates (PEP 383)."""
    is_quoted: bool
    mentions_secret: bool = False
    """Whether a word like "password" is anywhere in the line: nothing of it may be quoted then."""
    flaw: Diagnostic | None = None
    """Why the line cannot be used. ``keyword`` then is the best guess, ``value`` nothing."""


def decode(text: str | bytes, filename: str) -> str | Diagnostic:
    """Return the text of a file, or a diagnostic if it is none."""
    octets = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if octets.startswith(_UTF_16_MARKS) or _looks_like_utf_16(octets):
        advice = f"UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {filename}"
        return Diagnostic(filename, 1, 1, "the file is written in UTF-16", expected=advice)
    octets = octets.removeprefix(_UTF_8_MARK)
    position = octets.find(b"\0")
    if position >= 0:
        number = octets.count(b"\n", 0, position) + 1
        column = position - octets.rfind(b"\n", 0, position)
        what = "a NUL octet: this is no text file"
        return Diagnostic(filename, number, column, what, expected="lines of text in UTF-8")
    return octets.decode("utf-8", "surrogateescape")


def _looks_like_utf_16(octets: bytes) -> bool:
    start = octets[:64]
    pairs = len(start) // 2
    return pairs > 1 and pairs in (start[::2].count(0), start[1::2].count(0))


def lex(text: str, filename: str) -> Iterator[Line]:
    """Yield the settings of ``text``, broken ones too. Blank lines and comments leave no trace."""
    # Only a newline ends a line; str.splitlines would also cut at form feeds and other marks.
    for number, raw in enumerate(text.split("\n"), start=1):
        content = raw.rstrip(" \t\r")
        body = content.lstrip(_BLANKS)
        if body and body[0] != "#":
            start = len(content) - len(body)
            indentation = sum(TAB_WIDTH if blank == "\t" else 1 for blank in content[:start])
            mentions_secret = _SECRET.search(content) is not None
            try:
                yield _parse_line(content, start, number, indentation, mentions_secret)
            except _BrokenLine as flaw:
                diagnostic = Diagnostic(filename, number, flaw.at + 1, flaw.what, flaw.expected)
                word = first_word(content, start)
                place = (number, indentation, start + 1)
                yield Line(*place, word, start + 1, "", False, mentions_secret, diagnostic)


class _BrokenLine(Exception):
    """A line that cannot be taken apart; ``at`` counts from 0."""

    def __init__(self, at: int, what: str, expected: str) -> None:
        self.at, self.what, self.expected = at, what, expected


def _parse_line(
    content: str, start: int, number: int, indentation: int, mentions_secret: bool
) -> Line:
    control = _CONTROL.search(content)
    if control:
        what = f"the control character {quoted(control.group())}"
        raise _BrokenLine(control.start(), what, "printable text")
    if content.endswith("{") or content[start:] == "}":
        raise _BrokenLine(start, "braces, as in FreeBSD's iscsi.conf", _ENTRIES)
    equals = content.find("=")
    if equals < 0:
        raise _without_equals(content, start)
    keyword = content[start:equals].rstrip(_BLANKS)
    _refuse_disguised_blanks(content, start, start + len(keyword))
    if not keyword:
        raise _BrokenLine(start, "no keyword before '='", "Keyword=value")
    value_at = len(content) - len(content[equals + 1 :].lstrip(_BLANKS))
    is_quoted = content[value_at : value_at + 1] == '"'
    value = _quoted(content, value_at) if is_quoted else _unquoted(content, equals + 1, value_at)
    place = (number, indentation, start + 1)
    return Line(*place, keyword, value_at + 1, value, is_quoted, mentions_secret)


def _without_equals(content: str, start: int) -> _BrokenLine:
    # Nothing is quoted: such a line may well be, or contain, a secret.
    _refuse_disguised_blanks(content, start, len(content))
    return _BrokenLine(start, "no '=' in this line", "Keyword=value")


def _refuse_disguised_blanks(content: str, start: int, end: int) -> None:
    """Refuse no-break spaces and invisible characters, which come with pasted text."""
    part = content[start:end]
    if part.isascii():
        return
    for offset, character in enumerate(part):
        if unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf") and character != " ":
            name = unicodedata.name(character, "unnamed").lower()
            what = f"an invisible character, U+{ord(character):04X} ({name})"
            raise _BrokenLine(start + offset, what, "an ordinary blank, or nothing")


def _unquoted(content: str, after_equals: int, value_at: int) -> str:
    comment = _COMMENT.search(content, after_equals)
    end = comment.start() if comment else len(content)
    if end <= value_at:
        expected = "Keyword=value"
        if comment:
            expected += ' (a value that begins with "#" needs quotes)'
        raise _BrokenLine(after_equals, "no value after '='", expected)
    _refuse_disguised_blanks(content, value_at, end)
    return content[value_at:end].rstrip(_BLANKS)


def _quoted(content: str, opening: int) -> str:
    """Return what stands between quotes; a doubled quote inside stands for one."""
    position = opening + 1
    while True:
        closing = content.find('"', position)
        if closing < 0:
            raise _BrokenLine(
                opening, "the quote that opens here is never closed", "a closing quote"
            )
        if content[closing + 1 : closing + 2] != '"':
            break
        position = closing + 2
    rest = content[closing + 1 :].lstrip(_BLANKS)
    if rest and not rest.startswith("#"):
        expected = 'the end of the line (a quote inside quotes is written "")'
        raise _BrokenLine(len(content) - len(rest), "text after the closing quote", expected)
    return content[opening + 1 : closing].replace('""', '"')


def first_word(content: str, start: int = 0) -> str:
    """Return what looks like the keyword of a line."""
    word = _WORD.match(content, start)
    return word.group() if word else ""
