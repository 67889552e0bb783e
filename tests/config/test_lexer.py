"""Lines, positions and the many ways a file can be no text."""

from __future__ import annotations

import pytest

from iscsid.config.diagnostics import Diagnostic
from iscsid.config.lexer import Line, decode, lex


def only_line(text: str) -> Line:
    (line,) = lex(text, "f")
    return line


def flaw(text: str) -> str:
    (line,) = lex(text, "f")
    assert line.flaw and not line.value
    return str(line.flaw)


@pytest.mark.parametrize(
    "text",
    [
        "LoginTimeout=5",
        "LoginTimeout = 5",
        "LoginTimeout\t=\t5",
        "LoginTimeout=5  \t ",
        "LoginTimeout=5\n",
        "LoginTimeout=5\r\n",
        'LoginTimeout="5"',
        "LoginTimeout=5 # seconds",
        "LoginTimeout=5\t#",
        'LoginTimeout="5" # seconds',
        'LoginTimeout="5"# seconds',
        "# first\n\n \t\nLoginTimeout=5\n   # last",
    ],
)
def test_blanks_comments_quotes_and_line_ends_do_not_change_a_setting(text: str) -> None:
    line = only_line(text)
    assert (line.keyword, line.value, line.flaw) == ("LoginTimeout", "5", None)


def test_every_line_keeps_its_number_whatever_stands_between() -> None:
    text = "# one\nA=1\n\r\n\x0c# four: a form feed is no line end\nB=2\n \nC=3"
    numbers = {line.keyword: line.number for line in lex(text, "f")}
    assert numbers["A"] == 2 and numbers["B"] == 5 and numbers["C"] == 7


@pytest.mark.parametrize(
    "blanks, indentation",
    [("", 0), (" ", 1), ("   ", 3), ("\t", 8), (" \t", 9), ("\t ", 9), ("\t\t", 16)],
)
def test_a_tab_counts_as_eight_columns_wherever_it_stands(blanks: str, indentation: int) -> None:
    line = only_line(f"{blanks}A=1")
    assert line.indentation == indentation
    assert line.column == len(blanks) + 1


@pytest.mark.parametrize(
    "text, column", [("A=1", 3), ("A = 1", 5), ("\tA\t=\t1", 6), ('A="1"', 3), ("A= é", 4)]
)
def test_the_column_of_a_value_counts_characters(text: str, column: int) -> None:
    assert only_line(text).value_column == column


@pytest.mark.parametrize(
    "written, meant",
    [
        ('"two words"', "two words"),
        ('" lead and trail "', " lead and trail "),
        ('"a # b"', "a # b"),
        ('"say ""so"""', 'say "so"'),
        ('""""', '"'),
        ('""', ""),
        ("a#b", "a#b"),
        ("#b", "#b"),
        ('a"b', 'a"b'),
        ("'a'", "'a'"),
        (r"a\b", r"a\b"),
        ("a=b=", "a=b="),
        ("0x0102", "0x0102"),
        ("grün", "grün"),
        ("two words", "two words"),
    ],
)
def test_what_quotes_and_special_characters_mean(written: str, meant: str) -> None:
    line = only_line(f"Password={written}")
    assert (line.value, line.is_quoted) == (meant, written.startswith('"'))


@pytest.mark.parametrize(
    "text, diagnostic",
    [
        ("LoginTimeout 15", "f:1:1: no '=' in this line; expected Keyword=value"),
        ("  LoginTimeout", "f:1:3: no '=' in this line; expected Keyword=value"),
        ("= 5", "f:1:1: no keyword before '='; expected Keyword=value"),
        ("A=", "f:1:3: no value after '='; expected Keyword=value"),
        ("A=   ", "f:1:3: no value after '='; expected Keyword=value"),
        (
            "A= #b",
            "f:1:3: no value after '='; expected Keyword=value "
            '(a value that begins with "#" needs quotes)',
        ),
        (
            ' A="never',
            "f:1:4: the quote that opens here is never closed; expected a closing quote",
        ),
        ('A="b""', "f:1:3: the quote that opens here is never closed; expected a closing quote"),
        (
            'A="b" c',
            "f:1:7: text after the closing quote; expected the end of the line "
            '(a quote inside quotes is written "")',
        ),
        ("A=1\x07", r"f:1:4: the control character '\x07'; expected printable text"),
        ("A\x0b=1", r"f:1:2: the control character '\x0b'; expected printable text"),
        ("A=1\rB=2", r"f:1:4: the control character '\r'; expected printable text"),
        (
            "\u00a0A=1",
            "f:1:1: an invisible character, U+00A0 (no-break space); "
            "expected an ordinary blank, or nothing",
        ),
        (
            "A=1\u200b",
            "f:1:4: an invisible character, U+200B (zero width space); "
            "expected an ordinary blank, or nothing",
        ),
    ],
)
def test_a_broken_line_is_reported_with_its_position(text: str, diagnostic: str) -> None:
    assert flaw(text) == diagnostic


def test_a_broken_line_shows_nothing_of_what_may_be_a_secret() -> None:
    for text in ('Password="topsecret', 'Password="a" topsecret', "Password topsecret"):
        assert "topsecret" not in flaw(text)


def test_invisible_characters_may_stand_between_quotes_and_in_comments() -> None:
    assert only_line('A="\u00a0"').value == "\u00a0"
    assert list(lex("# \u00a0\x01", "f")) == []


def test_a_broken_line_keeps_its_keyword_and_indentation() -> None:
    (line,) = lex('   Password="open', "f")
    assert (line.keyword, line.indentation) == ("Password", 3)


@pytest.mark.parametrize("octets", [b"\xef\xbb\xbfA=1", b"A=1"])
def test_a_byte_order_mark_of_utf_8_does_not_count(octets: bytes) -> None:
    text = decode(octets, "f")
    assert text == "A=1"


def test_octets_that_are_no_utf_8_are_kept() -> None:
    text = decode(b"# \xff\nA=\xe9", "f")
    assert isinstance(text, str)
    assert only_line(text).value.encode("utf-8", "surrogateescape") == b"\xe9"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_with_the_command_that_converts_it(encoding: str) -> None:
    diagnostic = decode("LoginTimeout=15\n".encode(encoding), "f")
    assert str(diagnostic) == (
        "f:1:1: the file is written in UTF-16; "
        "expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8 f"
    )


def test_a_binary_file_gets_one_complaint_at_its_first_nul() -> None:
    diagnostic = decode(b"\x7fELF\x02\nab\0cd\n" + bytes(1000), "f")
    assert isinstance(diagnostic, Diagnostic)
    assert (diagnostic.line, diagnostic.column) == (2, 3)
    assert str(diagnostic) == (
        "f:2:3: a NUL octet: this is no text file; expected lines of text in UTF-8"
    )
