"""What a person reads when something is wrong."""

from __future__ import annotations

import pytest

from iscsid.config.diagnostics import ConfigurationErrors, Diagnostic, nearest, quoted
from iscsid.errors import Retry


@pytest.mark.parametrize(
    "diagnostic, text",
    [
        (Diagnostic("f", 3, 7, "what"), "f:3:7: what"),
        (Diagnostic("f", 0, 0, "what"), "f: what"),
        (Diagnostic("f", 1, 1, "what", expected="this"), "f:1:1: what; expected this"),
        (Diagnostic("f", 1, 1, "what", nearest="Foo"), "f:1:1: what; did you mean Foo?"),
        (
            Diagnostic("f", 1, 1, "what", "this", "Foo"),
            "f:1:1: what; expected this; did you mean Foo?",
        ),
    ],
)
def test_a_complaint_reads_as_place_what_expected_and_guess(
    diagnostic: Diagnostic, text: str
) -> None:
    assert str(diagnostic) == text


def test_a_complaint_is_one_printable_bounded_line() -> None:
    text = str(Diagnostic("f\n\x1b[2J", 1, 1, "a\nb\udcff" + "x" * 5000))
    assert text.isprintable() and len(text) <= 1000
    assert text.startswith(r"f\n\x1b[2J:1:1: a\nb\udcff")


def test_a_quoted_word_is_escaped_and_bounded() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert len(quoted("x" * 100_000)) < 80


def test_errors_come_in_the_order_of_the_lines() -> None:
    diagnostics = [Diagnostic("f", *place, "w") for place in ((9, 1), (2, 8), (2, 3), (0, 0))]
    errors = ConfigurationErrors(diagnostics, has_secrets=True)
    assert [(each.line, each.column) for each in errors.diagnostics] == [
        (0, 0),
        (2, 3),
        (2, 8),
        (9, 1),
    ]
    assert errors.lines == ("f: w", "f:2:3: w", "f:2:8: w", "f:9:1: w")
    assert str(errors) == "f: w\nf:2:3: w\nf:2:8: w\nf:9:1: w"
    assert errors.retry is Retry.NEVER and errors.has_secrets


@pytest.mark.parametrize(
    "word, found",
    [
        ("LoginTimout", "LoginTimeout"),
        ("LOGINTIMEOUTS", "LoginTimeout"),
        ("IdleTimeot", "IdleTimeout"),
        ("Lorem", ""),
        ("", ""),
        ("LoginTimeout" * 100, ""),
    ],
)
def test_the_nearest_word_is_found_in_any_case_and_only_if_it_is_near(
    word: str, found: str
) -> None:
    assert nearest(word, ("LoginTimeout", "IdleTimeout", "Subnet")) == found
